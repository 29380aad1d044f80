//! The rule against an exact log of admissions: see `docs/limits-proof.md`.

mod answer;
mod codec;
mod demand;
mod exactness;
mod faults;
mod history;
mod holding;
mod log;
mod progress;
mod replica;
mod row;
mod world;

use super::Terms;
use crate::policy::{RateLimits, RateWindows};

/// Limits in the order of [`super::Limit::ALL`].
fn terms([a, b, c, d, e, f]: [Option<i64>; 6]) -> Terms {
    let windows = |per_minute, per_hour, per_day| RateWindows { per_minute, per_hour, per_day };
    Terms::from(RateLimits { requests: windows(a, b, c), tokens: windows(d, e, f) })
}
