//! `keystile migrate`: brings the schema of a database forward.

use std::process::ExitCode;

use clap::Args;

use super::output::{Format, Output};
use crate::config::{ConfigFile, Database, Log};
use crate::storage::migrations::SchemaStatus;
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
        let (status, applied) = server::migrate(&self.database, self.status).await?;
        let text = if self.status { standing(&status) } else { done(&applied, &status) };
        Output::of_process(Format::Table).show(&text)?;
        Ok(if status.pending.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(super::DENIED) })
    }
}

/// Every migration, and whether it has run.
fn standing(status: &SchemaStatus) -> String {
    lines("applied", &status.applied) + &lines("pending", &status.pending)
}

/// What was applied just now, and that nothing is left.
fn done(applied: &[String], status: &SchemaStatus) -> String {
    let all = status.applied.len();
    let end = match applied.len() {
        0 => format!("up to date: nothing to apply, all {all} migrations were there"),
        _ => format!("up to date: {all} migrations"),
    };
    lines("applied", applied) + &end
}

fn lines(state: &str, versions: &[String]) -> String {
    versions.iter().map(|version| format!("{state}  {version}\n")).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_what_was_applied_just_now_is_called_so() {
        let all = || vec!["1".to_owned(), "2".to_owned()];
        let status = SchemaStatus { applied: all(), ..Default::default() };
        assert_eq!(done(&all()[1..], &status), "applied  2\nup to date: 2 migrations");
        assert_eq!(done(&[], &status), "up to date: nothing to apply, all 2 migrations were there");
        let behind = SchemaStatus { applied: vec!["1".into()], pending: vec!["2".into()], unknown: vec![] };
        assert_eq!(standing(&behind), "applied  1\npending  2\n");
    }
}
