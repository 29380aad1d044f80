//! What is logged, and how. Logs go to stderr.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--log-format` | `KEYSTILE_LOG_FORMAT` | `pretty` on a terminal, else `json` | `pretty`, `json` |
//! | `--log` | `KEYSTILE_LOG` | `info` | `level` or `target=level`, separated by commas |

use std::io::{IsTerminal, stderr};

use clap::{Args, ValueEnum};
use tracing_subscriber::EnvFilter;

/// Settings of the log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Log")]
pub struct Log {
    /// How log lines look [default: pretty on a terminal, else json]
    #[arg(long = "log-format", value_name = "FORMAT", env = "KEYSTILE_LOG_FORMAT", value_enum,
          default_value_t = LogFormat::for_stderr(), hide_default_value = true)]
    pub format: LogFormat,

    /// What is logged: error, warn, info, debug or trace; also by part, as in info,keystile::storage=debug
    #[arg(long = "log", value_name = "FILTER", env = "KEYSTILE_LOG", default_value = "info",
          value_parser = filter)]
    pub filter: String,
}

/// How log lines look.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LogFormat {
    /// For people: one line a message, in colour on a terminal.
    Pretty,
    /// For programs: one JSON object a line.
    Json,
}

impl LogFormat {
    fn for_stderr() -> Self {
        if stderr().is_terminal() { Self::Pretty } else { Self::Json }
    }
}

fn filter(text: &str) -> Result<String, String> {
    match EnvFilter::builder().parse(text) {
        Ok(_) => Ok(text.to_owned()),
        Err(error) => Err(error.to_string()),
    }
}
