//! The use cases of administration: write, log, answer with what is there now.
//!
//! Nothing here knows gRPC. Every change runs in one transaction that locks the resource first and takes
//! the revision last (see [`crate::storage::changes`]), in a task of its own, so that a caller who goes
//! away cannot tear it. A change that changes nothing takes no revision. Whatever was committed, or found as it was
//! wanted, is answered once it has come to every replica, as far as that can be waited for.

mod audit;
mod bootstrap;
mod budgets;
mod change;
mod create;
mod delete;
pub mod enclava;
mod errors;
mod etag;
mod expiration;
mod grants;
mod idempotency;
pub mod import;
mod list;
mod lookup;
mod owners;
mod purge;
mod read;
mod refusals;
mod retention;
mod revoke;
mod rotate;
mod snapshot;
mod template;
mod update;
mod watch;

pub use crate::cache::Propagation;
pub use audit::{AuditPage, ListAuditEvents};
pub use bootstrap::BootstrapOutcome;
pub use budgets::{BudgetPage, BudgetPatch, CreateBudget, ListBudgets, SeenBudget, UpdateBudget};
pub use create::{CreateKey, IssuedToken};
pub use delete::PURGE_AFTER;
pub use errors::AdminError;
pub use etag::{Etag, EtagOf};
pub use expiration::{EXPIRATION_DAYS_MAX, Expiration};
pub use grants::{GRANTS_MAX, GrantField, GrantPatterns, Grants};
pub use idempotency::{REQUEST_ID_LIFE, RequestId};
pub use list::{KeyPage, ListKeys};
pub use owners::{ListOwners, OwnerPage, OwnerUnderLimits, OwnerView};
pub use purge::Purged;
pub use read::{KeyUnderLimits, KeyView};
pub use refusals::{Refusal, Refusals};
pub use retention::{Retention, remove_old_lines};
pub use rotate::{GRACE_MAX, RotateKey};
pub use template::{KeyDraft, Template};
pub use update::{KeyPatch, UpdateKey, WindowsPatch};
pub use watch::{Change, ChangePage, Changes};

use std::sync::Arc;
use std::time::Instant;

use crate::cache::Replicas;
use crate::clock::Clock;
use crate::policy::Revision;
use crate::storage::Store;
use crate::storage::changes::Stamp;
use crate::token::{BcryptCost, BcryptPool, Brand, Peppers};

/// What administration needs. Clones share everything.
#[derive(Clone, Debug)]
pub struct Admin {
    store: Store,
    settings: Settings,
    replicas: Arc<Replicas>,
}

/// How keys are made.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of new tokens.
    pub brand: Brand,
    /// Of new hashes.
    pub bcrypt_cost: BcryptCost,
    /// Threads for bcrypt.
    pub bcrypt: BcryptPool,
    /// Peppers of digests.
    pub peppers: Arc<Peppers>,
    /// What time it is.
    pub clock: Clock,
}

/// A resource after a change, and the revision of the change (of its last change, where this one had
/// nothing to do).
#[derive(Clone, Debug)]
pub struct Changed<T> {
    /// The resource as it is now.
    pub resource: T,
    /// The revision.
    pub revision: Revision,
    /// Whether any replica may still decide from the state before it.
    pub propagation: Propagation,
}

/// A resource as a transaction leaves it: changed, or found as it was wanted. What becomes of it is a [`Changed`], and
/// only by [`Admin::propagated`]: no change is answered before it was waited for.
#[derive(Clone, Debug)]
struct Written<T> {
    resource: T,
    stamp: Stamp,
}

impl Admin {
    /// Administration of a store. Every change is waited for until it has come to `replicas`.
    #[must_use]
    pub fn new(store: Store, settings: Settings, replicas: Arc<Replicas>) -> Self {
        Self { store, settings, replicas }
    }

    /// Waits, within bounds, until what was committed has come to every replica.
    async fn propagated<T>(&self, written: Written<T>, answer_by: Option<Instant>) -> Changed<T> {
        let Written { resource, stamp } = written;
        let propagation = self.replicas.wait_for(stamp, answer_by).await;
        Changed { resource, revision: stamp.at.revision, propagation }
    }

    /// What was only validated, and rolled back: there is nothing to wait for.
    fn validated<T>(written: Written<T>) -> Changed<T> {
        let Written { resource, stamp } = written;
        Changed { resource, revision: stamp.at.revision, propagation: Propagation::Complete }
    }
}
