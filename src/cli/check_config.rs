//! `keystile check-config`: says what `keystile serve` would be told, and every fault of it at once.

use std::process::ExitCode;

use clap::Args;
use serde_json::json;

use super::output::{Format, Output, OutputArgs};
use super::table::{Cell, Column, columns};
use crate::config::Serve;
use crate::config::effective::Setting;

const EXAMPLES: &str = "\
Examples:
  keystile check-config
  keystile check-config --config keystile.toml
  KEYSTILE_LISTEN=0.0.0.0:50051 keystile check-config -o json

Exit code: 0 without faults, 78 with some.";

/// Says what `serve` would be told by flags, environment and file, or all that is wrong with it
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CheckConfig {
    /// What `serve` would be told.
    #[command(flatten)]
    pub serve: Serve,
    /// How it is written.
    #[command(flatten)]
    output: OutputArgs,
}

impl CheckConfig {
    /// Shows every setting with its value and where that comes from. It has been validated; secrets are redacted.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let mut output = Output::of_process(self.output.output);
        let effective = &self.serve.effective;
        for warning in &effective.warnings {
            output.note(&format!("warning: {warning}"));
        }
        let settings = effective.settings.iter();
        match output.format() {
            Format::Table => {
                let row = |Setting { name, value, source }: &Setting| {
                    [name, value, source].map(|text| Cell::from(text.clone())).to_vec()
                };
                let header = [Column::Whole("SETTING"), Column::Whole("VALUE"), Column::Whole("SOURCE")];
                output.show(&columns(output.look(), &header, settings.map(row)))?;
            }
            Format::Json => {
                let row = |Setting { name, value, source }: &Setting| json!({ "setting": name, "value": value, "source": source });
                output.show_json(&settings.map(row).collect())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
