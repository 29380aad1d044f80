//! Revision, change log and audit log commit with every change, and with nothing else.

mod keys;

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use keystile::grpc::pb;
use serde_json::{Value, json};
use tokio::task::JoinSet;
use tonic::{Code, Request};

use crate::harness::{App, TestDatabase, new_token};

/// A request with an id of the caller's.
fn named<T>(id: &str, message: T) -> Request<T> {
    let mut request = Request::new(message);
    request.metadata_mut().insert("x-request-id", id.parse().unwrap());
    request
}

fn models(patterns: &[&str]) -> Option<pb::Grants> {
    let models = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    Some(pb::Grants { models, ..Default::default() })
}

/// What the last change wrote. Fails unless that is exactly one line in each log.
struct Trace {
    revision: i64,
    change: Value,
    audit: Value,
}

impl Trace {
    /// The only change since `before`.
    async fn since(database: &TestDatabase, before: i64) -> Self {
        let revision = database.number("SELECT revision FROM revision_counter").await;
        assert_eq!(revision, before + 1, "one change takes one revision");
        let of = async |table: &str| {
            let rows = database.json(&format!("SELECT * FROM {table} WHERE revision > {before}")).await;
            assert_eq!(rows.len(), 1, "{table}: {rows:?}");
            rows.into_iter().next().unwrap()
        };
        Self { revision, change: of("change_log").await, audit: of("audit_events").await }
    }
}

struct Expected<'a> {
    subject: (&'a str, i64),
    action: &'a str,
    /// A field of the resource before and after; `Null` where there was no resource.
    field: &'a str,
    before: Value,
    after: Value,
}

/// Checks the trace of a change that was named by its action, and returns its revision.
async fn assert_traced(app: &App, before: i64, answered: i64, expected: Expected<'_>) -> i64 {
    let Trace { revision, change, audit } = Trace::since(&app.database, before).await;
    assert_eq!(answered, revision, "{}", expected.action);
    let (subject, id) = expected.subject;
    assert_eq!((&change["subject"], &change["subject_id"]), (&json!(subject), &json!(id)));
    assert_eq!(change["revision"], revision);
    assert_eq!(audit["revision"], revision);
    assert_eq!(audit["action"], expected.action);
    assert_eq!(audit["resource"], format!("{subject}s/{id}"));
    assert_eq!(audit["actor"], "key/1", "the first administrator's key");
    assert_eq!(audit["peer_address"], "127.0.0.1");
    assert_eq!(audit["request_id"], expected.action);
    assert_eq!(audit["refused_reason"], "");
    assert_eq!(audit["before"][expected.field], expected.before, "{}", expected.action);
    assert_eq!(audit["after"][expected.field], expected.after, "{}", expected.action);
    revision
}

