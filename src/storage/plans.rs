//! How old a plan of a prepared statement may become.
//!
//! PostgreSQL plans a statement with each execution until it sees that one plan does for all values, and keeps that one
//! then. For what every load runs that is most of the cost, so the statements of loads are written for it: each array
//! goes through `ARRAY(SELECT unnest($1))`, which the planner takes to be as long for values that it knows as for all
//! others. (Of `= ANY ($1)` it sees that the array has one element, and that a plan for one element is cheaper than one
//! for ten: it plans anew every time.)
//!
//! A plan that is kept is of the tables as they were. It is made anew when a table is analyzed, not when one grows: of
//! a table with a few rows the plan is to read it as a whole, and goes on being that while a hundred thousand keys are
//! imported. So each connection of the pool forgets its plans every [`PLANS_KEPT`].
//!
//! What does not belong here: which statements are prepared ([`super::prepared`]).

use std::time::{Duration, Instant};

use diesel_async::AsyncPgConnection;
use diesel_async::SimpleAsyncConnection as _;
use diesel_async::pooled_connection::PoolError;
use diesel_async::pooled_connection::deadpool::{Hook, HookError};

use crate::clock;

/// A connection keeps its plans so long at most, as long as it is used.
pub(super) const PLANS_KEPT: Duration = Duration::from_secs(5);

/// Makes a connection forget its plans before it is used again, where they may be too old.
pub(super) fn forget_old() -> Hook<AsyncPgConnection> {
    Hook::async_fn(|connection: &mut AsyncPgConnection, metrics| {
        Box::pin(async move {
            if !is_due(metrics.created, metrics.recycled, clock::monotonic_now()) {
                return Ok(());
            }
            // One that fails is thrown away, and another one is made.
            let forgotten = connection.batch_execute("DISCARD PLANS").await;
            forgotten.map_err(|error| HookError::Backend(PoolError::QueryError(error)))
        })
    })
}

/// Whether a period of [`PLANS_KEPT`] has ended since a connection was used last. They are counted from when it was made.
fn is_due(created: Instant, used: Option<Instant>, now: Instant) -> bool {
    let period = |at: Instant| at.saturating_duration_since(created).as_millis() / PLANS_KEPT.as_millis();
    period(now) > used.map_or(0, period)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic_now;

    #[test]
    fn plans_are_forgotten_once_in_each_period_in_which_a_connection_is_used() {
        let created = monotonic_now();
        let after = |millis| created + Duration::from_millis(millis);
        let mut used = None;
        let mut due = Vec::new();
        for millis in [0, 1, 4_999, 5_000, 5_001, 9_999, 10_000, 27_000, 29_999, 30_000] {
            if is_due(created, used, after(millis)) {
                due.push(millis);
            }
            used = Some(after(millis));
        }
        assert_eq!(due, [5_000, 10_000, 27_000, 30_000]);
    }
}
