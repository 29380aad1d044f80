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
    /// Only say what is applied and what is not; the exit code is 1 while something is not, or this program may not serve
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
        let may_serve = status.pending.is_empty() && !status.is_beyond_us();
        Ok(if may_serve { ExitCode::SUCCESS } else { ExitCode::from(super::DENIED) })
    }
}

/// Every migration, and whether it has run; where a newer program has been here, what that means.
fn standing(status: &SchemaStatus) -> String {
    let SchemaStatus { applied, pending, unknown, .. } = status;
    let known: Vec<String> = applied.iter().filter(|version| !unknown.contains(version)).cloned().collect();
    let end = match (unknown.is_empty(), status.is_beyond_us()) {
        (true, _) => "",
        (false, false) => "ahead of this program, which can serve with it",
        (false, true) => "ahead of this program, which may not serve: run the newer program, or one after it",
    };
    lines("applied", &known) + &lines("pending", pending) + &lines("unknown", unknown) + end
}

/// What was applied just now, and that nothing is left.
fn done(applied: &[String], status: &SchemaStatus) -> String {
    let all = status.applied.len().saturating_sub(status.unknown.len());
    let end = match applied.len() {
        0 => format!("up to date: nothing to apply, all {all} migrations were there"),
        _ => format!("up to date: {all} migrations"),
    };
    let newer = match status.unknown.len() {
        0 => String::new(),
        newer => format!(", and {newer} of a newer program's, with which this one can serve"),
    };
    lines("applied", applied) + &end + &newer
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
        let behind =
            SchemaStatus { applied: vec!["1".into()], pending: vec!["2".into()], ..Default::default() };
        assert_eq!(standing(&behind), "applied  1\npending  2\n");
        let ahead = |needed: &str| SchemaStatus {
            applied: all(),
            unknown: vec!["2".into()],
            oldest_needed: Some(needed.into()),
            ..Default::default()
        };
        let expected = "applied  1\nunknown  2\nahead of this program, which can serve with it";
        assert_eq!(standing(&ahead("1")), expected);
        assert!(
            standing(&ahead("2")).ends_with("which may not serve: run the newer program, or one after it")
        );
        assert_eq!(
            done(&[], &ahead("1")),
            "up to date: nothing to apply, all 1 migrations were there, and 1 of a newer program's, with which this \
             one can serve"
        );
    }
}
