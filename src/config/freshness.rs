//! How old what is decided from may be.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--max-staleness` | `KEYSTILE_MAX_STALENESS` | `30s` | 1 second to 5 minutes |
//! | `--propagation-wait` | `KEYSTILE_PROPAGATION_WAIT` | `2s` | 0 to 1 minute |

use std::time::Duration;

use clap::Args;

use super::duration;
use crate::cache::{STALENESS_MAX, STALENESS_MIN};

const WAIT_MAX: Duration = Duration::from_secs(60);

/// Settings of freshness.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Freshness")]
pub struct Freshness {
    /// How long to go on deciding from memory when the changes cannot be followed, 1s to 5m; then calls are UNAVAILABLE
    ///
    /// What an outage of the database may last without a caller noticing; and how long a revocation may take at the
    /// worst to be certain everywhere, where a replica hangs or its network is cut.
    #[arg(long, value_name = "LENGTH", env = "KEYSTILE_MAX_STALENESS", default_value = "30s",
          value_parser = staleness)]
    pub max_staleness: Duration,

    /// How long a change waits until every replica has it, 0s to 1m; then it is answered as not complete
    #[arg(long, value_name = "LENGTH", env = "KEYSTILE_PROPAGATION_WAIT", default_value = "2s",
          value_parser = wait)]
    pub propagation_wait: Duration,
}

fn staleness(text: &str) -> Result<Duration, String> {
    duration::between(text, STALENESS_MIN, STALENESS_MAX)
}

fn wait(text: &str) -> Result<Duration, String> {
    duration::at_most(text, WAIT_MAX)
}
