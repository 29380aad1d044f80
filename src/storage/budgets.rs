//! `budgets` and `budget_periods`: limits of money and their balances.

mod row;

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use self::row::{BudgetRow, with_balances};
use super::StorageError;
use super::key_rows::names;
use super::prepared::Prepared;
use super::schema::{budget_periods, budgets};
use super::statement::plan_by_index;
use crate::policy::{Balance, Budget, BudgetId, BudgetSubject, KeyId, Micros, NewBudget, Revision, UserId};

/// The columns that say whose a budget is.
fn columns(subject: BudgetSubject) -> (Option<i64>, Option<i64>) {
    match subject {
        BudgetSubject::Key(id) => (Some(id.get()), None),
        BudgetSubject::Owner(id) => (None, Some(id.get())),
    }
}

/// Inserts a budget.
///
/// # Errors
/// [`StorageError`].
pub async fn insert(
    connection: &mut AsyncPgConnection,
    subject: BudgetSubject,
    terms: &NewBudget,
    now: DateTime<Utc>,
) -> Result<BudgetId, StorageError> {
    let (key_id, user_id) = columns(subject);
    let id: i64 = diesel::insert_into(budgets::table)
        .values((
            budgets::key_id.eq(key_id),
            budgets::user_id.eq(user_id),
            budgets::display_name.eq(&terms.display_name),
            budgets::limit_micros.eq(terms.limit.get()),
            budgets::period.eq(terms.period.as_str()),
            budgets::is_hard.eq(terms.is_hard),
            budgets::warning_micros.eq(terms.warning.map(Micros::get)),
            budgets::models.eq(names(&terms.models)),
            budgets::default_estimate_micros.eq(terms.default_estimate.get()),
            budgets::require_estimate.eq(terms.require_estimate),
            budgets::revision.eq(0),
            budgets::created_at.eq(now),
            budgets::updated_at.eq(now),
        ))
        .returning(budgets::budget_id)
        .get_result(connection)
        .await?;
    BudgetId::new(id).ok_or_else(|| StorageError::Defect(format!("budget id {id} out of range")))
}

/// Puts the revision of a change on budgets that it made.
///
/// # Errors
/// [`StorageError`].
pub async fn stamp(
    connection: &mut AsyncPgConnection,
    ids: &[BudgetId],
    revision: Revision,
) -> Result<(), StorageError> {
    // All other changes wait meanwhile.
    if ids.is_empty() {
        return Ok(());
    }
    let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
    diesel::update(budgets::table.filter(budgets::budget_id.eq_any(ids)))
        .set(budgets::revision.eq(revision.get()))
        .execute(connection)
        .await?;
    Ok(())
}

/// [`stamp`] for many budgets, each with its own revision.
///
/// # Errors
/// [`StorageError`].
pub async fn stamp_many(
    connection: &mut AsyncPgConnection,
    revisions: &[(BudgetId, Revision)],
) -> Result<(), StorageError> {
    if revisions.is_empty() {
        return Ok(());
    }
    let (ids, revisions): (Vec<i64>, Vec<i64>) =
        revisions.iter().map(|(id, revision)| (id.get(), revision.get())).unzip();
    diesel::sql_query(
        "UPDATE budgets SET revision = stamp.revision \
         FROM unnest($1, $2) AS stamp (budget_id, revision) WHERE budgets.budget_id = stamp.budget_id",
    )
    .bind::<Array<BigInt>, _>(ids)
    .bind::<Array<BigInt>, _>(revisions)
    .execute(connection)
    .await?;
    Ok(())
}

/// Writes the limit of a budget whose key or owner is locked.
///
/// # Errors
/// [`StorageError`].
pub async fn set_limit(
    connection: &mut AsyncPgConnection,
    budget_id: BudgetId,
    limit: Micros,
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    diesel::update(budgets::table.find(budget_id.get()))
        .set((budgets::limit_micros.eq(limit.get()), budgets::updated_at.eq(now)))
        .execute(connection)
        .await?;
    Ok(())
}

