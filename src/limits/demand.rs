//! How much of a subject a replica is about to need, by what it has needed.

use super::{LEASE_MAX, Need, OwnTime};

/// What is asked for beyond what is expected: a quarter.
const RESERVE: (i128, i128) = (5, 4);
/// A time between two questions that is shorter than this says little of a rate.
const SHORTEST: OwnTime = 20_000_000;
/// No more is asked for than so many times of what was used since the last question, and as many units more.
const GROWTH: i64 = 8;

/// A rate of use, smoothed.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Demand {
    since: OwnTime,
    used: Need,
    /// Within [`LEASE_MAX`].
    rate: Need,
}

impl Demand {
    /// So much was used.
    pub(super) fn note(&mut self, need: Need) {
        self.used = self.used.plus(need);
    }

    /// Whether anything was used since the last question.
    pub(super) fn is_active(&self) -> bool {
        !self.used.is_zero()
    }

    /// What to ask for beyond what waits, with `left` still in hand. Begins a new time to measure over.
    pub(super) fn ahead(&mut self, now: OwnTime, left: Need) -> Need {
        let time = now.saturating_sub(self.since).max(SHORTEST);
        let used = std::mem::take(&mut self.used);
        self.since = now;
        let of = |used: i64, rate: i64, left: i64| {
            let lease = i128::try_from(LEASE_MAX.as_nanos()).unwrap_or_default();
            let measured = i128::from(used).saturating_mul(lease) / i128::from(time);
            // Halfway to what was measured now; a rise is followed at once.
            let rate = measured.max(i128::from(rate).midpoint(measured));
            let wanted = rate.saturating_mul(RESERVE.0) / RESERVE.1 - i128::from(left);
            let most =
                i128::from(used.saturating_mul(GROWTH).saturating_add(if used > 0 { GROWTH } else { 0 }));
            (narrow(rate), narrow(wanted.clamp(0, most)))
        };
        let (requests, ahead_requests) = of(used.requests, self.rate.requests, left.requests);
        let (tokens, ahead_tokens) = of(used.tokens, self.rate.tokens, left.tokens);
        self.rate = Need { requests, tokens };
        Need { requests: ahead_requests, tokens: ahead_tokens }
    }
}

fn narrow(number: i128) -> i64 {
    i64::try_from(number).unwrap_or(i64::MAX)
}
