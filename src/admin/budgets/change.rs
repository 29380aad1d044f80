//! Changes of budgets within their transactions: lock, compare, change, log.

use chrono::{DateTime, Utc};

use super::{CreateBudget, UpdateBudget};
use crate::admin::change::{Aborted, not_deleted};
use crate::admin::idempotency::Attempt;
use crate::admin::{AdminError, Etag, EtagOf, Written, snapshot};
use crate::policy::{Balance, Budget, BudgetId, BudgetSubject, Micros, Revision};
use crate::storage::changes::{self, Actor, AuditLine, Change, Subject};
use crate::storage::{Session, StorageError, budgets, keys, owners};

pub(super) async fn create(
    session: &mut Session,
    actor: &Actor,
    attempt: &Attempt,
    request: CreateBudget,
    now: DateTime<Utc>,
) -> Result<Written<Budget>, Aborted<Budget>> {
    let CreateBudget { subject, terms, request_id: _, validate_only } = request;
    if let Some(id) = attempt.take(session, now).await? {
        let none = || StorageError::Defect(format!("a request came to budget {id}, which is none"));
        let budget_id = BudgetId::new(id).ok_or_else(none)?;
        let budget = budgets::get(session, budget_id, now).await?;
        return Ok(unchanged(session, budget.ok_or(AdminError::BudgetNotFound(budget_id))?).await?);
    }
    lock_subject(session, subject, now).await?;
    let budget_id = budgets::insert(session, subject, &terms, now).await?;
    let budget = Budget {
        budget_id,
        subject,
        reset_time: terms.period.bounds(now).1,
        terms,
        spent: Micros::ZERO,
        reserved: Micros::ZERO,
        revision: Revision::ZERO,
        create_time: now,
        update_time: now,
    };
    if validate_only {
        return Err(Aborted::Validated(Box::new(unchanged(session, budget).await?)));
    }
    attempt.complete(session, budget_id.get()).await?;
    let after = Some(snapshot::own_budget(&budget));
    let line = AuditLine { action: "budgets.create", before: None, after };
    Ok(finish(session, actor, budget, line).await?)
}

pub(super) async fn update(
    session: &mut Session,
    actor: &Actor,
    request: UpdateBudget,
    now: DateTime<Utc>,
) -> Result<Written<Budget>, Aborted<Budget>> {
    let UpdateBudget { budget_id, patch, etag, validate_only } = request;
    let before = lock(session, budget_id, etag.as_ref(), now).await?;
    let mut budget = before.clone();
    patch.apply(&mut budget)?;
    if budget == before {
        return Ok(unchanged(session, before).await?);
    }
    budget.update_time = now;
    if validate_only {
        return Err(Aborted::Validated(Box::new(unchanged(session, budget).await?)));
    }
    budgets::update(session, &budget).await?;
    let (before, after) = (Some(snapshot::own_budget(&before)), Some(snapshot::own_budget(&budget)));
    Ok(finish(session, actor, budget, AuditLine { action: "budgets.update", before, after }).await?)
}

pub(super) async fn reset(
    session: &mut Session,
    actor: &Actor,
    budget_id: BudgetId,
    etag: Option<&Etag>,
    now: DateTime<Utc>,
) -> Result<Written<Budget>, Aborted<Budget>> {
    let mut budget = lock(session, budget_id, etag, now).await?;
    let (period_start, _) = budget.terms.period.bounds(now);
    let balance = budgets::lock_balance(session, budget_id, period_start).await?.unwrap_or(Balance::ZERO);
    (budget.spent, budget.reserved) = (balance.spent, balance.reserved);
    if budget.spent == Micros::ZERO {
        return Ok(unchanged(session, budget).await?);
    }
    let before = Some(snapshot::budget_with_balance(&budget));
    budgets::reset_spent(session, budget_id, period_start, now).await?;
    (budget.spent, budget.update_time) = (Micros::ZERO, now);
    let after = Some(snapshot::budget_with_balance(&budget));
    Ok(finish(session, actor, budget, AuditLine { action: "budgets.reset", before, after }).await?)
}

pub(super) async fn delete(
    session: &mut Session,
    actor: &Actor,
    budget_id: BudgetId,
    etag: Option<&Etag>,
    now: DateTime<Utc>,
) -> Result<Written<Budget>, Aborted<Budget>> {
    let budget = lock(session, budget_id, etag, now).await?;
    budgets::delete(session, budget_id).await?;
    let before = Some(snapshot::budget_with_balance(&budget));
    let line = AuditLine { action: "budgets.delete", before, after: None };
    Ok(finish(session, actor, budget, line).await?)
}

/// Locks the key or owner until the transaction ends. An owner that never was changed gets its row.
async fn lock_subject(
    session: &Session,
    subject: BudgetSubject,
    now: DateTime<Utc>,
) -> Result<(), AdminError> {
    match subject {
        BudgetSubject::Key(key_id) => {
            not_deleted(&keys::lock(session, key_id).await?.ok_or(AdminError::KeyNotFound(key_id))?)
        }
        BudgetSubject::Owner(user_id) => {
            owners::lock(session, user_id, now).await?;
            Ok(())
        }
    }
}

/// Locks a budget until the transaction ends, if it is as the caller has seen it, and before it its key or owner.
async fn lock(
    session: &Session,
    budget_id: BudgetId,
    etag: Option<&Etag>,
    now: DateTime<Utc>,
) -> Result<Budget, AdminError> {
    let gone = || AdminError::BudgetNotFound(budget_id);
    // Whose it is never changes.
    let subject = budgets::get(session, budget_id, now).await?.ok_or_else(gone)?.subject;
    let (locked, budget) = tokio::join!(
        biased;
        lock_subject(session, subject, now),
        budgets::lock(session, budget_id, now),
    );
    let budget = budget?.ok_or_else(gone)?;
    Etag::check(etag, EtagOf::Budget(budget_id), budget.revision)?;
    locked?;
    Ok(budget)
}

/// A budget that this transaction does not change.
async fn unchanged(session: &Session, budget: Budget) -> Result<Written<Budget>, StorageError> {
    let stamp = changes::seen(session, budget.revision).await?;
    Ok(Written { resource: budget, stamp })
}

/// Ends the transaction of a change of a budget, which is what the change has left: takes the revision, and writes the
/// lines of the logs.
async fn finish(
    session: &mut Session,
    actor: &Actor,
    mut budget: Budget,
    line: AuditLine,
) -> Result<Written<Budget>, StorageError> {
    let subject = match budget.subject {
        BudgetSubject::Key(key_id) => Subject::Key(key_id),
        BudgetSubject::Owner(user_id) => Subject::Owner(user_id),
    };
    let change = Change { subject, budget: Some(budget.budget_id), adds_tokens: false, line };
    let stamp = changes::record(session, actor, change).await?;
    budget.revision = stamp.at.revision;
    Ok(Written { resource: budget, stamp })
}
