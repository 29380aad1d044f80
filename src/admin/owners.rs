//! Owners: reading, listing, disabling and enabling, limits.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};

use super::{Admin, AdminError, Changed, Etag, EtagOf, Written, snapshot};
use crate::limits::LimitStatus;
use crate::policy::{Owner, RateLimits, Revision, UserId};
use crate::storage::changes::{self, Actor, AuditLine, Change, Subject};
use crate::storage::{Session, StorageError, counters, owners};

/// An owner with everything that is shown of it.
#[derive(Clone, Debug)]
pub struct OwnerView {
    /// The owner.
    pub owner: Owner,
    /// Keys that are not deleted.
    pub key_count: i64,
}

/// An owner with everything that is shown of it, and how its rate limits stand.
#[derive(Clone, Debug)]
pub struct OwnerUnderLimits {
    /// The owner.
    pub view: OwnerView,
    /// What replicas hold counts as used.
    pub limits: Vec<LimitStatus>,
}

/// Which owners to list.
#[derive(Clone, Copy, Debug)]
pub struct ListOwners {
    /// Only disabled ones, or only those that are not.
    pub disabled: Option<bool>,
    /// The owner that the page before ended with.
    pub after: Option<UserId>,
    /// At most so many.
    pub limit: u16,
}

/// A page of owners.
#[derive(Clone, Debug)]
pub struct OwnerPage {
    /// The owners.
    pub owners: Vec<OwnerView>,
    /// There are more: the next page comes after this owner.
    pub next_after: Option<UserId>,
}

/// An owner that never was changed: it has no row.
fn unchanged(user_id: UserId) -> Owner {
    let never = DateTime::UNIX_EPOCH;
    Owner {
        user_id,
        disable_time: None,
        rate_limits: RateLimits::default(),
        revision: Revision::ZERO,
        create_time: never,
        update_time: never,
    }
}

/// Some owners with everything that is shown of them, in the order of `users`; one that has no row never was changed.
pub(super) async fn views(session: &mut Session, users: Vec<UserId>) -> Result<Vec<OwnerView>, StorageError> {
    if users.is_empty() {
        return Ok(Vec::new());
    }
    let counts = owners::key_counts(session, &users).await?;
    let rows = owners::rows(session, &users).await?;
    let mut rows: BTreeMap<UserId, Owner> = rows.into_iter().map(|owner| (owner.user_id, owner)).collect();
    let views = users.into_iter().zip(counts).map(|(user_id, key_count)| OwnerView {
        owner: rows.remove(&user_id).unwrap_or_else(|| unchanged(user_id)),
        key_count,
    });
    Ok(views.collect())
}

/// Writes what differs.
async fn write(session: &mut Session, before: &Owner, after: &Owner) -> Result<(), StorageError> {
    if after.disable_time != before.disable_time {
        owners::set_disabled(session, after.user_id, after.disable_time, after.update_time).await?;
    }
    if after.rate_limits != before.rate_limits {
        owners::set_limits(session, after.user_id, after.rate_limits, after.update_time).await?;
    }
    Ok(())
}

/// Ends a transaction that leaves nothing behind, not even the row that locking an owner makes.
enum RolledBack {
    Unchanged(Box<Written<OwnerView>>),
    Failed(AdminError),
}

impl From<AdminError> for RolledBack {
    fn from(error: AdminError) -> Self {
        Self::Failed(error)
    }
}

impl From<StorageError> for RolledBack {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.into())
    }
}

impl Admin {
    /// Stops all keys of an owner, or lets them work again. Doing so twice changes nothing, and keeps the
    /// first time.
    ///
    /// # Errors
    /// [`AdminError::OperatorOwner`], [`AdminError::EtagMismatch`], [`AdminError::Store`].
    pub async fn set_owner_disabled(
        &self,
        actor: Actor,
        user_id: UserId,
        disabled: bool,
        etag: Option<Etag>,
    ) -> Result<Changed<OwnerView>, AdminError> {
        if user_id == UserId::OPERATOR {
            return Err(AdminError::OperatorOwner);
        }
        let action = if disabled { "owners.disable" } else { "owners.enable" };
        let change = move |owner: &mut Owner, now| {
            if owner.disable_time.is_some() != disabled {
                owner.disable_time = disabled.then_some(now);
            }
        };
        self.change_owner(actor, action, user_id, etag, change).await
    }

