//! GetKey, ListKeys, RevokeKey, DisableOwner, EnableOwner.

use std::collections::BTreeMap;

use keystile::grpc::pb;
use pb::list_keys_request::Filter;
use prost_types::Timestamp;
use tonic::Code;

use super::{ETAG_MISMATCH, NOT_FOUND, Row, texts};

pub fn rows(key_id: i64) -> Vec<Row> {
    let mut rows = get_rows();
    rows.extend(list_rows());
    rows.extend(filter_rows());
    rows.extend(new_filter_rows());
    rows.extend(revoke_rows(key_id));
    rows.extend(owner_rows());
    rows
}

fn get_rows() -> Vec<Row> {
    const METHOD: &str = "KeyService/GetKey";
    let get = |key_id, view| pb::GetKeyRequest { key_id, view };
    vec![
        Row::invalid("no id", METHOD, &get(0, 0), &["key_id"]),
        Row::invalid("negative id", METHOD, &get(i64::MIN, 1), &["key_id"]),
        Row::invalid("unknown view", METHOD, &get(1, 3), &["view"]),
        Row::invalid("no id, unknown view", METHOD, &get(0, -1), &["view", "key_id"]),
        Row::refused("no such key", METHOD, &get(i64::MAX, 0), NOT_FOUND),
        Row::refused("no such key, FULL", METHOD, &get(i64::MAX, 2), NOT_FOUND),
    ]
}

/// An owner that is disabled: an etag must fit whether or not there is something to change.
pub const DISABLED: i64 = 8;

const LIST: &str = "KeyService/ListKeys";

fn list_rows() -> Vec<Row> {
    let order = |what: &str, order: &str| {
        let request = pb::ListKeysRequest { order_by: order.into(), ..Default::default() };
        Row::invalid(&format!("order: {what}"), LIST, &request, &["order_by"])
    };
    let page = |what: &str, page_token: &str| {
        let request = pb::ListKeysRequest { page_token: page_token.into(), ..Default::default() };
        Row::invalid(&format!("page token: {what}"), LIST, &request, &["page_token"])
    };
    let everything = pb::ListKeysRequest {
        filter: Some(Filter {
            user_id: Some(-1),
            states: vec![0, 1, 77],
            tag: "\t".into(),
            ..Default::default()
        }),
        order_by: "user_id".into(),
        page_size: i32::MIN,
        page_token: "x".into(),
    };
    let fields = [
        "order_by",
        "filter.states[0]",
        "filter.states[2]",
        "filter.user_id",
        "filter.tag",
        "page_token",
        "page_size",
    ];
    let negative = pb::ListKeysRequest { page_size: -1, ..Default::default() };
    vec![
        Row::invalid("negative page_size", LIST, &negative, &["page_size"]),
        order("unknown field", "key_hash"),
        order("SQL", "key_id; DROP TABLE api_keys"),
        order("two directions", "key_id desc desc"),
        order("capitals", "KEY_ID"),
        order("two fields", "key_id, create_time"),
        order("a long way down", &format!("create_time{}", " desc".repeat(10_000))),
        order("two spaces", "create_time  desc"),
        order("a direction only", "desc"),
        page("garbage", "%%%"),
        page("of nothing", "AAAAAAAAAAAAAAAAAAAAAA"),
        page("padded", "AAAAAAAAAAAAAAAAAAAAAA=="),
        page("a megabyte", &"A".repeat(1 << 20)),
        Row::invalid("everything", LIST, &everything, &fields),
    ]
}

