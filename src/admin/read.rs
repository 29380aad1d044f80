//! Reading keys.

use chrono::{DateTime, Utc};

use super::{Admin, AdminError, Written, snapshot};
use crate::limits::LimitStatus;
use crate::policy::{Budget, Key, KeyId, KeyTotals, Revision};
use crate::storage::changes::{self, Actor, AuditLine, Change, Subject};
use crate::storage::{Session, StorageError, budgets, counters, keys, owners, secrets, usage};
use crate::token::KeyHash;

/// A key with everything that is shown of it.
#[derive(Clone, Debug)]
pub struct KeyView {
    /// The key.
    pub key: Key,
    /// What it has used.
    pub totals: KeyTotals,
    /// Its own budgets (not its owner's).
    pub budgets: Vec<Budget>,
    /// Until when the token before the last rotation works.
    pub previous_token_end: Option<DateTime<Utc>>,
    /// bcrypt of the current token; only where it was asked for.
    pub key_hash: Option<KeyHash>,
    /// When it was read; states are derived from it.
    pub read_time: DateTime<Utc>,
}

/// A key with everything that is shown of it, and how the rate limits that it is under stand.
#[derive(Clone, Debug)]
pub struct KeyUnderLimits {
    /// The key.
    pub view: KeyView,
    /// Of the key and of its owner; what replicas hold counts as used.
    pub limits: Vec<LimitStatus>,
}

/// What is shown of a key beside the key.
pub(super) struct Rest {
    totals: KeyTotals,
    budgets: Vec<Budget>,
    previous_token_end: Option<DateTime<Utc>>,
    read_time: DateTime<Utc>,
}

impl Rest {
    pub(super) fn of(self, key: Key) -> KeyView {
        let Self { totals, budgets, previous_token_end, read_time } = self;
        KeyView { key, totals, budgets, previous_token_end, key_hash: None, read_time }
    }
}

/// Reads it by the transaction or connection that has read the key.
pub(super) async fn rest(session: &Session, key_id: KeyId, now: DateTime<Utc>) -> Result<Rest, StorageError> {
    let keys = [key_id];
    let (totals, budgets, grace_end) = tokio::join!(
        usage::totals(session, &keys),
        budgets::of(session, Some(key_id), None, now),
        secrets::grace_end(session, key_id, now),
    );
    let totals = totals?.into_iter().next().map(|(_, totals)| totals).unwrap_or_default();
    Ok(Rest { totals, budgets: budgets?, previous_token_end: grace_end?, read_time: now })
}

/// A key with everything that is shown of it, by a transaction that sees one state, or has locked the key.
pub(super) async fn read(
    session: &Session,
    key_id: KeyId,
    now: DateTime<Utc>,
) -> Result<Option<KeyView>, StorageError> {
    let (key, rest) = tokio::join!(keys::get(session, key_id), rest(session, key_id, now));
    let (key, rest) = (key?, rest?);
    Ok(key.map(|key| rest.of(key)))
}

/// How the rate limits that a key is under stand.
async fn limits(session: &mut Session, key: &Key) -> Result<Vec<LimitStatus>, StorageError> {
    let owner = owners::rows(session, &[key.user_id]).await?.pop();
    let of_owner = owner.map(|owner| owner.rate_limits).unwrap_or_default();
    counters::statuses(session, key, of_owner).await
}

impl Admin {
    /// Reads a key; deleted ones are found until they are purged.
    ///
    /// # Errors
    /// [`AdminError::KeyNotFound`], [`AdminError::Store`].
    pub async fn get_key(&self, key_id: KeyId) -> Result<KeyUnderLimits, AdminError> {
        let now = self.settings.clock.now();
        let found = self.store.snapshot("keys.get", move |session| {
            Box::pin(async move {
                let Some(view) = read(session, key_id, now).await? else { return Ok(None) };
                let limits = limits(session, &view.key).await?;
                Ok(Some(KeyUnderLimits { view, limits }))
            })
        });
        found.await?.ok_or(AdminError::KeyNotFound(key_id))
    }

    /// Reads a key with the hash of its token, and writes so into the audit log.
    ///
    /// # Errors
    /// [`AdminError::KeyNotFound`], [`AdminError::Store`].
    pub async fn get_key_with_hash(&self, actor: Actor, key_id: KeyId) -> Result<KeyUnderLimits, AdminError> {
        let now = self.settings.clock.now();
        self.store
            .write("keys.get_with_hash", move |session| {
                Box::pin(async move {
                    // Locked: the hash must be that of the token that the key is shown with, whatever rotates.
                    let (key, rest) =
                        tokio::join!(biased; keys::lock(session, key_id), rest(session, key_id, now));
                    let key = key?.ok_or(AdminError::KeyNotFound(key_id))?;
                    let mut view = rest?.of(key);
                    view.key_hash = secrets::current_hash(session, key_id).await?;
                    let limits = limits(session, &view.key).await?;
                    let line = AuditLine { action: "keys.get_hash", before: None, after: None };
                    let resource = Subject::Key(key_id).resource();
                    changes::audit(session, Revision::ZERO, &actor, &resource, line).await?;
                    Ok(KeyUnderLimits { view, limits })
                })
            })
            .await
    }
}

/// What the logs say of a change of a key, beside the key.
#[derive(Clone, Copy)]
pub(super) struct Entry<'a> {
    pub(super) actor: &'a Actor,
    pub(super) action: &'static str,
    /// See [`Change::adds_tokens`].
    pub(super) adds_tokens: bool,
}

/// Ends the transaction of a change of a key, which is `shown` as it has left it: takes the revision, and writes the lines
/// of the logs.
///
/// `before` is the key as it was, and until when the token before its last rotation worked.
pub(super) async fn finish(
    session: &mut Session,
    entry: Entry<'_>,
    before: Option<(&Key, Option<DateTime<Utc>>)>,
    mut shown: KeyView,
) -> Result<Written<KeyView>, StorageError> {
    let Entry { actor, action, adds_tokens } = entry;
    // Budgets are created with a key, and not changed by any other change of it.
    let line = AuditLine {
        action,
        before: before.map(|(key, grace_end)| snapshot::key_in_grace(key, &shown.budgets, grace_end)),
        after: Some(snapshot::key_in_grace(&shown.key, &shown.budgets, shown.previous_token_end)),
    };
    let change = Change { subject: Subject::Key(shown.key.key_id), budget: None, adds_tokens, line };
    let stamp = changes::record(session, actor, change).await?;
    shown.key.revision = stamp.at.revision;
    Ok(Written { resource: shown, stamp })
}
