//! Applying a later change of the older system to a key that is here (`--sync`).

use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::insert::{insert_budget, secret};
use super::owners::Disabled;
use super::plan::{self, Candidate};
use super::{ACTION, actor, owners as inactive_owners, records};
use crate::admin::enclava::{ImportedKey, SyncAction, sync_action};
use crate::admin::snapshot;
use crate::policy::{AccessRule, BudgetId, Key, UserId};
use crate::storage::changes::{self, AuditLine, Change, Stamp, Subject};
use crate::storage::{Session, StorageError, Store, budgets, keys, rotation};

/// Ends the transaction.
enum Aborted {
    /// The key has changed since it was looked at: there is nothing to apply.
    NothingToDo,
    Failed(StorageError),
}

impl From<StorageError> for Aborted {
    fn from(error: StorageError) -> Self {
        Self::Failed(error)
    }
}

/// What came of an application.
pub(super) struct Applied {
    /// The owners that were disabled with it.
    pub(super) owners_disabled: Vec<UserId>,
    /// Of the last change.
    pub(super) stamp: Option<Stamp>,
}

/// Applies `candidate`; `None` where the key, locked, turns
/// out to need nothing.
pub(super) async fn apply(
    store: &Store,
    candidate: &Arc<Candidate>,
    now: DateTime<Utc>,
) -> Result<Option<Applied>, StorageError> {
    let candidate = Arc::clone(candidate);
    let applied = store
        .write("import.apply", move |session| {
            Box::pin(async move { apply_in(session, &candidate, now).await })
        })
        .await;
    match applied {
        Ok(applied) => Ok(Some(applied)),
        Err(Aborted::NothingToDo) => Ok(None),
        Err(Aborted::Failed(error)) => Err(error),
    }
}

async fn apply_in(
    session: &mut Session,
    candidate: &Candidate,
    now: DateTime<Utc>,
) -> Result<Applied, Aborted> {
    let incoming = &candidate.key;
    let key_id = incoming.key_id;
    let inactive = incoming.owner_disabled.then_some(incoming.user_id).into_iter().collect();
    let disabled = inactive_owners::disable(session, &inactive, now).await?;
    let before = keys::lock(session, key_id).await?.ok_or(Aborted::NothingToDo)?;
    let standing = keys::standings(session, &[key_id]).await?.into_iter().next();
    let standing = standing.ok_or(Aborted::NothingToDo)?;
    let action = sync_action(Some(&plan::existing(&standing)), incoming, true, now);
    let SyncAction::Apply { revoked, expire_time, take_token } = action else {
        return Err(Aborted::NothingToDo);
    };

    let mut after = changed(&before, incoming);
    after.policy.revoked = revoked;
    after.policy.expire_time = expire_time;
    keys::update(session, &after).await?;
    if take_token && standing.imported_hash.as_deref() != Some(incoming.key_hash.expose()) {
        rotation::replace_current(session, &secret(candidate), now).await?;
        after.key_prefix.clone_from(&incoming.key_prefix);
    }
    let budgets_before = budgets::of(session, Some(key_id), None, now).await?;
    let budget = apply_budget(session, candidate, now).await?;
    let budgets_after = budgets::of(session, Some(key_id), None, now).await?;

    let users: Vec<UserId> = disabled.iter().map(|owner| owner.user_id).collect();
    let mut lines: Vec<Change> = disabled.into_iter().map(Disabled::into_change).collect();
    let line = AuditLine {
        action: ACTION,
        before: Some(snapshot::key(&before, &budgets_before)),
        after: Some(snapshot::key(&after, &budgets_after)),
    };
    lines.push(Change { subject: Subject::Key(key_id), budget: None, adds_tokens: true, line });
    let (revisions, stamp) = changes::record_many(session, &actor(), lines).await?;
    let of_key = revisions.last().ok_or_else(|| StorageError::Defect("no revision".to_owned()))?;
    budgets::stamp(session, budget.as_slice(), *of_key).await?;
    Ok(Applied { owners_disabled: users, stamp })
}

/// The key with everything that the older system knows of it; what it does not know stays.
fn changed(before: &Key, incoming: &ImportedKey) -> Key {
    let imported = records::key(incoming);
    let mut after = before.clone();
    after.display_name = imported.display_name;
    after.description = imported.description;
    after.tags = imported.tags;
    after.rate_limits.requests = imported.rate_limits.requests;
    after.policy.permissions = imported.policy.permissions;
    after.policy.scopes = imported.policy.scopes;
    after.policy.models = imported.policy.models;
    after.policy.endpoints = imported.policy.endpoints;
    after.policy.ips = imported.policy.ips;
    after.policy.chatbots = imported.policy.chatbots;
    if before.revoke_time.is_none() {
        after.revoke_time = imported.revoke_time;
        after.revoke_reason = imported.revoke_reason;
    }
    after.update_time = imported.update_time;
    after
}

/// Takes the incoming limit of the budget, or the budget where there is none like it. One that is here stays
/// where the older system has none any more: an import takes no limit away. Answers the budget that was
/// changed.
async fn apply_budget(
    session: &mut Session,
    candidate: &Candidate,
    now: DateTime<Utc>,
) -> Result<Option<BudgetId>, StorageError> {
    let Some(incoming) = &candidate.key.budget else { return Ok(None) };
    let terms = records::budget(incoming);
    let own = budgets::of(session, Some(candidate.key.key_id), None, now).await?;
    let alike = own.iter().find(|budget| {
        let have = &budget.terms;
        have.period == terms.period && have.is_hard && have.models == AccessRule::Any
    });
    let Some(alike) = alike else { return insert_budget(session, candidate, now).await };
    if alike.terms.limit == terms.limit {
        return Ok(None);
    }
    budgets::set_limit(session, alike.budget_id, terms.limit, now).await?;
    Ok(Some(alike.budget_id))
}
