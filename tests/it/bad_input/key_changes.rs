//! UpdateKey, RotateKey, the expiration calls, and those that name no more than a key; LookupKey.

use std::collections::BTreeMap;

use keystile::grpc::pb;
use pb::set_expiration_request::Expiration;
use prost_types::{Duration, FieldMask, Timestamp};
use tonic::Code;

use super::{ETAG_MISMATCH, NOT_FOUND, Row, any, many, texts};

pub fn rows(key_id: i64) -> Vec<Row> {
    let mut rows = mask_rows(key_id);
    rows.extend(value_rows(key_id));
    rows.extend(update_rows(key_id));
    rows.extend(rotate_rows(key_id));
    rows.extend(expiration_rows(key_id));
    rows.extend(plain_rows(key_id));
    rows.push(Row::refused(
        "nothing",
        "KeyService/LookupKey",
        &pb::LookupKeyRequest::default(),
        (Code::NotFound, "TOKEN_UNKNOWN"),
    ));
    rows
}

const UPDATE: &str = "KeyService/UpdateKey";

fn update(key: pb::Key, paths: &[&str]) -> pb::UpdateKeyRequest {
    let paths = paths.iter().map(|&path| path.to_owned()).collect();
    pb::UpdateKeyRequest { key: Some(key), update_mask: Some(FieldMask { paths }), ..Default::default() }
}

fn mask_rows(key_id: i64) -> Vec<Row> {
    let key = || pb::Key { key_id, display_name: "k".into(), ..Default::default() };
    let row = |what: &str, paths: &[&str], fields: &[&'static str]| {
        Row::invalid(&format!("mask: {what}"), UPDATE, &update(key(), paths), fields)
    };
    let first = ["update_mask.paths[0]"];
    let mut rows: Vec<Row> = [
        "nothing_like_it",
        "",
        "Display_name",
        "displayName",
        "key.display_name",
        "display_name ",
        "display_name.x",
        "tags.0",
        "metadata.team",
        "models.mode",
        "models.patterns",
        "rate_limits.requests.per_second",
        "rate_limits.",
        "key_id",
        "key_prefix",
        "state",
        "etag",
        "key_hash",
        "totals.total_requests",
        "budgets",
        "purge_time",
        "previous_token_expire_time",
        "expire_time",
        "expire_time.seconds",
        "**",
        "a\0\u{202e}",
    ]
    .iter()
    .map(|path| row(path, &[path], &first))
    .collect();
    rows.push(row("a megabyte", &[&"x".repeat(1 << 20)], &first));
    rows.push(row("the second", &["tags", "tag"], &["update_mask.paths[1]"]));
    rows.push(row("a star among others", &["tags", "*"], &["update_mask.paths[1]"]));
    rows.push(row("two stars", &["*", "*"], &["update_mask.paths[0]", "update_mask.paths[1]"]));
    let thousand: Vec<&str> = vec!["x"; 1_000];
    let twenty: Vec<&'static str> = (0..20).map(|n| &*format!("update_mask.paths[{n}]").leak()).collect();
    rows.push(row("a thousand", &thousand, &twenty));
    rows
}

fn value_rows(key_id: i64) -> Vec<Row> {
    let row = |path: &str, fields: &[&'static str], change: fn(&mut pb::Key)| {
        let mut key = pb::Key { key_id, ..Default::default() };
        change(&mut key);
        Row::invalid(&format!("value of {path}"), UPDATE, &update(key, &[path]), fields)
    };
    let per_minute = |limit| pb::RateLimitWindows { per_minute: Some(limit), ..Default::default() };
    let limits =
        pb::RateLimits { requests: Some(per_minute(-1)), tokens: Some(per_minute(1_000_000_000_001)) };
    let limits = pb::Key { key_id, rate_limits: Some(limits), ..Default::default() };
    let [requests, tokens] = ["key.rate_limits.requests.per_minute", "key.rate_limits.tokens.per_minute"];
    vec![
        row("user_id", &["key.user_id"], |key| key.user_id = -1),
        row("display_name", &["key.display_name"], |_| {}),
        row("description", &["key.description"], |key| key.description = "\n".into()),
        row("tags", &["key.tags[0]"], |key| key.tags = texts([""])),
        row("tags", &["key.tags"], |key| key.tags = many(51, |n| n.to_string())),
        row("metadata", &["key.metadata"], |key| {
            key.metadata = BTreeMap::from([(String::new(), String::new())]);
        }),
        row("permissions", &["key.permissions[0]"], |key| key.permissions = texts(["*"])),
        row("scopes", &["key.scopes[0]"], |key| key.scopes = texts(["a*"])),
        row("models", &["key.models"], |_| {}),
        row("models", &["key.models.mode"], |key| key.models = Some(pb::AccessRule::default())),
        row("endpoints", &["key.endpoints.patterns"], |key| key.endpoints = any(texts(["/a"]))),
        row("ips", &["key.ips"], |_| {}),
        row("chatbots", &["key.chatbots.mode"], |key| {
            key.chatbots = Some(pb::AccessRule { mode: 9, patterns: Vec::new() });
        }),
        row("observe", &["key.observe[0]"], |key| key.observe = vec![0]),
        Row::invalid("both limits", UPDATE, &update(limits.clone(), &["rate_limits"]), &[requests, tokens]),
        Row::invalid("one of both limits", UPDATE, &update(limits, &["rate_limits.tokens"]), &[tokens]),
    ]
}

