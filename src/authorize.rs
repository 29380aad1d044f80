//! The use case of the hot path: prove the token, compile its policy, evaluate, record.
//!
//! Nothing here knows gRPC. A deny is a value; an [`AuthorizeError`] means that no decision was made.
//! In this version every decision reads the store: there is no cache that could be stale.

mod callers;
mod decide;
mod prove;
mod uses;
mod warnings;

pub use callers::{Caller, CallerError, Needed};
pub use decide::{FilterOutcome, FilterQuestion, Introspection, KeyFacts, Outcome, Question};
pub use prove::{AuthorizeError, Freshness, Proof};
pub use uses::UseCounter;
pub use warnings::{KEY_EXPIRES_SOON, Warning, WarningKind};

use std::sync::Arc;

use crate::clock::Clock;
use crate::metrics::DecisionMetrics;
use crate::policy::CheckSet;
use crate::storage::Store;
use crate::token::{BcryptPool, Brand, Peppers};

/// What deciding needs. Clones share everything.
#[derive(Clone, Debug)]
pub struct Authorizer {
    store: Store,
    peppers: Arc<Peppers>,
    bcrypt: BcryptPool,
    brand: Brand,
    /// Checks that do not deny any key, by configuration.
    observe: CheckSet,
    clock: Clock,
    uses: Arc<UseCounter>,
    metrics: Arc<DecisionMetrics>,
    upgrades: Arc<prove::Upgrades>,
}

/// How an [`Authorizer`] decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of own tokens.
    pub brand: Brand,
    /// Checks that do not deny any key.
    pub observe: CheckSet,
    /// Peppers of digests.
    pub peppers: Arc<Peppers>,
    /// Threads for bcrypt.
    pub bcrypt: BcryptPool,
    /// What time it is.
    pub clock: Clock,
    /// Told of every decision.
    pub metrics: Arc<DecisionMetrics>,
}

impl Authorizer {
    /// An authorizer on a store.
    #[must_use]
    pub fn new(store: Store, settings: Settings) -> Self {
        Self {
            store,
            peppers: settings.peppers,
            bcrypt: settings.bcrypt,
            brand: settings.brand,
            observe: settings.observe,
            clock: settings.clock,
            uses: Arc::new(UseCounter::new(Arc::clone(&settings.metrics))),
            metrics: settings.metrics,
            upgrades: Arc::default(),
        }
    }

    /// The counter of ALLOWs, to be flushed once a second and on drain.
    #[must_use]
    pub fn uses(&self) -> &Arc<UseCounter> {
        &self.uses
    }

    /// How often bcrypt has run to prove a token since the start.
    #[must_use]
    pub fn bcrypt_runs(&self) -> u64 {
        self.bcrypt.runs()
    }
}
