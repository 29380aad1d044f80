//! Rows of `budgets` and of `budget_periods` as budgets.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use crate::policy::{
    AccessRule, Budget, BudgetId, BudgetSubject, KeyId, Micros, NamePattern, NewBudget, Period, Revision,
    UserId,
};
use crate::storage::StorageError;
use crate::storage::schema::{budget_periods, budgets};

#[derive(Queryable, Selectable)]
#[diesel(table_name = budgets)]
#[diesel(check_for_backend(diesel::pg::Pg))]
pub(super) struct BudgetRow {
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

/// The periods that a balance may be of at an instant: one of each kind.
fn starts(now: DateTime<Utc>) -> [DateTime<Utc>; 5] {
    [Period::Total, Period::Daily, Period::Weekly, Period::Monthly, Period::Yearly]
        .map(|period| period.bounds(now).0)
}

/// Rows as budgets, with the balances of the periods that hold `now`.
pub(super) async fn with_balances(
    mut connection: &AsyncPgConnection,
    rows: Vec<BudgetRow>,
    now: DateTime<Utc>,
) -> Result<Vec<Budget>, StorageError> {
    if rows.is_empty() {
        return Ok(Vec::new());
    }
    let ids: Vec<i64> = rows.iter().map(|row| row.budget_id).collect();
    let balances: Vec<(i64, DateTime<Utc>, i64, i64)> = budget_periods::table
        .filter(budget_periods::budget_id.eq_any(ids))
        .filter(budget_periods::period_start.eq_any(starts(now)))
        .load(&mut connection)
        .await?;
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
