//! Refused attempts to administer are in the audit log, and a flood of them does not fill it.

use keystile::grpc::pb;
use pb::list_audit_events_request::Filter;
use serde_json::{Value, json};
use tonic::Request;

use crate::harness::{App, TestDatabase, new_token, status_reason};

const REFUSED: &str = "SELECT * FROM audit_events WHERE refused_reason <> '' ORDER BY event_id";

async fn refused(database: &TestDatabase, count: i64) -> Vec<Value> {
    let enough = format!("SELECT (count(*) >= {count})::int FROM audit_events WHERE refused_reason <> ''");
    database.until(&enough).await;
    database.json(REFUSED).await
}

fn revoke(key_id: i64) -> Request<pb::RevokeKeyRequest> {
    let mut request = Request::new(pb::RevokeKeyRequest { key_id, ..Default::default() });
    request.metadata_mut().insert("x-request-id", "r-9".parse().unwrap());
    request
}

#[tokio::test(flavor = "multi_thread")]
async fn a_known_caller_that_may_not_administer_leaves_a_line() {
    let app = App::start().await;
    let reader = app.service_token("keystile.read").await;
    let status = app.keys_as(Some(&reader)).revoke_key(revoke(1)).await.unwrap_err();
    assert_eq!(status_reason(&status), "CALLER_SCOPE_MISSING");
    let lines = refused(&app.database, 1).await;
    assert_eq!(lines.len(), 1);
    let line = &lines[0];
    assert_eq!((&line["actor"], &line["action"]), (&json!("key/2"), &json!("KeyService/RevokeKey")));
    assert_eq!((&line["resource"], &line["refused_reason"]), (&json!(""), &json!("CALLER_SCOPE_MISSING")));
    assert_eq!((&line["peer_address"], &line["request_id"]), (&json!("127.0.0.1"), &json!("r-9")));
    assert_eq!((&line["after"], &line["revision"]), (&json!({ "attempts": 1 }), &json!(0)));

    let elsewhere = pb::Key {
        display_name: "elsewhere".into(),
        scopes: vec!["keystile.admin".into()],
        ips: Some(pb::AccessRule {
            mode: pb::access_rule::Mode::Only.into(),
            patterns: vec!["10.0.0.1".into()],
        }),
        ..Default::default()
    };
    let elsewhere = app.create(elsewhere).await.1;
    let status = app.keys_as(Some(&elsewhere)).revoke_key(revoke(1)).await.unwrap_err();
    assert_eq!(status_reason(&status), "CALLER_ADDRESS_NOT_ALLOWED");
    let full = pb::GetKeyRequest { key_id: 1, view: pb::key::View::Full.into() };
    let status = app.keys_as(Some(&reader)).get_key(full).await.unwrap_err();
    assert_eq!(status_reason(&status), "CALLER_SCOPE_MISSING", "the hash is for administrators");
    let lines = refused(&app.database, 3).await;
    let mut told: Vec<(&str, &str)> = lines[1..]
        .iter()
        .map(|line| (line["action"].as_str().unwrap(), line["refused_reason"].as_str().unwrap()))
        .collect();
    told.sort_unstable();
    let expected = [
        ("KeyService/GetKey", "CALLER_SCOPE_MISSING"),
        ("KeyService/RevokeKey", "CALLER_ADDRESS_NOT_ALLOWED"),
    ];
    assert_eq!(told, expected);

    let request = pb::ListAuditEventsRequest {
        filter: Some(Filter { refused_only: true, ..Default::default() }),
        ..Default::default()
    };
    let listed = app.audit().list_audit_events(request).await.unwrap().into_inner().events;
    assert_eq!(listed.len(), 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_would_give_too_much_leaves_a_line_with_its_resource() {
    let app = App::start().await;
    let (key, _) = app.create_any().await;
    let grants = pb::Grants { scopes: vec!["keystile.admin".into()], ..Default::default() };
    let request = pb::AddGrantsRequest { key_id: key.key_id, grants: Some(grants), ..Default::default() };
    let status = app.keys().add_grants(request).await.unwrap_err();
    assert_eq!(status_reason(&status), "RESERVED_SCOPE");
    let status = app.keys().disable_owner(pb::DisableOwnerRequest::default()).await.unwrap_err();
    assert_eq!(status_reason(&status), "OPERATOR_OWNER");
    let (user_id, scopes) = (7, vec!["chat.*".to_owned(), "keystile.read".to_owned()]);
    let key = pb::Key { user_id, display_name: "theirs".into(), scopes, ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
    let status = app.keys().create_key(create).await.unwrap_err();
    assert_eq!(status_reason(&status), "INVALID_REQUEST");
    // Neither is refused to somebody who may not: these leave nothing.
    app.keys().create_key(pb::CreateKeyRequest::default()).await.unwrap_err();
    let missing = pb::RevokeKeyRequest { key_id: 999, ..Default::default() };
    app.keys().revoke_key(missing).await.unwrap_err();
    let lines = refused(&app.database, 3).await;
    let mut told: Vec<String> = lines
        .iter()
        .map(|line| format!("{} {} {}", line["action"], line["resource"], line["refused_reason"]))
        .collect();
    told.sort_unstable();
    let expected = [
        r#""KeyService/AddGrants" "owners/1" "RESERVED_SCOPE""#,
        r#""KeyService/CreateKey" "" "RESERVED_SCOPE""#,
        r#""KeyService/DisableOwner" "owners/0" "OPERATOR_OWNER""#,
    ];
    assert_eq!(told, expected);
    assert_eq!(lines[0]["actor"], "key/1");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn unknown_tokens_and_other_refusals_leave_nothing_and_a_flood_leaves_little() {
    let app = App::start().await;
    let database = app.database.clone();
    let reader = app.service_token("keystile.read").await;
    for token in [None, Some(new_token()), Some("nonsense".into())] {
        app.keys_as(token.as_deref()).revoke_key(revoke(1)).await.unwrap_err();
    }
    let ask = pb::AuthorizeRequest::default();
    let status = app.authorize_as(Some(&reader)).authorize(ask).await.unwrap_err();
    assert_eq!(status_reason(&status), "CALLER_SCOPE_MISSING", "but that takes no administrator");
    let mut keys = app.keys_as(Some(&reader));
    for _ in 0..300 {
        keys.revoke_key(revoke(1)).await.unwrap_err();
    }
    app.stop().await;
    let lines = database.json(REFUSED).await;
    assert!(lines.len() <= 2, "one at once, and the others at the end: {lines:?}");
    let attempts: i64 = lines.iter().map(|line| line["after"]["attempts"].as_i64().unwrap()).sum();
    assert_eq!(attempts, 300, "and all are counted");
    assert!(lines.iter().all(|line| line["actor"] == "key/2"));
}
