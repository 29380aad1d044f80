//! Access rules, sets of names, and checks.

use std::collections::BTreeSet;
use std::fmt::Display;

use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::{AccessRule, Check, CheckSet, PATTERNS_MAX};

/// A rule for a message.
#[must_use]
pub fn rule<P: ToString>(rule: &AccessRule<P>) -> pb::AccessRule {
    let (mode, patterns) = match rule {
        AccessRule::Any => (pb::access_rule::Mode::Any, Vec::new()),
        AccessRule::Only(patterns) => {
            (pb::access_rule::Mode::Only, patterns.iter().map(ToString::to_string).collect())
        }
    };
    pb::AccessRule { mode: mode.into(), patterns }
}

/// A rule from a message, where one is given.
pub fn read_rule<P: Ord, E: Display>(
    violations: &mut Violations,
    field: &str,
    rule: Option<pb::AccessRule>,
    parse: impl Fn(&str) -> Result<P, E>,
) -> Option<AccessRule<P>> {
    let pb::AccessRule { mode, patterns } = rule?;
    match pb::access_rule::Mode::try_from(mode) {
        Ok(pb::access_rule::Mode::Any) => {
            if !patterns.is_empty() {
                violations.add(format!("{field}.patterns"), "must be empty where the mode is ANY");
            }
            Some(AccessRule::Any)
        }
        Ok(pb::access_rule::Mode::Only) => {
            let patterns = read_set(violations, &format!("{field}.patterns"), &patterns, PATTERNS_MAX, parse);
            Some(AccessRule::Only(patterns))
        }
        Ok(pb::access_rule::Mode::Unspecified) | Err(_) => {
            violations.add(format!("{field}.mode"), "must be ANY or ONLY");
            None
        }
    }
}

/// A set from a repeated field; what does not parse is a fault with its position.
pub fn read_set<T: Ord, E: Display>(
    violations: &mut Violations,
    field: &str,
    values: &[String],
    max: usize,
    parse: impl Fn(&str) -> Result<T, E>,
) -> BTreeSet<T> {
    if values.len() > max {
        violations.add(field, format!("must have at most {max} members"));
        return BTreeSet::new();
    }
    let mut set = BTreeSet::new();
    for (position, value) in values.iter().enumerate() {
        if let Some(value) = violations.take(format!("{field}[{position}]"), parse(value)) {
            set.insert(value);
        }
    }
    set
}

const CHECKS: [(pb::key::Check, Check); 8] = [
    (pb::key::Check::Ips, Check::Ips),
    (pb::key::Check::Endpoints, Check::Endpoints),
    (pb::key::Check::Scopes, Check::Scopes),
    (pb::key::Check::Permissions, Check::Permissions),
    (pb::key::Check::Models, Check::Models),
    (pb::key::Check::Chatbots, Check::Chatbots),
    (pb::key::Check::RateLimits, Check::RateLimits),
    (pb::key::Check::Budgets, Check::Budgets),
];

/// Checks for a message.
#[must_use]
pub fn checks(set: CheckSet) -> Vec<i32> {
    CHECKS.iter().filter(|(_, check)| set.contains(*check)).map(|(message, _)| i32::from(*message)).collect()
}

/// Checks from a message.
pub fn read_checks(violations: &mut Violations, field: &str, values: &[i32]) -> CheckSet {
    let mut set = CheckSet::EMPTY;
    for (position, value) in values.iter().enumerate() {
        match CHECKS.iter().find(|(message, _)| i32::from(*message) == *value) {
            Some((_, check)) => set = set.with(*check),
            None => violations.add(format!("{field}[{position}]"), "must be one of the checks"),
        }
    }
    set
}
