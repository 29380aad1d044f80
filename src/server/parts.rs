//! The parts of the service on an open database.

use std::fs;
use std::sync::Arc;

use secrecy::zeroize::Zeroizing;

use super::ServerError;
use crate::admin::{self, Admin};
use crate::authorize::{self, Authorizer};
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
}

impl Parts {
    pub(super) async fn on(
        store: &Store,
        tokens: &Tokens,
        observe: CheckSet,
        clock: &Clock,
        metrics: &Metrics,
    ) -> Result<Self, ServerError> {
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
        );
        Ok(Self { admin, authorizer })
    }
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
