//! Creating keys.

use chrono::{DateTime, Utc};

use super::change::Aborted;
use super::idempotency::Attempt;
use super::read::{Entry, KeyView, finish, read};
use super::{Admin, AdminError, Changed, RequestId, Written};
use crate::policy::{BudgetSubject, KeyId, NewBudget, NewKey, UserId};
use crate::storage::changes::{self, Actor};
use crate::storage::secrets::{NewSecret, SecretId};
use crate::storage::{Session, StorageError, budgets, keys, secrets};
use crate::token::{Digest, KeyHash, PepperMark, Presented, Token, os_rng};

/// A key to be created.
#[derive(Clone, Debug)]
pub struct CreateKey {
    /// The key.
    pub key: NewKey,
    /// Its budgets.
    pub budgets: Vec<NewBudget>,
    /// Makes it safe to repeat. Not looked at where it is only validated.
    pub request_id: Option<RequestId>,
    /// Check everything, create nothing.
    pub validate_only: bool,
}

/// A key and the token that was made for it.
#[derive(Debug)]
pub struct IssuedToken {
    /// The key.
    pub changed: Changed<KeyView>,
    /// The secret, to be shown once; `None` where it was only validated, or made by the same request before.
    pub token: Option<Token>,
}

/// Two tokens with the same public id are as good as impossible (62^12); a third try is never needed.
pub(super) const TRIES: usize = 3;

/// What is stored of a new token.
#[derive(Clone, Debug)]
pub(super) struct MadeSecret {
    key_prefix: String,
    key_hash: KeyHash,
    pepper: PepperMark,
    digest: Digest,
    imported: bool,
}

impl MadeSecret {
    pub(super) fn of(&self, key_id: KeyId) -> NewSecret<'_> {
        let Self { key_prefix, key_hash, imported, .. } = self;
        NewSecret { key_id, key_prefix, key_hash, imported: *imported }
    }

    pub(super) async fn store_digest(
        &self,
        session: &mut Session,
        secret: SecretId,
    ) -> Result<(), StorageError> {
        secrets::insert_digest(session, secret, &self.pepper, &self.digest).await
    }
}

/// Whether a new token has to be thrown for: its public id is another's.
pub(super) fn is_taken(error: &AdminError) -> bool {
    matches!(error, AdminError::Store(error) if error.constraint() == Some(secrets::PREFIX_CONSTRAINT))
}

impl Admin {
    /// Creates a key, or only checks that it could be.
    ///
    /// # Errors
    /// [`AdminError::ReservedScope`], [`AdminError::RequestIdReused`], [`AdminError::Overloaded`],
    /// [`AdminError::Store`].
    pub async fn create_key(&self, actor: Actor, request: CreateKey) -> Result<IssuedToken, AdminError> {
        let request_id = request.request_id.filter(|_| !request.validate_only);
        let attempt = Attempt::new(&actor, "keys.create", request_id);
        if let Some(changed) = self.repeated(&attempt, actor.answer_by).await? {
            return Ok(IssuedToken { changed, token: None });
        }
        let mut tries = 1;
        loop {
            let token = Token::generate(&self.settings.brand, &mut os_rng());
            match self.create_key_with(actor.clone(), &attempt, request.clone(), token).await {
                Err(error) if is_taken(&error) && tries < TRIES => tries += 1,
                result => return result,
            }
        }
    }

    async fn create_key_with(
        &self,
        actor: Actor,
        attempt: &Attempt,
        request: CreateKey,
        token: Token,
    ) -> Result<IssuedToken, AdminError> {
        let CreateKey { key, budgets, request_id: _, validate_only } = request;
        if key.user_id != UserId::OPERATOR && key.scopes.iter().any(|scope| scope.is_reserved()) {
            return Err(AdminError::ReservedScope(key.user_id));
        }
        let secret = self.make_secret(&token).await?;
        let now = self.settings.clock.now();
        let answer_by = actor.answer_by;
        let attempt = attempt.clone();
        let created = self
            .store
            .write("keys.create", move |session| {
                Box::pin(async move {
                    if let Some(key_id) = attempt.take(session, now).await? {
                        return Ok((repetition(session, key_id, now).await?, None));
                    }
                    let created =
                        insert(session, &actor, &key, &budgets, &secret, Some(&attempt), now).await?;
                    if validate_only {
                        return Err(Aborted::Validated(Box::new(created)));
                    }
                    Ok((created, Some(token)))
                })
            })
            .await;
        match created {
            Ok((written, token)) => {
                Ok(IssuedToken { changed: self.propagated(written, answer_by).await, token })
            }
            Err(Aborted::Validated(written)) => {
                Ok(IssuedToken { changed: Self::validated(*written), token: None })
            }
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

/// The key of a request that was carried out before, as it is now.
pub(super) async fn repetition(
    session: &mut Session,
    key_id: i64,
    now: DateTime<Utc>,
) -> Result<Written<KeyView>, AdminError> {
    let key_id = KeyId::new(key_id)
        .ok_or_else(|| StorageError::Defect(format!("a request came to key {key_id}, which is none")))?;
    let resource = read(session, key_id, now).await?.ok_or(AdminError::KeyNotFound(key_id))?;
    Ok(Written { stamp: changes::seen(session, resource.key.revision).await?, resource })
}

pub(super) async fn insert(
    session: &mut Session,
    actor: &Actor,
    key: &NewKey,
    new_budgets: &[NewBudget],
    made: &MadeSecret,
    attempt: Option<&Attempt>,
    now: DateTime<Utc>,
) -> Result<Written<KeyView>, AdminError> {
    let key_id = keys::insert(session, key, now).await?;
    if let Some(attempt) = attempt {
        attempt.complete(session, key_id.get()).await?;
    }
    let secret_id = secrets::insert(session, &made.of(key_id), now).await?;
    made.store_digest(session, secret_id).await?;
    let mut ids = Vec::with_capacity(new_budgets.len());
    for budget in new_budgets {
        ids.push(budgets::insert(session, BudgetSubject::Key(key_id), budget, now).await?);
    }
    let entry = Entry { actor, action: "keys.create", adds_tokens: true };
    let shown = read(session, key_id, now).await?.ok_or(AdminError::KeyNotFound(key_id))?;
    let mut written = finish(session, entry, None, shown).await?;
    let revision = written.stamp.at.revision;
    budgets::stamp(session, &ids, revision).await?;
    for budget in &mut written.resource.budgets {
        budget.revision = revision;
    }
    Ok(written)
}
