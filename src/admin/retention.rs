//! The end of old lines: of the audit log after its retention, of the change log after a week.
//!
//! Every replica does so, once an hour, in batches that are short transactions: they pass over each other's rows.
//! Old is what is old by the database's clock, which also wrote the time.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::storage::{StorageError, Store, audit, changes};

const EVERY: Duration = Duration::from_secs(3_600);
const BATCH: usize = 1_000;
/// Whoever follows the changes of keys may be away for so long.
const CHANGE_LOG_DAYS: i32 = 7;

/// How long the logs are kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Retention {
    /// Days of the audit log; `None`: for ever.
    pub audit_days: Option<i32>,
}

/// Removes old lines once an hour until told to stop.
pub async fn remove_old_lines(store: Store, retention: Retention, mut stop: watch::Receiver<bool>) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            // A dropped sender means the same as a sent stop.
            _ = stop.wait_for(|stop| *stop) => return,
        }
        match remove(&store, retention, &stop).await {
            Ok((0, 0)) => {}
            Ok((events, changes)) => tracing::info!(events, changes, "old lines of the logs are removed"),
            Err(error) => tracing::warn!(error = %error, "old lines of the logs could not be removed"),
        }
    }
}

/// Returns how many lines of the audit log and of the change log it has removed.
async fn remove(
    store: &Store,
    retention: Retention,
    stop: &watch::Receiver<bool>,
) -> Result<(usize, usize), StorageError> {
    let mut events = 0_usize;
    if let Some(days) = retention.audit_days {
        loop {
            let removed = remove_events(store, days).await?;
            events = events.saturating_add(removed);
            if removed < BATCH || *stop.borrow() {
                break;
            }
        }
    }
    let mut lines = 0_usize;
    loop {
        let removed = remove_changes(store).await?;
        lines = lines.saturating_add(removed);
        if removed < BATCH || *stop.borrow() {
            return Ok((events, lines));
        }
    }
}

async fn remove_events(store: &Store, days: i32) -> Result<usize, StorageError> {
    let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
    let remove = store.write("audit.remove_old", move |session| {
        Box::pin(async move { audit::remove_old(session, days, limit).await })
    });
    remove.await
}

async fn remove_changes(store: &Store) -> Result<usize, StorageError> {
    let limit = i64::try_from(BATCH).unwrap_or(i64::MAX);
    let remove = store.write("changes.remove_old", move |session| {
        Box::pin(async move { changes::remove_old(session, CHANGE_LOG_DAYS, limit).await })
    });
    remove.await
}