    /// Replaces the limits over all keys of an owner. The operator has none.
    ///
    /// # Errors
    /// [`AdminError::EtagMismatch`], [`AdminError::Store`].
    pub async fn set_owner_limits(
        &self,
        actor: Actor,
        user_id: UserId,
        limits: RateLimits,
        etag: Option<Etag>,
    ) -> Result<Changed<OwnerView>, AdminError> {
        let change = move |owner: &mut Owner, _| owner.rate_limits = limits;
        self.change_owner(actor, "owners.set_limits", user_id, etag, change).await
    }

    async fn change_owner(
        &self,
        actor: Actor,
        action: &'static str,
        user_id: UserId,
        etag: Option<Etag>,
        change: impl FnOnce(&mut Owner, DateTime<Utc>) + Send + 'static,
    ) -> Result<Changed<OwnerView>, AdminError> {
        let now = self.settings.clock.now();
        let answer_by = actor.answer_by;
        let written = self
            .store
            .write(action, move |session| {
                Box::pin(async move {
                    let (before, key_count) = tokio::join!(
                        owners::lock(session, user_id, now),
                        owners::key_count(session, user_id),
                    );
                    let (before, key_count) = (before?, key_count?);
                    Etag::check(etag.as_ref(), EtagOf::Owner(user_id), before.revision)?;
                    let mut owner = before.clone();
                    change(&mut owner, now);
                    if owner == before {
                        let stamp = changes::seen(session, before.revision).await?;
                        let resource = OwnerView { owner: before, key_count };
                        return Err(RolledBack::Unchanged(Box::new(Written { resource, stamp })));
                    }
                    owner.update_time = now;
                    write(session, &before, &owner).await?;
                    let line = AuditLine {
                        action,
                        before: Some(snapshot::owner(&before)),
                        after: Some(snapshot::owner(&owner)),
                    };
                    let change =
                        Change { subject: Subject::Owner(user_id), budget: None, adds_tokens: false, line };
                    let stamp = changes::record(session, &actor, change).await?;
                    owner.revision = stamp.at.revision;
                    Ok(Written { resource: OwnerView { owner, key_count }, stamp })
                })
            })
            .await;
        match written {
            Ok(written) => Ok(self.propagated(written, answer_by).await),
            Err(RolledBack::Unchanged(found)) => Ok(self.propagated(*found, answer_by).await),
            Err(RolledBack::Failed(error)) => Err(error),
        }
    }

    /// Reads an owner that has keys (deleted ones included, until they are purged) or was changed once.
    ///
    /// # Errors
    /// [`AdminError::OwnerNotFound`], [`AdminError::Store`].
    pub async fn get_owner(&self, user_id: UserId) -> Result<OwnerUnderLimits, AdminError> {
        let read = self.store.snapshot("owners.get", move |session| {
            Box::pin(async move {
                let row = owners::rows(session, &[user_id]).await?.pop();
                if row.is_none() && !owners::has_keys(session, user_id).await? {
                    return Ok(None);
                }
                let owner = row.unwrap_or_else(|| unchanged(user_id));
                let key_count = owners::key_count(session, user_id).await?;
                let limits = counters::owner_statuses(session, user_id, owner.rate_limits).await?;
                Ok(Some(OwnerUnderLimits { view: OwnerView { owner, key_count }, limits }))
            })
        });
        read.await?.ok_or(AdminError::OwnerNotFound(user_id))
    }

    /// Lists a page of the owners that [`Admin::get_owner`] finds, by id.
    ///
    /// # Errors
    /// [`AdminError::Store`].
    pub async fn list_owners(&self, request: ListOwners) -> Result<OwnerPage, AdminError> {
        let ListOwners { disabled, after, limit } = request;
        let read = self.store.snapshot("owners.list", move |session| {
            Box::pin(async move {
                // One more than asked for tells whether there is a next page.
                let mut users = owners::list(session, disabled, after, i64::from(limit) + 1).await?;
                let has_more = users.len() > usize::from(limit);
                users.truncate(usize::from(limit));
                let next_after = if has_more { users.last().copied() } else { None };
                Ok(OwnerPage { owners: views(session, users).await?, next_after })
            })
        });
        Ok(read.await?)
    }
}
