//! The use case of the hot path: prove the token, evaluate its policy, record.
//!
//! Nothing here knows gRPC. A deny is a value; an [`AuthorizeError`] means that no decision was made.
//!
//! What memory knows is answered at once: [`Authorizer::authorize_now`] and [`Authorizer::authenticate_now`] wait for
//! nothing and take no lock that cores share but that of a part of the cache. Everything else goes the long way, through
//! the loader and, where it must, bcrypt.
//!
//! The order of a decision: the request was received; the cache is asked whether it may be trusted and how new it is
//! ([`crate::cache::View`]), once for the caller and what he asks; the key is looked up, or loaded; the wall clock is
//! read; the policy is evaluated; rate limits are charged, all or none. After a wait the cache is asked once more.

mod bcrypt_turns;
mod callers;
mod charge;
mod decide;
mod introspect;
mod prove;
mod prove_by_bcrypt;
mod throttle;
mod uses;
mod warnings;

pub use callers::{Caller, CallerError, KnownCaller, Needed};
pub use charge::{AtOnce, Waiting};
pub use decide::{FilterOutcome, FilterQuestion, Outcome, Question};
pub use introspect::Introspection;
pub use prove::{AuthorizeError, Freshness, Proof};
pub use throttle::{FAILED_PROOFS_MAX, PREFIXES_MAX, PROOF_AGAIN_AFTER};
pub use uses::{UseCounter, add_up};
pub use warnings::{KEY_EXPIRES_SOON, Warning, WarningKind};

use std::sync::Arc;

use self::bcrypt_turns::BcryptTurns;
use self::prove_by_bcrypt::Upgrades;
use self::throttle::Throttle;
use crate::cache::{KeyCache, Loader, View};
use crate::clock::Clock;
use crate::metrics::{DecisionMetrics, LoaderMetrics};
use crate::storage::Store;
use crate::token::{AuthorizationIds, BcryptPool, Brand, Peppers};

/// What deciding needs. Clones share everything.
#[derive(Clone, Debug)]
pub struct Authorizer(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    cache: Arc<KeyCache>,
    loader: Loader,
    peppers: Arc<Peppers>,
    bcrypt: BcryptPool,
    turns: Arc<BcryptTurns>,
    throttle: Throttle,
    upgrades: Upgrades,
    brand: Brand,
    clock: Clock,
    uses: Arc<UseCounter>,
    ids: AuthorizationIds,
    metrics: Arc<DecisionMetrics>,
    lookups: Arc<LoaderMetrics>,
}

/// How an [`Authorizer`] decides.
#[derive(Clone, Debug)]
pub struct Settings {
    /// Of own tokens.
    pub brand: Brand,
    /// Keys in memory.
    pub cache: Arc<KeyCache>,
    /// Brings them there.
    pub loader: Loader,
    /// Peppers of digests.
    pub peppers: Arc<Peppers>,
    /// Threads for bcrypt.
    pub bcrypt: BcryptPool,
    /// What time it is.
    pub clock: Clock,
    /// Told of every decision.
    pub metrics: Arc<DecisionMetrics>,
    /// Told of every look-up.
    pub lookups: Arc<LoaderMetrics>,
}

impl Authorizer {
    /// An authorizer on a store.
    #[must_use]
    pub fn new(store: Store, settings: Settings) -> Self {
        let Settings { brand, cache, loader, peppers, bcrypt, clock, metrics, lookups } = settings;
        Self(Arc::new(Inner {
            store,
            cache,
            loader,
            ids: AuthorizationIds::new(&peppers),
            peppers,
            turns: BcryptTurns::before(&bcrypt),
            bcrypt,
            throttle: Throttle::default(),
            upgrades: Upgrades::default(),
            brand,
            clock,
            uses: Arc::new(UseCounter::new(Arc::clone(&metrics))),
            metrics,
            lookups,
        }))
    }

    /// What a request is answered by that memory may answer; `None` where memory must not be trusted. To be taken after
    /// the request was received, and anew after each wait.
    #[must_use]
    pub fn view(&self) -> Option<View<'_>> {
        self.0.cache.view()
    }

    /// The keys in memory.
    #[must_use]
    pub fn cache(&self) -> &Arc<KeyCache> {
        &self.0.cache
    }

    /// The counter of ALLOWs, to be flushed once a second and on drain.
    #[must_use]
    pub fn uses(&self) -> &Arc<UseCounter> {
        &self.0.uses
    }

    /// How often bcrypt has run to prove a token since the start.
    #[must_use]
    pub fn bcrypt_runs(&self) -> u64 {
        self.0.bcrypt.runs()
    }
}
