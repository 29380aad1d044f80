//! Rate limits in the hands of this replica: charged in memory, asked for in groups, given back.
//!
//! - A key that is limited, or whose owner is, has [`Limited`]: what this replica holds of both. A key without limits has
//!   none and pays nothing.
//! - **Charging** is a few operations under the locks of the key's and the owner's holdings, in that order: all of what a
//!   request needs, or nothing.
//! - What is not in hand is asked for. All questions of a replica go through two lanes (`granting`): one group at a time
//!   each, one transaction a group. Whoever waits is served in the order of coming.
//! - What is held is dropped when the key or owner changes ([`Leases::dropped`]): limits may have. After a failover it is
//!   forgotten ([`Leases::forget_all`]).
//! - Where the store is away, what is in hand is used up; then limited requests are not decided, or, where it is so
//!   configured, this replica goes on by its share of each limit (`alone`).
//!
//! The rule itself is pure and stands in [`crate::limits`]; here are locks, queues and clocks.

mod active;
mod alone;
mod charging;
mod granting;
mod group;
mod held;
mod left;
mod place;
mod queue;
mod registry;
mod second;
mod status;

pub use charging::{Attempt, Charged, Limited, NotCharged, Ticket, Verdict};
pub use status::Refused;

use std::sync::atomic::{AtomicBool, AtomicI64, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};

use self::active::Active;
use self::queue::Queue;
use self::registry::Registry;
use crate::limits::{Subject, Terms};
use crate::metrics::LeaseMetrics;
use crate::policy::{Key, KeyId, RateLimits, UserId};
use crate::storage::Epoch;

/// Bytes that a limited subject takes in memory, about.
pub const HELD_BYTES: usize = 640;

/// What is done with limited requests while the store is away and nothing is in hand.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum WithoutStore {
    /// They are not decided: UNAVAILABLE.
    #[default]
    Refuse,
    /// This replica goes on by itself, with each limit divided by the number of replicas.
    LocalShare,
}

/// Everything that this replica holds. Clones share it.
#[derive(Clone, Debug)]
pub struct Leases(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    registry: Registry,
    queue: Queue,
    active: Active,
    without_store: WithoutStore,
    /// The store cannot be reached, or nothing can be committed.
    is_away: AtomicBool,
    /// Which history of the database what is held is of.
    epoch: Mutex<Option<Epoch>>,
    /// As it was read last.
    replicas: AtomicI64,
    /// Requests that wait.
    waiting: AtomicUsize,
    metrics: Arc<LeaseMetrics>,
}

impl Leases {
    /// Nothing held yet. [`Leases::run`] asks for what is needed.
    #[must_use]
    pub fn new(without_store: WithoutStore, metrics: Arc<LeaseMetrics>) -> Self {
        Self(Arc::new(Inner {
            registry: Registry::default(),
            queue: Queue::default(),
            active: Active::default(),
            without_store,
            is_away: AtomicBool::new(false),
            epoch: Mutex::default(),
            replicas: AtomicI64::new(1),
            waiting: AtomicUsize::new(0),
            metrics,
        }))
    }

    /// What is held of a key and its owner; `None` where neither is limited.
    #[must_use]
    pub fn of(&self, key: &Key, owner_limits: RateLimits) -> Option<Limited> {
        let find = |subject, limits: RateLimits| {
            let terms = Terms::from(limits);
            (!terms.is_empty()).then(|| self.0.registry.find(subject, terms))
        };
        let of_key = find(Subject::Key(key.key_id), key.rate_limits);
        let of_owner = find(Subject::Owner(key.user_id), owner_limits);
        (of_key.is_some() || of_owner.is_some()).then(|| Limited::new(self.clone(), of_key, of_owner))
    }

    /// A key or an owner has changed: what is held is given back, and asked for anew under the limits that are in force.
    pub fn dropped(&self, subject: Subject) {
        let held = self.0.registry.get(subject);
        self.0.queue.push_due(held.filter(|held| held.lock().drop_all(held::now())));
    }

    /// A key has changed.
    pub fn dropped_key(&self, key_id: KeyId) {
        self.dropped(Subject::Key(key_id));
    }

    /// An owner has changed.
    pub fn dropped_owner(&self, user_id: UserId) {
        self.dropped(Subject::Owner(user_id));
    }

    /// Anything may have changed.
    pub fn dropped_all(&self) {
        let all = self.0.registry.all().into_iter();
        self.0.queue.push_due(all.filter(|held| held.lock().drop_all(held::now())));
    }

    /// The store may be another one: nothing that is held is worth anything there.
    pub fn forget_all(&self) {
        self.0.registry.all().iter().for_each(|held| held.lock().forget());
    }

    /// What a question has read is of this history of the database: if that is another one, what is held is forgotten.
    /// Whether it is the same.
    fn is_still(&self, epoch: Epoch) -> bool {
        let mut known = self.0.epoch.lock().unwrap_or_else(PoisonError::into_inner);
        let is_same = known.is_none_or(|known| known == epoch);
        if !is_same {
            tracing::warn!(epoch = %epoch, "the database has another history: units of rate limits are forgotten");
            self.forget_all();
        }
        *known = Some(epoch);
        is_same
    }

    fn replicas(&self) -> i64 {
        self.0.replicas.load(Ordering::Relaxed)
    }
}
