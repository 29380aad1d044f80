//! Tokens that are nobody's, so that a flood of one of them asks the store once.
//!
//! Bounded apart from the keys: no flood can push a key out. A shard that is full forgets its oldest. Whatever may make
//! an unknown token known (a new key, a rotation) empties it.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, PoisonError};

use hashbrown::HashTable;

use super::Lookup;
use crate::metrics::CacheMetrics;

const SHARDS: usize = 16;

#[derive(Debug, Default)]
struct Shard {
    table: HashTable<Lookup>,
    /// In the order in which they came.
    order: VecDeque<Lookup>,
}

#[derive(Debug)]
pub(super) struct Unknown {
    shards: [Mutex<Shard>; SHARDS],
    shard_max: usize,
    metrics: Arc<CacheMetrics>,
}

impl Unknown {
    /// At most about `max` in all.
    pub(super) fn new(max: usize, metrics: Arc<CacheMetrics>) -> Self {
        Self { shards: Default::default(), shard_max: max.div_ceil(SHARDS), metrics }
    }

    pub(super) fn contains(&self, lookup: &Lookup) -> bool {
        self.with_shard(lookup, |shard| shard.table.find(lookup.hash(), |known| known == lookup).is_some())
    }

    pub(super) fn insert(&self, lookup: &Lookup) {
        let change = self.with_shard(lookup, |shard| {
            if self.shard_max == 0 || shard.table.find(lookup.hash(), |known| known == lookup).is_some() {
                return 0;
            }
            let mut change = 1;
            if shard.order.len() >= self.shard_max
                && let Some(oldest) = shard.order.pop_front()
                && let Ok(entry) = shard.table.find_entry(oldest.hash(), |known| *known == oldest)
            {
                entry.remove();
                change = 0;
            }
            shard.table.insert_unique(lookup.hash(), *lookup, Lookup::hash);
            shard.order.push_back(*lookup);
            change
        });
        self.metrics.unknown_changed(change);
    }

    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let mut shard = shard.lock().unwrap_or_else(PoisonError::into_inner);
            let count = i64::try_from(shard.order.len()).unwrap_or(i64::MAX);
            shard.table.clear();
            shard.order.clear();
            drop(shard);
            self.metrics.unknown_changed(-count);
        }
    }

    fn with_shard<R>(&self, lookup: &Lookup, work: impl FnOnce(&mut Shard) -> R) -> R {
        let at = usize::try_from(lookup.hash() >> 32).unwrap_or_default() % SHARDS;
        let [first, ..] = &self.shards;
        let shard = self.shards.get(at).unwrap_or(first);
        work(&mut shard.lock().unwrap_or_else(PoisonError::into_inner))
    }
}
