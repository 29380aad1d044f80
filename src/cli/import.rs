//! Arguments of `keystile import`: takes the keys of another system over.

use std::convert::Infallible;

use clap::{Args, Subcommand};
use secrecy::SecretString;

use super::money::parse_micros;
use crate::config::{Database, Log};
use crate::policy::Micros;

const EXAMPLES: &str = "\
Examples:
  keystile import enclava --source-url postgres://reader@old-host/enclava --dry-run
  keystile import enclava --source-url postgres://reader@old-host/enclava --sync";

/// Takes the keys of another system over, with their ids, hashes, owners and totals
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// From which system.
    #[command(subcommand)]
    pub source: Source,
}

/// A system that keys can be taken over from.
#[derive(Clone, Debug, Subcommand)]
pub enum Source {
    /// From the tables api_keys and users of Enclava, live
    Enclava(Enclava),
}

/// Arguments of `keystile import enclava`.
///
/// Keys that are there already are left untouched, so that an import can be repeated. A row that cannot be
/// taken is named with its reason, the others go on, and the exit code is 1.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Enclava {
    /// PostgreSQL of the other system; only read
    ///
    /// Give a URL with a password by KEYSTILE_IMPORT_SOURCE_URL, or by KEYSTILE_IMPORT_SOURCE_URL_FILE, which
    /// names a file that holds it.
    #[arg(long, value_name = "URL", env = "KEYSTILE_IMPORT_SOURCE_URL", hide_env_values = true,
          value_parser = secret)]
    pub source_url: SecretString,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Apply rows that are newer than what is here; never revives a key
    #[arg(long)]
    pub sync: bool,
    /// Keep values that hold *, and networks: the other system matched them only literally, here they work
    #[arg(long)]
    pub keep_wildcards: bool,
    /// What 1 in the column total_cost is worth, as a decimal of the currency
    #[arg(long, value_name = "AMOUNT", default_value = "0.0001", value_parser = cost_unit)]
    pub total_cost_unit: Micros,
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The log.
    #[command(flatten)]
    pub log: Log,
}

fn cost_unit(text: &str) -> Result<Micros, String> {
    let micros = parse_micros(text)?;
    Micros::new(micros).filter(|unit| unit.get() > 0).ok_or_else(|| "must be more than 0".to_owned())
}

/// Takes any text, so that no parse error can repeat a secret.
#[expect(clippy::unnecessary_wraps, reason = "the signature that clap asks of a parser")]
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}
