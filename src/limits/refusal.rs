//! What the row would not give, remembered for a while.

use super::stock::Exchange;
use super::{Answer, LEASE_MAX, Metric, Need, OwnTime, Shortage};

/// [`LEASE_MAX`].
pub(super) const LEASE_NANOS: OwnTime = LEASE_MAX.as_secs() * 1_000_000_000;

/// What is in the way of requests, as the row said.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refusal {
    /// The limit that is in the way the longest.
    pub shortage: Shortage,
    /// Needs within this are not refused.
    room: Need,
    until: OwnTime,
    exchange: Exchange,
}

impl Refusal {
    pub(super) fn of(answer: &Answer, shortage: Shortage, exchange: Exchange) -> Self {
        let free = |metric| answer.row.free(metric, &answer.terms).unwrap_or(i64::MAX).max(0);
        let most = exchange.received.saturating_add(LEASE_NANOS);
        let room_in =
            shortage.room_at.map_or(LEASE_MAX, |room_at| exchange.until(room_at, exchange.received));
        let room_at =
            exchange.received.saturating_add(u64::try_from(room_in.as_nanos()).unwrap_or(LEASE_NANOS));
        Self {
            shortage,
            room: Need { requests: free(Metric::Requests), tokens: free(Metric::Tokens) },
            until: room_at.min(most),
            exchange,
        }
    }

    /// Whether it is remembered at `now`.
    pub(super) fn is_remembered(&self, now: OwnTime) -> bool {
        now < self.until
    }

    /// Whether every request is refused, however small.
    pub(super) fn is_of_all(&self) -> bool {
        self.room.requests == 0 || self.room.tokens == 0
    }

    /// How long it takes from `now` until there is room; `None` where there never is, since more is needed than the limit.
    #[must_use]
    pub fn retry_after(&self, need: Need, now: OwnTime) -> Option<std::time::Duration> {
        let Shortage { limit, most, room_at } = self.shortage;
        let room_at = room_at.filter(|_| need.of(limit.metric) <= most);
        room_at.map(|room_at| self.exchange.until(room_at, now))
    }

    /// Whether this need is refused.
    pub(super) fn is_of(&self, need: Need, now: OwnTime) -> bool {
        now < self.until && (need.requests > self.room.requests || need.tokens > self.room.tokens)
    }
}
