//! How tokens are made and proven.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--peppers-file` | `KEYSTILE_PEPPERS_FILE` | none: one random pepper, kept in the database | |
//! | `--bcrypt-cost` | `KEYSTILE_BCRYPT_COST` | 10 | 4 to 14 |
//! | `--token-brand` | `KEYSTILE_TOKEN_BRAND` | `ks` | `[a-z][a-z0-9]{0,7}` |
//! | `--bcrypt-threads` | `KEYSTILE_BCRYPT_THREADS` | the cores that are available | 1 to 256 |
//! | `--bcrypt-queue` | `KEYSTILE_BCRYPT_QUEUE` | 256 | 0 to 65536 |

use std::num::NonZeroUsize;
use std::path::{Path, PathBuf};
use std::{fs, thread};

use clap::Args;
use secrecy::zeroize::Zeroizing;

use super::{Fault, Faults};
use crate::token::{BcryptCost, Brand, Peppers};

/// Most threads for bcrypt.
pub const BCRYPT_THREADS_MAX: usize = 256;
/// Most proofs that may wait for a thread.
pub const BCRYPT_QUEUE_MAX: usize = 65_536;

/// Settings of tokens.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Tokens")]
pub struct Tokens {
    /// File with the peppers of the token digests [default: one random pepper, kept in the database]
    #[arg(long, value_name = "FILE", env = "KEYSTILE_PEPPERS_FILE")]
    pub peppers_file: Option<PathBuf>,

    /// Cost of the bcrypt hash of a new token, 4 to 14
    #[arg(long, value_name = "COST", env = "KEYSTILE_BCRYPT_COST", default_value = "10",
          value_parser = bcrypt_cost)]
    pub bcrypt_cost: BcryptCost,

    /// Word that new tokens start with: 1 to 8 of a-z and 0-9, a letter first
    #[arg(long = "token-brand", value_name = "WORD", env = "KEYSTILE_TOKEN_BRAND", default_value = "ks",
          value_parser = Brand::parse)]
    pub brand: Brand,

    /// Threads that bcrypt may use, 1 to 256 [default: the cores that are available]
    #[arg(long, value_name = "N", env = "KEYSTILE_BCRYPT_THREADS", default_value_t = available_cores(),
          hide_default_value = true, value_parser = bcrypt_threads)]
    pub bcrypt_threads: NonZeroUsize,

    /// Proofs by bcrypt that may wait for a thread before more are refused, 0 to 65536
    #[arg(long, value_name = "N", env = "KEYSTILE_BCRYPT_QUEUE", default_value_t = 256,
          value_parser = bcrypt_queue)]
    pub bcrypt_queue: usize,
}

impl Tokens {
    /// Checks what takes more than one value alone.
    ///
    /// # Errors
    /// Every fault.
    pub fn validate(&self) -> Result<(), Faults> {
        Faults::check(self.faults())
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        self.peppers_file.iter().filter_map(|path| peppers_fault(path)).collect()
    }
}

/// The file is read again where the peppers are needed: what is checked here is not kept, it holds secrets.
fn peppers_fault(path: &Path) -> Option<Fault> {
    let fault = |problem: String| Some(Fault::new("KEYSTILE_PEPPERS_FILE", problem));
    let text = match fs::read_to_string(path).map(Zeroizing::new) {
        Ok(text) => text,
        Err(error) => return fault(format!("cannot read {}: {error}", path.display())),
    };
    Peppers::parse_file(&text).err().and_then(|error| fault(error.to_string()))
}

fn available_cores() -> NonZeroUsize {
    thread::available_parallelism().unwrap_or(NonZeroUsize::MIN)
}

fn bcrypt_cost(text: &str) -> Result<BcryptCost, String> {
    let cost: u32 = text.parse().map_err(|_| "a bcrypt cost is a number from 4 to 14".to_owned())?;
    BcryptCost::new(cost).map_err(|error| error.to_string())
}

fn bcrypt_threads(text: &str) -> Result<NonZeroUsize, String> {
    text.parse()
        .ok()
        .filter(|threads: &NonZeroUsize| threads.get() <= BCRYPT_THREADS_MAX)
        .ok_or_else(|| format!("must be a number from 1 to {BCRYPT_THREADS_MAX}"))
}

fn bcrypt_queue(text: &str) -> Result<usize, String> {
    text.parse()
        .ok()
        .filter(|queue| *queue <= BCRYPT_QUEUE_MAX)
        .ok_or_else(|| format!("must be a number from 0 to {BCRYPT_QUEUE_MAX}"))
}
