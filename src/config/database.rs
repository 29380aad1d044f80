//! Where the keys are kept.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--database-url` | `KEYSTILE_DATABASE_URL`, else the file `KEYSTILE_DATABASE_URL_FILE`, else `DATABASE_URL` | none: a private PostgreSQL in the data directory | `postgres://` or `postgresql://` |
//! | `--data-dir` | `KEYSTILE_DATA_DIR` | `keystile` in the user's data directory; for root `/var/lib/keystile` | |
//! | `--auto-migrate` | `KEYSTILE_AUTO_MIGRATE` | false | |
//! | `--allow-data-loss` | `KEYSTILE_ALLOW_DATA_LOSS` | false | |
//! | `--database-wait` | `KEYSTILE_DATABASE_WAIT` | `10s` | 0 to 10 minutes |
//! | `--pool-size` | `KEYSTILE_POOL_SIZE` | 16 | 2 to 1000 connections |

use std::convert::Infallible;
use std::path::PathBuf;
use std::str::FromStr as _;
use std::time::Duration;

use clap::Args;
use clap::builder::{BoolishValueParser, OsStringValueParser, TypedValueParser};
use secrecy::{ExposeSecret, SecretString};

use super::{Fault, Faults, duration};
use crate::embedded;
use crate::tls::DatabaseTls;

/// The variable that holds the database's URL.
pub(super) const DATABASE_URL: &str = "KEYSTILE_DATABASE_URL";

/// The variable that names the data directory.
pub(crate) const DATA_DIR: &str = "KEYSTILE_DATA_DIR";

/// Fewest connections of a replica: one follows the change log, one is left for everything else.
pub const POOL_SIZE_MIN: u32 = 2;
/// Most connections of a replica.
pub const POOL_SIZE_MAX: u32 = 1000;

/// Settings of the database.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Database")]
pub struct Database {
    /// PostgreSQL to keep the keys in; without one, `serve` runs a private PostgreSQL of its own
    ///
    /// `postgres://user:password@host:5432/database`. Other users of the machine can see a program's
    /// flags: give a URL with a password by KEYSTILE_DATABASE_URL, or by KEYSTILE_DATABASE_URL_FILE, which
    /// names a file that holds it. DATABASE_URL is read where neither is set. `?sslmode=verify-full` and
    /// `sslrootcert` mean what they mean to libpq.
    #[arg(long, value_name = "URL", env = DATABASE_URL, hide_env_values = true, value_parser = secret)]
    pub database_url: Option<SecretString>,

    /// Directory of the private PostgreSQL; unused with --database-url [default: keystile in the user's data
    /// directory; for root /var/lib/keystile]
    // Empty only where there is no default; validate() refuses that unless there is a URL.
    #[arg(long, value_name = "DIR", env = DATA_DIR, default_value = default_data_dir().into_os_string(),
          hide_default_value = true, value_parser = OsStringValueParser::new().map(PathBuf::from))]
    pub data_dir: PathBuf,

    /// Bring the schema of --database-url up to date at start
    #[arg(long, env = "KEYSTILE_AUTO_MIGRATE", value_parser = BoolishValueParser::new())]
    pub auto_migrate: bool,

    /// Serve on a PostgreSQL that may lose in a crash what it acknowledged (fsync or full_page_writes off)
    ///
    /// For tests and trials: none of the guarantees hold then.
    #[arg(long, env = "KEYSTILE_ALLOW_DATA_LOSS", value_parser = BoolishValueParser::new())]
    pub allow_data_loss: bool,

    /// How long to try a database that does not answer at start, 0s to 10m; 0s is one try
    #[arg(long, value_name = "LENGTH", env = "KEYSTILE_DATABASE_WAIT", default_value = "10s",
          value_parser = duration::up_to_ten_minutes)]
    pub database_wait: Duration,

    /// Connections to the database, 2 to 1000
    #[arg(long, value_name = "N", env = "KEYSTILE_POOL_SIZE", default_value_t = 16,
          value_parser = clap::value_parser!(u32).range(i64::from(POOL_SIZE_MIN)..=i64::from(POOL_SIZE_MAX)))]
    pub pool_size: u32,
}

impl Database {
    /// Checks what takes more than one value alone.
    ///
    /// # Errors
    /// Every fault.
    pub fn validate(&self) -> Result<(), Faults> {
        Faults::check(self.faults())
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        match &self.database_url {
            Some(url) => url_fault(url).into_iter().collect(),
            None if self.data_dir.as_os_str().is_empty() => {
                vec![Fault::new(
                    DATA_DIR,
                    "there is no home directory to take a default in; name a directory",
                )]
            }
            None => Vec::new(),
        }
    }
}

/// The data directory where nothing names one; empty where there is no home.
fn default_data_dir() -> PathBuf {
    embedded::default_data_dir().unwrap_or_default()
}

/// Never says what the URL is: it holds a password.
fn url_fault(url: &SecretString) -> Option<Fault> {
    let url = url.expose_secret();
    let rest = ["postgres://", "postgresql://"].iter().find_map(|scheme| url.strip_prefix(scheme));
    let problem = match rest {
        None => "must start with postgres:// or postgresql://".to_owned(),
        Some("") => "names no database; write postgres://user@host:5432/database".to_owned(),
        Some(_) => unusable(url)?,
    };
    Some(Fault::new(DATABASE_URL, problem))
}

/// Why it cannot be connected to by this URL. The files that it names are read again where it is connected: what is
/// checked here is not kept.
fn unusable(url: &str) -> Option<String> {
    let (url, tls) = match DatabaseTls::split(url) {
        Ok(split) => split,
        Err(error) => return Some(error.to_string()),
    };
    if let Err(error) = tls.client_config() {
        return Some(error.to_string());
    }
    let error = tokio_postgres::Config::from_str(&url).err()?;
    let why = std::error::Error::source(&error).map(ToString::to_string);
    Some(format!("is no URL of a PostgreSQL database: {}", why.unwrap_or_else(|| error.to_string())))
}

/// Takes any text, so that no parse error can repeat a secret.
#[expect(clippy::unnecessary_wraps, reason = "the signature that clap asks of a parser")]
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}
