//! What keys of one owner have in common: a mark that says whether the owner was changed since they were loaded.
//!
//! An owner may have a hundred thousand keys in memory; changing the owner sets one mark, and they are dropped as they
//! are found.

use std::collections::HashMap;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use super::spread;
use crate::policy::UserId;

const SHARDS: usize = 16;
/// A shard is swept when it has grown to so many, and again when it has doubled since.
const SWEEP_AT: usize = 1_024;

/// Whether an owner was changed since the keys that hold this mark were loaded.
#[derive(Debug, Default)]
pub(super) struct OwnerMark {
    was_changed: AtomicBool,
}

impl OwnerMark {
    pub(super) fn is_unchanged(&self) -> bool {
        !self.was_changed.load(Ordering::Acquire)
    }
}

#[derive(Debug)]
struct Shard {
    marks: HashMap<UserId, Arc<OwnerMark>>,
    sweep_at: usize,
}

/// The marks of the owners whose keys are in memory.
#[derive(Debug)]
pub(super) struct Owners([Mutex<Shard>; SHARDS]);

impl Default for Owners {
    fn default() -> Self {
        Self(std::array::from_fn(|_| Mutex::new(Shard { marks: HashMap::new(), sweep_at: SWEEP_AT })))
    }
}

impl Owners {
    /// The mark for a key that is being taken in.
    pub(super) fn mark(&self, user_id: UserId) -> Arc<OwnerMark> {
        self.with_shard(user_id, |shard| {
            if shard.marks.len() >= shard.sweep_at {
                shard.marks.retain(|_, mark| Arc::strong_count(mark) > 1);
                shard.sweep_at = (2 * shard.marks.len()).max(SWEEP_AT);
            }
            Arc::clone(shard.marks.entry(user_id).or_default())
        })
    }

    /// Drops all keys of an owner.
    pub(super) fn invalidate(&self, user_id: UserId) {
        if let Some(mark) = self.with_shard(user_id, |shard| shard.marks.remove(&user_id)) {
            mark.was_changed.store(true, Ordering::Release);
        }
    }

    fn with_shard<R>(&self, user_id: UserId, work: impl FnOnce(&mut Shard) -> R) -> R {
        let at = usize::try_from(spread(user_id.get())).unwrap_or_default() % SHARDS;
        let [first, ..] = &self.0;
        let shard = self.0.get(at).unwrap_or(first);
        work(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
