//! Limits, counters and money: whole numbers, checked arithmetic.

use super::finding::{Notes, quoted};
use super::{
    ImportedBudget, ImportedLimits, ImportedPeriod, Options, Rejection, RejectionKind, SourceRow, WarningKind,
};
use crate::policy::{Micros, RATE_LIMIT_MAX};

/// Micros in a hundredth of the currency.
const CENT_MICROS: i64 = 10_000;

/// What a limit that the older system left NULL stands for: its column defaults.
const PER_MINUTE_DEFAULT: i64 = 60;
const PER_HOUR_DEFAULT: i64 = 3_600;
const PER_DAY_DEFAULT: i64 = 86_400;

/// The three limits on requests.
pub(super) fn limits(row: &SourceRow, notes: &Notes) -> Result<ImportedLimits, Rejection> {
    let limit = |value: Option<i64>, default: i64, field: &'static str| match value {
        None => Ok(Some(default)),
        Some(limit) if (1..=RATE_LIMIT_MAX).contains(&limit) => Ok(Some(limit)),
        Some(limit) => {
            let what = format_args!(
                "{limit} may mean none or unlimited; set it to 1 to {RATE_LIMIT_MAX}, or to NULL"
            );
            Err(notes.reject(RejectionKind::RateLimitNotPositive, field, what))
        }
    };
    Ok(ImportedLimits {
        requests_per_minute: limit(row.rate_limit_per_minute, PER_MINUTE_DEFAULT, "rate_limit_per_minute")?,
        requests_per_hour: limit(row.rate_limit_per_hour, PER_HOUR_DEFAULT, "rate_limit_per_hour")?,
        requests_per_day: limit(row.rate_limit_per_day, PER_DAY_DEFAULT, "rate_limit_per_day")?,
    })
}

/// A counter: NULL is 0, and so is what is negative.
pub(super) fn count(value: Option<i64>, field: &'static str, notes: &mut Notes) -> i64 {
    let count = value.unwrap_or(0);
    if count < 0 {
        notes.warn(WarningKind::CounterNegative, field, format_args!("{count} is taken as 0"));
    }
    count.max(0)
}

/// The cost so far, in micros.
pub(super) fn total_cost(row: &SourceRow, options: &Options, notes: &mut Notes) -> Result<Micros, Rejection> {
    let units = count(row.total_cost, "total_cost", notes);
    micros(units, options.total_cost_unit.micros(), "total_cost", notes)
}

/// The budget; see [`ImportedBudget`] for the rules.
pub(super) fn budget(
    row: &SourceRow,
    options: &Options,
    notes: &mut Notes,
) -> Result<Option<ImportedBudget>, Rejection> {
    if row.is_unlimited != Some(false) {
        return Ok(None);
    }
    let Some(limit_cents) = row.budget_limit_cents else {
        let what = "not set though the key is not unlimited; it gets no budget";
        notes.warn(WarningKind::BudgetWithoutLimit, "budget_limit_cents", what);
        return Ok(None);
    };
    let period = match row.budget_type.as_deref() {
        Some("total") => ImportedPeriod::Total,
        Some("monthly") => ImportedPeriod::Monthly,
        other => {
            let found = other.map_or_else(|| "NULL".to_owned(), quoted);
            let what = format_args!("{found} is neither \"total\" nor \"monthly\"");
            return Err(notes.reject(RejectionKind::BudgetTypeUnknown, "budget_type", what));
        }
    };
    if limit_cents < 0 {
        let what = format_args!("{limit_cents} is taken as 0, which allows no spending either");
        notes.warn(WarningKind::BudgetNegative, "budget_limit_cents", what);
    }
    let limit = micros(limit_cents.max(0), CENT_MICROS, "budget_limit_cents", notes)?;
    let spent_units = match period {
        ImportedPeriod::Total => row.total_cost.unwrap_or(0).max(0),
        ImportedPeriod::Monthly => 0,
    };
    let spent = micros(spent_units, options.total_cost_unit.micros(), "total_cost", notes)?;
    Ok(Some(ImportedBudget { period, limit, spent }))
}

/// `units` of `unit_micros` each.
fn micros(units: i64, unit_micros: i64, field: &'static str, notes: &Notes) -> Result<Micros, Rejection> {
    units.checked_mul(unit_micros).and_then(Micros::new).ok_or_else(|| {
        let what = format_args!("{units} of {unit_micros} micros each do not fit into 64 bits");
        notes.reject(RejectionKind::AmountTooLarge, field, what)
    })
}
