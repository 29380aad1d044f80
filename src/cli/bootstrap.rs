//! Arguments of `keystile bootstrap`: makes the first administrator's token.

use std::path::PathBuf;

use clap::Args;

use crate::config::{Database, Log, Tokens};

const EXAMPLES: &str = "\
Examples:
  keystile bootstrap --out admin.token
  KEYSTILE_TOKEN_FILE=admin.token keystile keys list";

/// Makes the first administrator's token, straight in the database
///
/// The key belongs to the operator (owner 0) and has the scope keystile.admin.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Bootstrap {
    /// New file for the token, for this user alone (0600), instead of showing it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// Tokens.
    #[command(flatten)]
    pub tokens: Tokens,
    /// The log.
    #[command(flatten)]
    pub log: Log,
}
