//! How limits stand, in words of answers.

use std::time::Duration;

use super::{Limit, Row, RowTime, Standing, Terms};

/// Whose limit it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// The key's own.
    Keys,
    /// Its owner's, over all his keys.
    Owners,
}

impl Whose {
    /// As people say it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Keys => "key",
            Self::Owners => "owner",
        }
    }
}

/// How a limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LimitStatus {
    /// Whose it is.
    pub whose: Whose,
    /// Which.
    pub limit: Limit,
    /// The most in any window.
    pub most: i64,
    /// What may still be used now; not below 0.
    pub remaining: i64,
    /// How long it takes until all of the limit is there again if nothing else is used.
    pub reset_after: Duration,
}

impl LimitStatus {
    /// By what a row says, where that time is `reset_after` from now.
    #[must_use]
    pub fn of(whose: Whose, standing: &Standing, reset_after: Duration) -> Self {
        let Standing { limit, most, free, .. } = *standing;
        Self { whose, limit, most, remaining: free.max(0), reset_after }
    }

    /// How the limits of a row stand at `now`. A subject without a row has used nothing.
    pub fn of_row(whose: Whose, row: Option<Row>, now: RowTime, terms: &Terms) -> Vec<Self> {
        let mut row = row.unwrap_or_default();
        row.advance(now, terms);
        let time = row.time();
        let of = |standing: Standing| Self::of(whose, &standing, between(time, standing.reset));
        row.standings(terms).map(of).collect()
    }
}

/// How long it is from one time of a row to a later one.
pub(super) fn between(time: RowTime, later: RowTime) -> Duration {
    Duration::from_micros(u64::try_from(later.saturating_sub(time)).unwrap_or_default())
}
