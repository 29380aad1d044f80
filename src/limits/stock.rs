//! Debited units in the hands of a replica: each may be used once, in its time.

use std::time::Duration;

use super::{Answer, Metric, Need, OwnTime, Part, Return, RowTime};

/// Units are usable for so long at most, from before they were asked for.
pub const LEASE_MAX: Duration = Duration::from_secs(1);

const NANOS_PER_MICRO: u64 = 1_000;

/// When an answer was asked for and came, on a replica's own clock, and what the row's time was in between.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Exchange {
    /// Before the question was sent.
    pub(super) sent: OwnTime,
    /// After the answer had come.
    pub(super) received: OwnTime,
    /// The row's.
    pub(super) row_time: RowTime,
}

impl Exchange {
    /// From then on the row's clock is past `time` for sure.
    fn surely_past(&self, time: RowTime) -> OwnTime {
        self.received.saturating_add(nanos(time.saturating_sub(self.row_time)))
    }

    /// Until then the row's clock is before `time` for sure.
    fn surely_before(&self, time: RowTime) -> OwnTime {
        self.sent.saturating_add(nanos(time.saturating_sub(self.row_time)))
    }

    /// How long it takes from `now` until the row's clock is past `time`, about.
    pub(super) fn until(&self, time: RowTime, now: OwnTime) -> Duration {
        Duration::from_nanos(self.surely_past(time).saturating_sub(now))
    }
}

fn nanos(micros: i64) -> u64 {
    u64::try_from(micros).unwrap_or_default().saturating_mul(NANOS_PER_MICRO)
}

/// Units that were debited at one place of a row, or what is left of them. Those that were debited ahead may be used
/// before their sub-bucket begins: they count for longer then, not for less.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stock {
    generation: i64,
    at: RowTime,
    until: OwnTime,
    left: Need,
    given: Need,
    limits_requests: bool,
    limits_tokens: bool,
}

impl Stock {
    /// A part of an answer that was asked for at `sent` and came at `received`.
    pub(super) fn of(answer: &Answer, part: &Part, exchange: &Exchange) -> Self {
        let lease = exchange.sent.saturating_add(u64::try_from(LEASE_MAX.as_nanos()).unwrap_or_default());
        Self {
            generation: answer.row.generation(),
            at: part.at,
            until: exchange.surely_before(part.end).min(lease),
            left: part.units,
            given: part.units,
            limits_requests: answer.terms.limits(Metric::Requests),
            limits_tokens: answer.terms.limits(Metric::Tokens),
        }
    }

    /// Where the units were debited.
    #[must_use]
    pub fn at(&self) -> RowTime {
        self.at
    }

    /// The row's generation then.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// From then on they may not be used any more.
    #[must_use]
    pub fn until(&self) -> OwnTime {
        self.until
    }

    /// What is left.
    #[must_use]
    pub fn left(&self) -> Need {
        self.left
    }

    /// What there was.
    #[must_use]
    pub fn given(&self) -> Need {
        self.given
    }

    /// Whether so much is left and may be used at `now`.
    #[must_use]
    pub fn has(&self, need: Need, now: OwnTime) -> bool {
        now < self.until
            && (!self.limits_requests || need.requests <= self.left.requests)
            && (!self.limits_tokens || need.tokens <= self.left.tokens)
    }

    /// Uses so much, if it is there and may be used.
    pub fn take(&mut self, need: Need, now: OwnTime) -> bool {
        let has = self.has(need, now);
        if has {
            self.left = self.left.minus(self.limited(need));
        }
        has
    }

    /// Whether so much was taken of it, and could be used again.
    pub(super) fn can_put_back(&self, units: Need, now: OwnTime) -> bool {
        let left = self.left.plus(units);
        now < self.until && left == left.min(self.given)
    }

    /// Puts back what was taken and not used.
    pub(super) fn put_back(&mut self, units: Need) {
        self.left = self.left.plus(units).min(self.given);
    }

    /// Swaps out what is left, to be given back to the row; `None` where nothing is.
    pub(super) fn empty(&mut self) -> Option<Return> {
        let units = std::mem::take(&mut self.left);
        (!units.is_zero()).then_some(Return { generation: self.generation, at: self.at, units })
    }

    /// What a need takes: of a metric that is not limited, nothing. It must not be given back where it was not debited.
    pub(super) fn limited(&self, need: Need) -> Need {
        Need {
            requests: if self.limits_requests { need.requests } else { 0 },
            tokens: if self.limits_tokens { need.tokens } else { 0 },
        }
    }
}
