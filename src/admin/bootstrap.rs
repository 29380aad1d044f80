//! The first administrator: a service token with the scope `keystile.admin`, made where there is none.

use std::collections::BTreeSet;

use super::create::{MadeSecret, insert};
use super::{Admin, AdminError};
use crate::policy::{
    AccessRule, CheckSet, Description, DisplayName, InvalidText, KeyId, Metadata, NewKey, RateLimits,
    SCOPE_ADMIN, Scope, Tag, UserId,
};
use crate::storage::changes::Actor;
use crate::storage::{StorageError, keys, secrets};
use crate::token::Token;

/// What came of a bootstrap.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BootstrapOutcome {
    /// The token is the first administrator's now.
    Created(KeyId),
    /// There is an administrator already; the token was not taken in.
    AlreadyThere,
    /// The token is that of a key which cannot administer (any more): revoked or expired, say.
    TokenIsSpent,
}

impl Admin {
    /// Whether a usable key with the scope `keystile.admin` exists.
    ///
    /// # Errors
    /// [`AdminError::Store`].
    pub async fn has_administrator(&self) -> Result<bool, AdminError> {
        let now = self.settings.clock.now();
        let found = self.store.read("keys.has_administrator", move |session| {
            Box::pin(async move { keys::has_administrator(session, now).await })
        });
        Ok(found.await?)
    }

    /// Makes `token` the first administrator's, if there is none. Safe with several replicas at once: one
    /// of them does it.
    ///
    /// # Errors
    /// [`AdminError::Overloaded`], [`AdminError::Store`].
    pub async fn bootstrap(&self, actor: Actor, token: &Token) -> Result<BootstrapOutcome, AdminError> {
        let key = administrator().map_err(|error| StorageError::Defect(error.to_string()))?;
        let secret: MadeSecret = self.make_secret(token).await?;
        let now = self.settings.clock.now();
        let answer_by = actor.answer_by;
        let created = self
            .store
            .write("keys.bootstrap", move |session| {
                Box::pin(async move {
                    keys::lock_bootstrap(session).await?;
                    if keys::has_administrator(session, now).await? {
                        return Ok(None);
                    }
                    insert(session, &actor, &key, &[], &secret, None, now).await.map(Some)
                })
            })
            .await;
        match created {
            Ok(Some(written)) => {
                let created = self.propagated(written, answer_by).await;
                Ok(BootstrapOutcome::Created(created.resource.key.key_id))
            }
            Ok(None) => Ok(BootstrapOutcome::AlreadyThere),
            Err(AdminError::Store(error)) if error.constraint().is_some_and(secrets::is_token_constraint) => {
                Ok(BootstrapOutcome::TokenIsSpent)
            }
            Err(error) => Err(error),
        }
    }
}

fn administrator() -> Result<NewKey, InvalidText> {
    Ok(NewKey {
        user_id: UserId::OPERATOR,
        display_name: DisplayName::parse("First administrator")?,
        description: Description::parse("Service token made at the first start")?,
        tags: BTreeSet::from([Tag::parse("bootstrap")?]),
        metadata: Metadata::default(),
        permissions: BTreeSet::new(),
        scopes: BTreeSet::from([Scope::parse(SCOPE_ADMIN)?]),
        models: AccessRule::Any,
        endpoints: AccessRule::Any,
        ips: AccessRule::Any,
        chatbots: AccessRule::Any,
        rate_limits: RateLimits::default(),
        observe: CheckSet::EMPTY,
        expire_time: None,
    })
}
