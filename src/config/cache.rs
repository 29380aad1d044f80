//! Keys in memory, and how they are brought there.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--cache-keys` | `KEYSTILE_CACHE_KEYS` | 1000000 | 1000 to 100000000 |
//! | `--cache-mib` | `KEYSTILE_CACHE_MIB` | 512 | 1 to 1048576 |
//! | `--cache-unknown` | `KEYSTILE_CACHE_UNKNOWN` | 100000 | 0 to 10000000 |
//! | `--cache-refresh` | `KEYSTILE_CACHE_REFRESH` | `10m` | 1 s to 24 hours |
//! | `--cache-warm-up` | `KEYSTILE_CACHE_WARM_UP` | 0 | 0 to 1000000 |
//! | `--load-queue` | `KEYSTILE_LOAD_QUEUE` | 8192 | 1 to 1000000 |
//! | `--load-queue-each` | `KEYSTILE_LOAD_QUEUE_EACH` | 4096 | 1 to `--load-queue` |
//! | `--load-unknown-each` | `KEYSTILE_LOAD_UNKNOWN_EACH` | 250 | 1 to 1000000 |

use std::ops::RangeInclusive;
use std::time::Duration;

use clap::Args;

use super::{Fault, duration};

/// Bounds of the keys in memory.
pub const CACHE_KEYS: RangeInclusive<usize> = 1_000..=100_000_000;
/// Bounds of their memory, in MiB.
pub const CACHE_MIB: RangeInclusive<usize> = 1..=1_048_576;
/// Bounds of the tokens that are remembered as nobody's.
pub const CACHE_UNKNOWN: RangeInclusive<usize> = 0..=10_000_000;
/// Bounds of the keys that are loaded at the start.
pub const CACHE_WARM_UP: RangeInclusive<usize> = 0..=1_000_000;
/// Bounds of the look-ups a second that may be in vain.
pub const LOAD_UNKNOWN: RangeInclusive<u32> = 1..=1_000_000;
/// Bounds of the loads that may wait.
pub const LOAD_QUEUE: RangeInclusive<usize> = 1..=1_000_000;

const REFRESH_MIN: Duration = Duration::from_secs(1);
const REFRESH_MAX: Duration = Duration::from_secs(86_400);

/// Settings of keys in memory.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Keys in memory")]
pub struct Cache {
    /// Keys that are kept in memory at most, 1000 to 100000000
    #[arg(long = "cache-keys", value_name = "N", env = "KEYSTILE_CACHE_KEYS", default_value_t = 1_000_000,
          value_parser = |text: &str| within(text, CACHE_KEYS))]
    pub keys: usize,

    /// Memory that they take at most, in MiB, 1 to 1048576
    #[arg(long = "cache-mib", value_name = "MIB", env = "KEYSTILE_CACHE_MIB", default_value_t = 512,
          value_parser = |text: &str| within(text, CACHE_MIB))]
    pub mib: usize,

    /// Tokens that are remembered as nobody's at most, 0 to 10000000
    #[arg(long = "cache-unknown", value_name = "N", env = "KEYSTILE_CACHE_UNKNOWN", default_value_t = 100_000,
          value_parser = |text: &str| within(text, CACHE_UNKNOWN))]
    pub unknown: usize,

    /// Age at which a key in memory is read again in the background, 1s to 24 hours (1440m)
    ///
    /// Changes that are made through the service are seen at once. This is for rows that somebody changes by hand.
    #[arg(long = "cache-refresh", value_name = "TIME", env = "KEYSTILE_CACHE_REFRESH", default_value = "10m",
          value_parser = refresh)]
    pub refresh: Duration,

    /// Keys to load before the service answers, those that were used last, 0 to 1000000
    #[arg(long = "cache-warm-up", value_name = "N", env = "KEYSTILE_CACHE_WARM_UP", default_value_t = 0,
          value_parser = |text: &str| within(text, CACHE_WARM_UP))]
    pub warm_up: usize,

    /// Keys that may wait to be loaded before more are refused, 1 to 1000000
    #[arg(long = "load-queue", value_name = "N", env = "KEYSTILE_LOAD_QUEUE", default_value_t = 8_192,
          value_parser = |text: &str| within(text, LOAD_QUEUE))]
    pub load_queue: usize,

    /// How many of them may be one caller's, 1 to --load-queue
    #[arg(long = "load-queue-each", value_name = "N", env = "KEYSTILE_LOAD_QUEUE_EACH", default_value_t = 4_096,
          value_parser = |text: &str| within(text, LOAD_QUEUE))]
    pub load_queue_each: usize,

    /// Tokens a second of one caller that may be looked up and be nobody's before more are refused, 1 to 1000000
    ///
    /// Four seconds' worth may come at once. What is in memory is answered all the same. Each look-up in vain costs the database about as much as one that
    /// finds a key.
    #[arg(long = "load-unknown-each", value_name = "N", env = "KEYSTILE_LOAD_UNKNOWN_EACH", default_value_t = 250,
          value_parser = |text: &str| per_second(text))]
    pub load_unknown_each: u32,
}

impl Cache {
    /// The most memory, in bytes.
    #[must_use]
    pub const fn bytes(&self) -> usize {
        self.mib.saturating_mul(1024 * 1024)
    }

    pub(super) fn faults(&self) -> Vec<Fault> {
        let mut faults = Vec::new();
        if self.load_queue_each > self.load_queue {
            let problem = format!(
                "one caller cannot have {} of {} places: give at most as many as KEYSTILE_LOAD_QUEUE",
                self.load_queue_each, self.load_queue
            );
            faults.push(Fault::new("KEYSTILE_LOAD_QUEUE_EACH", problem));
        }
        faults
    }
}

fn within(text: &str, bounds: RangeInclusive<usize>) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| bounds.contains(number));
    number.ok_or_else(|| format!("must be a number from {} to {}", bounds.start(), bounds.end()))
}

fn per_second(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| LOAD_UNKNOWN.contains(number));
    number.ok_or_else(|| format!("must be a number from {} to {}", LOAD_UNKNOWN.start(), LOAD_UNKNOWN.end()))
}

fn refresh(text: &str) -> Result<Duration, String> {
    let time = duration::at_most(text, REFRESH_MAX)?;
    if time < REFRESH_MIN { Err("must be at least 1s".to_owned()) } else { Ok(time) }
}
