//! UpdateBudget, read: the terms that the mask names, and of what never changes only what the caller has seen.

use std::collections::BTreeSet;

use prost_types::FieldMask;
use tonic::Status;

use super::budgets::{
    read_budget_id, read_estimate, read_limit, read_models, read_name, read_period, read_subject,
};
use super::key_request::read_etag;
use super::update_key::one_etag;
use super::update_mask::shown_path;
use crate::admin::{BudgetPatch, SeenBudget, UpdateBudget};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::Micros;

/// A term that an update can change.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Field {
    DisplayName,
    Limit,
    Enforcement,
    Warning,
    DefaultEstimate,
    RequireEstimate,
}

/// What a path names.
const PATHS: [(&str, Field); 6] = [
    ("display_name", Field::DisplayName),
    ("limit_micros", Field::Limit),
    ("enforcement", Field::Enforcement),
    ("warning_micros", Field::Warning),
    ("default_estimate_micros", Field::DefaultEstimate),
    ("require_estimate", Field::RequireEstimate),
];

const IMMUTABLE: [&str; 5] = ["subject", "key_id", "user_id", "period", "models"];

const OUTPUT_ONLY: [&str; 7] =
    ["budget_id", "spent_micros", "reserved_micros", "reset_time", "etag", "create_time", "update_time"];

/// A request to change a budget.
///
/// # Errors
/// INVALID_ARGUMENT with every fault.
pub fn read_update_budget(request: pb::UpdateBudgetRequest) -> Result<UpdateBudget, Status> {
    let pb::UpdateBudgetRequest { budget, update_mask, etag, validate_only } = request;
    let mut violations = Violations::default();
    let Some(mut budget) = violations.require("budget", budget, "must be given") else {
        return violations.finish(None);
    };
    let budget_id = read_budget_id(&mut violations, "budget.budget_id", budget.budget_id);
    let etag = one_etag(&mut violations, etag, std::mem::take(&mut budget.etag));
    let etag = read_etag(&mut violations, etag);
    let (fields, is_whole) = read_mask(&mut violations, update_mask, &budget);
    let patch = read_patch(&mut violations, &fields, is_whole, budget);
    let budget_id = violations.finish(budget_id)?;
    Ok(UpdateBudget { budget_id, patch, etag, validate_only })
}

/// The terms that a mask names, or those that are set; and whether the caller has not picked single ones: what he left in
/// the rest of the budget says what he has seen.
fn read_mask(
    violations: &mut Violations,
    mask: Option<FieldMask>,
    budget: &pb::Budget,
) -> (BTreeSet<Field>, bool) {
    let FieldMask { paths } = mask.unwrap_or_default();
    match paths.as_slice() {
        [] => {
            let fields = set_fields(budget);
            if fields.is_empty() {
                let fault = "must name a field, or the budget must set one that can be changed";
                violations.add("update_mask", fault);
            }
            (fields, true)
        }
        [all] if all == "*" => (PATHS.iter().map(|(_, field)| *field).collect(), true),
        paths => {
            let mut fields = BTreeSet::new();
            for (position, path) in paths.iter().enumerate() {
                match PATHS.iter().find(|(known, _)| known == path) {
                    Some((_, field)) => drop(fields.insert(*field)),
                    None => violations.add(format!("update_mask.paths[{position}]"), refusal(path)),
                }
            }
            (fields, false)
        }
    }
}

fn refusal(path: &str) -> String {
    let shown = shown_path(path);
    let top = path.split('.').next().unwrap_or_default();
    if path == "*" {
        "must stand alone where it is `*`".to_owned()
    } else if IMMUTABLE.contains(&top) {
        format!("`{shown}` cannot be changed: create another budget")
    } else if OUTPUT_ONLY.contains(&top) {
        format!("`{shown}` is output only")
    } else {
        format!("`{shown}` is no field of a budget")
    }
}

/// Every field of the message is decided about: a new one breaks the build.
fn set_fields(budget: &pb::Budget) -> BTreeSet<Field> {
    let pb::Budget {
        display_name,
        limit_micros,
        enforcement,
        warning_micros,
        default_estimate_micros,
        require_estimate,
        // Compared with what the budget has.
        subject: _,
        period: _,
        models: _,
        // Output only: ignored (AIP 203).
        budget_id: _,
        spent_micros: _,
        reserved_micros: _,
        reset_time: _,
        etag: _,
        create_time: _,
        update_time: _,
    } = budget;
    let set = [
        (Field::DisplayName, !display_name.is_empty()),
        (Field::Limit, limit_micros.is_some()),
        (Field::Enforcement, *enforcement != 0),
        (Field::Warning, warning_micros.is_some()),
        (Field::DefaultEstimate, *default_estimate_micros != 0),
        (Field::RequireEstimate, *require_estimate),
    ];
    set.into_iter().filter(|(_, is_set)| *is_set).map(|(field, _)| field).collect()
}

