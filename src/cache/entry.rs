//! One key in memory.

use std::fmt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicU64, Ordering};
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::Lookup;
use super::owners::OwnerMark;
use crate::clock::BootTime;
use crate::leases::Limited;
use crate::policy::{KeyId, KeySnapshot, UserId};
use crate::storage::secrets::ProvenKey;

/// An entry that was to be loaded anew is tried again after so long.
const REFRESH_AGAIN: Duration = Duration::from_secs(30);

/// What the tables add to an entry: the slot, both indexes, the counts of the `Arc`, the allocator's share.
const OVERHEAD_BYTES: usize = 104;

/// What a decision needs of a key, and nothing else.
pub struct CachedKey {
    lookup: Lookup,
    key_id: KeyId,
    user_id: UserId,
    snapshot: KeySnapshot,
    grace_end: Option<DateTime<Utc>>,
    /// Not shared with the answers: counting who holds it would make cores wait for each other over a hot key.
    shown: Box<[u8]>,
    owner: Arc<OwnerMark>,
    refresh_at: AtomicU64,
    bytes: u32,
    has_budgets: bool,
    /// What this replica holds of its rate limits and its owner's; `None` where there are none.
    limited: Option<Box<Limited>>,
    /// Where it stands in its shard; only its shard's lock makes this mean anything.
    slot: AtomicU32,
    /// It was dropped; whoever finds it all the same must not use it.
    is_stale: AtomicBool,
    /// It was used since the hand came by (see `keys`).
    was_used: AtomicBool,
}

impl fmt::Debug for CachedKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CachedKey").field("key_id", &self.key_id).finish_non_exhaustive()
    }
}

/// What an entry is made of.
pub(super) struct Parts<'p> {
    pub(super) lookup: Lookup,
    pub(super) snapshot: KeySnapshot,
    /// Of what only this entry keeps alive.
    pub(super) own_bytes: usize,
    pub(super) owner: Arc<OwnerMark>,
    pub(super) refresh_at: BootTime,
    pub(super) shown: Box<[u8]>,
    pub(super) limited: Option<Limited>,
    pub(super) proven: &'p ProvenKey,
}

impl CachedKey {
    pub(super) fn new(parts: Parts<'_>) -> Self {
        let Parts { lookup, snapshot, own_bytes, owner, refresh_at, shown, limited, proven } = parts;
        let bytes = size_of::<Self>()
            + OVERHEAD_BYTES
            + own_bytes
            + shown.len().next_multiple_of(16)
            + limited.as_ref().map_or(0, Limited::bytes);
        Self {
            lookup,
            key_id: proven.key.key_id,
            user_id: proven.key.user_id,
            snapshot,
            grace_end: proven.grace_end,
            shown,
            owner,
            refresh_at: AtomicU64::new(refresh_at.as_nanos()),
            bytes: u32::try_from(bytes).unwrap_or(u32::MAX),
            has_budgets: !proven.budgets.is_empty(),
            limited: limited.map(Box::new),
            slot: AtomicU32::new(0),
            is_stale: AtomicBool::new(false),
            was_used: AtomicBool::new(false),
        }
    }

    /// Which key it is.
    #[must_use]
    pub fn key_id(&self) -> KeyId {
        self.key_id
    }

    /// Whose it is.
    #[must_use]
    pub fn user_id(&self) -> UserId {
        self.user_id
    }

    /// Its policy, compiled; checks that the configuration only observes are observed.
    #[must_use]
    pub fn snapshot(&self) -> &KeySnapshot {
        &self.snapshot
    }

    /// Until when the token works, where it was rotated away. Exclusive.
    #[must_use]
    pub fn grace_end(&self) -> Option<DateTime<Utc>> {
        self.grace_end
    }

    /// What an answer tells of it, encoded.
    #[must_use]
    pub fn shown(&self) -> &[u8] {
        &self.shown
    }

    /// Whether it or its owner has budgets.
    #[must_use]
    pub fn has_budgets(&self) -> bool {
        self.has_budgets
    }

    /// What this replica holds of its rate limits and its owner's; `None` where there are none.
    #[must_use]
    pub fn limited(&self) -> Option<&Limited> {
        self.limited.as_deref()
    }

    /// Memory that it takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        usize::try_from(self.bytes).unwrap_or(usize::MAX)
    }

    pub(super) fn lookup(&self) -> &Lookup {
        &self.lookup
    }

    /// See `keys`: under the lock of its shard only.
    pub(super) fn slot(&self) -> u32 {
        self.slot.load(Ordering::Relaxed)
    }

    /// As [`CachedKey::slot`].
    pub(super) fn set_slot(&self, slot: u32) {
        self.slot.store(slot, Ordering::Relaxed);
    }

    pub(super) fn drop_out(&self) {
        self.is_stale.store(true, Ordering::Release);
    }

    /// Whether it is still what the cache knows.
    pub(super) fn is_fresh(&self) -> bool {
        !self.is_stale.load(Ordering::Acquire) && self.owner.is_unchanged()
    }

    /// Has memory bring what a decision needs of it later, and lies elsewhere: all at once, while something else goes on.
    pub(super) fn fetch(&self) {
        std::hint::black_box(self.shown.first());
        std::hint::black_box(self.shown.last());
    }

    /// It was used. Writes only the first time, so that cores do not fight over a hot key.
    pub(super) fn touch(&self) {
        if !self.was_used.load(Ordering::Relaxed) {
            self.was_used.store(true, Ordering::Relaxed);
        }
    }

    pub(super) fn take_used(&self) -> bool {
        self.was_used.swap(false, Ordering::Relaxed)
    }

    pub(super) fn wants_refresh(&self, now: BootTime) -> bool {
        now.as_nanos() >= self.refresh_at.load(Ordering::Relaxed)
    }

    pub(super) fn claim_refresh(&self, now: BootTime) -> bool {
        let due = self.refresh_at.load(Ordering::Relaxed);
        if now.as_nanos() < due {
            return false;
        }
        let again = now.plus(REFRESH_AGAIN).as_nanos();
        self.refresh_at.compare_exchange(due, again, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }
}