fn filter(what: &str, fields: &[&'static str], filter: Filter) -> Row {
    let request = pb::ListKeysRequest { filter: Some(filter), ..Default::default() };
    Row::invalid(&format!("filter: {what}"), LIST, &request, fields)
}

fn filter_rows() -> Vec<Row> {
    let metadata = |name: &str, value: &str| Filter {
        metadata: BTreeMap::from([(name.to_owned(), value.to_owned())]),
        ..Default::default()
    };
    let tag = |tag: String| Filter { tag, ..Default::default() };
    let prefix = |key_prefix: String| Filter { key_prefix, ..Default::default() };
    let name = |name_contains: String| Filter { name_contains, ..Default::default() };
    vec![
        filter("negative user", &["filter.user_id"], Filter { user_id: Some(-1), ..Default::default() }),
        filter("no state", &["filter.states[0]"], Filter { states: vec![0], ..Default::default() }),
        filter("unknown state", &["filter.states[1]"], Filter { states: vec![1, 6], ..Default::default() }),
        filter("tag of 65 characters", &["filter.tag"], tag("x".repeat(65))),
        filter("tag with NUL", &["filter.tag"], tag("a\0".into())),
        filter("prefix of 101 characters", &["filter.key_prefix"], prefix("x".repeat(101))),
        filter("prefix with NUL", &["filter.key_prefix"], prefix("ks_\0".into())),
        filter("name with a newline", &["filter.name_contains"], name("a\nb".into())),
        filter("name of a megabyte", &["filter.name_contains"], name("x".repeat(1 << 20))),
        filter("metadata without a name", &["filter.metadata"], metadata("", "x")),
        filter("metadata with NUL", &["filter.metadata"], metadata("k", "\0")),
        filter("metadata of 5000 bytes", &["filter.metadata"], metadata("k", &"x".repeat(5000))),
    ]
}

fn new_filter_rows() -> Vec<Row> {
    let scope = |scope: &str| Filter { scope: scope.into(), ..Default::default() };
    let model = |model: &str| Filter { model: model.into(), ..Default::default() };
    let late = Some(Timestamp { seconds: 253_402_300_800, nanos: 0 });
    let times = Filter {
        created_after: late,
        created_before: late,
        expires_after: late,
        expires_before: late,
        last_used_after: late,
        last_used_before: Some(Timestamp { seconds: 1, nanos: -1 }),
        ..Default::default()
    };
    let fields = [
        "filter.created_after",
        "filter.created_before",
        "filter.expires_after",
        "filter.expires_before",
        "filter.last_used_after",
        "filter.last_used_before",
    ];
    vec![
        filter("scope with a wildcard", &["filter.scope"], scope("chat.*")),
        filter("scope with a space", &["filter.scope"], scope("a b")),
        filter("scope of 129 bytes", &["filter.scope"], scope(&"x".repeat(129))),
        filter("model with NUL", &["filter.model"], model("a\0")),
        filter("model of 257 bytes", &["filter.model"], model(&"x".repeat(257))),
        filter("times out of range", &fields, times),
    ]
}

fn revoke_rows(key_id: i64) -> Vec<Row> {
    const METHOD: &str = "KeyService/RevokeKey";
    let revoke = |key_id, reason: &str, etag: &str| pb::RevokeKeyRequest {
        key_id,
        reason: reason.into(),
        etag: etag.into(),
    };
    let long = "x".repeat(501);
    vec![
        Row::invalid("no id", METHOD, &revoke(0, "", ""), &["key_id"]),
        Row::invalid("long reason", METHOD, &revoke(key_id, &long, ""), &["reason"]),
        Row::invalid("reason with NUL", METHOD, &revoke(key_id, "a\0", ""), &["reason"]),
        Row::invalid("long etag", METHOD, &revoke(key_id, "", &"r".repeat(65)), &["etag"]),
        Row::invalid("all of it", METHOD, &revoke(-1, "\n", &long), &["key_id", "reason", "etag"]),
        Row::refused("no such key", METHOD, &revoke(i64::MAX, "", ""), NOT_FOUND),
        Row::refused("another etag", METHOD, &revoke(key_id, "", "r999999"), ETAG_MISMATCH),
        Row::refused("an etag of nothing", METHOD, &revoke(key_id, "", "'\0\u{202e}"), ETAG_MISMATCH),
    ]
}

fn owner_rows() -> Vec<Row> {
    const OPERATOR: (Code, &str) = (Code::FailedPrecondition, "OPERATOR_OWNER");
    let disable = |user_id, etag: &str| pb::DisableOwnerRequest { user_id, etag: etag.into() };
    let enable = |user_id, etag: &str| pb::EnableOwnerRequest { user_id, etag: etag.into() };
    let [on, off] = ["KeyService/EnableOwner", "KeyService/DisableOwner"];
    let long = texts(["x"; 65]).concat();
    vec![
        Row::invalid("negative user", off, &disable(-1, ""), &["user_id"]),
        Row::invalid("long etag", off, &disable(7, &long), &["etag"]),
        Row::invalid("both", off, &disable(i64::MIN, &long), &["user_id", "etag"]),
        Row::refused("the operator", off, &disable(0, ""), OPERATOR),
        Row::refused("another etag", off, &disable(7, "r999999"), ETAG_MISMATCH),
        Row::invalid("negative user", on, &enable(-1, ""), &["user_id"]),
        Row::invalid("both", on, &enable(-1, &long), &["user_id", "etag"]),
        Row::refused("the operator", on, &enable(0, ""), OPERATOR),
        Row::refused("another etag, disabled", on, &enable(DISABLED, "r999999"), ETAG_MISMATCH),
        Row::refused("another etag, enabled", on, &enable(7, "r999999"), ETAG_MISMATCH),
    ]
}
