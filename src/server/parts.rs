//! The parts of the service on an open database.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use secrecy::zeroize::Zeroizing;
use tokio::runtime::Handle;
use tokio::time::timeout;

use super::ServerError;
use crate::admin::{self, Admin};
use crate::authorize::{self, Authorizer};
use crate::cache::{self, Bounds, KeyCache, Loader, LoaderSettings, QueueBounds, Replicas};
use crate::clock::Clock;
use crate::config::{Serve, Tokens};
use crate::grpc::convert::authorize::describe;
use crate::leases::Leases;
use crate::metrics::Metrics;
use crate::storage::{StorageError, Store, peppers};
use crate::token::{BcryptPool, Pepper, PepperId, Peppers, os_rng};

/// Loading the keys that were used last may take so long before the service answers without the rest.
const WARM_UP_MAX: Duration = Duration::from_secs(30);

/// Use cases, wired.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) admin: Admin,
    pub(super) authorizer: Authorizer,
    pub(super) cache: Arc<KeyCache>,
    pub(super) replicas: Arc<Replicas>,
    pub(super) leases: Leases,
    loader: Loader,
}

impl Parts {
    /// The background work of the parts runs on the runtime that this is called in.
    pub(super) async fn on(
        store: &Store,
        config: &Serve,
        clock: &Clock,
        metrics: &Metrics,
    ) -> Result<Self, ServerError> {
        let tokens = &config.tokens;
        let peppers = Arc::new(peppers(store, tokens).await?);
        let leases = Leases::new(config.decisions.without_store(), Arc::clone(&metrics.leases));
        let cache = KeyCache::new(cache::Settings {
            bounds: Bounds {
                entries: config.cache.keys,
                bytes: config.cache.bytes(),
                unknown: config.cache.unknown,
            },
            observe: config.decisions.observe,
            describe,
            refresh: config.cache.refresh,
            leases: leases.clone(),
            metrics: Arc::clone(&metrics.cache),
        });
        let replicas = Replicas::new(
            store.clone(),
            Some(Arc::clone(&cache)),
            config.freshness.propagation_wait,
            Arc::clone(&metrics.freshness),
        );

        let bounds = QueueBounds { each: config.cache.load_queue_each, all: config.cache.load_queue };
        let loader = Loader::new(
            store.clone(),
            Arc::clone(&cache),
            LoaderSettings {
                bounds,
                unknown_each: config.cache.load_unknown_each,
                peppers: Arc::clone(&peppers),
                runtime: Handle::current(),
                metrics: Arc::clone(&metrics.loader),
            },
        );
        let bcrypt = BcryptPool::new(tokens.bcrypt_threads, tokens.bcrypt_queue);
        let authorizer = Authorizer::new(
            store.clone(),
            authorize::Settings {
                brand: tokens.brand.clone(),
                cache: Arc::clone(&cache),
                loader: loader.clone(),
                peppers: Arc::clone(&peppers),
                bcrypt: bcrypt.measured(&metrics.bcrypt.prove),
                clock: clock.clone(),
                metrics: Arc::clone(&metrics.decisions),
                lookups: Arc::clone(&metrics.loader),
            },
        );
        let admin = admin_with(store, tokens, peppers, clock, metrics, Arc::clone(&replicas));
        Ok(Self { admin, authorizer, cache, replicas, leases, loader })
    }

    /// Brings so many keys into memory. The service answers without them too: they are loaded when they are used.
    pub(super) async fn warm_up(&self, keys: usize) {
        if keys == 0 {
            return;
        }
        match timeout(WARM_UP_MAX, self.loader.warm_up(keys)).await {
            Ok(Ok(warm)) => tracing::info!(keys = warm, "keys are loaded"),
            Ok(Err(error)) => tracing::warn!(error = %error, "not all keys could be loaded"),
            Err(_elapsed) => tracing::warn!("loading keys took too long; the rest is loaded when it is used"),
        }
    }
}

/// Administration alone, for commands.
pub(super) async fn admin(
    store: &Store,
    tokens: &Tokens,
    clock: &Clock,
    metrics: &Metrics,
) -> Result<Admin, ServerError> {
    let peppers = Arc::new(peppers(store, tokens).await?);
    let replicas = Replicas::of_command(store.clone());
    Ok(admin_with(store, tokens, peppers, clock, metrics, replicas))
}

fn admin_with(
    store: &Store,
    tokens: &Tokens,
    peppers: Arc<Peppers>,
    clock: &Clock,
    metrics: &Metrics,
    replicas: Arc<Replicas>,
) -> Admin {
    // Threads of its own for making tokens, or looking them up: a flood of unknown tokens must not keep an
    // administrator from creating keys.
    let bcrypt = BcryptPool::new(tokens.bcrypt_threads, tokens.bcrypt_queue);
    Admin::new(
        store.clone(),
        admin::Settings {
            brand: tokens.brand.clone(),
            bcrypt_cost: tokens.bcrypt_cost,
            bcrypt: bcrypt.measured(&metrics.bcrypt.create),
            peppers,
            clock: clock.clone(),
        },
        replicas,
    )
}

/// The peppers of the file, or else the one that is kept in the database.
async fn peppers(store: &Store, tokens: &Tokens) -> Result<Peppers, ServerError> {
    if let Some(path) = &tokens.peppers_file {
        let text = fs::read_to_string(path)
            .map_err(|source| ServerError::PeppersUnreadable { path: path.clone(), source })?;
        return Ok(Peppers::parse_file(&Zeroizing::new(text))?);
    }
    let id = PepperId::parse(peppers::DATABASE_PEPPER_ID)?;
    let fresh = Zeroizing::new(Pepper::generate(id.clone(), &mut os_rng()).expose().to_vec());
    let secret = store
        .write::<_, StorageError, _>("peppers.get_or_insert", move |session| {
            Box::pin(async move { peppers::get_or_insert(session, &fresh).await.map(Zeroizing::new) })
        })
        .await?;
    Ok(Peppers::new(Pepper::new(id, &secret)?, Vec::new())?)
}
