//! Inserting new keys: all of a page in one transaction, or, where that fails, one by one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};

use super::owners::Disabled;
use super::plan::Candidate;
use super::{ACTION, actor, owners as inactive_owners, records};
use crate::admin::snapshot;
use crate::policy::{BudgetId, BudgetSubject, Key, KeyId, Period, UserId};
use crate::storage::changes::{self, AuditLine, Change, Stamp, Subject};
use crate::storage::secrets::NewSecret;
use crate::storage::{Session, StorageError, Store, budgets, keys, secrets, usage};

/// What came of an insertion.
#[derive(Debug, Default)]
pub(super) struct Inserted {
    /// The new keys. Ids that were taken in the meantime are neither here nor in `refused`.
    pub(super) keys: BTreeSet<KeyId>,
    pub(super) owners_disabled: Vec<UserId>,
    /// What the database did not take, and why.
    pub(super) refused: BTreeMap<KeyId, StorageError>,
    /// Of the last change.
    pub(super) stamp: Option<Stamp>,
}

/// Inserts `candidates`, which are in order of id.
///
/// Fails where the database cannot be reached, and where it refuses every single row as a defect: then it is
/// not the rows that are wrong.
pub(super) async fn insert(
    store: &Store,
    candidates: Vec<Arc<Candidate>>,
    now: DateTime<Utc>,
) -> Result<Inserted, StorageError> {
    let count = candidates.len();
    match insert_together(store, candidates.clone(), now).await {
        Ok(inserted) => return Ok(inserted),
        Err(error) if count == 1 && !is_of_the_row(&error) => return Err(error),
        Err(error) => tracing::debug!(%error, import.keys = count, "a batch is imported key by key"),
    }
    let mut all = Inserted::default();
    for candidate in candidates {
        let key_id = candidate.key.key_id;
        match insert_together(store, vec![candidate], now).await {
            Ok(one) => {
                all.keys.extend(one.keys);
                all.owners_disabled.extend(one.owners_disabled);
                all.stamp = one.stamp.or(all.stamp);
            }
            Err(error @ StorageError::Unavailable(_)) => return Err(error),
            Err(error) => {
                all.refused.insert(key_id, error);
            }
        }
    }
    if all.refused.len() == count && !all.refused.values().any(is_of_the_row) {
        return Err(all
            .refused
            .into_values()
            .next()
            .unwrap_or_else(|| StorageError::Defect("a batch failed without a reason".to_owned())));
    }
    Ok(all)
}

/// Whether the database speaks about the row, not about itself.
fn is_of_the_row(error: &StorageError) -> bool {
    matches!(error, StorageError::Constraint { .. } | StorageError::Corrupt { .. })
}

async fn insert_together(
    store: &Store,
    candidates: Vec<Arc<Candidate>>,
    now: DateTime<Utc>,
) -> Result<Inserted, StorageError> {
    store
        .write("import.insert", move |session| {
            Box::pin(async move { insert_in(session, &candidates, now).await })
        })
        .await
}

/// In the store's lock order: owners, keys, secrets, budgets, usage, revision.
async fn insert_in(
    session: &mut Session,
    candidates: &[Arc<Candidate>],
    now: DateTime<Utc>,
) -> Result<Inserted, StorageError> {
    let inactive = candidates.iter().filter(|candidate| candidate.key.owner_disabled);
    let inactive = inactive.map(|candidate| candidate.key.user_id).collect();
    let disabled = inactive_owners::disable(session, &inactive, now).await?;
    let owners_disabled: Vec<UserId> = disabled.iter().map(|owner| owner.user_id).collect();

    let records: Vec<Key> = candidates.iter().map(|candidate| records::key(&candidate.key)).collect();
    let free = keys::insert_given(session, &records.iter().collect::<Vec<_>>()).await?;
    let inserted: BTreeSet<KeyId> = free.into_iter().collect();
    let new: Vec<&Candidate> =
        candidates.iter().map(AsRef::as_ref).filter(|new| inserted.contains(&new.key.key_id)).collect();
    let new_budgets = insert_belongings(session, &new, now).await?;

    let mut lines: Vec<Change> = disabled.into_iter().map(Disabled::into_change).collect();
    for record in records.iter().filter(|record| inserted.contains(&record.key_id)) {
        let budgets = match new_budgets.get(&record.key_id) {
            Some(_) => budgets::of(session, Some(record.key_id), None, now).await?,
            None => Vec::new(),
        };
        let line = AuditLine { action: ACTION, before: None, after: Some(snapshot::key(record, &budgets)) };
        lines.push(Change { subject: Subject::Key(record.key_id), budget: None, adds_tokens: true, line });
    }
    let subjects: Vec<Subject> = lines.iter().map(|change| change.subject).collect();
    let (revisions, stamp) = changes::record_many(session, &actor(), lines).await?;
    let of_budgets = subjects.into_iter().zip(revisions).filter_map(|(subject, revision)| match subject {
        Subject::Owner(_) => None,
        Subject::Key(key_id) => Some((*new_budgets.get(&key_id)?, revision)),
    });
    budgets::stamp_many(session, &of_budgets.collect::<Vec<_>>()).await?;
    Ok(Inserted { keys: inserted, owners_disabled, refused: BTreeMap::new(), stamp })
}

/// The rows of the other tables; answers the budgets.
async fn insert_belongings(
    session: &mut Session,
    new: &[&Candidate],
    now: DateTime<Utc>,
) -> Result<BTreeMap<KeyId, BudgetId>, StorageError> {
    let mut new_budgets = BTreeMap::new();
    if new.is_empty() {
        return Ok(new_budgets);
    }
    let new_secrets: Vec<NewSecret<'_>> = new.iter().map(|new| secret(new)).collect();
    secrets::insert_many(session, &new_secrets, now).await?;
    for candidate in new {
        if let Some(budget_id) = insert_budget(session, candidate, now).await? {
            new_budgets.insert(candidate.key.key_id, budget_id);
        }
    }
    let totals: Vec<_> = new.iter().map(|new| (new.key.key_id, records::totals(&new.key))).collect();
    usage::insert_many(session, &totals).await?;
    Ok(new_budgets)
}

/// The secret that a candidate brings along.
pub(super) fn secret(candidate: &Candidate) -> NewSecret<'_> {
    let key = &candidate.key;
    NewSecret { key_id: key.key_id, key_prefix: &key.key_prefix, key_hash: &key.key_hash, imported: true }
}

/// The budget that a candidate brings along, if any, with what is spent of it.
pub(super) async fn insert_budget(
    session: &mut Session,
    candidate: &Candidate,
    now: DateTime<Utc>,
) -> Result<Option<BudgetId>, StorageError> {
    let Some(budget) = candidate.key.budget else { return Ok(None) };
    let terms = records::budget(&budget);
    let subject = BudgetSubject::Key(candidate.key.key_id);
    let budget_id = budgets::insert(session, subject, &terms, now).await?;
    // A month that begins at 0 needs no balance; and it could be another month when it is read.
    if terms.period == Period::Total && budget.spent.get() > 0 {
        let (period_start, _) = terms.period.bounds(now);
        budgets::insert_spent(session, budget_id, period_start, budget.spent).await?;
    }
    Ok(Some(budget_id))
}