fn read_patch(
    violations: &mut Violations,
    fields: &BTreeSet<Field>,
    is_whole: bool,
    budget: pb::Budget,
) -> BudgetPatch {
    let named = |field| fields.contains(&field);
    let mut patch = BudgetPatch::default();
    if is_whole {
        patch.seen = read_seen(violations, &budget);
    }
    if named(Field::DisplayName) {
        read_name(violations, "budget.display_name", &budget.display_name);
        patch.display_name = Some(budget.display_name);
    }
    if named(Field::Limit) {
        patch.limit = read_limit(violations, "budget.limit_micros", budget.limit_micros);
    }
    if named(Field::Enforcement) {
        let is_hard = match pb::budget::Enforcement::try_from(budget.enforcement) {
            Ok(pb::budget::Enforcement::Hard) => Some(true),
            Ok(pb::budget::Enforcement::Soft) => Some(false),
            Ok(pb::budget::Enforcement::Unspecified) | Err(_) => None,
        };
        patch.is_hard = violations.require("budget.enforcement", is_hard, "must be HARD or SOFT");
    }
    if named(Field::Warning) {
        patch.warning = read_warning(violations, budget.warning_micros);
    }
    if named(Field::DefaultEstimate) {
        let field = "budget.default_estimate_micros";
        patch.default_estimate = read_estimate(violations, field, budget.default_estimate_micros);
    }
    if named(Field::RequireEstimate) {
        patch.require_estimate = Some(budget.require_estimate);
    }
    patch
}

/// Whether it is above the limit shows when that is known.
fn read_warning(violations: &mut Violations, warning: Option<i64>) -> Option<Option<Micros>> {
    let Some(warning) = warning else { return Some(None) };
    violations.require("budget.warning_micros", Micros::new(warning), "must be 0 to limit_micros").map(Some)
}

/// What the caller left out he has not seen.
fn read_seen(violations: &mut Violations, budget: &pb::Budget) -> SeenBudget {
    let period = (budget.period != 0).then_some(budget.period);
    let models = (!budget.models.is_empty()).then_some(&budget.models);
    SeenBudget {
        subject: budget.subject.and_then(|subject| read_subject(violations, "budget.", subject)),
        period: period.and_then(|period| read_period(violations, "budget.period", period)),
        models: models.map(|models| read_models(violations, "budget.models", models)),
    }
}

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;

    fn mask(paths: &[&str], budget: &pb::Budget) -> (BTreeSet<Field>, Vec<String>) {
        let mut violations = Violations::default();
        let paths = paths.iter().map(|&path| path.to_owned()).collect();
        let (fields, _) = read_mask(&mut violations, Some(FieldMask { paths }), budget);
        (fields, violations.iter().map(|fault| format!("{}: {}", fault.field, fault.description)).collect())
    }

    #[test]
    fn every_field_of_the_contract_can_be_named_or_is_refused_for_its_reason() {
        let pool = DescriptorPool::decode(pb::FILE_DESCRIPTOR_SET).unwrap();
        let budget = pool.get_message_by_name("keystile.v1.Budget").unwrap();
        for field in budget.fields() {
            let (fields, faults) = mask(&[field.name()], &pb::Budget::default());
            let is_settable = PATHS.iter().any(|(path, _)| *path == field.name());
            assert_eq!((fields.len() == 1, faults.is_empty()), (is_settable, is_settable), "{faults:?}");
            let is_refused = IMMUTABLE.contains(&field.name()) || OUTPUT_ONLY.contains(&field.name());
            assert_eq!(is_settable, !is_refused, "{}", field.name());
        }
        let known = PATHS.iter().map(|(path, _)| *path).chain(OUTPUT_ONLY);
        assert!(known.into_iter().all(|name| budget.get_field_by_name(name).is_some()));
    }

    #[test]
    fn what_is_set_is_named_and_a_star_names_all() {
        let budget = pb::Budget {
            budget_id: 3,
            limit_micros: Some(0),
            warning_micros: Some(0),
            period: 1,
            models: vec!["a".to_owned()],
            spent_micros: 7,
            ..Default::default()
        };
        assert_eq!(mask(&[], &budget).0, [Field::Limit, Field::Warning].into());
        assert_eq!(mask(&["*"], &budget).0.len(), PATHS.len());
        assert_eq!(mask(&["*", "limit_micros"], &budget).1.len(), 1);
        let (_, faults) = mask(&[], &pb::Budget { period: 1, ..Default::default() });
        assert!(faults[0].starts_with("update_mask: must name a field"), "{faults:?}");
        let (_, faults) = mask(&["period", "spent_micros", "x\n"], &budget);
        assert!(faults[0].contains("cannot be changed"), "{faults:?}");
        assert!(faults[1].contains("output only"), "{faults:?}");
        assert!(faults[2].contains("`x\\n` is no field"), "{faults:?}");
    }
}
