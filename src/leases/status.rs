//! How limits stand as far as this replica knows, and why a request was refused.

use std::time::Duration;

use super::held::Held;
use crate::limits::{
    Holding, Limit, LimitStatus, Need, OwnTime, Refusal, Shortage, Standing, Subject, Whose,
};

/// Why a request was refused.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Refused {
    /// Whose limit is in the way.
    pub whose: Whose,
    /// Which.
    pub limit: Limit,
    /// What it is.
    pub most: i64,
    /// When to come again; `None` where the request needs more than the limit.
    pub retry_after: Option<Duration>,
    /// This replica went on by its own share: the store was away.
    pub is_local: bool,
}

impl Refused {
    pub(super) fn by(held: &Held, refusal: &Refusal, need: Need, now: OwnTime) -> Self {
        let Shortage { limit, most, .. } = refusal.shortage;
        Self { whose: whose(held), limit, most, retry_after: refusal.retry_after(need, now), is_local: false }
    }

    /// What stands in the way longer.
    pub(super) fn longer(self, other: Option<Self>) -> Self {
        let far = |refused: &Self| refused.retry_after.unwrap_or(Duration::MAX);
        other.filter(|other| far(other) > far(&self)).unwrap_or(self)
    }
}

pub(super) fn whose(held: &Held) -> Whose {
    match held.subject() {
        Subject::Key(_) => Whose::Keys,
        Subject::Owner(_) => Whose::Owners,
    }
}

/// Adds how a holding's limits stand, with `more` in hand.
pub(super) fn add(statuses: &mut Vec<LimitStatus>, held: &Held, holding: &Holding, more: Need, now: OwnTime) {
    let of = |standing: Standing| {
        let free = standing.free.saturating_add(more.of(standing.limit.metric));
        LimitStatus::of(whose(held), &Standing { free, ..standing }, holding.until(standing.reset, now))
    };
    statuses.extend(holding.standings().map(of));
}
