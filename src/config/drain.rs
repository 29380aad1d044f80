//! How the service ends.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--drain-delay` | `KEYSTILE_DRAIN_DELAY` | `5s`; `0s` on a terminal | 0 to 10 minutes |
//! | `--drain-timeout` | `KEYSTILE_DRAIN_TIMEOUT` | `10s` | 0 to 10 minutes |

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use clap::Args;

use super::duration;

/// Settings of the end.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "End")]
pub struct Drain {
    /// How long to go on answering after SIGTERM while health says NOT_SERVING, 0s to 10m [default: 5s; 0s on a
    /// terminal]
    ///
    /// Time for load balancers and endpoint lists to send callers elsewhere: what arrives meanwhile is answered as
    /// ever. Five seconds are enough for Kubernetes to take a pod out of its Services, and leave most of its 30
    /// seconds of grace. On a terminal nobody balances load, and Ctrl-C should not have to be waited for.
    #[arg(long, value_name = "LENGTH", env = "KEYSTILE_DRAIN_DELAY", default_value = default_delay(),
          hide_default_value = true, value_parser = duration::up_to_ten_minutes)]
    pub drain_delay: Duration,

    /// How long calls under way may take to end once the listener is closed, 0s to 10m; then they are given up
    #[arg(long, value_name = "LENGTH", env = "KEYSTILE_DRAIN_TIMEOUT", default_value = "10s",
          value_parser = duration::up_to_ten_minutes)]
    pub drain_timeout: Duration,
}

fn default_delay() -> &'static str {
    if stderr().is_terminal() { "0s" } else { "5s" }
}
