//! `budgets` and `budget_periods`: limits of money and their balances.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::key_rows::names;
use super::schema::{budget_periods, budgets};
use crate::policy::{
    AccessRule, Budget, BudgetId, BudgetSubject, KeyId, Micros, NamePattern, NewBudget, Period, Revision,
    UserId,
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = budgets)]
#[diesel(check_for_backend(diesel::pg::Pg))]
struct BudgetRow {
    budget_id: i64,
    key_id: Option<i64>,
    user_id: Option<i64>,
    display_name: String,
    limit_micros: i64,
    period: String,
    is_hard: bool,
    warning_micros: Option<i64>,
    models: Option<Vec<String>>,
    default_estimate_micros: i64,
    require_estimate: bool,
    revision: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
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
    let (key_id, user_id) = match subject {
        BudgetSubject::Key(id) => (Some(id.get()), None),
        BudgetSubject::Owner(id) => (None, Some(id.get())),
    };
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

async fn with_balances(
    mut connection: &AsyncPgConnection,
    rows: Vec<BudgetRow>,
    now: DateTime<Utc>,
) -> Result<Vec<Budget>, StorageError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = rows.iter().map(|row| row.budget_id).collect();
    let balances: Vec<(i64, DateTime<Utc>, i64, i64)> =
        budget_periods::table.filter(budget_periods::budget_id.eq_any(ids)).load(&mut connection).await?;
    rows.into_iter().map(|row| row.into_budget(&balances, now)).collect()
}

impl BudgetRow {
    fn into_budget(
        self,
        balances: &[(i64, DateTime<Utc>, i64, i64)],
        now: DateTime<Utc>,
    ) -> Result<Budget, StorageError> {
        let id = self.budget_id;
        self.parse(balances, now).map_err(|what| StorageError::Corrupt {
            table: "budgets",
            id,
            what: what.to_owned(),
        })
    }

    fn parse(
        self,
        balances: &[(i64, DateTime<Utc>, i64, i64)],
        now: DateTime<Utc>,
    ) -> Result<Budget, &'static str> {
        let subject = match (self.key_id, self.user_id) {
            (Some(key), None) => BudgetSubject::Key(KeyId::new(key).ok_or("key_id")?),
            (None, Some(user)) => BudgetSubject::Owner(UserId::new(user).ok_or("user_id")?),
            _ => return Err("subject"),
        };
        let period = Period::parse(&self.period).ok_or("period")?;
        let (period_start, reset_time) = period.bounds(now);
        let (spent, reserved) = balances
            .iter()
            .find(|(id, start, _, _)| *id == self.budget_id && *start == period_start)
            .map_or((0, 0), |(_, _, spent, reserved)| (*spent, *reserved));
        let models = match self.models {
            None => AccessRule::Any,
            Some(models) => AccessRule::Only(
                models
                    .iter()
                    .map(|model| NamePattern::parse(model))
                    .collect::<Result<_, _>>()
                    .map_err(|_| "models")?,
            ),
        };
        let micros = |value: i64| Micros::new(value).ok_or("amount");
        Ok(Budget {
            budget_id: BudgetId::new(self.budget_id).ok_or("budget_id")?,
            subject,
            terms: NewBudget {
                display_name: self.display_name,
                limit: micros(self.limit_micros)?,
                period,
                is_hard: self.is_hard,
                warning: self.warning_micros.map(micros).transpose()?,
                models,
                default_estimate: micros(self.default_estimate_micros)?,
                require_estimate: self.require_estimate,
            },
            spent: micros(spent)?,
            reserved: micros(reserved)?,
            reset_time,
            revision: Revision::new(self.revision).ok_or("revision")?,
            create_time: self.created_at,
            update_time: self.updated_at,
        })
    }
}
