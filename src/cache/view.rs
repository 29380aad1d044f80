//! The cache as one decision sees it.

use super::{Cached, CachedKey, KeyCache, Lookup};
use crate::clock::BootTime;
use crate::policy::Revision;

/// The cache as a decision may use it: it was trusted after the request had come.
#[derive(Clone, Copy, Debug)]
pub struct View<'c> {
    cache: &'c KeyCache,
    revision: Revision,
    now: BootTime,
}

impl<'c> View<'c> {
    pub(super) const fn of(cache: &'c KeyCache, revision: Revision, now: BootTime) -> Self {
        Self { cache, revision, now }
    }

    /// What is looked up here is at least as new.
    #[must_use]
    pub fn revision(&self) -> Revision {
        self.revision
    }

    /// When the cache was asked.
    #[must_use]
    pub fn taken_at(&self) -> BootTime {
        self.now
    }

    /// What memory knows of a token.
    #[must_use]
    pub fn get(&self, lookup: &Lookup) -> Cached {
        match self.cache.keys.get(lookup) {
            Some(key) => Cached::Key(key),
            None if self.cache.unknown.contains(lookup) => Cached::Unknown,
            None => Cached::Missing,
        }
    }

    /// Whether an entry that was kept since an earlier look-up may be used as one that is looked up now.
    #[must_use]
    pub fn still_has(&self, key: &CachedKey) -> bool {
        let is_fresh = key.is_fresh();
        if is_fresh {
            key.touch();
        }
        is_fresh
    }

    /// Whether an entry is to be loaded anew: who looks it up then is told so by [`View::claims_refresh`].
    #[must_use]
    pub fn wants_refresh(&self, key: &CachedKey) -> bool {
        key.wants_refresh(self.now)
    }

    /// Whether the caller is to load this entry anew, in the background: true for one caller of many, and again some
    /// time later if nothing came of it.
    #[must_use]
    pub fn claims_refresh(&self, key: &CachedKey) -> bool {
        key.claim_refresh(self.now)
    }
}
