//! Which configuration file is read.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--config` | `KEYSTILE_CONFIG` | none | a TOML file |

use std::path::PathBuf;

use clap::Args;

/// The configuration file. It is read before this is parsed (`sources`).
#[derive(Args, Clone, Debug)]
pub struct ConfigFile {
    /// TOML file with settings: a key is a flag's name with _ for -, as in pool_size = 16
    ///
    /// A flag wins over its variable, a variable over this file, the file over the default. Paths in it are relative
    /// to the working directory. A secret may be named by a file of its own: database_url_file.
    #[arg(long, value_name = "FILE", env = "KEYSTILE_CONFIG")]
    pub config: Option<PathBuf>,
}
