//! Creating keys.

use chrono::{DateTime, Utc};

use super::read::{KeyView, finish};
use super::{Admin, AdminError, Changed};
use crate::policy::{BudgetSubject, NewBudget, NewKey, UserId};
use crate::storage::changes::Actor;
use crate::storage::secrets::NewSecret;
use crate::storage::{Session, StorageError, budgets, keys, secrets};
use crate::token::{Digest, KeyHash, PepperMark, Presented, Token, os_rng};

/// A key to be created.
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// The key.
    pub key: NewKey,
    /// Its budgets.
    pub budgets: Vec<NewBudget>,
    /// Check everything, create nothing.
    pub validate_only: bool,
}

/// A new key and its token.
#[derive(Debug)]
pub struct CreatedKey {
    /// The key.
    pub changed: Changed<KeyView>,
    /// The secret, to be shown once; `None` where it was only validated.
    pub token: Option<Token>,
}

/// Two tokens with the same public id are as good as impossible (62^12); a third try is never needed.
const TRIES: usize = 3;
const PREFIX_CONSTRAINT: &str = "key_secrets_own_prefix_is_unique";

/// What is stored of a new token.
#[derive(Clone, Debug)]
pub(super) struct MadeSecret {
    key_prefix: String,
    key_hash: KeyHash,
    pepper: PepperMark,
    digest: Digest,
    imported: bool,
}

/// Ends a transaction that was only to validate.
enum Aborted {
    Validated(Box<Changed<KeyView>>),
    Failed(AdminError),
}

impl From<StorageError> for Aborted {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.into())
    }
}

impl Admin {
    /// Creates a key, or only checks that it could be.
    ///
    /// # Errors
    /// [`AdminError::ReservedScope`], [`AdminError::Overloaded`], [`AdminError::Store`].
    pub async fn create_key(&self, actor: Actor, request: CreateKey) -> Result<CreatedKey, AdminError> {
        let mut tries = 1;
        loop {
            let token = Token::generate(&self.settings.brand, &mut os_rng());
            match self.create_key_with(actor.clone(), request.clone(), token).await {
                Err(AdminError::Store(error))
                    if error.constraint() == Some(PREFIX_CONSTRAINT) && tries < TRIES =>
                {
                    tries += 1;
                }
                result => return result,
            }
        }
    }

    /// Creates a key with a token that was made elsewhere.
    ///
    /// # Errors
    /// As [`Admin::create_key`]; a constraint where the token's prefix or digest is taken.
    pub async fn create_key_with(
        &self,
        actor: Actor,
        request: CreateKey,
        token: Token,
    ) -> Result<CreatedKey, AdminError> {
        let CreateKey { key, budgets, validate_only } = request;
        if key.user_id != UserId::OPERATOR && key.scopes.iter().any(|scope| scope.is_reserved()) {
            return Err(AdminError::ReservedScope(key.user_id));
        }
        let secret = self.make_secret(&token).await?;
        let now = self.settings.clock.now();
        let created = self
            .store
            .write("keys.create", move |session| {
                Box::pin(async move {
                    let created = insert(session, &actor, &key, &budgets, &secret, now);
                    let created = created.await.map_err(Aborted::Failed)?;
                    if validate_only { Err(Aborted::Validated(Box::new(created))) } else { Ok(created) }
                })
            })
            .await;
        match created {
            Ok(changed) => Ok(CreatedKey { changed, token: Some(token) }),
            Err(Aborted::Validated(changed)) => Ok(CreatedKey { changed: *changed, token: None }),
            Err(Aborted::Failed(error)) => Err(error),
        }
    }

    pub(super) async fn make_secret(&self, token: &Token) -> Result<MadeSecret, AdminError> {
        let key_hash = self.settings.bcrypt.hash(token.clone(), self.settings.bcrypt_cost).await?;
        let (pepper, digest) = self.settings.peppers.digest_current(token.expose().as_bytes());
        // A token that an operator supplies may have a foreign shape, whose prefix need not be unique.
        let presented = Presented::classify(token.expose().as_bytes(), &self.settings.brand);
        let imported = !presented.is_ok_and(|presented| presented.is_own());
        Ok(MadeSecret { key_prefix: token.prefix(), key_hash, pepper: pepper.clone(), digest, imported })
    }
}

pub(super) async fn insert(
    session: &mut Session,
    actor: &Actor,
    key: &NewKey,
    new_budgets: &[NewBudget],
    made: &MadeSecret,
    now: DateTime<Utc>,
) -> Result<Changed<KeyView>, AdminError> {
    let key_id = keys::insert(session, key, now).await?;
    let secret =
        NewSecret { key_id, key_prefix: &made.key_prefix, key_hash: &made.key_hash, imported: made.imported };
    let secret_id = secrets::insert(session, &secret, now).await?;
    secrets::insert_digest(session, secret_id, &made.pepper, &made.digest).await?;
    let mut ids = Vec::with_capacity(new_budgets.len());
    for budget in new_budgets {
        ids.push(budgets::insert(session, BudgetSubject::Key(key_id), budget, now).await?);
    }
    let mut changed = finish(session, actor, "keys.create", None, key_id, now).await?;
    budgets::stamp(session, &ids, changed.revision).await?;
    for budget in &mut changed.resource.budgets {
        budget.revision = changed.revision;
    }
    Ok(changed)
}
