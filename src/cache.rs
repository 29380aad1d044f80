//! Keys in memory, never older than they may be.
//!
//! - **What is cached is what decides**, compiled, immutable and shared. An entry is found by the digest of the whole
//!   token, never by a part of it.
//! - **The follower** ([`KeyCache::apply`], [`KeyCache::restart`], [`KeyCache::trust_until`]) drops what the change
//!   log names, and says until when the cache may be trusted. Nobody else moves these.
//! - **A decision** takes a [`View`]: that is where it asks whether the cache may be trusted, and which revision is
//!   applied, *before* it looks anything up. Whoever asks only afterwards could take an old entry while the trust is
//!   lost, and ask when it is back.
//! - **The fill rule** ([`KeyCache::admit`]): what a load has read is used only if no change of it has been seen since.
//!   So a read that was under way while a key was revoked cannot put the old key back.
//!
//! What does not belong here: how tokens are proven, what is decided.

mod entry;
mod fair_queue;
mod follower;
mod fruitless;
mod further_digests;
mod keys;
mod lease;
mod load;
mod load_queue;
mod loader;
mod owners;
mod propagation;
mod reading;
mod recent;
mod rule_pool;
mod unknown;
mod view;

#[cfg(test)]
mod tests;

pub use crate::storage::ReadAt;
pub use entry::CachedKey;
pub use fair_queue::{Asker, FairQueue, Pushed, QueueBounds};
pub use follower::{Follower, FollowerSettings};
pub use load::{LoadError, Loaded, Wanted};
pub use loader::{BATCH_MAX, BATCH_TIME_MAX, BATCHES_MAX, Loader, LoaderSettings, WAIT_MAX};
pub use propagation::{PROPAGATION_WAIT, Propagation, Replicas, STALENESS_MAX, STALENESS_MIN};
pub use view::View;

use std::fmt;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, PoisonError, RwLock, RwLockReadGuard};
use std::time::Duration;

use tokio::sync::{Notify, watch};

use self::keys::Keys;
use self::owners::Owners;
use self::recent::Recent;
use self::rule_pool::RulePool;
use self::unknown::Unknown;
use crate::clock::BootTime;
use crate::leases::Leases;
use crate::metrics::CacheMetrics;
use crate::policy::{CheckSet, KeyId, Revision};
use crate::storage::Epoch;
use crate::storage::changes::{Line, Subject};
use crate::storage::secrets::ProvenKey;
use crate::token::Digest;

/// What an entry is found by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Lookup {
    /// A token: its digest under the current pepper, whichever the store has.
    Token(Digest),
    /// A key itself, for callers whom a certificate stands for.
    Key(KeyId),
}

impl Lookup {
    /// Spread evenly, and not to be foreseen by whoever makes tokens: digests have a secret pepper.
    fn hash(&self) -> u64 {
        match self {
            Self::Token(digest) => {
                let [a, b, c, d, e, f, g, h, ..] = *digest.as_bytes();
                u64::from_le_bytes([a, b, c, d, e, f, g, h])
            }
            Self::Key(key_id) => spread(key_id.get()),
        }
    }
}

