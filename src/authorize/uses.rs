//! Counts ALLOWs in memory, and adds them to the totals of their keys once a second and on drain.
//!
//! A killed process loses what it has not flushed: at most its last second. A store
//! out of reach keeps the counts here: they are bounded by the number of keys, and by [`KEYS_MAX`].

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};

use chrono::{DateTime, Utc};

use crate::policy::KeyId;
use crate::storage::usage::{self, Uses};
use crate::storage::{StorageError, Store};

/// At most so many keys are counted between two flushes. What comes beyond it is not counted, and said
/// once in the log.
const KEYS_MAX: usize = 1_000_000;

/// ALLOWs since the last flush, by key.
#[derive(Debug, Default)]
pub struct UseCounter {
    counts: Mutex<HashMap<KeyId, Uses>>,
}

impl UseCounter {
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
        } else if counts.len() == KEYS_MAX {
            tracing::error!(keys_max = KEYS_MAX, "too many keys to count the uses of; some are lost");
        }
    }

    /// Adds what was counted to the store. What could not be written is kept for the next flush.
    ///
    /// # Errors
    /// [`StorageError`]. After an unknown outcome the counts are kept: they may be counted twice, never
    /// lost. They are for people and decide nothing.
    pub async fn flush(&self, store: &Store) -> Result<(), StorageError> {
        let counted = std::mem::take(&mut *self.counts.lock().unwrap_or_else(PoisonError::into_inner));
        if counted.is_empty() {
            return Ok(());
        }
        let mut uses: Vec<Uses> = counted.into_values().collect();
        uses.sort_by_key(|uses| uses.key_id);
        let batch = uses.clone();
        let written: Result<(), StorageError> = store
            .write("usage.add_uses", move |connection| {
                Box::pin(async move { usage::add_uses(connection, &batch).await })
            })
            .await;
        if written.is_err() {
            uses.into_iter().for_each(|uses| self.add(uses));
        }
        written
    }
}
