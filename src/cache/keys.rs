//! The keys in memory: a sharded map, bounded in entries and bytes, with an index by key.
//!
//! A look-up takes the lock of one shard, once. What has to go is found by a hand that goes round the slots of a
//! shard (CLOCK): it passes over what was used since it came by last, and takes what was not. So what is hot survives,
//! and a crowd of keys that are each used once pushes out itself.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use hashbrown::HashTable;

use super::{Bounds, CachedKey, Lookup, spread};
use crate::metrics::CacheMetrics;
use crate::policy::KeyId;

/// Many more than cores: two of them seldom want the same.
const SHARDS: usize = 64;

type Entry = Arc<CachedKey>;

#[derive(Debug, Default)]
struct Shard {
    /// By the hash of the look-up. It leads to the entry itself: a look-up fetches as little from memory as it can.
    table: HashTable<Entry>,
    /// The same entries, each in its slot, for the hand.
    slots: Vec<Option<Entry>>,
    free: Vec<u32>,
    hand: usize,
    bytes: usize,
}

/// The keys in memory.
#[derive(Debug)]
pub(super) struct Keys {
    shards: Box<[Mutex<Shard>]>,
    /// The same entries by their key, of which there may be several (two tokens, a certificate).
    by_key: Box<[Mutex<HashTable<Entry>>]>,
    entries_max: usize,
    bytes_max: usize,
    metrics: Arc<CacheMetrics>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shard_of<T>(shards: &[Mutex<T>], hash: u64) -> Option<MutexGuard<'_, T>> {
    // Other bits than those that the table takes.
    let at = usize::try_from(hash >> 32).unwrap_or_default() % SHARDS;
    shards.get(at).map(locked)
}

impl Keys {
    pub(super) fn new(bounds: Bounds, metrics: Arc<CacheMetrics>) -> Self {
        Self {
            shards: (0..SHARDS).map(|_| Mutex::default()).collect(),
            by_key: (0..SHARDS).map(|_| Mutex::default()).collect(),
            entries_max: bounds.entries.div_ceil(SHARDS),
            bytes_max: bounds.bytes.div_ceil(SHARDS),
            metrics,
        }
    }

    /// The entry, unless it was changed since it was loaded.
    pub(super) fn get(&self, lookup: &Lookup) -> Option<Entry> {
        let hash = lookup.hash();
        let shard = shard_of(&self.shards, hash)?;
        let entry = shard.find(lookup, hash)?;
        entry.fetch();
        if !entry.is_fresh() {
            return None;
        }
        entry.touch();
        Some(Arc::clone(entry))
    }

    /// Puts an entry in, instead of one that is there already.
    pub(super) fn insert(&self, entry: &Entry) {
        let hash = entry.lookup().hash();
        let mut gone = Vec::new();
        self.metrics.grew(entry.bytes());
        // The index first: what leaves the shard at once is found there.
        let by_key = spread(entry.key_id().get());
        if let Some(mut index) = shard_of(&self.by_key, by_key) {
            index.insert_unique(by_key, Arc::clone(entry), |entry| spread(entry.key_id().get()));
        }
        if let Some(mut shard) = shard_of(&self.shards, hash) {
            gone.extend(shard.remove(entry.lookup(), hash, |_| true));
            let evicted = shard.make_room(self.entries_max, self.bytes_max.saturating_sub(entry.bytes()));
            self.metrics.evicted.add(u64::try_from(evicted.len()).unwrap_or_default());
            gone.extend(evicted);
            // Somebody may still hold them, and a line that comes will not find them: they are of no use from now on.
            gone.iter().for_each(|entry| entry.drop_out());
            shard.insert(Arc::clone(entry), hash);
        }
        gone.iter().for_each(|entry| self.has_gone(entry));
    }

    /// Drops the entry of a look-up.
    pub(super) fn remove(&self, lookup: &Lookup) {
        let hash = lookup.hash();
        let removed = shard_of(&self.shards, hash).and_then(|mut shard| shard.remove(lookup, hash, |_| true));
        if let Some(entry) = removed {
            entry.drop_out();
            self.has_gone(&entry);
        }
    }