fn update_rows(key_id: i64) -> Vec<Row> {
    let named = || pb::Key { key_id, display_name: "k".into(), ..Default::default() };
    let unmasked = |key: pb::Key| pb::UpdateKeyRequest { key: Some(key), ..Default::default() };
    let with_etag = |etag: &str| pb::UpdateKeyRequest { etag: etag.into(), ..unmasked(named()) };
    let with_both = pb::UpdateKeyRequest {
        key: Some(pb::Key { etag: "r2".into(), ..named() }),
        etag: "r1".into(),
        ..Default::default()
    };
    let later = Some(Timestamp { seconds: 4_000_000_000, nanos: 0 });
    let never = Some(Timestamp { seconds: i64::MAX, nanos: 0 });
    let expiring = |expire_time| pb::Key { expire_time, ..named() };
    let reserved = pb::Key { key_id, scopes: texts(["keystile.admin"]), ..Default::default() };
    let output_only = pb::Key { key_id, key_prefix: "ks_1".into(), state: 1, ..Default::default() };
    vec![
        Row::invalid("nothing", UPDATE, &pb::UpdateKeyRequest::default(), &["key"]),
        Row::invalid("an empty key", UPDATE, &unmasked(pb::Key::default()), &["key.key_id", "update_mask"]),
        Row::invalid("nothing that can be changed", UPDATE, &unmasked(output_only), &["update_mask"]),
        Row::invalid("long etag", UPDATE, &with_etag(&"r".repeat(65)), &["etag"]),
        Row::invalid("two etags", UPDATE, &with_both, &["etag"]),
        Row::invalid("another expiry", UPDATE, &unmasked(expiring(later)), &["key.expire_time"]),
        Row::invalid("an expiry that is none", UPDATE, &unmasked(expiring(never)), &["key.expire_time"]),
        Row::refused("another etag", UPDATE, &with_etag("r999999"), ETAG_MISMATCH),
        Row::refused(
            "another etag in the key",
            UPDATE,
            &unmasked(pb::Key { etag: "r999999".into(), ..named() }),
            ETAG_MISMATCH,
        ),
        Row::refused("no such key", UPDATE, &unmasked(pb::Key { key_id: i64::MAX, ..named() }), NOT_FOUND),
        Row::refused(
            "a reserved scope",
            UPDATE,
            &unmasked(reserved),
            (Code::FailedPrecondition, "RESERVED_SCOPE"),
        ),
    ]
}

