//! The parts of the service on an open database.

use std::fs;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use secrecy::zeroize::Zeroizing;

use super::ServerError;
use crate::admin::{self, Admin};
use crate::authorize::{self, Authorizer};
use crate::cache::{self, Bounds, KeyCache, Replicas};
use crate::clock::Clock;
use crate::config::Tokens;
use crate::metrics::Metrics;
use crate::policy::CheckSet;
use crate::storage::{StorageError, Store, peppers};
use crate::token::{BcryptPool, Pepper, PepperId, Peppers, os_rng};

/// Use cases, wired.
#[derive(Clone, Debug)]
pub(super) struct Parts {
    pub(super) admin: Admin,
    pub(super) authorizer: Authorizer,
    pub(super) cache: Arc<KeyCache>,
    pub(super) replicas: Arc<Replicas>,
}

impl Parts {
    pub(super) async fn on(
        store: &Store,
        tokens: &Tokens,
        observe: CheckSet,
        clock: &Clock,
        metrics: &Metrics,
        propagation_wait: Duration,
    ) -> Result<Self, ServerError> {
        let cache = cache(observe, metrics);
        let replicas = {
            let (own, metrics) = (Some(Arc::clone(&cache)), Arc::clone(&metrics.freshness));
            Replicas::new(store.clone(), own, propagation_wait, metrics)
        };
        let peppers = Arc::new(peppers(store, tokens).await?);
        // One for proving tokens and one for making them, or looking them up: a flood of unknown tokens must not keep an
        // administrator from creating keys.
        let bcrypt = || BcryptPool::new(tokens.bcrypt_threads, tokens.bcrypt_queue);
        let authorizer = Authorizer::new(
            store.clone(),
            authorize::Settings {
                brand: tokens.brand.clone(),
                observe,
                peppers: Arc::clone(&peppers),
                bcrypt: bcrypt().measured(&metrics.bcrypt.prove),
                clock: clock.clone(),
                metrics: Arc::clone(&metrics.decisions),
            },
        );
        let admin = Admin::new(
            store.clone(),
            admin::Settings {
                brand: tokens.brand.clone(),
                bcrypt_cost: tokens.bcrypt_cost,
                bcrypt: bcrypt().measured(&metrics.bcrypt.create),
                peppers,
                clock: clock.clone(),
            },
            Arc::clone(&replicas),
        );
        Ok(Self { admin, authorizer, cache, replicas })
    }
}

/// Keys in memory, none yet.
fn cache(observe: CheckSet, metrics: &Metrics) -> Arc<KeyCache> {
    KeyCache::new(cache::Settings {
        bounds: Bounds { entries: 100_000, bytes: 128 << 20, unknown: 100_000 },
        observe,
        describe: |_| Bytes::new(),
        refresh: Duration::from_secs(300),
        metrics: Arc::clone(&metrics.cache),
    })
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
