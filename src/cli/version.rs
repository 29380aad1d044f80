//! `keystile version`: of the program and of the contract that it speaks.

use std::process::ExitCode;

use clap::Args;

use super::output::{Format, Output, OutputArgs};
use super::table::properties;

const CONTRACT: &str = "keystile.v1";
const EXAMPLES: &str = "\
Examples:
  keystile version
  keystile version -o json | jq -r .version";

/// Shows the version of this program and of its contract
#[derive(Args, Clone, Copy, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Version {
    #[command(flatten)]
    output: OutputArgs,
}

impl Version {
    /// Shows it.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn run(self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        let version = env!("CARGO_PKG_VERSION");
        match output.format() {
            Format::Json => {
                output.show_json(&serde_json::json!({ "version": version, "contract": CONTRACT }))?;
            }
            Format::Table => {
                let rows = [("keystile", version.to_owned()), ("contract", CONTRACT.to_owned())];
                output.show(&properties(rows))?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
