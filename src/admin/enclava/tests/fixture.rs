//! The older system's whole export, against the state that `tests/fixtures/enclava/expectations.py` works out
//! from its text, without any of our code.

use std::collections::BTreeMap;
use std::fmt::Display;

use chrono::{DateTime, NaiveDateTime, SecondsFormat, Utc};
use secrecy::SecretString;
use serde_json::{Value, json};

use crate::admin::enclava::{Converted, ImportedPeriod, Options, SourceRow, convert, name_ninths};
use crate::policy::AccessRule;

const SQL: &str = include_str!("../../../../tests/fixtures/enclava/enclava.sql");
const EXPECTATIONS: &str = include_str!("../../../../tests/fixtures/enclava/expectations.json");

/// A value of an INSERT: `None` is NULL, words and numbers are as written.
type Cell = Option<String>;

/// Splits `1, 'it''s', NULL` into cells.
fn cells(text: &str) -> Vec<Cell> {
    let mut cells = Vec::new();
    let mut rest = text;
    while !rest.is_empty() {
        let mut cell = String::new();
        if let Some(mut quoted) = rest.strip_prefix('\'') {
            loop {
                let (part, after) = quoted.split_once('\'').expect("a closing quote");
                cell.push_str(part);
                match after.strip_prefix('\'') {
                    Some(more) => {
                        cell.push('\'');
                        quoted = more;
                    }
                    None => {
                        rest = after.strip_prefix(", ").unwrap_or(after);
                        break;
                    }
                }
            }
            cells.push(Some(cell));
        } else {
            let (word, after) = rest.split_once(", ").unwrap_or((rest, ""));
            cells.push((word != "NULL").then(|| word.to_owned()));
            rest = after;
        }
    }
    cells
}

fn users() -> BTreeMap<i64, Option<bool>> {
    let inserts = SQL.lines().filter_map(|line| line.strip_prefix("INSERT INTO users VALUES ("));
    inserts
        .map(|line| {
            let user = cells(line.strip_suffix(");").expect("the end of a statement"));
            (number(&user[0]).expect("an id"), boolean(&user[3]))
        })
        .collect()
}

fn number(cell: &Cell) -> Option<i64> {
    cell.as_deref().map(|text| text.parse().expect("a number"))
}

fn boolean(cell: &Cell) -> Option<bool> {
    cell.as_deref().map(|text| text.parse().expect("true or false"))
}

fn time(cell: &Cell) -> Option<NaiveDateTime> {
    cell.as_deref().map(|text| NaiveDateTime::parse_from_str(text, "%Y-%m-%d %H:%M:%S%.f").expect("a time"))
}

/// The time for which the expectations hold, and those of each key by its id.
pub(super) fn expectations() -> (DateTime<Utc>, BTreeMap<i64, Value>) {
    let file: Value = serde_json::from_str(EXPECTATIONS).expect("JSON");
    let now = file["now"].as_str().expect("a time").parse().expect("a time");
    let keys = file["keys"].as_array().expect("a list").iter();
    (now, keys.map(|key| (key["key_id"].as_i64().expect("an id"), key.clone())).collect())
}

/// The rows of the export, in its order.
pub(super) fn source_rows() -> Vec<SourceRow> {
    let users = users();
    let inserts = SQL.lines().filter_map(|line| line.strip_prefix("INSERT INTO api_keys ("));
    inserts
        .map(|line| {
            let (columns, values) = line.split_once(") VALUES (").expect("values");
            let values = cells(values.strip_suffix(");").expect("the end of a statement"));
            let row: BTreeMap<&str, Cell> = columns.split(", ").zip(values).collect();
            source_row(&row, &users)
        })
        .collect()
}

fn source_row(row: &BTreeMap<&str, Cell>, users: &BTreeMap<i64, Option<bool>>) -> SourceRow {
    let text = |column: &str| row[column].clone();
    let json = |column: &str| text(column).map(|text| serde_json::from_str(&text).expect("JSON"));
    let number = |column: &str| number(&row[column]);
    let user_id = number("user_id").expect("an owner");
    SourceRow {
        id: number("id").expect("an id"),
        name: text("name").expect("a name"),
        key_hash: SecretString::from(text("key_hash").expect("a hash")),
        key_prefix: text("key_prefix").expect("a prefix"),
        user_id,
        owner_exists: true,
        owner_is_active: users[&user_id],
        is_active: boolean(&row["is_active"]),
        permissions: json("permissions"),
        scopes: json("scopes"),
        rate_limit_per_minute: number("rate_limit_per_minute"),
        rate_limit_per_hour: number("rate_limit_per_hour"),
        rate_limit_per_day: number("rate_limit_per_day"),
        allowed_models: json("allowed_models"),
        allowed_endpoints: json("allowed_endpoints"),
        allowed_ips: json("allowed_ips"),
        allowed_chatbots: json("allowed_chatbots"),
        is_unlimited: boolean(&row["is_unlimited"]),
        budget_limit_cents: number("budget_limit_cents"),
        budget_type: text("budget_type"),
        description: text("description"),
        tags: json("tags"),
        created_at: time(&row["created_at"]),
        updated_at: time(&row["updated_at"]),
        last_used_at: time(&row["last_used_at"]),
        expires_at: time(&row["expires_at"]),
        total_requests: number("total_requests"),
        total_tokens: number("total_tokens"),
        total_cost: number("total_cost"),
    }
}