/// Bits of an identity, mixed (the finaliser of SplitMix64).
fn spread(id: i64) -> u64 {
    let mixed = id.cast_unsigned().wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mixed = (mixed ^ (mixed >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    mixed ^ (mixed >> 31)
}

/// What memory knows of a token.
#[derive(Clone, Debug)]
pub enum Cached {
    /// Its key.
    Key(Arc<CachedKey>),
    /// It is nobody's.
    Unknown,
    /// Nothing: it has to be loaded.
    Missing,
}

/// What was read is older than what is known by now: it must be read again, and given to nobody.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("what was read has been changed meanwhile")]
pub struct TooOld;

/// How much is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Bounds {
    /// Keys.
    pub entries: usize,
    /// Bytes of the keys, about.
    pub bytes: usize,
    /// Tokens that are nobody's.
    pub unknown: usize,
}

/// How a [`KeyCache`] works.
#[derive(Clone, Debug)]
pub struct Settings {
    /// How much is kept.
    pub bounds: Bounds,
    /// Checks that are only observed, for every key.
    pub observe: CheckSet,
    /// What an answer tells of a key, encoded once.
    pub describe: fn(&ProvenKey) -> Box<[u8]>,
    /// An entry of this age is loaded anew, while it goes on being used: rows that were changed without a line in the
    /// change log are seen by then. The ages of entries differ by up to a fifth, so that they do not all come at once.
    pub refresh: Duration,
    /// What is held of rate limits: dropped with the keys that change.
    pub leases: Leases,
    /// Told of everything.
    pub metrics: Arc<CacheMetrics>,
}

/// Keys in memory.
pub struct KeyCache {
    keys: Keys,
    unknown: Unknown,
    owners: Owners,
    rules: RulePool,
    /// Also what makes fills and invalidations take turns: a fill holds it from its check to its insertion.
    recent: RwLock<Recent>,
    /// [`BootTime`] in nanoseconds; 0 is never.
    trusted_until: AtomicU64,
    applied: AtomicI64,
    moved: watch::Sender<ReadAt>,
    hurry: Notify,
    settings: Settings,
}

impl fmt::Debug for KeyCache {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (keys, bytes) = self.settings.metrics.size();
        f.debug_struct("KeyCache").field("keys", &keys).field("bytes", &bytes).finish_non_exhaustive()
    }
}

impl KeyCache {
    /// An empty cache that is not trusted yet.
    #[must_use]
    pub fn new(settings: Settings) -> Arc<Self> {
        let nowhere = ReadAt { epoch: Epoch::new(0, 0), revision: Revision::ZERO };
        Arc::new(Self {
            keys: Keys::new(settings.bounds, Arc::clone(&settings.metrics)),
            unknown: Unknown::new(settings.bounds.unknown, Arc::clone(&settings.metrics)),
            owners: Owners::default(),
            rules: RulePool::default(),
            recent: RwLock::new(Recent::starting_at(nowhere)),
            trusted_until: AtomicU64::new(0),
            applied: AtomicI64::new(0),
            moved: watch::Sender::new(nowhere),
            hurry: Notify::new(),
            settings,
        })
    }

