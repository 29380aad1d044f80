//! Keys for people.

use std::time::Duration;

use crate::cli::money::format_micros;
use crate::cli::output::Output;
use crate::cli::table::{columns, properties, summary};
use crate::cli::time::{format_seconds, format_timestamp};
use crate::grpc::pb;
use crate::grpc::pb::access_rule::Mode;
use crate::grpc::pb::budget::Enforcement;
use crate::grpc::pb::key::Check;

/// How many of a list are shown in a row of a table, and for a single key.
const SHOWN_IN_ROW: usize = 2;
const SHOWN_IN_DETAILS: usize = 20;

/// Keys, a row each.
pub fn table(keys: &[pb::Key]) -> String {
    let header =
        ["KEY", "OWNER", "NAME", "PREFIX", "STATE", "SCOPES", "MODELS", "TAGS", "EXPIRES", "LAST USED"];
    let rows = keys.iter().map(|key| {
        vec![
            key.key_id.to_string(),
            key.user_id.to_string(),
            key.display_name.clone(),
            key.key_prefix.clone(),
            state(key),
            summary(&key.scopes, SHOWN_IN_ROW),
            rule(key.models.as_ref(), SHOWN_IN_ROW),
            summary(&key.tags, SHOWN_IN_ROW),
            key.expire_time.as_ref().map_or("never".to_owned(), format_timestamp),
            key.last_used_time.as_ref().map_or("never".to_owned(), format_timestamp),
        ]
    });
    columns(&header, rows)
}

/// One key, a row a property.
pub fn details(key: &pb::Key) -> String {
    let time =
        |time: &Option<prost_types::Timestamp>| time.as_ref().map(format_timestamp).unwrap_or_default();
    let metadata: Vec<_> = key.metadata.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let observe: Vec<_> = key.observe().map(|check: Check| check.as_str_name().to_lowercase()).collect();
    let mut rows = vec![
        ("key", if key.key_id == 0 { String::new() } else { key.key_id.to_string() }),
        ("owner", key.user_id.to_string()),
        ("name", key.display_name.clone()),
        ("description", key.description.clone()),
        ("prefix", key.key_prefix.clone()),
        ("state", state(key)),
        ("revoked", time(&key.revoke_time)),
        ("reason", key.revoke_reason.clone()),
        ("deleted", time(&key.delete_time)),
        ("purged", time(&key.purge_time)),
        ("expires", key.expire_time.as_ref().map_or("never".to_owned(), format_timestamp)),
        ("tags", summary(&key.tags, SHOWN_IN_DETAILS)),
        ("metadata", summary(&metadata, SHOWN_IN_DETAILS)),
        ("scopes", summary(&key.scopes, SHOWN_IN_DETAILS)),
        ("permissions", summary(&key.permissions, SHOWN_IN_DETAILS)),
        ("models", rule(key.models.as_ref(), SHOWN_IN_DETAILS)),
        ("endpoints", rule(key.endpoints.as_ref(), SHOWN_IN_DETAILS)),
        ("ips", rule(key.ips.as_ref(), SHOWN_IN_DETAILS)),
        ("chatbots", rule(key.chatbots.as_ref(), SHOWN_IN_DETAILS)),
        ("only observed", summary(&observe, SHOWN_IN_DETAILS)),
    ];
    let limits = key.rate_limits.unwrap_or_default();
    rows.push(("requests", windows(limits.requests)));
    rows.push(("tokens", windows(limits.tokens)));
    rows.extend(key.budgets.iter().map(|it| ("budget", budget(it))));
    let has_limits = !windows(limits.requests).is_empty() || !windows(limits.tokens).is_empty();
    if has_limits || !key.budgets.is_empty() {
        rows.push(("enforced", "not yet: limits and budgets are stored only".to_owned()));
    }
    rows.extend([
        ("created", time(&key.create_time)),
        ("updated", time(&key.update_time)),
        ("last used", time(&key.last_used_time)),
        ("used", key.totals.map(used).unwrap_or_default()),
        ("old token", key.previous_token_expire_time.as_ref().map(old_token).unwrap_or_default()),
        ("hash", key.key_hash.clone()),
        ("etag", key.etag.clone()),
    ]);
    properties(rows)
}

/// Tells when a change is certain to hold everywhere, where it is not yet.
pub fn note_propagation(output: &mut Output, propagation: Option<&pb::Propagation>) {
    let Some(propagation) = propagation.filter(|it| !it.complete) else { return };
    let after = propagation.certain_after.and_then(|it| Duration::try_from(it).ok()).map(format_seconds);
    let by = propagation.certain_by.as_ref().map(format_timestamp);
    let when = match (after, by) {
        (Some(after), Some(by)) => format!("for up to {after}, until {by}"),
        (Some(after), None) => format!("for up to {after}"),
        (None, Some(by)) => format!("until {by}"),
        (None, None) => "for a while".to_owned(),
    };
    output.note(&format!("Saved. Some replicas may decide from the state before {when}."));
}

fn state(key: &pb::Key) -> String {
    match key.state() {
        pb::key::State::Unspecified => String::new(),
        state => state.as_str_name().to_owned(),
    }
}

fn rule(rule: Option<&pb::AccessRule>, shown: usize) -> String {
    let Some(rule) = rule else { return String::new() };
    match rule.mode() {
        Mode::Unspecified => String::new(),
        Mode::Any => "any".to_owned(),
        Mode::Only if rule.patterns.is_empty() => "none".to_owned(),
        Mode::Only => summary(&rule.patterns, shown),
    }
}

fn windows(windows: Option<pb::RateLimitWindows>) -> String {
    let windows = windows.unwrap_or_default();
    let named = [(windows.per_minute, "minute"), (windows.per_hour, "hour"), (windows.per_day, "day")];
    let given: Vec<_> = named.iter().filter_map(|(n, name)| n.map(|n| format!("{n} a {name}"))).collect();
    given.join(", ").replace(" a hour", " an hour")
}

fn budget(budget: &pb::Budget) -> String {
    let limit = format_micros(budget.limit_micros.unwrap_or(0));
    let spent = format_micros(budget.spent_micros);
    let period = budget.period().as_str_name().to_lowercase();
    let mut text = format!("{spent} of {limit} {period}");
    if budget.enforcement() == Enforcement::Soft {
        text.push_str(", soft");
    }
    if let Some(warning) = budget.warning_micros {
        text.push_str(&format!(", warns at {}", format_micros(warning)));
    }
    if !budget.models.is_empty() {
        text.push_str(&format!(", for {}", summary(&budget.models, SHOWN_IN_ROW)));
    }
    if !budget.display_name.is_empty() {
        text.push_str(&format!(" ({})", budget.display_name));
    }
    text
}

fn used(totals: pb::KeyTotals) -> String {
    format!(
        "{} requests, {} tokens, {}; allowed {} times",
        totals.total_requests,
        totals.total_tokens,
        format_micros(totals.total_cost_micros),
        totals.authorized_count
    )
}

fn old_token(until: &prost_types::Timestamp) -> String {
    format!("works until {}", format_timestamp(until))
}

#[cfg(test)]
mod tests;
