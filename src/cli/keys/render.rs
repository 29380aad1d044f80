//! Keys for people.

use std::process::ExitCode;
use std::time::Duration;

use crate::cli::json::to_json;
use crate::cli::money::format_micros;
use crate::cli::output::{Format, Look, Output, Tone};
use crate::cli::table::{Cell, Column, columns, properties_in, summary};
use crate::cli::time::{format_minutes, format_seconds, format_timestamp};
use crate::grpc::pb;
use crate::grpc::pb::access_rule::Mode;
use crate::grpc::pb::budget::Enforcement;
use crate::grpc::pb::key::{Check, State};

/// How many of a list are shown in a row of a table, and for a single key.
const SHOWN_IN_ROW: usize = 2;
const SHOWN_IN_DETAILS: usize = 20;

/// Keys, a row each; `wide` shows what they may do, too.
pub fn table(keys: &[pb::Key], wide: bool, look: Look) -> String {
    use Column::{Cut, Whole};
    let mut header =
        vec![Whole("KEY"), Whole("OWNER"), Cut("NAME"), Cut("PREFIX"), Whole("STATE"), Whole("EXPIRES")];
    header.push(Whole("LAST USED"));
    if wide {
        header.extend([Cut("SCOPES"), Cut("PERMISSIONS"), Cut("MODELS"), Cut("ENDPOINTS"), Cut("IPS")]);
        header.extend([Cut("CHATBOTS"), Cut("TAGS"), Whole("CREATED")]);
    }
    columns(look, &header, keys.iter().map(|key| row(key, wide)))
}

fn row(key: &pb::Key, wide: bool) -> Vec<Cell> {
    let never =
        |time: &Option<prost_types::Timestamp>| time.as_ref().map_or("never".to_owned(), format_minutes);
    let mut row = vec![
        Cell::from(key.key_id.to_string()),
        Cell::from(key.user_id.to_string()),
        Cell::from(key.display_name.clone()),
        Cell::from(key.key_prefix.clone()),
        state(key),
        Cell::from(never(&key.expire_time)),
        Cell::from(never(&key.last_used_time)),
    ];
    if wide {
        let rules = [&key.models, &key.endpoints, &key.ips, &key.chatbots];
        row.push(summary(&key.scopes, SHOWN_IN_ROW).into());
        row.push(summary(&key.permissions, SHOWN_IN_ROW).into());
        row.extend(rules.map(|it| Cell::from(rule(it.as_ref(), SHOWN_IN_ROW))));
        row.push(summary(&key.tags, SHOWN_IN_ROW).into());
        row.push(key.create_time.as_ref().map(format_minutes).unwrap_or_default().into());
    }
    row
}

/// One key, a row a property.
pub fn details(key: &pb::Key, look: Look) -> String {
    let mut rows = identity(key);
    rows.extend(access(key));
    rows.extend(amounts(key));
    properties_in(look, rows)
}

fn identity(key: &pb::Key) -> Vec<(&'static str, Cell)> {
    let metadata: Vec<_> = key.metadata.iter().map(|(name, value)| format!("{name}={value}")).collect();
    let key_id = if key.key_id == 0 { String::new() } else { key.key_id.to_string() };
    vec![
        ("key", key_id.into()),
        ("owner", key.user_id.to_string().into()),
        ("name", key.display_name.clone().into()),
        ("description", key.description.clone().into()),
        ("prefix", key.key_prefix.clone().into()),
        ("state", state(key)),
        ("revoked", time(&key.revoke_time)),
        ("reason", key.revoke_reason.clone().into()),
        ("deleted", time(&key.delete_time)),
        ("purge due", time(&key.purge_time)),
        ("expires", key.expire_time.as_ref().map_or("never".to_owned(), format_timestamp).into()),
        ("tags", summary(&key.tags, SHOWN_IN_DETAILS).into()),
        ("metadata", summary(&metadata, SHOWN_IN_DETAILS).into()),
    ]
}

fn access(key: &pb::Key) -> Vec<(&'static str, Cell)> {
    let observe: Vec<_> = key.observe().map(|check: Check| check.as_str_name().to_lowercase()).collect();
    vec![
        ("scopes", summary(&key.scopes, SHOWN_IN_DETAILS).into()),
        ("permissions", summary(&key.permissions, SHOWN_IN_DETAILS).into()),
        ("models", rule(key.models.as_ref(), SHOWN_IN_DETAILS).into()),
        ("endpoints", rule(key.endpoints.as_ref(), SHOWN_IN_DETAILS).into()),
        ("ips", rule(key.ips.as_ref(), SHOWN_IN_DETAILS).into()),
        ("chatbots", rule(key.chatbots.as_ref(), SHOWN_IN_DETAILS).into()),
        ("only observed", summary(&observe, SHOWN_IN_DETAILS).into()),
    ]
}

fn amounts(key: &pb::Key) -> Vec<(&'static str, Cell)> {
    let mut rows = rate_limits(key.rate_limits);
    rows.extend(key.budgets.iter().map(|it| ("budget", budget(it))));
    if !key.budgets.is_empty() {
        rows.push(("enforced", "not yet: budgets are stored only".to_owned()));
    }
    let mut cells: Vec<_> = rows.into_iter().map(|(name, value)| (name, Cell::from(value))).collect();
    cells.extend([
        ("created", time(&key.create_time)),
        ("updated", time(&key.update_time)),
        ("last used", time(&key.last_used_time)),
        ("used", key.totals.map(used).unwrap_or_default().into()),
        ("old token", key.previous_token_expire_time.as_ref().map(old_token).unwrap_or_default().into()),
        ("hash", key.key_hash.clone().into()),
        ("etag", key.etag.clone().into()),
    ]);
    cells
}

/// Limits in words, for requests and for tokens; empty where there is none.
pub fn rate_limits(limits: Option<pb::RateLimits>) -> Vec<(&'static str, String)> {
    let limits = limits.unwrap_or_default();
    vec![("requests", windows(limits.requests)), ("tokens", windows(limits.tokens))]
}

/// Shows what a change has made of a key.
///
/// # Errors
/// What writing fails with.
pub fn show_mutation(answer: &pb::KeyMutationResponse, output: &mut Output) -> anyhow::Result<ExitCode> {
    let look = output.look();
    match output.format() {
        Format::Json => output.show_json(&to_json("KeyMutationResponse", answer)?)?,
        Format::Table => {
            output.show(&answer.key.as_ref().map(|key| details(key, look)).unwrap_or_default())?;
        }
    }
    note_propagation(output, answer.propagation.as_ref());
    Ok(ExitCode::SUCCESS)
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

fn state(key: &pb::Key) -> Cell {
    let tone = match key.state() {
        State::Unspecified => return Cell::default(),
        State::Active => Tone::Good,
        State::Revoked | State::OwnerDisabled => Tone::Bad,
        State::Expired => Tone::Over,
        State::Deleted => Tone::Gone,
    };
    Cell::toned(key.state().as_str_name(), Some(tone))
}

fn time(time: &Option<prost_types::Timestamp>) -> Cell {
    time.as_ref().map(format_timestamp).unwrap_or_default().into()
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
