//! Budgets.

use super::rules::read_set;
use super::time::timestamp;
use crate::admin::Etag;
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::{
    AccessRule, Budget, BudgetSubject, DisplayName, Micros, NamePattern, NewBudget, PATTERNS_MAX, Period,
};

/// At most so many budgets are created together with a key.
pub const NEW_BUDGETS_MAX: usize = 20;

const PERIODS: [(pb::budget::Period, Period); 5] = [
    (pb::budget::Period::Total, Period::Total),
    (pb::budget::Period::Daily, Period::Daily),
    (pb::budget::Period::Weekly, Period::Weekly),
    (pb::budget::Period::Monthly, Period::Monthly),
    (pb::budget::Period::Yearly, Period::Yearly),
];

/// A budget for a message.
#[must_use]
pub fn budget(budget: &Budget) -> pb::Budget {
    let terms = &budget.terms;
    let enforcement =
        if terms.is_hard { pb::budget::Enforcement::Hard } else { pb::budget::Enforcement::Soft };
    let period = PERIODS.iter().find(|(_, period)| *period == terms.period);
    pb::Budget {
        budget_id: budget.budget_id.get(),
        subject: Some(match budget.subject {
            BudgetSubject::Key(key) => pb::budget::Subject::KeyId(key.get()),
            BudgetSubject::Owner(user) => pb::budget::Subject::UserId(user.get()),
        }),
        display_name: terms.display_name.clone(),
        limit_micros: Some(terms.limit.get()),
        period: period.map_or(0, |(message, _)| i32::from(*message)),
        enforcement: enforcement.into(),
        warning_micros: terms.warning.map(Micros::get),
        models: match &terms.models {
            AccessRule::Any => Vec::new(),
            AccessRule::Only(models) => models.iter().map(ToString::to_string).collect(),
        },
        default_estimate_micros: terms.default_estimate.get(),
        require_estimate: terms.require_estimate,
        spent_micros: budget.spent.get(),
        reserved_micros: budget.reserved.get(),
        reset_time: budget.reset_time.map(timestamp),
        etag: Etag::of(budget.revision).as_str().to_owned(),
        create_time: Some(timestamp(budget.create_time)),
        update_time: Some(timestamp(budget.update_time)),
    }
}

/// The budgets of a new key, from a message.
pub fn read_new_budgets(
    violations: &mut Violations,
    field: &str,
    budgets: Vec<pb::Budget>,
) -> Vec<NewBudget> {
    if budgets.len() > NEW_BUDGETS_MAX {
        violations.add(field, format!("must have at most {NEW_BUDGETS_MAX} members"));
        return Vec::new();
    }
    let read = budgets.into_iter().enumerate();
    read.filter_map(|(position, budget)| read_budget(violations, &format!("{field}[{position}]"), budget))
        .collect()
}

fn read_budget(violations: &mut Violations, field: &str, budget: pb::Budget) -> Option<NewBudget> {
    let pb::Budget {
        budget_id: _,
        subject,
        display_name,
        limit_micros,
        period,
        enforcement,
        warning_micros,
        models,
        default_estimate_micros,
        require_estimate,
        spent_micros: _,
        reserved_micros: _,
        reset_time: _,
        etag: _,
        create_time: _,
        update_time: _,
    } = budget;
    if subject.is_some() {
        violations.add(format!("{field}.subject"), "must be left out: the budget is the new key's");
    }
    if !display_name.is_empty() {
        violations.take(format!("{field}.display_name"), DisplayName::parse(display_name.clone()));
    }
    let at_least_0 = "must be given, at least 0";
    let limit =
        violations.require(format!("{field}.limit_micros"), limit_micros.and_then(Micros::new), at_least_0);
    let period = PERIODS.iter().find(|(message, _)| i32::from(*message) == period).map(|(_, period)| *period);
    let period = violations.require(
        format!("{field}.period"),
        period,
        "must be TOTAL, DAILY, WEEKLY, MONTHLY or YEARLY",
    );
    let is_hard = match pb::budget::Enforcement::try_from(enforcement) {
        Ok(pb::budget::Enforcement::Unspecified | pb::budget::Enforcement::Hard) => Some(true),
        Ok(pb::budget::Enforcement::Soft) => Some(false),
        Err(_) => None,
    };
    let is_hard = violations.require(format!("{field}.enforcement"), is_hard, "must be HARD or SOFT");
    let warning = warning_micros.map(Micros::new);
    // Without a limit there is nothing to compare with, and its own fault is named.
    let is_out = |warning: Option<Micros>| warning.is_none() || limit.is_some() && warning > limit;
    if warning.is_some_and(is_out) {
        violations.add(format!("{field}.warning_micros"), "must be 0 to limit_micros");
    }
    let models = read_set(violations, &format!("{field}.models"), &models, PATTERNS_MAX, NamePattern::parse);
    let estimate = violations.require(
        format!("{field}.default_estimate_micros"),
        Micros::new(default_estimate_micros),
        "must be at least 0",
    );
    Some(NewBudget {
        display_name,
        limit: limit?,
        period: period?,
        is_hard: is_hard?,
        warning: warning.flatten(),
        models: if models.is_empty() { AccessRule::Any } else { AccessRule::Only(models) },
        default_estimate: estimate?,
        require_estimate,
    })
}
