//! `keystile migrate`: brings the schema of a database forward.

use std::process::ExitCode;

use clap::Args;

use super::output::{Format, Output};
use crate::config::{ConfigFile, Database, Log};
use crate::{server, telemetry};

const EXAMPLES: &str = "\
Examples:
  keystile migrate
  keystile migrate --status";

/// Brings the schema of the database up to date
///
/// Safe while replicas serve, and when several are started at once.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Migrate {
    /// Only say what is applied and what is not; the exit code is 1 while something is not
    #[arg(long)]
    pub status: bool,
    /// The configuration file.
    #[command(flatten)]
    pub config_file: ConfigFile,
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The log.
    #[command(flatten)]
    pub log: Log,
}

impl Migrate {
    /// Brings the schema up to date, or says where it stands.
    ///
    /// # Errors
    /// What the database fails with.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::init(&self.log)?;
        let status = server::migrate(&self.database, self.status).await?;
        let lines = |state: &str, versions: &[String]| {
            versions.iter().map(|version| format!("{state}  {version}\n")).collect::<String>()
        };
        let text = lines("applied", &status.applied) + &lines("pending", &status.pending);
        Output::of_process(Format::Table).show(&text)?;
        Ok(if status.pending.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::DENIED) })
    }
}
