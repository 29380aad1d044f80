//! AddGrants and RemoveGrants.

use keystile::grpc::pb;
use tonic::Code;

use super::{ETAG_MISMATCH, NOT_FOUND, Row, many, texts};

const ADD: &str = "KeyService/AddGrants";
const REMOVE: &str = "KeyService/RemoveGrants";
const TOO_LARGE: (Code, &str) = (Code::FailedPrecondition, "SET_TOO_LARGE");
const IS_ANY: (Code, &str) = (Code::FailedPrecondition, "RULE_IS_ANY");
const RESERVED: (Code, &str) = (Code::FailedPrecondition, "RESERVED_SCOPE");

fn add(key_id: i64, grants: pb::Grants) -> pb::AddGrantsRequest {
    pb::AddGrantsRequest { key_id, grants: Some(grants), etag: String::new() }
}

fn remove(key_id: i64, grants: pb::Grants) -> pb::RemoveGrantsRequest {
    pb::RemoveGrantsRequest { key_id, grants: Some(grants), etag: String::new() }
}

fn tag() -> pb::Grants {
    pb::Grants { tags: texts(["a"]), ..Default::default() }
}

/// `key_id` has 30 tags, 999 scopes, 999 permissions and rules that are ANY; `full_id` has 999 models.
pub fn rows(key_id: i64, full_id: i64) -> Vec<Row> {
    let mut rows = shapes(key_id);
    rows.extend(members(key_id));
    rows.extend(preconditions(key_id, full_id));
    rows
}

fn shapes(key_id: i64) -> Vec<Row> {
    let nothing = pb::Grants::default();
    let without = pb::AddGrantsRequest::default();
    let long_etag = pb::AddGrantsRequest { etag: "r".repeat(65), ..add(key_id, tag()) };
    let stale = pb::AddGrantsRequest { etag: "r999999".into(), ..add(key_id, tag()) };
    // The etag must fit whether or not there is something to change.
    let held = pb::Grants { tags: texts(["tag-1"]), ..Default::default() };
    let stale_of = |grants| pb::RemoveGrantsRequest { etag: "W/\"r1\"".into(), ..remove(key_id, grants) };
    vec![
        Row::invalid("nothing at all", ADD, &without, &["key_id", "grants"]),
        Row::invalid("no members", ADD, &add(key_id, nothing.clone()), &["grants"]),
        Row::invalid("no id", ADD, &add(0, tag()), &["key_id"]),
        Row::invalid("long etag", ADD, &long_etag, &["etag"]),
        Row::refused("another etag", ADD, &stale, ETAG_MISMATCH),
        Row::refused("no such key", ADD, &add(i64::MAX, tag()), NOT_FOUND),
        Row::invalid("nothing at all", REMOVE, &pb::RemoveGrantsRequest::default(), &["key_id", "grants"]),
        Row::invalid("no members", REMOVE, &remove(-1, nothing), &["key_id", "grants"]),
        Row::refused("another etag, a tag that is held", REMOVE, &stale_of(held), ETAG_MISMATCH),
        Row::refused("another etag, a tag that is not", REMOVE, &stale_of(tag()), ETAG_MISMATCH),
        Row::refused("no such key", REMOVE, &remove(i64::MAX, tag()), NOT_FOUND),
    ]
}

fn members(key_id: i64) -> Vec<Row> {
    let each = pb::Grants {
        scopes: texts(["a", "a*"]),
        permissions: texts(["*"]),
        models: texts(["a*b"]),
        endpoints: texts(["/a", "/a", "get /"]),
        ips: texts(["::1%lo"]),
        chatbots: texts([""]),
        tags: texts(["\n"]),
    };
    let each_field = [
        "grants.scopes[1]",
        "grants.permissions[0]",
        "grants.models[0]",
        "grants.endpoints[2]",
        "grants.ips[0]",
        "grants.chatbots[0]",
        "grants.tags[0]",
    ];
    let much = pb::Grants {
        scopes: many(1001, |n| n.to_string()),
        permissions: many(1001, |n| n.to_string()),
        models: many(1001, |n| n.to_string()),
        endpoints: many(1001, |n| format!("/{n}")),
        ips: many(1001, |n| format!("10.0.{}.{}", n / 256, n % 256)),
        chatbots: many(1001, |n| n.to_string()),
        tags: many(51, |n| n.to_string()),
    };
    let much_fields = [
        "grants.scopes",
        "grants.permissions",
        "grants.models",
        "grants.endpoints",
        "grants.ips",
        "grants.chatbots",
        "grants.tags",
    ];
    vec![
        Row::invalid("one bad member of each", ADD, &add(key_id, each.clone()), &each_field),
        Row::invalid("one bad member of each", REMOVE, &remove(key_id, each), &each_field),
        Row::invalid("too many of each", ADD, &add(key_id, much.clone()), &much_fields),
        Row::invalid("too many of each", REMOVE, &remove(key_id, much), &much_fields),
    ]
}

fn preconditions(key_id: i64, full_id: i64) -> Vec<Row> {
    let scopes = |scopes| pb::Grants { scopes, ..Default::default() };
    let permissions = |permissions| pb::Grants { permissions, ..Default::default() };
    let models = |models| pb::Grants { models, ..Default::default() };
    let endpoints = pb::Grants { endpoints: texts(["/a"]), ..Default::default() };
    let ips = pb::Grants { ips: texts(["10.0.0.0/8"]), ..Default::default() };
    let chatbots = pb::Grants { chatbots: texts(["a"]), ..Default::default() };
    let tags = pb::Grants { tags: many(21, |n| format!("new-{n}")), ..Default::default() };
    // What could be done is not done where something else cannot.
    let both = pb::Grants { tags: texts(["tag-1"]), ..chatbots.clone() };
    let unknown = scopes(texts(["chat", "keystile.auth"]));
    vec![
        Row::invalid("a scope that Keystile lacks", ADD, &add(key_id, unknown), &["grants.scopes[1]"]),
        Row::refused("a reserved scope", ADD, &add(key_id, scopes(texts(["keystile.read"]))), RESERVED),
        Row::refused("51 tags in all", ADD, &add(key_id, tags), TOO_LARGE),
        Row::refused("1001 scopes in all", ADD, &add(key_id, scopes(texts(["a", "b"]))), TOO_LARGE),
        Row::refused("1001 permissions in all", ADD, &add(key_id, permissions(texts(["a", "b"]))), TOO_LARGE),
        Row::refused("1001 models in all", ADD, &add(full_id, models(texts(["a", "b"]))), TOO_LARGE),
        Row::refused("models from ANY", REMOVE, &remove(key_id, models(texts(["a"]))), IS_ANY),
        Row::refused("endpoints from ANY", REMOVE, &remove(key_id, endpoints), IS_ANY),
        Row::refused("ips from ANY", REMOVE, &remove(key_id, ips), IS_ANY),
        Row::refused("chatbots from ANY", REMOVE, &remove(key_id, chatbots), IS_ANY),
        Row::refused("a tag, and chatbots from ANY", REMOVE, &remove(key_id, both), IS_ANY),
    ]
}
