//! Limits, counters and money.

use super::{converted, converted_with, rejected, taken};
use crate::admin::enclava::{
    CostUnit, CostUnitError, ImportedBudget, ImportedLimits, ImportedPeriod, Options, RejectionKind,
    SourceRow, WarningKind,
};
use crate::policy::Micros;

fn budget_row(limit_cents: Option<i64>, budget_type: &str) -> impl FnOnce(&mut SourceRow) {
    move |row| {
        row.is_unlimited = Some(false);
        row.budget_limit_cents = limit_cents;
        row.budget_type = Some(budget_type.to_owned());
    }
}

fn budget(period: ImportedPeriod, limit: i64, spent: i64) -> Option<ImportedBudget> {
    let micros = |micros| Micros::new(micros).expect("not negative");
    Some(ImportedBudget { period, limit: micros(limit), spent: micros(spent) })
}

#[test]
fn limits_are_kept_and_null_is_the_older_default() {
    let limits = |minute, hour, day| ImportedLimits {
        requests_per_minute: Some(minute),
        requests_per_hour: Some(hour),
        requests_per_day: Some(day),
    };
    assert_eq!(taken(|_row| {}).0.limits, limits(1, 2, 3));
    let (key, warnings) = taken(|row| {
        (row.rate_limit_per_minute, row.rate_limit_per_hour, row.rate_limit_per_day) = (None, None, None);
    });
    assert_eq!((key.limits, warnings), (limits(60, 3_600, 86_400), vec![]));
}

#[test]
fn a_limit_below_one_is_rejected_since_it_may_mean_none_or_unlimited() {
    let kind = RejectionKind::RateLimitNotPositive;
    for limit in [0, -1, i64::MIN] {
        assert_eq!(rejected(|row| row.rate_limit_per_minute = Some(limit)), (kind, "rate_limit_per_minute"));
        assert_eq!(rejected(|row| row.rate_limit_per_hour = Some(limit)), (kind, "rate_limit_per_hour"));
        assert_eq!(rejected(|row| row.rate_limit_per_day = Some(limit)), (kind, "rate_limit_per_day"));
    }
}

#[test]
fn missing_counters_are_zero_and_so_are_negative_ones_with_a_warning() {
    let totals = |value| {
        let (key, warnings) = taken(|row| {
            (row.total_requests, row.total_tokens, row.total_cost) = (value, value, value);
        });
        ((key.total_requests, key.total_tokens, key.total_cost.get()), warnings)
    };
    assert_eq!(totals(None), ((0, 0, 0), vec![]));
    assert_eq!(totals(Some(-3)), ((0, 0, 0), vec![WarningKind::CounterNegative; 3]));
    assert_eq!(totals(Some(3)), ((3, 3, 300), vec![]));
}

#[test]
fn the_cost_unit_is_what_the_operator_says() {
    let options = Options { total_cost_unit: "0.01".parse().expect("cents"), ..Options::default() };
    let converted = converted_with(&options, budget_row(Some(1), "total")).expect("the row is taken");
    assert_eq!(converted.key.total_cost.get(), 70_000);
    assert_eq!(converted.key.budget, budget(ImportedPeriod::Total, 10_000, 70_000));
}

#[test]
fn cost_units_are_exact_decimals() {
    for (text, micros) in
        [("0.0001", 100), ("0.000001", 1), ("1", 1_000_000), ("0.010", 10_000), ("12.5", 12_500_000)]
    {
        assert_eq!(text.parse::<CostUnit>().map(CostUnit::micros), Ok(micros), "{text}");
    }
    assert_eq!(CostUnit::default().micros(), 100);
    for text in ["", "0", "0.0", "-1", "1e-4", ".5", "1.", "0.0000001", "1,5", "9223372036854775807", " 1"] {
        assert_eq!(text.parse::<CostUnit>(), Err(CostUnitError), "{text:?}");
    }
    assert_eq!((CostUnit::from_micros(0), CostUnit::from_micros(-1)), (None, None));
}

#[test]
fn a_budget_is_made_only_where_the_key_is_not_unlimited_and_has_a_limit() {
    for unlimited in [None, Some(true)] {
        let (key, warnings) = taken(|row| {
            budget_row(Some(100), "nonsense")(row);
            row.is_unlimited = unlimited;
        });
        assert_eq!((key.budget, warnings), (None, vec![]), "{unlimited:?}");
    }
    let (key, warnings) = taken(budget_row(None, "total"));
    assert_eq!((key.budget, warnings), (None, vec![WarningKind::BudgetWithoutLimit]));
}

#[test]
fn a_total_budget_has_spent_the_total_cost_and_a_monthly_one_nothing() {
    assert_eq!(
        taken(budget_row(Some(2_500), "total")).0.budget,
        budget(ImportedPeriod::Total, 25_000_000, 700)
    );
    assert_eq!(
        taken(budget_row(Some(2_500), "monthly")).0.budget,
        budget(ImportedPeriod::Monthly, 25_000_000, 0)
    );
    assert_eq!(taken(budget_row(Some(0), "total")).0.budget, budget(ImportedPeriod::Total, 0, 700));
}

#[test]
fn a_negative_budget_allows_nothing_and_a_negative_cost_adds_nothing() {
    let (key, warnings) = taken(budget_row(Some(-5), "monthly"));
    assert_eq!(key.budget, budget(ImportedPeriod::Monthly, 0, 0));
    assert_eq!(warnings, [WarningKind::BudgetNegative]);
    let (key, warnings) = taken(|row| {
        budget_row(Some(1), "total")(row);
        row.total_cost = Some(-9);
    });
    assert_eq!(key.budget, budget(ImportedPeriod::Total, 10_000, 0));
    assert_eq!(warnings, [WarningKind::CounterNegative]);
}

#[test]
fn a_budget_of_an_unknown_type_is_rejected_rather_than_guessed() {
    for budget_type in ["daily", "Total", "", "monthly "] {
        let kind = rejected(budget_row(Some(100), budget_type));
        assert_eq!(kind, (RejectionKind::BudgetTypeUnknown, "budget_type"), "{budget_type:?}");
    }
    let kind = rejected(|row| {
        budget_row(Some(100), "")(row);
        row.budget_type = None;
    });
    assert_eq!(kind, (RejectionKind::BudgetTypeUnknown, "budget_type"));
}

#[test]
fn amounts_that_do_not_fit_are_rejected_and_the_largest_that_fit_are_exact() {
    let too_large = RejectionKind::AmountTooLarge;
    assert_eq!(rejected(|row| row.total_cost = Some(i64::MAX / 100 + 1)), (too_large, "total_cost"));
    assert_eq!(rejected(budget_row(Some(i64::MAX / 10_000 + 1), "total")), (too_large, "budget_limit_cents"));
    let largest = i64::MAX / 100;
    let converted = converted(|row| row.total_cost = Some(largest)).expect("the row is taken");
    assert_eq!(converted.key.total_cost.get(), largest * 100);
}