/// Gives a new budget a balance to start from (an import).
///
/// # Errors
/// [`StorageError`].
pub async fn insert_spent(
    connection: &mut AsyncPgConnection,
    budget_id: BudgetId,
    period_start: DateTime<Utc>,
    spent: Micros,
) -> Result<(), StorageError> {
    diesel::insert_into(budget_periods::table)
        .values((
            budget_periods::budget_id.eq(budget_id.get()),
            budget_periods::period_start.eq(period_start),
            budget_periods::spent_micros.eq(spent.get()),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// The budgets of a key and of an owner (each where given), by id, with the balances of the periods that
/// hold `now`.
///
/// # Errors
/// [`StorageError`].
pub async fn of(
    mut connection: &AsyncPgConnection,
    key_id: Option<KeyId>,
    user_id: Option<UserId>,
    now: DateTime<Utc>,
) -> Result<Vec<Budget>, StorageError> {
    let rows: Vec<BudgetRow> = budgets::table
        .filter(
            budgets::key_id
                .nullable()
                .eq(key_id.map(KeyId::get))
                .or(budgets::user_id.nullable().eq(user_id.map(UserId::get))),
        )
        .order(budgets::budget_id)
        .select(BudgetRow::as_select())
        .load(&mut connection)
        .await?;
    with_balances(connection, rows, now).await
}

/// The same of many keys, without their owners'.
///
/// # Errors
/// [`StorageError`].
pub async fn of_keys(
    connection: &mut AsyncPgConnection,
    keys: &[KeyId],
    now: DateTime<Utc>,
) -> Result<Vec<Budget>, StorageError> {
    let ids: Vec<i64> = keys.iter().map(|key| key.get()).collect();
    let rows: Vec<BudgetRow> = budgets::table
        .filter(budgets::key_id.eq_any(ids))
        .order(budgets::budget_id)
        .select(BudgetRow::as_select())
        .load(connection)
        .await?;
    with_balances(connection, rows, now).await
}

/// A budget, with the balance of the period that holds `now`.
///
/// # Errors
/// [`StorageError`].
pub async fn get(
    mut connection: &AsyncPgConnection,
    budget_id: BudgetId,
    now: DateTime<Utc>,
) -> Result<Option<Budget>, StorageError> {
    let row = budgets::table.find(budget_id.get()).select(BudgetRow::as_select());
    let row = row.first(&mut connection).await.optional()?;
    Ok(with_balances(connection, row.into_iter().collect(), now).await?.pop())
}

/// The same, locked until the transaction ends. Its key or owner is locked already. The balance is not locked.
///
/// # Errors
/// [`StorageError`].
pub async fn lock(
    mut connection: &AsyncPgConnection,
    budget_id: BudgetId,
    now: DateTime<Utc>,
) -> Result<Option<Budget>, StorageError> {
    let row = budgets::table.find(budget_id.get()).select(BudgetRow::as_select()).for_update();
    let row = row.first(&mut connection).await.optional()?;
    Ok(with_balances(connection, row.into_iter().collect(), now).await?.pop())
}

/// A page of budgets, of one key or owner or all, by id, from the one after `after` on, with the balances of the periods
/// that hold `now`.
///
/// # Errors
/// [`StorageError`].
pub async fn list(
    connection: &mut AsyncPgConnection,
    subject: Option<BudgetSubject>,
    after: Option<BudgetId>,
    limit: i64,
    now: DateTime<Utc>,
) -> Result<Vec<Budget>, StorageError> {
    plan_by_index(connection).await?;
    let after = after.map_or(0, BudgetId::get);
    let page = budgets::table.filter(budgets::budget_id.gt(after)).limit(limit);
    let page = page.select(BudgetRow::as_select()).into_boxed();
    // No index has that order: those of one subject are found by the subject, and not by reading through all others.
    let of_subject = || sql::<BigInt>("budget_id + 0");
    let page = match subject {
        None => page.order(budgets::budget_id),
        Some(BudgetSubject::Key(id)) => page.filter(budgets::key_id.eq(id.get())).order(of_subject()),
        Some(BudgetSubject::Owner(id)) => page.filter(budgets::user_id.eq(id.get())).order(of_subject()),
    };
    let rows: Vec<BudgetRow> = page.load(connection).await?;
    with_balances(connection, rows, now).await
}

/// Writes what can be changed of a locked budget.
///
/// # Errors
/// [`StorageError`].
pub async fn update(connection: &mut AsyncPgConnection, budget: &Budget) -> Result<(), StorageError> {
    let Budget { budget_id, terms, update_time, .. } = budget;
    let update = diesel::update(budgets::table.find(budget_id.get())).set((
        budgets::display_name.eq(&terms.display_name),
        budgets::limit_micros.eq(terms.limit.get()),
        budgets::is_hard.eq(terms.is_hard),
        budgets::warning_micros.eq(terms.warning.map(Micros::get)),
        budgets::default_estimate_micros.eq(terms.default_estimate.get()),
        budgets::require_estimate.eq(terms.require_estimate),
        budgets::updated_at.eq(update_time),
    ));
    expect_one(Prepared(update).execute(connection).await?, *budget_id)
}

/// Locks the balance of a period of a locked budget until the transaction ends; `None` where nothing has happened in it.
///
/// # Errors
/// [`StorageError`].
pub async fn lock_balance(
    connection: &mut AsyncPgConnection,
    budget_id: BudgetId,
    period_start: DateTime<Utc>,
) -> Result<Option<Balance>, StorageError> {
    let row: Option<(i64, i64)> = budget_periods::table
        .find((budget_id.get(), period_start))
        .select((budget_periods::spent_micros, budget_periods::reserved_micros))
        .for_update()
        .first(connection)
        .await
        .optional()?;
    let Some((spent, reserved)) = row else { return Ok(None) };
    let micros = |value: i64| {
        let corrupt = || StorageError::Corrupt {
            table: "budget_periods",
            id: budget_id.get(),
            what: "amount".to_owned(),
        };
        Micros::new(value).ok_or_else(corrupt)
    };
    Ok(Some(Balance { spent: micros(spent)?, reserved: micros(reserved)? }))
}

/// Sets what is spent in a period to 0; its balance is locked. What is reserved stays.
///
/// # Errors
/// [`StorageError`].
pub async fn reset_spent(
    connection: &mut AsyncPgConnection,
    budget_id: BudgetId,
    period_start: DateTime<Utc>,
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    let period = diesel::update(budget_periods::table.find((budget_id.get(), period_start)))
        .set(budget_periods::spent_micros.eq(0));
    expect_one(Prepared(period).execute(connection).await?, budget_id)?;
    let budget = diesel::update(budgets::table.find(budget_id.get())).set(budgets::updated_at.eq(now));
    expect_one(Prepared(budget).execute(connection).await?, budget_id)
}

/// Removes a locked budget with its balances.
///
/// # Errors
/// [`StorageError`].
pub async fn delete(connection: &mut AsyncPgConnection, budget_id: BudgetId) -> Result<(), StorageError> {
    let periods = budget_periods::table.filter(budget_periods::budget_id.eq(budget_id.get()));
    diesel::delete(periods).execute(connection).await?;
    let deleted = diesel::delete(budgets::table.find(budget_id.get())).execute(connection).await?;
    expect_one(deleted, budget_id)
}

fn expect_one(changed: usize, budget_id: BudgetId) -> Result<(), StorageError> {
    if changed == 1 {
        return Ok(());
    }
    Err(StorageError::Defect(format!("{changed} rows changed for locked budget {budget_id}")))
}
