//! Arguments of `keystile migrate`: brings the schema of a database forward.

use clap::Args;

use crate::config::{Database, Log};

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
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The log.
    #[command(flatten)]
    pub log: Log,
}
