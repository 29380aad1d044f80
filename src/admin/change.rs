//! How a key is changed: locked, compared with what the caller has seen, changed, logged.

use chrono::{DateTime, Utc};

use super::read::{Entry, KeyView, finish, read, rest};
use super::{Admin, AdminError, Changed, Etag, EtagOf, Written};
use crate::policy::{Key, KeyId};
use crate::storage::changes::{self, Actor};
use crate::storage::{Session, StorageError, keys, secrets};

/// A change that is asked for: of what, by whom, and on which condition.
#[derive(Clone, Debug)]
pub(super) struct KeyChange {
    pub(super) actor: Actor,
    /// The audit log's name of it.
    pub(super) action: &'static str,
    pub(super) key_id: KeyId,
    pub(super) etag: Option<Etag>,
    /// Check everything, change nothing.
    pub(super) validate_only: bool,
}

/// Ends a transaction that was only to validate.
pub(super) enum Aborted<T> {
    Validated(Box<Written<T>>),
    Failed(AdminError),
}

impl<T> From<AdminError> for Aborted<T> {
    fn from(error: AdminError) -> Self {
        Self::Failed(error)
    }
}

impl<T> From<StorageError> for Aborted<T> {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.into())
    }
}

impl Admin {
    /// Changes a key that is not deleted. A change that finds everything as it wants it changes nothing.
    ///
    /// # Errors
    /// Those of `change`; [`AdminError::KeyNotFound`], [`AdminError::KeyDeleted`],
    /// [`AdminError::EtagMismatch`], [`AdminError::Store`].
    pub(super) async fn change_key(
        &self,
        actor: Actor,
        action: &'static str,
        key_id: KeyId,
        etag: Option<Etag>,
        change: impl FnOnce(&mut Key, DateTime<Utc>) -> Result<(), AdminError> + Send + 'static,
    ) -> Result<Changed<KeyView>, AdminError> {
        let request = KeyChange { actor, action, key_id, etag, validate_only: false };
        self.change_any_key(request, move |key, now| {
            not_deleted(key)?;
            change(key, now)
        })
        .await
    }

    /// Changes a key, deleted or not.
    ///
    /// Where it is only to be validated, the answer has the key as it would be, but for its revision.
    ///
    /// # Errors
    /// Those of `change`; [`AdminError::KeyNotFound`], [`AdminError::EtagMismatch`], [`AdminError::Store`].
    pub(super) async fn change_any_key(
        &self,
        request: KeyChange,
        change: impl FnOnce(&mut Key, DateTime<Utc>) -> Result<(), AdminError> + Send + 'static,
    ) -> Result<Changed<KeyView>, AdminError> {
        let now = self.settings.clock.now();
        let answer_by = request.actor.answer_by;
        let written = self
            .store
            .write(request.action, move |session| Box::pin(run(session, request, change, now)))
            .await;
        match written {
            Ok(written) => Ok(self.propagated(written, answer_by).await),
            Err(Aborted::Validated(written)) => Ok(Self::validated(*written)),
            Err(Aborted::Failed(error)) => Err(error),
        }
    }
}

async fn run(
    session: &mut Session,
    request: KeyChange,
    change: impl FnOnce(&mut Key, DateTime<Utc>) -> Result<(), AdminError> + Send,
    now: DateTime<Utc>,
) -> Result<Written<KeyView>, Aborted<KeyView>> {
    let KeyChange { actor, action, key_id, etag, validate_only } = request;
    let (before, grace_end) = lock(session, key_id, etag.as_ref(), now).await?;
    let mut after = before.clone();
    change(&mut after, now)?;
    if after == before {
        return Ok(shown(session, before, now).await?);
    }
    after.update_time = now;
    let shown = update(session, &after, now).await?;
    if validate_only {
        let stamp = changes::seen(session, shown.key.revision).await?;
        return Err(Aborted::Validated(Box::new(Written { resource: shown, stamp })));
    }
    // Without its row a token is nobody's; a key that is restored was never that, but may be remembered so.
    let adds_tokens = before.policy.deleted && !after.policy.deleted;
    let entry = Entry { actor: &actor, action, adds_tokens };
    Ok(finish(session, entry, Some((&before, grace_end)), shown).await?)
}

/// Locks a key until the transaction ends, if it is as the caller has seen it. Answers too until when the token before
/// its last rotation works.
pub(super) async fn lock(
    session: &Session,
    key_id: KeyId,
    etag: Option<&Etag>,
    now: DateTime<Utc>,
) -> Result<(Key, Option<DateTime<Utc>>), AdminError> {
    let (key, grace_end) = tokio::join!(
        biased;
        keys::lock(session, key_id),
        secrets::grace_end(session, key_id, now),
    );
    let key = key?.ok_or(AdminError::KeyNotFound(key_id))?;
    Etag::check(etag, EtagOf::Key(key_id), key.revision)?;
    Ok((key, grace_end?))
}

/// Writes a locked key, and reads it back with everything that is shown of it.
pub(super) async fn update(session: &Session, key: &Key, now: DateTime<Utc>) -> Result<KeyView, AdminError> {
    let (updated, shown) = tokio::join!(biased; keys::update(session, key), read(session, key.key_id, now));
    updated?;
    shown?.ok_or(AdminError::KeyNotFound(key.key_id))
}

/// A deleted key is only undeleted.
pub(super) fn not_deleted(key: &Key) -> Result<(), AdminError> {
    if key.policy.deleted { Err(AdminError::KeyDeleted(key.key_id)) } else { Ok(()) }
}

/// A key that this transaction does not change.
async fn shown(session: &Session, key: Key, now: DateTime<Utc>) -> Result<Written<KeyView>, StorageError> {
    let (stamp, rest) = tokio::join!(changes::seen(session, key.revision), rest(session, key.key_id, now));
    Ok(Written { stamp: stamp?, resource: rest?.of(key) })
}
