//! The use cases of administration: write, log, answer with what is there now.
//!
//! Nothing here knows gRPC. Every change runs in one transaction that locks the resource first and takes
//! the revision last (see [`crate::storage::changes`]), in a task of its own, so that a caller who goes
//! away cannot tear it. A change that changes nothing takes no revision.

mod audit;
mod bootstrap;
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
mod movement;
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

pub use audit::{AuditPage, ListAuditEvents};
pub use bootstrap::BootstrapOutcome;
pub use create::{CreateKey, IssuedToken};
pub use delete::PURGE_AFTER;
pub use errors::AdminError;
pub use etag::{Etag, EtagOf};
pub use expiration::{EXPIRATION_DAYS_MAX, Expiration};
pub use grants::{GRANTS_MAX, GrantField, GrantPatterns, Grants};
pub use idempotency::{REQUEST_ID_LIFE, RequestId};
pub use list::{KeyPage, ListKeys};
pub use movement::{Lookout, Movement};
pub use owners::{ListOwners, OwnerPage, OwnerView};
pub use purge::Purged;
pub use read::KeyView;
pub use refusals::{Refusal, Refusals};
pub use retention::{Retention, remove_old_lines};
pub use rotate::{GRACE_MAX, RotateKey};
pub use template::{KeyDraft, Template};
pub use update::{KeyPatch, UpdateKey, WindowsPatch};
pub use watch::{Change, ChangePage, Changes};

use std::sync::Arc;

use crate::clock::Clock;
use crate::policy::Revision;
use crate::storage::Store;
use crate::token::{BcryptCost, BcryptPool, Brand, Peppers};

/// What administration needs. Clones share everything.
#[derive(Clone, Debug)]
pub struct Admin {
    store: Store,
    settings: Settings,
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
}

impl Admin {
    /// Administration of a store.
    #[must_use]
    pub fn new(store: Store, settings: Settings) -> Self {
        Self { store, settings }
    }
}