fn rule<P: Display>(rule: &AccessRule<P>) -> Value {
    match rule {
        AccessRule::Any => Value::Null,
        // The expectations are sorted as text, patterns may sort otherwise (addresses do).
        AccessRule::Only(patterns) => {
            let mut patterns: Vec<String> = patterns.iter().map(ToString::to_string).collect();
            patterns.sort();
            json!(patterns)
        }
    }
}

fn time_text(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Micros, true)
}

/// The key in the words of the expectations.
fn described(Converted { key, warnings }: &Converted, now: DateTime<Utc>) -> Value {
    let expired = key.expire_time.is_some_and(|time| now >= time);
    let state = match (key.revoked(), key.owner_disabled, expired) {
        (true, _, _) => "REVOKED",
        (false, true, _) => "OWNER_DISABLED",
        (false, false, true) => "EXPIRED",
        (false, false, false) => "ACTIVE",
    };
    json!({
        "user_id": key.user_id.get(),
        "state": state,
        "revoked": key.revoked(),
        "owner_disabled": key.owner_disabled,
        "display_name": key.display_name.as_str(),
        "description": key.description.as_str(),
        "tags": key.tags.iter().map(|tag| tag.as_str()).collect::<Vec<_>>(),
        "key_prefix": key.key_prefix,
        "scopes": key.scopes.iter().map(|scope| scope.as_str()).collect::<Vec<_>>(),
        "permissions": key.permissions.iter().map(|permission| permission.as_str()).collect::<Vec<_>>(),
        "models": rule(&key.models),
        "endpoints": rule(&key.endpoints),
        "ips": rule(&key.ips),
        "chatbots": rule(&key.chatbots),
        "requests_per_minute": key.limits.requests_per_minute,
        "requests_per_hour": key.limits.requests_per_hour,
        "requests_per_day": key.limits.requests_per_day,
        "budget": key.budget.map(|budget| json!({
            "period": match budget.period {
                ImportedPeriod::Total => "TOTAL",
                ImportedPeriod::Monthly => "MONTHLY",
            },
            "limit_micros": budget.limit.get(),
            "spent_micros": budget.spent.get(),
        })),
        "total_requests": key.total_requests,
        "total_tokens": key.total_tokens,
        "total_cost_micros": key.total_cost.get(),
        "create_time": time_text(key.create_time),
        "update_time": time_text(key.update_time),
        "last_used_time": key.last_used_time.map(time_text),
        "expire_time": key.expire_time.map(time_text),
        "revoke_time": key.revoke_time.map(time_text),
        "warnings": warnings.iter().map(|warning| warning.kind.as_str()).collect::<Vec<_>>(),
    })
}

#[test]
fn every_row_of_the_export_becomes_what_its_text_says() {
    let (now, expected) = expectations();
    let rows = source_rows();
    assert_eq!((rows.len(), expected.len()), (200, 200));
    for row in &rows {
        let converted = convert(row, &Options::default(), now).expect("every row of the export is taken");
        assert_eq!(&described(&converted, now), &expected[&row.id]["import"], "key {}", row.id);
        assert!(converted.key.metadata.as_map().is_empty(), "the older system had no metadata");
    }
}

#[test]
fn the_export_holds_no_ninth_key_of_a_prefix() {
    let rows = source_rows();
    let keys: Vec<_> = rows
        .iter()
        .map(|row| convert(row, &Options::default(), super::import_time()).expect("taken").key)
        .collect();
    assert_eq!(name_ninths(keys.iter().map(|key| (key.key_id, key.key_prefix.as_str()))), []);
}

#[test]
fn the_reader_of_this_test_reads_quotes_and_nulls() {
    let read = cells("1, 'it''s, so', NULL, true, ''");
    let expected = [Some("1"), Some("it's, so"), None, Some("true"), Some("")];
    assert_eq!(read, expected.map(|cell: Option<&str>| cell.map(str::to_owned)));
}
