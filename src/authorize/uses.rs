//! Counts ALLOWs in memory, and adds them to the totals of their keys once a second and on drain.
//!
//! Each thread counts in a part of its own (or shares it with few others), so that cores do not wait for each other's
//! locks; a flush adds the parts up. In its part a use is noted first, and many are counted together: finding the counts
//! of one key takes longer than a note, while memory fetches those of many keys side by side.
//!
//! A killed process loses what it has not flushed: at most its last second. A store out of reach keeps the counts here:
//! they are bounded by the number of keys, and by [`KEYS_MAX`].

use std::collections::HashMap;
use std::hash::{BuildHasherDefault, Hasher};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use chrono::{DateTime, Utc};

use crate::metrics::{DecisionMetrics, SHARDS, shard};
use crate::policy::KeyId;
use crate::storage::usage::{self, Uses};
use crate::storage::{StorageError, Store};

/// At most so many keys are counted between two flushes, a key that several threads count as often. What comes beyond it
/// is not counted, and said once in the log between two flushes.
const KEYS_MAX: usize = 1_000_000;
/// So many uses are noted before they are counted.
const NOTES_MAX: usize = 1_024;
/// So many keys are written in one statement.
const BATCH_MAX: usize = 5_000;
/// More keys than this are not written one by one each second: their counts are put down together, and added up later.
const TOGETHER_FROM: usize = BATCH_MAX;
/// So many are put down together at most.
const TOGETHER_MAX: usize = 50_000;

/// What a part knows of a key: small, since each decision of another key fetches another one from memory.
#[derive(Clone, Copy, Debug)]
struct Count {
    /// In microseconds since 1970.
    last_used: i64,
    count: u32,
}

/// One ALLOW.
#[derive(Clone, Copy, Debug)]
struct Note {
    key_id: KeyId,
    /// In microseconds since 1970.
    at: i64,
}

type Counts = HashMap<KeyId, Count, BuildHasherDefault<IdHasher>>;

/// Spreads ids by one multiplication: nobody can choose them.
#[derive(Clone, Copy, Debug, Default)]
struct IdHasher(u64);

impl Hasher for IdHasher {
    fn finish(&self) -> u64 {
        self.0
    }

    fn write(&mut self, bytes: &[u8]) {
        bytes.iter().for_each(|byte| self.write_u64(u64::from(*byte)));
    }

    fn write_i64(&mut self, id: i64) {
        self.write_u64(id.cast_unsigned());
    }

    fn write_u64(&mut self, id: u64) {
        // Odd, and without a pattern (the golden ratio); the table takes bits from both ends.
        let mixed = (self.0 ^ id).wrapping_mul(0x9e37_79b9_7f4a_7c15);
        self.0 = mixed ^ (mixed >> 32);
    }
}

/// What few threads have used.
#[derive(Debug, Default)]
struct Used {
    notes: Vec<Note>,
    counts: Counts,
}

/// What few threads have used, on cache lines of their own.
#[derive(Debug, Default)]
#[repr(align(128))]
struct Part(Mutex<Used>);

impl Part {
    fn used(&self) -> MutexGuard<'_, Used> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// ALLOWs since the last flush, by key.
#[derive(Debug)]
pub struct UseCounter {
    parts: [Part; SHARDS],
    /// Keys in all parts. Written only when a key comes into one, or all go.
    keys: AtomicUsize,
    metrics: Arc<DecisionMetrics>,
    /// Something was lost since the last flush, and said so.
    is_full: AtomicBool,
}

impl UseCounter {
    /// A counter of nothing yet.
    #[must_use]
    pub fn new(metrics: Arc<DecisionMetrics>) -> Self {
        Self {
            parts: Default::default(),
            keys: AtomicUsize::new(0),
            metrics,
            is_full: AtomicBool::new(false),
        }
    }

    /// Counts one ALLOW.
    pub fn count(&self, key_id: KeyId, now: DateTime<Utc>) {
        let mut used = self.part().used();
        used.notes.push(Note { key_id, at: now.timestamp_micros() });
        if used.notes.len() >= NOTES_MAX {
            self.count_notes(&mut used);
        }
    }

    fn count_notes(&self, used: &mut Used) {
        let Used { notes, counts } = used;
        for Note { key_id, at } in notes.drain(..) {
            self.add(counts, key_id, Count { last_used: at, count: 1 });
        }
    }

    fn part(&self) -> &Part {
        let [first, ..] = &self.parts;
        self.parts.get(shard()).unwrap_or(first)
    }

    fn add(&self, counts: &mut Counts, key_id: KeyId, uses: Count) {
        if let Some(known) = counts.get_mut(&key_id) {
            *known = sum(*known, uses);
            return;
        }
        let keys = self.keys.fetch_add(1, Ordering::Relaxed) + 1;
        if keys <= KEYS_MAX {
            counts.insert(key_id, uses);
            self.metrics.set_uses_pending(keys);
            return;
        }
        self.keys.fetch_sub(1, Ordering::Relaxed);
        self.metrics.dropped_uses.add(u64::from(uses.count));
        if !self.is_full.swap(true, Ordering::Relaxed) {
            tracing::error!(keys_max = KEYS_MAX, "too many keys to count the uses of; some are lost");
        }
    }

