//! The holding of each subject: one, however many keys in memory lead to it.

use std::collections::HashMap;
use std::hash::{BuildHasher as _, RandomState};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::held::{self, Held};
use crate::limits::{Subject, Terms};

const SHARDS: usize = 64;

type Shard = Mutex<HashMap<Subject, Arc<Held>>>;

/// Holdings by subject. Looked at when a key is loaded or changed, never on a decision.
#[derive(Debug)]
pub(super) struct Registry {
    shards: [Shard; SHARDS],
    hasher: RandomState,
    next_swept: AtomicUsize,
}

impl Default for Registry {
    fn default() -> Self {
        let shards = std::array::from_fn(|_| Shard::default());
        Self { shards, hasher: RandomState::new(), next_swept: AtomicUsize::new(0) }
    }
}

impl Registry {
    fn shard(&self, subject: Subject) -> MutexGuard<'_, HashMap<Subject, Arc<Held>>> {
        let [low, ..] = self.hasher.hash_one(subject).to_le_bytes();
        let number = usize::from(low) % SHARDS;
        let shard = self.shards.get(number).unwrap_or(&self.shards[0]);
        shard.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// The holding of a subject that has these limits.
    pub(super) fn find(&self, subject: Subject, terms: Terms) -> Arc<Held> {
        let held = Arc::clone(self.shard(subject).entry(subject).or_insert_with(|| Held::new(subject)));
        held.own().terms = terms;
        held
    }

    pub(super) fn get(&self, subject: Subject) -> Option<Arc<Held>> {
        self.shard(subject).get(&subject).cloned()
    }

    pub(super) fn all(&self) -> Vec<Arc<Held>> {
        let of = |shard: &Shard| -> Vec<Arc<Held>> {
            shard.lock().unwrap_or_else(PoisonError::into_inner).values().cloned().collect()
        };
        self.shards.iter().flat_map(of).collect()
    }

    /// Forgets, in one part after another, what nobody refers to and nothing is held of.
    pub(super) fn sweep_next(&self) {
        let number = self.next_swept.fetch_add(1, Ordering::Relaxed) % SHARDS;
        let Some(shard) = self.shards.get(number) else { return };
        let now = held::now();
        let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
        // Under the lock nobody can come to refer to one that only this refers to.
        shard.retain(|_, held| Arc::strong_count(held) > 1 || !held.lock().is_idle(now));
    }
}