    /// What has left its shard leaves the index too.
    fn has_gone(&self, entry: &Entry) {
        self.metrics.shrank(entry.bytes());
        let by_key = spread(entry.key_id().get());
        if let Some(mut index) = shard_of(&self.by_key, by_key)
            && let Ok(found) = index.find_entry(by_key, |it| Arc::ptr_eq(it, entry))
        {
            found.remove();
        }
    }

    /// Drops all entries of a key.
    pub(super) fn invalidate(&self, key_id: KeyId) {
        let by_key = spread(key_id.get());
        let mut entries = Vec::new();
        if let Some(mut index) = shard_of(&self.by_key, by_key) {
            while let Ok(found) = index.find_entry(by_key, |entry| entry.key_id() == key_id) {
                entries.push(found.remove().0);
            }
        }
        for entry in entries {
            entry.drop_out();
            let hash = entry.lookup().hash();
            let removed = shard_of(&self.shards, hash)
                .and_then(|mut shard| shard.remove(entry.lookup(), hash, |it| Arc::ptr_eq(it, &entry)));
            if let Some(removed) = removed {
                self.metrics.shrank(removed.bytes());
                self.metrics.invalidated.increment();
            }
        }
    }

    /// Drops everything.
    pub(super) fn clear(&self) {
        for shard in &self.shards {
            let shard = std::mem::take(&mut *locked(shard));
            for entry in shard.slots.into_iter().flatten() {
                entry.drop_out();
                self.metrics.shrank(entry.bytes());
                self.metrics.invalidated.increment();
            }
        }
        for index in &self.by_key {
            // What came in meanwhile stays: it was read after what is dropped.
            locked(index).retain(|entry| entry.is_fresh());
        }
    }
}

impl Shard {
    fn find(&self, lookup: &Lookup, hash: u64) -> Option<&Entry> {
        self.table.find(hash, |it| it.lookup() == lookup)
    }

    fn insert(&mut self, entry: Entry, hash: u64) {
        let Self { table, slots, free, bytes, .. } = self;
        let at = free.pop().unwrap_or_else(|| {
            slots.push(None);
            u32::try_from(slots.len() - 1).unwrap_or(u32::MAX)
        });
        let Some(slot) = slot(slots, at) else { return };
        *bytes += entry.bytes();
        entry.set_slot(at);
        *slot = Some(Arc::clone(&entry));
        table.insert_unique(hash, entry, |it| it.lookup().hash());
    }

    fn remove(&mut self, lookup: &Lookup, hash: u64, fits: impl Fn(&Entry) -> bool) -> Option<Entry> {
        let Self { table, slots, free, bytes, .. } = self;
        let found = table.find_entry(hash, |it| it.lookup() == lookup && fits(it));
        let (removed, _) = found.ok()?.remove();
        *slot(slots, removed.slot())? = None;
        free.push(removed.slot());
        *bytes -= removed.bytes();
        Some(removed)
    }

    /// Lets go of entries until there are fewer than `entries_max` and at most `bytes_max` bytes.
    fn make_room(&mut self, entries_max: usize, bytes_max: usize) -> Vec<Entry> {
        let mut gone = Vec::new();
        while !self.table.is_empty() && (self.table.len() >= entries_max || self.bytes > bytes_max) {
            let Some(victim) = self.turn_hand() else { continue };
            let hash = victim.lookup().hash();
            gone.extend(self.remove(victim.lookup(), hash, |it| Arc::ptr_eq(it, &victim)));
        }
        gone
    }

    /// Moves the hand by one slot. What lies there goes if it was not used since the last time, or is of no use.
    fn turn_hand(&mut self) -> Option<Entry> {
        self.hand = if self.hand + 1 < self.slots.len() { self.hand + 1 } else { 0 };
        let entry = self.slots.get(self.hand)?.as_ref()?;
        (!entry.is_fresh() || !entry.take_used()).then(|| Arc::clone(entry))
    }
}

fn slot(slots: &mut [Option<Entry>], at: u32) -> Option<&mut Option<Entry>> {
    slots.get_mut(usize::try_from(at).ok()?)
}