    /// Takes all counts, added up.
    fn take(&self) -> Counts {
        let mut all = Counts::default();
        for part in &self.parts {
            // Room for as many again is made before the lock is taken, and not while calls wait for it.
            let room = Counts::with_capacity_and_hasher(part.used().counts.len(), BuildHasherDefault::new());
            let mut used = part.used();
            self.count_notes(&mut used);
            let taken = std::mem::replace(&mut used.counts, room);
            drop(used);
            self.keys.fetch_sub(taken.len(), Ordering::Relaxed);
            for (key_id, uses) in taken {
                all.entry(key_id).and_modify(|known| *known = sum(*known, uses)).or_insert(uses);
            }
        }
        all
    }

    /// Adds what was counted to the store. What could not be written is kept for the next flush.
    ///
    /// # Errors
    /// [`StorageError`]. After an unknown outcome the counts are kept: they may be counted twice, never
    /// lost. They are for people and decide nothing.
    pub async fn flush(&self, store: &Store) -> Result<(), StorageError> {
        self.is_full.store(false, Ordering::Relaxed);
        let counted = self.take();
        if counted.is_empty() {
            return Ok(());
        }
        let mut uses: Vec<(KeyId, Count)> = counted.into_iter().collect();
        uses.sort_unstable_by_key(|(key_id, _)| *key_id);
        let together = uses.len() > TOGETHER_FROM;
        let mut written = Ok(());
        for batch in uses.chunks(if together { TOGETHER_MAX } else { BATCH_MAX }) {
            if written.is_ok() {
                written = write(store, batch.iter().filter_map(of_key).collect(), together).await;
            }
            if written.is_err() {
                let mut used = self.part().used();
                batch.iter().for_each(|(key_id, uses)| self.add(&mut used.counts, *key_id, *uses));
            }
        }
        let outcome = if written.is_ok() { &self.metrics.flushes } else { &self.metrics.failed_flushes };
        outcome.increment();
        self.metrics.set_uses_pending(self.keys.load(Ordering::Relaxed));
        written
    }
}

/// Adds up a part of what replicas have put down together; of how many keys. To be repeated until it is of none.
///
/// # Errors
/// [`StorageError`]; nothing is lost.
pub async fn add_up(store: &Store) -> Result<usize, StorageError> {
    store.write("usage.add_up", |session| Box::pin(usage::add_up(session))).await
}

fn sum(one: Count, other: Count) -> Count {
    Count { count: one.count.saturating_add(other.count), last_used: one.last_used.max(other.last_used) }
}

/// As the store takes it.
fn of_key((key_id, uses): &(KeyId, Count)) -> Option<Uses> {
    let last_used_time = DateTime::from_timestamp_micros(uses.last_used)?;
    Some(Uses { key_id: *key_id, count: i64::from(uses.count), last_used_time })
}

async fn write(store: &Store, batch: Vec<Uses>, together: bool) -> Result<(), StorageError> {
    let name = if together { "usage.put_down" } else { "usage.add_uses" };
    store
        .write(name, move |session| {
            Box::pin(async move {
                if together {
                    usage::put_down(session, &batch).await
                } else {
                    usage::add_uses(session, &batch).await
                }
            })
        })
        .await
}

#[cfg(test)]
mod tests {
    use std::thread;

    use super::*;

    fn key(id: i64) -> KeyId {
        KeyId::new(id).unwrap()
    }

    #[test]
    fn what_many_threads_count_is_added_up_and_taken_once() {
        let counter = UseCounter::new(Arc::default());
        let at = |seconds: i64| DateTime::from_timestamp(seconds, 0).unwrap();
        thread::scope(|scope| {
            for number in 0..20 {
                let counter = &counter;
                scope.spawn(move || {
                    for id in 1..=10 {
                        counter.count(key(id), at(number));
                    }
                });
            }
        });
        assert!(counter.keys.load(Ordering::Relaxed) <= 10 * SHARDS);
        let taken = counter.take();
        assert_eq!(taken.len(), 10);
        assert!(taken.values().all(|uses| uses.count == 20 && uses.last_used == at(19).timestamp_micros()));
        assert!(counter.take().is_empty());
        assert_eq!(counter.keys.load(Ordering::Relaxed), 0);
    }

    #[test]
    fn beyond_the_bound_keys_are_dropped_and_known_ones_counted_on() {
        let counter = UseCounter::new(Arc::default());
        let count = |id| {
            counter.count(key(id), DateTime::UNIX_EPOCH);
            counter.count_notes(&mut counter.part().used());
        };
        count(1);
        counter.keys.store(KEYS_MAX, Ordering::Relaxed);
        count(1);
        count(2);
        assert_eq!((counter.metrics.dropped_uses.get(), counter.keys.load(Ordering::Relaxed)), (1, KEYS_MAX));
        assert_eq!(counter.take().into_values().map(|uses| uses.count).collect::<Vec<_>>(), [2]);
    }
}