#[tokio::test(flavor = "multi_thread")]
async fn every_change_leaves_one_revision_and_one_line_in_each_log() {
    let app = App::start().await;
    let Trace { audit, .. } = Trace::since(&app.database, 0).await;
    assert_eq!((&audit["actor"], &audit["action"]), (&json!("command/bootstrap"), &json!("keys.create")));
    let mut keys = app.keys();

    let key = pb::Key { user_id: 7, display_name: "traced".into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
    let created = keys.create_key(named("keys.create", create)).await.unwrap().into_inner();
    let key_id = created.key.as_ref().unwrap().key_id;
    let on_key =
        |action, field, before, after| Expected { subject: ("key", key_id), action, field, before, after };
    let expected = on_key("keys.create", "display_name", Value::Null, json!("traced"));
    let revision = assert_traced(&app, 1, created.revision, expected).await;

    let add = pb::AddGrantsRequest { key_id, grants: models(&["gpt-4o*", "o3"]), ..Default::default() };
    let added = keys.add_grants(named("keys.add_grants", add)).await.unwrap().into_inner();
    let expected = on_key("keys.add_grants", "models", json!("any"), json!(["gpt-4o*", "o3"]));
    let revision = assert_traced(&app, revision, added.revision, expected).await;

    let remove = pb::RemoveGrantsRequest { key_id, grants: models(&["o3"]), ..Default::default() };
    let removed = keys.remove_grants(named("keys.remove_grants", remove)).await.unwrap().into_inner();
    let expected = on_key("keys.remove_grants", "models", json!(["gpt-4o*", "o3"]), json!(["gpt-4o*"]));
    let revision = assert_traced(&app, revision, removed.revision, expected).await;

    let revoke = pb::RevokeKeyRequest { key_id, reason: "leaked".into(), ..Default::default() };
    let revoked = keys.revoke_key(named("keys.revoke", revoke)).await.unwrap().into_inner();
    let expected = on_key("keys.revoke", "revoke_reason", json!(""), json!("leaked"));
    let revision = assert_traced(&app, revision, revoked.revision, expected).await;

    let disable = pb::DisableOwnerRequest { user_id: 7, ..Default::default() };
    let disabled = keys.disable_owner(named("owners.disable", disable)).await.unwrap().into_inner();
    let again = keys.disable_owner(pb::DisableOwnerRequest { user_id: 7, ..Default::default() }).await;
    assert_eq!(again.unwrap().into_inner().owner, disabled.owner, "what was answered is what is stored");
    let since = app.database.json("SELECT disabled_at FROM owners WHERE user_id = 7").await;
    // PostgreSQL writes times in another way than chrono, which wrote the audit line.
    let since: DateTime<Utc> = since[0]["disabled_at"].as_str().unwrap().parse().unwrap();
    let since = json!(since);
    let on_owner = |action, before, after| Expected {
        subject: ("owner", 7),
        action,
        field: "disable_time",
        before,
        after,
    };
    let trace = on_owner("owners.disable", Value::Null, since.clone());
    let revision = assert_traced(&app, revision, disabled.revision, trace).await;

    let enable = pb::EnableOwnerRequest { user_id: 7, ..Default::default() };
    let enabled = keys.enable_owner(named("owners.enable", enable)).await.unwrap().into_inner();
    let trace = on_owner("owners.enable", since, Value::Null);
    assert_traced(&app, revision, enabled.revision, trace).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_changes_nothing_leaves_nothing() {
    let app = App::start().await;
    let mut keys = app.keys();
    let (key, _) = app.create_any().await;
    let key_id = key.key_id;
    let (grants, etag) = (models(&["o3"]), String::new());
    let add = pb::AddGrantsRequest { key_id, grants: grants.clone(), etag: etag.clone() };
    let added = keys.add_grants(add.clone()).await.unwrap().into_inner();
    let disable = pb::DisableOwnerRequest { user_id: 5, etag: etag.clone() };
    keys.disable_owner(disable.clone()).await.unwrap();
    let revoke = pb::RevokeKeyRequest { key_id: app.create_any().await.0.key_id, ..Default::default() };
    keys.revoke_key(revoke.clone()).await.unwrap();
    let before = app.database.dump_all().await;

    let again = keys.add_grants(add).await.unwrap().into_inner();
    assert_eq!((again.revision, again.key), (added.revision, added.key));
    let absent = pb::RemoveGrantsRequest { key_id, grants: models(&["o4"]), etag: etag.clone() };
    keys.remove_grants(absent).await.unwrap();
    keys.disable_owner(disable.clone()).await.unwrap();
    keys.revoke_key(pb::RevokeKeyRequest { reason: "another".into(), ..revoke }).await.unwrap();
    let unknown = pb::EnableOwnerRequest { user_id: 99, etag: etag.clone() };
    let unknown = keys.enable_owner(unknown).await.unwrap().into_inner();
    let owner = unknown.owner.unwrap();
    assert_eq!((unknown.revision, owner.create_time, owner.disabled), (0, None, false));
    assert_eq!(app.database.dump_all().await, before, "no-op");

    let refused = |code: Code, status: tonic::Status| assert_eq!(status.code(), code, "{status:?}");
    let stale = pb::AddGrantsRequest { key_id, grants: grants.clone(), etag: "r1".into() };
    refused(Code::Aborted, keys.add_grants(stale).await.unwrap_err());
    let missing = pb::AddGrantsRequest { key_id: 4711, grants, etag: etag.clone() };
    refused(Code::NotFound, keys.add_grants(missing).await.unwrap_err());
    let chatbots =
        Some(pb::Grants { chatbots: vec!["c".into()], models: vec!["o3".into()], ..Default::default() });
    let half = pb::RemoveGrantsRequest { key_id, grants: chatbots, etag: etag.clone() };
    refused(Code::FailedPrecondition, keys.remove_grants(half).await.unwrap_err());
    let reserved = Some(pb::Grants { scopes: vec!["keystile.admin".into()], ..Default::default() });
    let reserved = pb::AddGrantsRequest { key_id, grants: reserved, etag: etag.clone() };
    refused(Code::FailedPrecondition, keys.add_grants(reserved).await.unwrap_err());
    let operator = pb::DisableOwnerRequest { user_id: 0, etag };
    refused(Code::FailedPrecondition, keys.disable_owner(operator).await.unwrap_err());
    let stale = pb::DisableOwnerRequest { user_id: 98, etag: "r77".into() };
    refused(Code::Aborted, keys.disable_owner(stale).await.unwrap_err());
    assert_eq!(app.database.dump_all().await, before, "refused");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn revisions_have_no_gaps_and_appear_in_order_under_fifty_writers() {
    let app = App::start().await;
    let mut writers = JoinSet::new();
    for writer in 0..50 {
        let mut keys = app.keys();
        writers.spawn(async move {
            let key = pb::Key { user_id: 1, display_name: format!("key {writer}"), ..Default::default() };
            let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
            let created = keys.create_key(create).await.unwrap().into_inner();
            let key_id = created.key.unwrap().key_id;
            let add = pb::AddGrantsRequest { key_id, grants: models(&["o3"]), ..Default::default() };
            let added = keys.add_grants(add).await.unwrap().into_inner();
            let revoke = pb::RevokeKeyRequest { key_id, ..Default::default() };
            let revoked = keys.revoke_key(revoke).await.unwrap().into_inner();
            assert!(created.revision < added.revision && added.revision < revoked.revision);
            [created.revision, added.revision, revoked.revision]
        });
    }
    let hole = "SELECT count(*) FROM (SELECT max(revision) AS head, count(*) AS lines FROM change_log) t \
                WHERE head <> lines";
    let mut looks = 0;
    let mut answered = BTreeSet::new();
    while !writers.is_empty() {
        assert_eq!(app.database.number(hole).await, 0, "a revision was seen before the one below it");
        looks += 1;
        while let Some(revisions) = writers.try_join_next() {
            answered.extend(revisions.unwrap());
        }
    }
    assert!(looks > 0);
    assert_eq!(answered, (2..=151).collect(), "after the bootstrap's");
    for table in ["change_log", "audit_events"] {
        let lines = format!("SELECT count(DISTINCT revision) FROM {table} WHERE revision BETWEEN 1 AND 151");
        assert_eq!(app.database.number(&lines).await, 151, "{table}");
        assert_eq!(app.database.number(&format!("SELECT count(*) FROM {table}")).await, 151, "{table}");
    }
    let back = "SELECT count(*) FROM change_log a JOIN change_log b ON a.revision < b.revision \
                AND a.committed_at > b.committed_at";
    assert_eq!(app.database.number(back).await, 0, "times rise with revisions");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_part_of_a_secret_is_written_anywhere() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    assert_eq!(app.reason(&token).await, None);
    let stranger = new_token();
    assert_eq!(app.reason(&stranger).await.as_deref(), Some("KEY_INVALID"));
    let get = pb::GetKeyRequest { key_id: key.key_id, view: pb::key::View::Full.into() };
    let hash = app.keys().get_key(get).await.unwrap().into_inner().key.unwrap().key_hash;
    let revoke = pb::RevokeKeyRequest { key_id: key.key_id, ..Default::default() };
    app.keys().revoke_key(revoke).await.unwrap();

    let dump = app.database.dump_all().await.join("\n");
    assert!(dump.contains(&key.key_prefix), "what an administrator may see is there");
    for token in [&token, &app.admin_token, &stranger] {
        let (_, secret) = token.rsplit_once('_').unwrap();
        assert_eq!(secret.len(), 38);
        for part in secret.as_bytes().windows(8) {
            let part = std::str::from_utf8(part).unwrap();
            assert!(!dump.contains(part), "a part of a token is stored");
        }
        let hex: String = secret.bytes().map(|byte| format!("{byte:02x}")).collect();
        assert!(!dump.contains(&hex));
    }
    assert!(hash.starts_with("$2b$04$") && dump.contains(&hash));
    for line in dump.lines().filter(|line| line.contains("$2b$")) {
        assert!(line.starts_with("key_secrets: "), "a hash outside of its table: {line}");
    }
    app.stop().await;
}
