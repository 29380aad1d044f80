//! Connections, and the threads that serve them.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--loops` | `KEYSTILE_LOOPS` | the cores that are available | 1 to 256 |
//! | `--max-connections` | `KEYSTILE_MAX_CONNECTIONS` | 10000 | 1 to 1000000 |
//! | `--max-streams` | `KEYSTILE_MAX_STREAMS` | 200 | 1 to 10000 |
//! | `--max-connection-age` | `KEYSTILE_MAX_CONNECTION_AGE` | `30m` | 0 to 24 hours; 0 is no end |
//! | `--max-connection-age-grace` | `KEYSTILE_MAX_CONNECTION_AGE_GRACE` | `30s` | 0 to 10 minutes |

use std::num::NonZeroUsize;
use std::thread;
use std::time::Duration;

use clap::Args;

use super::duration;

/// Most threads that serve connections.
const LOOPS_MAX: usize = 256;
const CONNECTIONS_MAX: usize = 1_000_000;
const STREAMS_MAX: u32 = 10_000;
const AGE_MAX: Duration = Duration::from_secs(24 * 3_600);

/// Settings of connections.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Connections")]
pub struct Connections {
    /// Threads that serve connections, 1 to 256 [default: the cores that are available]
    ///
    /// Each connection belongs to one of them. What needs the database runs on other threads.
    #[arg(long, value_name = "N", env = "KEYSTILE_LOOPS", default_value_t = available_cores(),
          hide_default_value = true, value_parser = loops)]
    pub loops: NonZeroUsize,

    /// Most connections at once, 1 to 1000000; one more is closed at once
    #[arg(long, value_name = "N", env = "KEYSTILE_MAX_CONNECTIONS", default_value_t = 10_000,
          value_parser = connections)]
    pub max_connections: usize,

    /// Most calls under way on one connection, 1 to 10000; clients keep more to themselves until one has ended
    #[arg(long, value_name = "N", env = "KEYSTILE_MAX_STREAMS", default_value_t = 200, value_parser = streams)]
    pub max_streams: u32,

    /// How old a connection may become, 0s to 1440m, give or take a tenth; 0s for no end
    ///
    /// Its client is told to make a new one then, and so comes to know replicas that have started since.
    #[arg(long, value_name = "LENGTH", env = "KEYSTILE_MAX_CONNECTION_AGE", default_value = "30m",
          value_parser = age)]
    pub max_connection_age: Duration,

    /// How long the calls of a connection that is too old may take to end, 0s to 10m; then they are given up
    #[arg(long, value_name = "LENGTH", env = "KEYSTILE_MAX_CONNECTION_AGE_GRACE", default_value = "30s",
          value_parser = duration::up_to_ten_minutes)]
    pub max_connection_age_grace: Duration,
}

fn available_cores() -> NonZeroUsize {
    let cores = thread::available_parallelism().unwrap_or(NonZeroUsize::MIN);
    NonZeroUsize::new(LOOPS_MAX).map_or(cores, |max| cores.min(max))
}

fn loops(text: &str) -> Result<NonZeroUsize, String> {
    let number = text.parse().ok().filter(|number: &NonZeroUsize| number.get() <= LOOPS_MAX);
    number.ok_or_else(|| format!("must be a number from 1 to {LOOPS_MAX}"))
}

fn connections(text: &str) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=CONNECTIONS_MAX).contains(number));
    number.ok_or_else(|| format!("must be a number from 1 to {CONNECTIONS_MAX}"))
}

fn streams(text: &str) -> Result<u32, String> {
    let number = text.parse().ok().filter(|number| (1..=STREAMS_MAX).contains(number));
    number.ok_or_else(|| format!("must be a number from 1 to {STREAMS_MAX}"))
}

fn age(text: &str) -> Result<Duration, String> {
    duration::at_most(text, AGE_MAX)
}
