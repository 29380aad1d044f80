//! AuditService: every filter, pages, events of plugins; and when lines go.

use keystile::grpc::pb;
use pb::list_audit_events_request::Filter;
use prost_types::value::Kind;
use prost_types::{Duration, Struct, Timestamp};
use tonic::{Code, Request};

use crate::harness::{App, TestDatabase, eventually, status_reason, violated_fields};

async fn page(app: &App, filter: &Filter, page_size: i32, token: &str) -> (Vec<pb::AuditEvent>, String) {
    let request =
        pb::ListAuditEventsRequest { filter: Some(filter.clone()), page_size, page_token: token.to_owned() };
    let answer = app.audit().list_audit_events(request).await.unwrap().into_inner();
    (answer.events, answer.next_page_token)
}

/// The ids of all pages of this size.
async fn ids(app: &App, filter: &Filter, page_size: i32) -> Vec<i64> {
    let (mut all, mut token) = (Vec::new(), String::new());
    loop {
        let (events, next) = page(app, filter, page_size, &token).await;
        all.extend(events.iter().map(|event| event.event_id));
        if next.is_empty() {
            return all;
        }
        token = next;
    }
}

fn text(structure: &Struct, path: &[&str]) -> Option<String> {
    let (name, rest) = path.split_first().unwrap();
    match structure.fields.get(*name)?.kind.as_ref()? {
        Kind::StructValue(inner) => text(inner, rest),
        Kind::StringValue(text) => Some(text.clone()),
        Kind::NumberValue(number) => Some(number.to_string()),
        _ => None,
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_shown_with_before_and_after() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    let mut revoke = Request::new(pb::RevokeKeyRequest {
        key_id: key.key_id,
        reason: "it leaked".into(),
        ..Default::default()
    });
    revoke.metadata_mut().insert("x-request-id", "ticket-17".parse().unwrap());
    let revision = app.keys().revoke_key(revoke).await.unwrap().into_inner().revision;
    let (events, next) = page(&app, &Filter::default(), 0, "").await;
    assert_eq!(next, "");
    let actions: Vec<&str> = events.iter().map(|event| event.action.as_str()).collect();
    assert_eq!(actions, ["keys.revoke", "keys.create", "keys.create"], "newest first");
    let event = &events[0];
    assert_eq!((event.actor.as_str(), event.resource.as_str()), ("key/1", "keys/2"));
    assert_eq!((event.peer_address.as_str(), event.request_id.as_str()), ("127.0.0.1", "ticket-17"));
    assert_eq!((event.revision, event.refused_reason.as_str()), (revision, ""));
    assert!(event.event_time.is_some() && event.plugin_event.is_none());
    let (before, after) = (event.before.as_ref().unwrap(), event.after.as_ref().unwrap());
    assert_eq!(text(before, &["revoke_reason"]).unwrap(), "");
    assert_eq!(text(after, &["revoke_reason"]).unwrap(), "it leaked");
    assert_eq!(text(after, &["key_id"]).unwrap(), "2");
    assert_eq!(events[1].before, None, "there was no key");
    assert!(!format!("{events:?}").contains(&token));
    app.stop().await;
}

/// Rows by hand: `n` of them, one a minute, in a mixture of everything.
async fn mixture(database: &TestDatabase, n: i64) {
    let insert = format!(
        "DELETE FROM audit_events; ALTER TABLE audit_events ALTER event_id RESTART WITH 1; \
         INSERT INTO audit_events (event_at, actor, action, resource, peer_address, request_id, revision, \
             refused_reason, plugin_event) \
         SELECT timestamptz '2026-01-01 00:00:00Z' + (n / 2) * interval '1 minute', 'key/' || n % 3, \
             CASE WHEN n % 5 = 0 THEN 'plugins.record_event' ELSE 'keys.update' END, 'keys/' || n % 7, '', \
             CASE WHEN n % 4 = 0 THEN '' ELSE 'r' || n % 6 END, n, \
             CASE WHEN n % 11 = 0 THEN 'RESERVED_SCOPE' ELSE '' END, \
             CASE WHEN n % 5 = 0 THEN jsonb_build_object('plugin_id', 'p' || n % 2, 'plugin_instance', '', \
                 'event_type', 'x', 'action', '', 'resource', '', 'user_id', NULL, 'key_id', NULL, \
                 'client_ip', '', 'user_agent', '', 'http_status', 0, 'duration_ns', NULL, 'success', true, \
                 'error_message', '') END \
         FROM generate_series(1, {n}) n"
    );
    database.sql(&insert).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_narrows_and_all_must_fit_newest_first_by_pages_with_ties() {
    const COUNT: i64 = 240;
    let app = App::start().await;
    mixture(&app.database, COUNT).await;
    let at = |minutes: i64| Some(Timestamp { seconds: 1_767_225_600 + 60 * minutes, nanos: 0 });
    let base = Filter::default;
    type Fits = fn(i64) -> bool;
    let filters: [(Filter, Fits); 12] = [
        (base(), |_| true),
        (Filter { actor: "key/2".into(), ..base() }, |n| n % 3 == 2),
        (Filter { actor: "key/".into(), ..base() }, |_| false),
        (Filter { action: "plugins.record_event".into(), ..base() }, |n| n % 5 == 0),
        (Filter { resource: "keys/6".into(), ..base() }, |n| n % 7 == 6),
        (Filter { request_id: "r3".into(), ..base() }, |n| n % 4 != 0 && n % 6 == 3),
        (Filter { refused_only: true, ..base() }, |n| n % 11 == 0),
        (Filter { plugin_id: "p1".into(), ..base() }, |n| n % 5 == 0 && n % 2 == 1),
        (Filter { start_time: at(30), ..base() }, |n| n / 2 >= 30),
        (Filter { start_time: at(30), end_time: at(40), ..base() }, |n| (30..40).contains(&(n / 2))),
        (Filter { actor: "key/0".into(), resource: "keys/0".into(), ..base() }, |n| n % 21 == 0),
        (Filter { actor: "key/1".into(), end_time: at(99), refused_only: true, ..base() }, |n| {
            n % 3 == 1 && n % 11 == 0 && n / 2 < 99
        }),
    ];
    for (filter, fits) in filters {
        let expected: Vec<i64> = (1..=COUNT).rev().filter(|n| fits(*n)).collect();
        for page_size in [1_000, 7, 1] {
            assert_eq!(ids(&app, &filter, page_size).await, expected, "{filter:?} by {page_size}");
        }
    }
    let (first, token) = page(&app, &base(), 10, "").await;
    let (_, other) = page(&app, &Filter { actor: "key/1".into(), ..base() }, 10, "").await;
    app.create_any().await;
    app.database.sql("DELETE FROM audit_events WHERE event_id IN (231, 230, 225)").await;
    let (second, _) = page(&app, &base(), 10, &token).await;
    assert_eq!(first.last().unwrap().event_id, 231);
    let second: Vec<i64> = second.iter().map(|event| event.event_id).collect();
    assert_eq!(second, [229, 228, 227, 226, 224, 223, 222, 221, 220, 219], "new and removed events between");
    for wrong in [other.as_str(), "garbage"] {
        let request = pb::ListAuditEventsRequest { page_token: wrong.into(), ..Default::default() };
        let refused = app.audit().list_audit_events(request).await.unwrap_err();
        assert_eq!(
            (refused.code(), violated_fields(&refused)),
            (Code::InvalidArgument, vec!["page_token".into()])
        );
    }
    app.stop().await;
}

fn plugin_event() -> pb::PluginEvent {
    pb::PluginEvent {
        plugin_id: "zammad".into(),
        plugin_instance: "zammad-1".into(),
        event_type: "request".into(),
        action: "summarize".into(),
        resource: "/tickets/7".into(),
        user_id: Some(0),
        key_id: Some(17),
        client_ip: "2001:db8::1".into(),
        user_agent: "curl/8".into(),
        http_status: 502,
        duration: Some(Duration { seconds: 3, nanos: 250_000_001 }),
        success: false,
        error_message: "no answer".into(),
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plugin_s_event_is_recorded_and_shown_as_it_was_told() {
    let app = App::start().await;
    let gateway = app.service_token("keystile.authorize").await;
    let client = app.client(Some(&gateway));
    let mut audit = pb::audit_service_client::AuditServiceClient::new(client);
    let record = |event, request_id: &str| pb::RecordPluginEventRequest {
        event: Some(event),
        request_id: request_id.to_owned(),
    };
    let first = audit.record_plugin_event(record(plugin_event(), "r-1")).await.unwrap().into_inner().event_id;
    let hostile = pb::PluginEvent {
        user_agent: format!("a\0b{}", "é".repeat(5_000)),
        duration: None,
        user_id: None,
        key_id: None,
        http_status: 0,
        ..plugin_event()
    };
    let mut named = Request::new(record(hostile, ""));
    named.metadata_mut().insert("x-request-id", "r-2".parse().unwrap());
    let second = audit.record_plugin_event(named).await.unwrap().into_inner().event_id;
    assert!(second > first);

    let filter = Filter { plugin_id: "zammad".into(), ..Default::default() };
    let (events, _) = page(&app, &filter, 0, "").await;
    let [hostile, good] = &events[..] else { panic!("{events:?}") };
    assert_eq!((good.event_id, hostile.event_id), (first, second));
    assert_eq!(good.plugin_event, Some(plugin_event()));
    assert_eq!((good.actor.as_str(), good.action.as_str()), ("key/2", "plugins.record_event"));
    assert_eq!((good.resource.as_str(), good.request_id.as_str()), ("plugins/zammad", "r-1"));
    assert_eq!((good.revision, good.peer_address.as_str()), (0, "127.0.0.1"));
    let shown = hostile.plugin_event.clone().unwrap();
    assert_eq!(shown.user_agent, format!("a\u{fffd}b{}", "é".repeat(997)));
    assert_eq!((shown.user_id, shown.key_id, shown.duration, shown.http_status), (None, None, None, 0));
    assert_eq!(hostile.request_id, "r-2");

    let reader = app.service_token("keystile.read").await;
    let mut reader = pb::audit_service_client::AuditServiceClient::new(app.client(Some(&reader)));
    let refused = reader.record_plugin_event(record(plugin_event(), "")).await.unwrap_err();
    assert_eq!(status_reason(&refused), "CALLER_SCOPE_MISSING");
    let refused = audit.list_audit_events(pb::ListAuditEventsRequest::default()).await.unwrap_err();
    assert_eq!(status_reason(&refused), "CALLER_SCOPE_MISSING");
    assert!(reader.list_audit_events(pb::ListAuditEventsRequest::default()).await.is_ok());
    app.stop().await;
}

/// 2,500 lines of each log that are so many days old, for batches to take.
async fn age(database: &TestDatabase, days: i64) {
    let insert = format!(
        "INSERT INTO audit_events (event_at, actor, action, resource, peer_address, request_id, revision) \
         SELECT now() - interval '{days} days', 'key/1', 'old', '{days}', '', '', 0 FROM generate_series(1, 2500); \
         INSERT INTO change_log (revision, subject, subject_id, committed_at) \
         SELECT {days} * 10000 + n, 'key', 1, now() - interval '{days} days' FROM generate_series(1, 2500) n"
    );
    database.sql(&insert).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn old_lines_go_and_younger_ones_stay_with_several_replicas() {
    let database = TestDatabase::new().await;
    for days in [5, 8, 29, 31] {
        age(&database, days).await;
    }
    let first = App::builder().database(&database).flags(["--audit-retention=30d"]).start().await;
    let second = App::builder()
        .database(&database)
        .admin_token(&first.admin_token)
        .flags(["--audit-retention=30d"])
        .start()
        .await;
    let count = async |table: &str, condition: &str| {
        database.number(&format!("SELECT count(*) FROM {table} WHERE {condition}")).await
    };
    let old = "event_at < now() - interval '30 days'";
    eventually("old events are gone", async || count("audit_events", old).await == 0).await;
    let old = "committed_at < now() - interval '7 days'";
    eventually("old changes are gone", async || count("change_log", old).await == 0).await;
    assert_eq!(count("audit_events", "action = 'old'").await, 7_500);
    assert_eq!(count("change_log", "revision > 9999").await, 2_500);
    first.stop().await;
    second.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_log_that_is_kept_for_ever_loses_nothing() {
    let database = TestDatabase::new().await;
    age(&database, 20_000).await;
    let app = App::builder().database(&database).flags(["--audit-retention=never"]).start().await;
    let old = "SELECT count(*) FROM change_log WHERE revision > 9999";
    eventually("the change log's old lines are gone", async || database.number(old).await == 0).await;
    let kept = "SELECT count(*) FROM audit_events WHERE action = 'old'";
    assert_eq!(database.number(kept).await, 2_500);
    app.stop().await;
}
