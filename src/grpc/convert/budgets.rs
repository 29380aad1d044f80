//! Budgets: messages, and requests but for changes of one.

use tonic::Status;

use super::key_request::{read_key_id_at, read_user_id};
use super::keys::propagation;
use super::request_id::take_request_id;
use super::rules::read_set;
use super::time::timestamp;
use crate::admin::{Changed, CreateBudget, Etag, ListBudgets};
use crate::grpc::page::read_page_size;
use crate::grpc::page_token::{self, ListName, number};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::{
    AccessRule, Budget, BudgetId, BudgetSubject, DisplayName, Micros, NamePattern, NewBudget, PATTERNS_MAX,
    Period,
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

/// What a change of a budget answers.
#[must_use]
pub fn budget_mutation(changed: &Changed<Budget>) -> pb::BudgetMutationResponse {
    pb::BudgetMutationResponse {
        budget: Some(budget(&changed.resource)),
        revision: changed.revision.get(),
        propagation: Some(propagation(changed.propagation)),
    }
}

/// A budget's id.
pub fn read_budget_id(violations: &mut Violations, field: &str, budget_id: i64) -> Option<BudgetId> {
    violations.require(field, BudgetId::new(budget_id), "must be at least 1")
}

/// Whose a budget is, where that is given.
pub fn read_subject(
    violations: &mut Violations,
    field: &str,
    subject: pb::budget::Subject,
) -> Option<BudgetSubject> {
    match subject {
        pb::budget::Subject::KeyId(id) => {
            read_key_id_at(violations, &format!("{field}key_id"), id).map(BudgetSubject::Key)
        }
        pb::budget::Subject::UserId(id) => {
            read_user_id(violations, &format!("{field}user_id"), id).map(BudgetSubject::Owner)
        }
    }
}

/// A request for a new budget.
///
/// # Errors
/// INVALID_ARGUMENT with every fault.
pub fn read_create_budget(mut request: pb::CreateBudgetRequest) -> Result<CreateBudget, Status> {
    let mut violations = Violations::default();
    let request_id = take_request_id(&mut violations, &mut request, |request| &mut request.request_id);
    let pb::CreateBudgetRequest { budget, request_id: _, validate_only } = request;
    let Some(mut budget) = violations.require("budget", budget, "must be given") else {
        return violations.finish(None);
    };
    let subject = violations.require(
        "budget.subject",
        budget.subject.take(),
        "must be given: key_id for a key, user_id for an owner",
    );
    let subject = subject.and_then(|subject| read_subject(&mut violations, "budget.", subject));
    let terms = read_budget(&mut violations, "budget", budget);
    let (subject, terms) = violations.finish(subject.zip(terms))?;
    Ok(CreateBudget { subject, terms, request_id, validate_only })
}

/// A request for a page, with the name of its list; `None` with faults.
pub fn read_list_budgets(
    violations: &mut Violations,
    request: pb::ListBudgetsRequest,
) -> (ListName, Option<ListBudgets>) {
    use pb::list_budgets_request::Subject;
    let pb::ListBudgetsRequest { subject, page_size, page_token } = request;
    let list = ListName::of(&pb::ListBudgetsRequest { subject, ..Default::default() }, "budgets");
    let subject = subject.and_then(|subject| {
        let subject = match subject {
            Subject::KeyId(id) => pb::budget::Subject::KeyId(id),
            Subject::UserId(id) => pb::budget::Subject::UserId(id),
        };
        read_subject(violations, "", subject)
    });
    let place = |bytes: &[u8]| BudgetId::new(number(bytes)?);
    let after = page_token::read_place(violations, list, &page_token, place);
    let limit = read_page_size(violations, page_size);
    (list, limit.map(|limit| ListBudgets { subject, after, limit }))
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
    let read = read.filter_map(|(position, budget)| {
        let field = format!("{field}[{position}]");
        if budget.subject.is_some() {
            violations.add(format!("{field}.subject"), "must be left out: the budget is the new key's");
        }
        read_budget(violations, &field, budget)
    });
    read.collect()
}

/// What a budget is called; it need not be called anything.
pub(super) fn read_name(violations: &mut Violations, field: &str, name: &str) {
    if !name.is_empty() {
        violations.take(field, DisplayName::parse(name.to_owned()));
    }
}

pub(super) fn read_limit(violations: &mut Violations, field: &str, limit: Option<i64>) -> Option<Micros> {
    violations.require(field, limit.and_then(Micros::new), "must be given, at least 0")
}

pub(super) fn read_period(violations: &mut Violations, field: &str, period: i32) -> Option<Period> {
    let period = PERIODS.iter().find(|(message, _)| i32::from(*message) == period).map(|(_, period)| *period);
    violations.require(field, period, "must be TOTAL, DAILY, WEEKLY, MONTHLY or YEARLY")
}

pub(super) fn read_estimate(violations: &mut Violations, field: &str, estimate: i64) -> Option<Micros> {
    violations.require(field, Micros::new(estimate), "must be at least 0")
}

/// The models that a budget counts; none are all.
pub(super) fn read_models(
    violations: &mut Violations,
    field: &str,
    models: &[String],
) -> AccessRule<NamePattern> {
    let models = read_set(violations, field, models, PATTERNS_MAX, NamePattern::parse);
    if models.is_empty() { AccessRule::Any } else { AccessRule::Only(models) }
}

fn read_budget(violations: &mut Violations, field: &str, budget: pb::Budget) -> Option<NewBudget> {
    let pb::Budget {
        budget_id: _,
        // Read by those who know whose it may be.
        subject: _,
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
    read_name(violations, &format!("{field}.display_name"), &display_name);
    let limit = read_limit(violations, &format!("{field}.limit_micros"), limit_micros);
    let period = read_period(violations, &format!("{field}.period"), period);
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
    let models = read_models(violations, &format!("{field}.models"), &models);
    let estimate =
        read_estimate(violations, &format!("{field}.default_estimate_micros"), default_estimate_micros);
    Some(NewBudget {
        display_name,
        limit: limit?,
        period: period?,
        is_hard: is_hard?,
        warning: warning.flatten(),
        models,
        default_estimate: estimate?,
        require_estimate,
    })
}
