//! Every rule of the mapping, on rows that differ from a plain one in a single column, and the whole export.

mod amounts;
mod decisions;
mod fixture;
mod grants;
mod hostile;
mod identity;
mod rules;
mod sync;
mod texts;

use chrono::{DateTime, NaiveDate, NaiveDateTime, Utc};
use secrecy::SecretString;
use serde_json::json;

use super::{Converted, Options, Rejection, RejectionKind, SourceRow, WarningKind, convert};

/// A hash in bcrypt's form; nothing in these tests proves a token.
const HASH: &str = "$2b$06$68NFsg9SgyNTECsyDRiY9elqwGp3bBg7ViUeBwSdcc18J.aSMKWmG";

fn naive(day: u32) -> NaiveDateTime {
    NaiveDate::from_ymd_opt(2026, 10, day).unwrap().and_hms_micro_opt(12, 0, 0, 250).unwrap()
}

/// The time of the import.
fn import_time() -> DateTime<Utc> {
    naive(31).and_utc()
}

/// A row that converts without a warning.
fn plain_row() -> SourceRow {
    SourceRow {
        id: 7,
        name: "Billing".to_owned(),
        key_hash: SecretString::from(HASH),
        key_prefix: "en_c3j27".to_owned(),
        user_id: 3,
        owner_exists: true,
        owner_is_active: Some(true),
        is_active: Some(true),
        permissions: Some(json!({"chat": true})),
        scopes: Some(json!(["chat.completions"])),
        rate_limit_per_minute: Some(1),
        rate_limit_per_hour: Some(2),
        rate_limit_per_day: Some(3),
        allowed_models: Some(json!(["gpt-4o"])),
        allowed_endpoints: Some(json!(["/v1/models"])),
        allowed_ips: Some(json!(["10.0.0.7"])),
        allowed_chatbots: Some(json!(["bot-1"])),
        is_unlimited: Some(true),
        budget_limit_cents: None,
        budget_type: None,
        description: Some("Monthly runs".to_owned()),
        tags: Some(json!(["blue"])),
        created_at: Some(naive(1)),
        updated_at: Some(naive(2)),
        last_used_at: Some(naive(3)),
        expires_at: Some(naive(4)),
        total_requests: Some(5),
        total_tokens: Some(6),
        total_cost: Some(7),
    }
}

/// Converts the plain row after `change`, with the default options.
fn converted(change: impl FnOnce(&mut SourceRow)) -> Result<Converted, Rejection> {
    converted_with(&Options::default(), change)
}

fn converted_with(options: &Options, change: impl FnOnce(&mut SourceRow)) -> Result<Converted, Rejection> {
    let mut row = plain_row();
    change(&mut row);
    convert(&row, options, import_time())
}

fn keep_wildcards() -> Options {
    Options { keep_wildcards: true, ..Options::default() }
}

/// Converts the plain row after `change` and returns it with the kinds of its warnings.
fn taken(change: impl FnOnce(&mut SourceRow)) -> (super::ImportedKey, Vec<WarningKind>) {
    let Converted { key, warnings } = converted(change).expect("the row is taken");
    let kinds = warnings.iter().map(|warning| warning.kind).collect();
    (key, kinds)
}

/// The kind and column of the rejection of the plain row after `change`.
fn rejected(change: impl FnOnce(&mut SourceRow)) -> (RejectionKind, &'static str) {
    let rejection = converted(change).expect_err("the row is rejected");
    assert_eq!(rejection.key_id, plain_row().id);
    assert!(
        rejection.sentence.starts_with(&format!("key 7: {}: ", rejection.field)),
        "names key and column: {rejection}"
    );
    (rejection.kind, rejection.field)
}
