//! Counts ALLOWs in memory, and adds them to the totals of their keys once a second and on drain.
//!
//! A killed process loses what it has not flushed: at most its last second. A store
//! out of reach keeps the counts here: they are bounded by the number of keys, and by [`KEYS_MAX`].

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::metrics::DecisionMetrics;
use crate::policy::KeyId;
use crate::storage::usage::{self, Uses};
use crate::storage::{StorageError, Store};

/// At most so many keys are counted between two flushes. What comes beyond it is not counted, and said
/// once in the log between two flushes.
const KEYS_MAX: usize = 1_000_000;
/// So many keys are written in one statement.
const BATCH_MAX: usize = 5_000;

/// ALLOWs since the last flush, by key.
#[derive(Debug)]
pub struct UseCounter {
    counts: Mutex<HashMap<KeyId, Uses>>,
    metrics: Arc<DecisionMetrics>,
    /// Something was lost since the last flush, and said so.
    is_full: AtomicBool,
}

impl UseCounter {
    /// A counter of nothing yet.
    #[must_use]
    pub fn new(metrics: Arc<DecisionMetrics>) -> Self {
        Self { counts: Mutex::default(), metrics, is_full: AtomicBool::new(false) }
    }

    /// Counts one ALLOW.
    pub fn count(&self, key_id: KeyId, now: DateTime<Utc>) {
        self.add(Uses { key_id, count: 1, last_used_time: now });
    }

    fn add(&self, uses: Uses) {
        let mut counts = self.counts.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(known) = counts.get_mut(&uses.key_id) {
            known.count = known.count.saturating_add(uses.count);
            known.last_used_time = known.last_used_time.max(uses.last_used_time);
        } else if counts.len() < KEYS_MAX {
            counts.insert(uses.key_id, uses);
        } else {
            self.metrics.dropped_uses.add(u64::try_from(uses.count).unwrap_or_default());
            if !self.is_full.swap(true, Ordering::Relaxed) {
                tracing::error!(keys_max = KEYS_MAX, "too many keys to count the uses of; some are lost");
            }
        }
        self.metrics.set_uses_pending(counts.len());
    }

    /// Adds what was counted to the store. What could not be written is kept for the next flush.
    ///
    /// # Errors
    /// [`StorageError`]. After an unknown outcome the counts are kept: they may be counted twice, never
    /// lost. They are for people and decide nothing.
    pub async fn flush(&self, store: &Store) -> Result<(), StorageError> {
        self.is_full.store(false, Ordering::Relaxed);
        let counted = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        if counted.is_empty() {
            return Ok(());
        }
        let mut uses: Vec<Uses> = counted.into_values().collect();
        uses.sort_by_key(|uses| uses.key_id);
        let mut written = Ok(());
        for batch in uses.chunks(BATCH_MAX) {
            if written.is_ok() {
                written = write(store, batch.to_vec()).await;
            }
            if written.is_err() {
                batch.iter().for_each(|uses| self.add(*uses));
            }
        }
        let outcome = if written.is_ok() { &self.metrics.flushes } else { &self.metrics.failed_flushes };
        outcome.increment();
        self.metrics.set_uses_pending(self.counts.lock().unwrap_or_else(PoisonError::into_inner).len());
        written
    }
}

async fn write(store: &Store, batch: Vec<Uses>) -> Result<(), StorageError> {
    store
        .write("usage.add_uses", move |session| {
            Box::pin(async move { usage::add_uses(session, &batch).await })
        })
        .await
}
