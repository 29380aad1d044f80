//! Budgets for people.

use crate::cli::money::format_micros;
use crate::cli::output::Look;
use crate::cli::table::{Cell, Column, columns, properties_in, summary};
use crate::cli::time::{format_minutes, format_timestamp};
use crate::grpc::pb;
use crate::grpc::pb::budget::{Enforcement, Subject};

/// How many models are shown in a row of a table, and for a single budget.
const SHOWN_IN_ROW: usize = 2;
const SHOWN_IN_DETAILS: usize = 20;

/// Budgets, a row each.
pub fn table(budgets: &[pb::Budget], look: Look) -> String {
    let header = [
        Column::Whole("BUDGET"),
        Column::Whole("OF"),
        Column::Cut("NAME"),
        Column::Whole("PERIOD"),
        Column::Whole("LIMIT"),
        Column::Whole("SPENT"),
        Column::Whole("RESERVED"),
        Column::Whole("AT LIMIT"),
        Column::Whole("RESETS"),
        Column::Cut("MODELS"),
    ];
    let rows = budgets.iter().map(|budget| {
        let row = [
            budget.budget_id.to_string(),
            subject(budget),
            budget.display_name.clone(),
            period(budget),
            limit(budget),
            format_micros(budget.spent_micros),
            format_micros(budget.reserved_micros),
            at_limit(budget).to_owned(),
            budget.reset_time.as_ref().map(format_minutes).unwrap_or_default(),
            models(budget, SHOWN_IN_ROW),
        ];
        row.into_iter().map(Cell::from).collect()
    });
    columns(look, &header, rows)
}

/// One budget, a row a property.
pub fn details(budget: &pb::Budget, look: Look) -> String {
    let time =
        |time: &Option<prost_types::Timestamp>| time.as_ref().map(format_timestamp).unwrap_or_default();
    let budget_id = if budget.budget_id == 0 { String::new() } else { budget.budget_id.to_string() };
    let estimate = match (budget.require_estimate, budget.default_estimate_micros) {
        (true, _) => "required".to_owned(),
        (false, 0) => String::new(),
        (false, default) => format!("{} where none is given", format_micros(default)),
    };
    let rows = [
        ("budget", budget_id),
        ("of", subject(budget)),
        ("name", budget.display_name.clone()),
        ("period", period(budget)),
        ("limit", limit(budget)),
        ("at limit", at_limit(budget).to_owned()),
        ("warns at", budget.warning_micros.map(format_micros).unwrap_or_default()),
        ("models", models(budget, SHOWN_IN_DETAILS)),
        ("estimate", estimate),
        ("spent", format_micros(budget.spent_micros)),
        ("reserved", format_micros(budget.reserved_micros)),
        ("resets", time(&budget.reset_time)),
        ("enforced", "not yet: budgets are stored only".to_owned()),
        ("created", time(&budget.create_time)),
        ("updated", time(&budget.update_time)),
        ("etag", budget.etag.clone()),
    ];
    properties_in(look, rows.into_iter().map(|(name, value)| (name, Cell::from(value))))
}

/// Whose it is.
pub fn subject(budget: &pb::Budget) -> String {
    match budget.subject {
        Some(Subject::KeyId(key)) => format!("key {key}"),
        Some(Subject::UserId(user)) => format!("owner {user}"),
        None => String::new(),
    }
}

/// How far it is used up.
pub fn spent(budget: &pb::Budget) -> String {
    format!("{} of {} {}", format_micros(budget.spent_micros), limit(budget), period(budget))
}

fn limit(budget: &pb::Budget) -> String {
    format_micros(budget.limit_micros.unwrap_or_default())
}

fn period(budget: &pb::Budget) -> String {
    budget.period().as_str_name().to_lowercase()
}

fn at_limit(budget: &pb::Budget) -> &'static str {
    if budget.enforcement() == Enforcement::Soft { "warns" } else { "denies" }
}

fn models(budget: &pb::Budget, shown: usize) -> String {
    if budget.models.is_empty() { "all".to_owned() } else { summary(&budget.models, shown) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn budget() -> pb::Budget {
        pb::Budget {
            budget_id: 3,
            subject: Some(Subject::UserId(4)),
            display_name: "team".into(),
            limit_micros: Some(100_000_000),
            period: pb::budget::Period::Monthly.into(),
            enforcement: Enforcement::Hard.into(),
            warning_micros: Some(80_500_000),
            models: vec!["gpt-4o*".into(), "o3".into()],
            default_estimate_micros: 10_000,
            spent_micros: 12_000_001,
            reserved_micros: 500_000,
            reset_time: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 }),
            etag: "e1".into(),
            ..Default::default()
        }
    }

    #[test]
    fn a_budget_is_shown_with_its_balance() {
        assert_eq!(
            details(&budget(), Look::default()),
            "\
budget    3
of        owner 4
name      team
period    monthly
limit     100.00
at limit  denies
warns at  80.50
models    gpt-4o*, o3
estimate  0.01 where none is given
spent     12.000001
reserved  0.50
resets    2030-03-17 17:46:40Z
enforced  not yet: budgets are stored only
etag      e1"
        );
        let of_key = pb::Budget {
            subject: Some(Subject::KeyId(17)),
            enforcement: Enforcement::Soft.into(),
            require_estimate: true,
            models: Vec::new(),
            ..budget()
        };
        let shown = details(&of_key, Look::default());
        for row in ["of        key 17", "at limit  warns", "models    all", "estimate  required"] {
            assert!(shown.contains(row), "{row}: {shown}");
        }
    }

    #[test]
    fn budgets_are_a_row_each() {
        assert_eq!(
            table(&[budget()], Look::default()),
            "\
BUDGET  OF       NAME  PERIOD   LIMIT   SPENT      RESERVED  AT LIMIT  RESETS             MODELS
3       owner 4  team  monthly  100.00  12.000001  0.50      denies    2030-03-17 17:46Z  gpt-4o*, o3"
        );
    }
}