    /// What a decision begins with, after its request was received; `None` where the cache must not be trusted.
    #[must_use]
    pub fn view(&self) -> Option<View<'_>> {
        self.view_at(BootTime::now())
    }

    fn view_at(&self, now: BootTime) -> Option<View<'_>> {
        // In this order: what is looked up after it is at least as new.
        let is_trusted = now.as_nanos() < self.trusted_until.load(Ordering::SeqCst);
        is_trusted.then(|| View::of(self, self.applied(), now))
    }

    /// Whether the cache may be trusted at this moment. A decision begins with a [`View`]; this is for what comes
    /// after a wait, and for telling others.
    #[must_use]
    pub fn is_trusted(&self) -> bool {
        self.view().is_some()
    }

    /// For how long it may be trusted.
    #[must_use]
    pub fn trust_left(&self) -> Duration {
        BootTime::from_nanos(self.trusted_until.load(Ordering::SeqCst)).since(BootTime::now())
    }

    /// The newest revision that is applied: what is looked up from now on is at least as new.
    #[must_use]
    pub fn applied(&self) -> Revision {
        Revision::new(self.applied.load(Ordering::SeqCst)).unwrap_or(Revision::ZERO)
    }

    /// What is applied, as it moves.
    #[must_use]
    pub fn watch(&self) -> watch::Receiver<ReadAt> {
        self.moved.subscribe()
    }

    /// Asks the follower to look at the change log now.
    pub fn hurry(&self) {
        self.hurry.notify_one();
    }

    /// For the follower: returns when somebody is in a hurry, or has been since the last time.
    pub async fn hurried(&self) {
        self.hurry.notified().await;
    }

    /// Takes what a load has found (`None`: nobody's) and gives it back for use, if nothing that it read has been
    /// changed since as far as is known. Holds for everybody who waits for that load.
    ///
    /// # Errors
    /// [`TooOld`]: load again.
    pub fn admit(
        &self,
        lookup: Lookup,
        read: ReadAt,
        found: Option<&ProvenKey>,
    ) -> Result<Option<Arc<CachedKey>>, TooOld> {
        let recent = self.check(read, found)?;
        let Some(proven) = found else {
            self.unknown.insert(&lookup);
            // It may have been somebody's, in a row that was taken away without a line.
            self.keys.remove(&lookup);
            return Ok(None);
        };
        let key = Arc::new(self.compile(lookup, proven));
        self.keys.insert(&key);
        drop(recent);
        Ok(Some(key))
    }

    /// [`KeyCache::admit`] for what is to be used once and not kept.
    ///
    /// # Errors
    /// [`TooOld`]: load again.
    pub fn may_use(&self, read: ReadAt, found: Option<&ProvenKey>) -> Result<(), TooOld> {
        self.check(read, found).map(drop)
    }

    /// Drops what is kept under a look-up, where a load found that nothing is to be kept.
    pub fn forget(&self, lookup: &Lookup) {
        self.keys.remove(lookup);
    }

    /// The fill rule. As long as the answer is held, no change can be applied.
    fn check(&self, read: ReadAt, found: Option<&ProvenKey>) -> Result<RwLockReadGuard<'_, Recent>, TooOld> {
        let recent = self.recent.read().unwrap_or_else(PoisonError::into_inner);
        let is_as_known = match found {
            Some(proven) => recent.holds_of_key(read, proven.key.key_id, proven.key.user_id),
            None => recent.holds_of_unknown(read),
        };
        if is_as_known {
            return Ok(recent);
        }
        self.settings.metrics.too_old.increment();
        Err(TooOld)
    }

    fn compile(&self, lookup: Lookup, proven: &ProvenKey) -> CachedKey {
        let mut policy = proven.key.policy.clone();
        policy.observe = policy.observe.union(self.settings.observe);
        let (snapshot, own_bytes) = self.rules.share(&policy);
        // Between four and six fifths.
        let share = u32::try_from(lookup.hash() >> 40 & 0xff).unwrap_or_default();
        let age = self.settings.refresh.saturating_mul(4 * 255 + 2 * share) / (5 * 255);
        CachedKey::new(entry::Parts {
            lookup,
            snapshot,
            own_bytes,
            owner: self.owners.mark(proven.key.user_id),
            refresh_at: BootTime::now().plus(age),
            shown: (self.settings.describe)(proven),
            limited: self.settings.leases.of(&proven.key, proven.owner_rate_limits),
            proven,
        })
    }

    /// For the follower: these lines are newer than what is applied, and there are no others up to `head`. Drops what
    /// they name.
    pub fn apply(&self, lines: &[Line], head: Revision) {
        if !lines.is_empty() {
            let mut recent = self.recent.write().unwrap_or_else(PoisonError::into_inner);
            recent.remember(lines, BootTime::now());
        }
        // From here on no load can put back what is dropped now.
        for line in lines {
            match line.subject {
                Some(Subject::Key(key_id)) => {
                    self.keys.invalidate(key_id);
                    self.settings.leases.dropped_key(key_id);
                }
                Some(Subject::Owner(user_id)) => {
                    self.owners.invalidate(user_id);
                    self.settings.leases.dropped_owner(user_id);
                }
                None => {
                    self.keys.clear();
                    self.settings.leases.dropped_all();
                }
            }
            if line.adds_tokens || line.subject.is_none() {
                self.unknown.clear();
            }
        }
        self.move_to(head);
    }

    /// For the follower: drops everything, and begins at `head`. Nothing is trusted until it says so again.
    pub fn restart(&self, head: ReadAt) {
        self.distrust();
        *self.recent.write().unwrap_or_else(PoisonError::into_inner) = Recent::starting_at(head);
        self.keys.clear();
        self.unknown.clear();
        self.settings.leases.forget_all();
        self.applied.store(head.revision.get(), Ordering::SeqCst);
        self.moved.send_replace(head);
    }

    fn move_to(&self, head: Revision) {
        self.applied.store(head.get(), Ordering::SeqCst);
        self.moved.send_if_modified(|at| std::mem::replace(&mut at.revision, head) != head);
    }

    /// For the follower: every change that could have been certain anywhere before this instant is applied.
    pub fn trust_until(&self, until: BootTime) {
        self.trusted_until.store(until.as_nanos(), Ordering::SeqCst);
    }

    /// For the follower: nothing is certain any more.
    pub fn distrust(&self) {
        self.trusted_until.store(0, Ordering::SeqCst);
    }
}