fn rotate_rows(key_id: i64) -> Vec<Row> {
    const METHOD: &str = "KeyService/RotateKey";
    let rotate = |key_id| pb::RotateKeyRequest { key_id, ..Default::default() };
    let grace = |seconds, nanos| pb::RotateKeyRequest {
        grace_period: Some(Duration { seconds, nanos }),
        ..rotate(key_id)
    };
    let id = |request_id: &str| pb::RotateKeyRequest { request_id: request_id.into(), ..rotate(key_id) };
    let etag = |etag: &str| pb::RotateKeyRequest { etag: etag.into(), ..rotate(key_id) };
    let month = 30 * 86_400;
    let everything = pb::RotateKeyRequest {
        key_id: -1,
        grace_period: Some(Duration { seconds: i64::MIN, nanos: i32::MIN }),
        etag: "r".repeat(65),
        request_id: "x".into(),
    };
    let all_fields = ["request_id", "key_id", "grace_period", "etag"];
    vec![
        Row::invalid("no id", METHOD, &rotate(0), &["key_id"]),
        Row::invalid("grace a nanosecond too long", METHOD, &grace(month, 1), &["grace_period"]),
        Row::invalid("grace for ever", METHOD, &grace(i64::MAX, 0), &["grace_period"]),
        Row::invalid("negative grace", METHOD, &grace(-1, 0), &["grace_period"]),
        Row::invalid("grace of a negative nanosecond", METHOD, &grace(0, -1), &["grace_period"]),
        Row::invalid("grace of two signs", METHOD, &grace(1, -1), &["grace_period"]),
        Row::invalid("grace of many nanoseconds", METHOD, &grace(0, 1_000_000_000), &["grace_period"]),
        Row::invalid("request_id", METHOD, &id("2f1b6f0e8a5e4b529d5c1f7a1a1f0c11"), &["request_id"]),
        Row::invalid("nil request_id", METHOD, &id(&"0".repeat(36)), &["request_id"]),
        Row::invalid("request_id of a megabyte", METHOD, &id(&"a".repeat(1 << 20)), &["request_id"]),
        Row::invalid("everything", METHOD, &everything, &all_fields),
        Row::refused("no such key", METHOD, &rotate(i64::MAX), NOT_FOUND),
        Row::refused("another etag", METHOD, &etag("r999999"), ETAG_MISMATCH),
    ]
}

fn expiration_rows(key_id: i64) -> Vec<Row> {
    let [set_to, extend_by] = ["KeyService/SetExpiration", "KeyService/ExtendExpiration"];
    let set = |expiration| pb::SetExpirationRequest { key_id, expiration: Some(expiration), etag: "".into() };
    let at = |seconds, nanos| set(Expiration::ExpireTime(Timestamp { seconds, nanos }));
    let days = |days| set(Expiration::Days(days));
    let extend = |days, etag: &str| pb::ExtendExpirationRequest { key_id, days, etag: etag.into() };
    let stale = pb::SetExpirationRequest { etag: "r999999".into(), ..days(1) };
    let missing = pb::SetExpirationRequest { key_id: i64::MAX, ..days(1) };
    let nothing = pb::SetExpirationRequest::default();
    vec![
        Row::invalid("nothing", set_to, &nothing, &["key_id", "expiration"]),
        Row::invalid("the past", set_to, &at(1, 0), &["expire_time"]),
        Row::invalid("year 0", set_to, &at(-62_135_596_801, 0), &["expire_time"]),
        Row::invalid("year 10000", set_to, &at(253_402_300_800, 0), &["expire_time"]),
        Row::invalid("negative nanoseconds", set_to, &at(4_000_000_000, -1), &["expire_time"]),
        Row::invalid("no days", set_to, &days(0), &["days"]),
        Row::invalid("negative days", set_to, &days(i32::MIN), &["days"]),
        Row::invalid("3651 days", set_to, &days(3_651), &["days"]),
        Row::refused("no such key", set_to, &missing, NOT_FOUND),
        Row::refused("another etag", set_to, &stale, ETAG_MISMATCH),
        Row::invalid("no days", extend_by, &extend(0, ""), &["days"]),
        Row::invalid("negative days", extend_by, &extend(-1, ""), &["days"]),
        Row::invalid("3651 days", extend_by, &extend(3_651, ""), &["days"]),
        Row::invalid("days and etag", extend_by, &extend(i32::MAX, &"r".repeat(65)), &["days", "etag"]),
        Row::refused("another etag", extend_by, &extend(1, "r999999"), ETAG_MISMATCH),
    ]
}

/// An etag must fit whether or not there is something to change.
fn plain_rows(key_id: i64) -> Vec<Row> {
    let mut rows = Vec::new();
    for method in [
        "KeyService/ReactivateKey",
        "KeyService/DeleteKey",
        "KeyService/UndeleteKey",
        "KeyService/ClearExpiration",
    ] {
        // The four messages are the same on the wire.
        let of = |key_id, etag: &str| pb::DeleteKeyRequest { key_id, etag: etag.into() };
        rows.push(Row::invalid("both", method, &of(0, &"r".repeat(65)), &["key_id", "etag"]));
        rows.push(Row::refused("no such key", method, &of(i64::MAX, ""), NOT_FOUND));
        rows.push(Row::refused("another etag", method, &of(key_id, "r999999"), ETAG_MISMATCH));
    }
    rows
}
