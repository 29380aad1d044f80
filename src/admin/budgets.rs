//! Budgets of keys and owners: creating, reading, listing, changing, resetting, deleting.
//!
//! A change of a budget is one of its key or owner: that is locked first and gets the revision too, so that whoever
//! decides by it reads it again. The budgets of a deleted key are shown and, like the key, not changed.

mod change;
mod patch;

use std::time::Instant;

use super::change::Aborted;
use super::idempotency::Attempt;
use super::{Admin, AdminError, Changed, Etag, RequestId, Written};
use crate::policy::{Budget, BudgetId, BudgetSubject, NewBudget};
use crate::storage::budgets;
use crate::storage::changes::Actor;

pub use self::patch::{BudgetPatch, SeenBudget};

/// A budget to be created.
#[derive(Clone, Debug)]
pub struct CreateBudget {
    /// Whose.
    pub subject: BudgetSubject,
    /// What it says.
    pub terms: NewBudget,
    /// Makes it safe to repeat. Not looked at where it is only validated.
    pub request_id: Option<RequestId>,
    /// Check everything, create nothing.
    pub validate_only: bool,
}

/// A budget to be changed.
#[derive(Clone, Debug)]
pub struct UpdateBudget {
    /// Which.
    pub budget_id: BudgetId,
    /// How.
    pub patch: BudgetPatch,
    /// What the caller has seen of it.
    pub etag: Option<Etag>,
    /// Check everything, change nothing.
    pub validate_only: bool,
}

/// Which budgets to list.
#[derive(Clone, Copy, Debug)]
pub struct ListBudgets {
    /// Of whom; `None` is all.
    pub subject: Option<BudgetSubject>,
    /// The budget that the page before ended with.
    pub after: Option<BudgetId>,
    /// At most so many.
    pub limit: u16,
}

/// A page of budgets.
#[derive(Clone, Debug)]
pub struct BudgetPage {
    /// By id.
    pub budgets: Vec<Budget>,
    /// There are more: the next page comes after this budget.
    pub next_after: Option<BudgetId>,
}

impl Admin {
    /// Creates a budget, or only checks that it could be.
    ///
    /// # Errors
    /// [`AdminError::KeyNotFound`], [`AdminError::KeyDeleted`], [`AdminError::RequestIdReused`],
    /// [`AdminError::BudgetNotFound`] where a repeated request's budget is gone, [`AdminError::Store`].
    pub async fn create_budget(
        &self,
        actor: Actor,
        request: CreateBudget,
    ) -> Result<Changed<Budget>, AdminError> {
        let now = self.settings.clock.now();
        let answer_by = actor.answer_by;
        let request_id = request.request_id.filter(|_| !request.validate_only);
        let attempt = Attempt::new(&actor, "budgets.create", request_id);
        let written = self.store.write("budgets.create", move |session| {
            Box::pin(async move { change::create(session, &actor, &attempt, request, now).await })
        });
        self.answered(written.await, answer_by).await
    }

    /// Reads a budget; those of deleted keys are found until the key is purged.
    ///
    /// # Errors
    /// [`AdminError::BudgetNotFound`], [`AdminError::Store`].
    pub async fn get_budget(&self, budget_id: BudgetId) -> Result<Budget, AdminError> {
        let now = self.settings.clock.now();
        let found = self.store.snapshot("budgets.get", move |session| {
            Box::pin(async move { budgets::get(session, budget_id, now).await })
        });
        found.await?.ok_or(AdminError::BudgetNotFound(budget_id))
    }

    /// Lists a page of the budgets that [`Admin::get_budget`] finds, by id.
    ///
    /// # Errors
    /// [`AdminError::Store`].
    pub async fn list_budgets(&self, request: ListBudgets) -> Result<BudgetPage, AdminError> {
        let ListBudgets { subject, after, limit } = request;
        let now = self.settings.clock.now();
        let read = self.store.snapshot("budgets.list", move |session| {
            Box::pin(async move {
                // One more than asked for tells whether there is a next page.
                budgets::list(session, subject, after, i64::from(limit) + 1, now).await
            })
        });
        let mut budgets = read.await?;
        let has_more = budgets.len() > usize::from(limit);
        budgets.truncate(usize::from(limit));
        let next_after = budgets.last().filter(|_| has_more).map(|budget| budget.budget_id);
        Ok(BudgetPage { budgets, next_after })
    }

    /// Changes terms of a budget, or only checks that they could be changed. What finds them as it wants them changes
    /// nothing.
    ///
    /// # Errors
    /// [`AdminError::BudgetFieldImmutable`], [`AdminError::BudgetWarningAboveLimit`], [`AdminError::BudgetNotFound`],
    /// [`AdminError::EtagMismatch`], [`AdminError::KeyDeleted`], [`AdminError::Store`].
    pub async fn update_budget(
        &self,
        actor: Actor,
        request: UpdateBudget,
    ) -> Result<Changed<Budget>, AdminError> {
        let now = self.settings.clock.now();
        let answer_by = actor.answer_by;
        let written = self.store.write("budgets.update", move |session| {
            Box::pin(async move { change::update(session, &actor, request, now).await })
        });
        self.answered(written.await, answer_by).await
    }

    /// Sets what is spent in the period that holds the present to 0, and keeps what is reserved. Where nothing is spent,
    /// it changes nothing.
    ///
    /// # Errors
    /// [`AdminError::BudgetNotFound`], [`AdminError::EtagMismatch`], [`AdminError::KeyDeleted`], [`AdminError::Store`].
    pub async fn reset_budget(
        &self,
        actor: Actor,
        budget_id: BudgetId,
        etag: Option<Etag>,
    ) -> Result<Changed<Budget>, AdminError> {
        let now = self.settings.clock.now();
        let answer_by = actor.answer_by;
        let written = self.store.write("budgets.reset", move |session| {
            Box::pin(async move { change::reset(session, &actor, budget_id, etag.as_ref(), now).await })
        });
        self.answered(written.await, answer_by).await
    }

    /// Deletes a budget with its balances, and answers with what it was.
    ///
    /// # Errors
    /// [`AdminError::BudgetNotFound`], [`AdminError::EtagMismatch`], [`AdminError::KeyDeleted`], [`AdminError::Store`].
    pub async fn delete_budget(
        &self,
        actor: Actor,
        budget_id: BudgetId,
        etag: Option<Etag>,
    ) -> Result<Changed<Budget>, AdminError> {
        let now = self.settings.clock.now();
        let answer_by = actor.answer_by;
        let written = self.store.write("budgets.delete", move |session| {
            Box::pin(async move { change::delete(session, &actor, budget_id, etag.as_ref(), now).await })
        });
        self.answered(written.await, answer_by).await
    }

    async fn answered(
        &self,
        written: Result<Written<Budget>, Aborted<Budget>>,
        answer_by: Option<Instant>,
    ) -> Result<Changed<Budget>, AdminError> {
        match written {
            Ok(written) => Ok(self.propagated(written, answer_by).await),
            Err(Aborted::Validated(written)) => Ok(Self::validated(*written)),
            Err(Aborted::Failed(error)) => Err(error),
        }
    }
}
