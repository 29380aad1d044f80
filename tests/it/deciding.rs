//! Decisions over gRPC: what a request leaves out, observe mode, expiry, warnings.

mod many;

use chrono::{DateTime, TimeDelta, Utc};
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use keystile::grpc::pb::access_rule::Mode;
use keystile::grpc::pb::authorize_request::Dimension;
use keystile::grpc::pb::authorize_response::Reason;
use keystile::grpc::pb::key::Check;
use keystile::grpc::pb::warning::Kind;
use tonic::Code;

use crate::harness::{App, denial, status_reason};

fn only(patterns: &[&str]) -> Option<pb::AccessRule> {
    let patterns = patterns.iter().map(|&pattern| pattern.to_owned()).collect();
    Some(pb::AccessRule { mode: Mode::Only.into(), patterns })
}

fn named() -> pb::Key {
    pb::Key { user_id: 1, display_name: "decided".into(), ..Default::default() }
}

/// A key that may do one thing in each dimension.
fn narrow() -> pb::Key {
    pb::Key {
        models: only(&["gpt-4o*"]),
        endpoints: only(&["POST /v1/chat/completions"]),
        ips: only(&["10.0.0.0/8"]),
        chatbots: only(&["bot-1"]),
        scopes: vec!["chat.*".into()],
        permissions: vec!["chat".into()],
        ..named()
    }
}

/// What a narrow key may do.
fn allowed() -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        model: "gpt-4o-mini".into(),
        endpoint: "/v1/chat/completions".into(),
        method: "POST".into(),
        chatbot_id: "bot-1".into(),
        client_ip: "10.1.2.3".into(),
        scopes: vec!["chat.completions".into()],
        permissions: vec!["chat".into()],
        ..Default::default()
    }
}

async fn reason(app: &App, token: &str, request: pb::AuthorizeRequest) -> String {
    denial(&app.ask(token, request).await).unwrap_or_else(|| "ALLOW".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_left_out_is_denied_unless_it_is_not_applicable() {
    let app = App::start().await;
    let (_, token) = app.create(narrow()).await;
    assert_eq!(reason(&app, &token, allowed()).await, "ALLOW");
    let none = Vec::new();
    let dimensions = [
        (pb::AuthorizeRequest { model: "".into(), ..allowed() }, Some(Dimension::Model), "MODEL_NOT_ALLOWED"),
        (
            pb::AuthorizeRequest { endpoint: "".into(), method: "".into(), ..allowed() },
            Some(Dimension::Endpoint),
            "ENDPOINT_NOT_ALLOWED",
        ),
        (
            pb::AuthorizeRequest { chatbot_id: "".into(), ..allowed() },
            Some(Dimension::Chatbot),
            "CHATBOT_NOT_ALLOWED",
        ),
        (pb::AuthorizeRequest { client_ip: "".into(), ..allowed() }, None, "IP_NOT_ALLOWED"),
    ];
    let all = [Dimension::Model, Dimension::Endpoint, Dimension::Chatbot].map(i32::from);
    for (request, dimension, expected) in dimensions {
        let with = |not_applicable: &[i32]| pb::AuthorizeRequest {
            not_applicable: not_applicable.to_vec(),
            ..request.clone()
        };
        assert_eq!(reason(&app, &token, with(&none)).await, expected);
        let others: Vec<i32> =
            all.into_iter().filter(|other| Some(*other) != dimension.map(i32::from)).collect();
        assert_eq!(reason(&app, &token, with(&others)).await, expected, "of something else");
        let declared = if dimension.is_some() { "ALLOW" } else { expected };
        assert_eq!(reason(&app, &token, with(&all)).await, declared);
    }
    let (_, any) = app.create_any().await;
    assert_eq!(reason(&app, &any, pb::AuthorizeRequest::default()).await, "ALLOW");
    let no_method = pb::AuthorizeRequest { method: "".into(), ..allowed() };
    assert_eq!(reason(&app, &token, no_method).await, "ENDPOINT_NOT_ALLOWED");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn removing_the_last_pattern_leaves_nothing_and_adding_to_any_leaves_only_that() {
    let app = App::start().await;
    let (key, token) = app.create(narrow()).await;
    let remove = async |grants: pb::Grants| {
        let request =
            pb::RemoveGrantsRequest { key_id: key.key_id, grants: Some(grants), etag: String::new() };
        app.keys().remove_grants(request).await.unwrap().into_inner().key.unwrap()
    };
    let chatbots = pb::Grants { chatbots: vec!["bot-1".into()], ..Default::default() };
    assert_eq!(remove(chatbots).await.chatbots, only(&[]));
    assert_eq!(reason(&app, &token, allowed()).await, "CHATBOT_NOT_ALLOWED");
    let models = pb::Grants { models: vec!["gpt-4o*".into()], ..Default::default() };
    assert_eq!(remove(models).await.models, only(&[]));
    assert_eq!(reason(&app, &token, allowed()).await, "MODEL_NOT_ALLOWED");
    let permissions = pb::Grants { permissions: vec!["chat".into()], ..Default::default() };
    assert!(remove(permissions).await.permissions.is_empty());
    assert_eq!(reason(&app, &token, allowed()).await, "PERMISSION_MISSING");
    let scopes = pb::Grants { scopes: vec!["chat.*".into()], ..Default::default() };
    assert!(remove(scopes).await.scopes.is_empty());
    assert_eq!(reason(&app, &token, allowed()).await, "SCOPE_MISSING");
    let endpoints = pb::Grants { endpoints: vec!["POST /v1/chat/completions".into()], ..Default::default() };
    assert_eq!(remove(endpoints).await.endpoints, only(&[]));
    assert_eq!(reason(&app, &token, allowed()).await, "ENDPOINT_NOT_ALLOWED");
    let ips = pb::Grants { ips: vec!["10.0.0.0/8".into()], ..Default::default() };
    assert_eq!(remove(ips).await.ips, only(&[]));
    assert_eq!(reason(&app, &token, allowed()).await, "IP_NOT_ALLOWED");

    let (any, token) = app.create_any().await;
    let grants = Some(pb::Grants { models: vec!["o3".into()], ..Default::default() });
    let add = pb::AddGrantsRequest { key_id: any.key_id, grants: grants.clone(), etag: String::new() };
    app.keys().add_grants(add).await.unwrap();
    let asked = |model: &'static str| pb::AuthorizeRequest { model: model.into(), ..Default::default() };
    assert_eq!(reason(&app, &token, asked("o3")).await, "ALLOW");
    assert_eq!(reason(&app, &token, asked("o4")).await, "MODEL_NOT_ALLOWED");
    let grants = Some(pb::Grants { chatbots: vec!["c".into()], ..Default::default() });
    let remove = pb::RemoveGrantsRequest { key_id: any.key_id, grants, etag: String::new() };
    let refused = app.keys().remove_grants(remove).await.unwrap_err();
    assert_eq!((refused.code(), status_reason(&refused).as_str()), (Code::FailedPrecondition, "RULE_IS_ANY"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn observe_mode_reports_what_it_lets_pass() {
    let app = App::builder().flags(["--observe=models,scopes"]).start().await;
    let (_, plain) = app.create(narrow()).await;
    let (_, lenient) = app.create(pb::Key { observe: vec![Check::Ips.into()], ..narrow() }).await;
    let ask = async |token: &str, request: pb::AuthorizeRequest| {
        let answer = app.ask(token, request).await;
        (denial(&answer).unwrap_or_else(|| "ALLOW".to_owned()), answer.observed_reason())
    };
    let allow = |observed: Reason| ("ALLOW".to_owned(), observed);
    let deny = |reason: &str, observed: Reason| (reason.to_owned(), observed);
    let model = pb::AuthorizeRequest { model: "o3".into(), ..allowed() };
    let address = pb::AuthorizeRequest { client_ip: "192.0.2.1".into(), ..allowed() };
    let scope = pb::AuthorizeRequest { scopes: vec!["embeddings.create".into()], ..model.clone() };
    let chatbot = pb::AuthorizeRequest { chatbot_id: "bot-2".into(), ..model.clone() };
    assert_eq!(ask(&plain, allowed()).await, allow(Reason::Unspecified));
    assert_eq!(ask(&plain, model.clone()).await, allow(Reason::ModelNotAllowed));
    assert_eq!(ask(&plain, scope).await, allow(Reason::ScopeMissing), "the first");
    assert_eq!(ask(&plain, address.clone()).await, deny("IP_NOT_ALLOWED", Reason::Unspecified));
    assert_eq!(ask(&lenient, address).await, allow(Reason::IpNotAllowed), "of the key");
    assert_eq!(ask(&lenient, model).await, allow(Reason::ModelNotAllowed), "and of all keys");
    assert_eq!(ask(&plain, chatbot).await, deny("CHATBOT_NOT_ALLOWED", Reason::ModelNotAllowed));
    assert_eq!(ask("unknown", allowed()).await, deny("KEY_INVALID", Reason::Unspecified));
    app.stop().await;

    let app = App::builder().flags(["--observe=ips,scopes"]).start().await;
    let elsewhere = pb::Key {
        display_name: "elsewhere".into(),
        scopes: vec!["keystile.read".into()],
        ips: only(&["192.0.2.0/24"]),
        observe: vec![Check::Ips.into(), Check::Scopes.into()],
        ..Default::default()
    };
    let (_, elsewhere) = app.create(elsewhere).await;
    let list = pb::ListKeysRequest::default;
    let refused = app.keys_as(Some(&elsewhere)).list_keys(list()).await.unwrap_err();
    assert_eq!(status_reason(&refused), "CALLER_ADDRESS_NOT_ALLOWED", "it is not for callers");
    let (_, ordinary) = app.create_any().await;
    let refused = app.keys_as(Some(&ordinary)).list_keys(list()).await.unwrap_err();
    assert_eq!(status_reason(&refused), "CALLER_SCOPE_MISSING", "it is not for callers");
    app.stop().await;
}

fn time(time: DateTime<Utc>) -> Option<prost_types::Timestamp> {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap();
    Some(prost_types::Timestamp { seconds: time.timestamp(), nanos })
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_expired_from_the_very_instant_and_warns_a_week_before() {
    let start: DateTime<Utc> = "2027-01-31T12:00:00Z".parse().unwrap();
    let clock = ManualClock::new(start);
    let app = App::builder().clock(Clock::Manual(clock.clone())).start().await;
    let end = start + TimeDelta::days(30) + TimeDelta::microseconds(7);
    let (_, token) = app.create(pb::Key { expire_time: time(end), ..named() }).await;
    let reader = pb::Key {
        display_name: "reader".into(),
        scopes: vec!["keystile.read".into()],
        expire_time: time(end),
        ..Default::default()
    };
    let (_, reader) = app.create(reader).await;
    let ask = async |at: DateTime<Utc>| {
        clock.set(at);
        let answer = app.ask(&token, pb::AuthorizeRequest::default()).await;
        let soon = answer.warnings.iter().any(|warning| warning.kind() == Kind::KeyExpiresSoon);
        (denial(&answer), soon)
    };
    let micro = TimeDelta::microseconds(1);
    assert_eq!(ask(start).await, (None, false));
    assert_eq!(ask(end - TimeDelta::days(7) - micro).await, (None, false));
    assert_eq!(ask(end - TimeDelta::days(7)).await, (None, true));
    assert_eq!(ask(end - micro).await, (None, true));
    app.keys_as(Some(&reader)).list_keys(pb::ListKeysRequest::default()).await.unwrap();
    let expired = Some("KEY_EXPIRED".to_owned());
    assert_eq!(ask(end).await, (expired.clone(), false));
    assert_eq!(ask(end + TimeDelta::days(1)).await, (expired, false));
    let refused = app.keys_as(Some(&reader)).list_keys(pb::ListKeysRequest::default()).await.unwrap_err();
    assert_eq!(
        (refused.code(), status_reason(&refused).as_str()),
        (Code::Unauthenticated, "CALLER_TOKEN_INVALID")
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn budgets_that_are_not_enforced_are_named_and_none_is_shown() {
    let app = App::start().await;
    let budget = |period: pb::budget::Period| pb::Budget {
        limit_micros: Some(0),
        period: period.into(),
        ..Default::default()
    };
    let budgets = vec![budget(pb::budget::Period::Total), budget(pb::budget::Period::Monthly)];
    let create = pb::CreateKeyRequest { key: Some(named()), budgets, ..Default::default() };
    let with_budgets = app.keys().create_key(create).await.unwrap().into_inner().token;
    let (_, without) = app.create_any().await;
    let named = async |token: &str| {
        let answer = app.ask(token, pb::AuthorizeRequest::default()).await;
        assert_eq!(denial(&answer), None, "budgets of 0 deny nothing yet");
        assert!(answer.budgets.is_empty());
        let messages = answer.warnings.into_iter().map(|warning| {
            assert_eq!(warning.kind(), Kind::NotEnforced);
            let (name, rest) = warning.message.split_once(' ').unwrap();
            assert_eq!(rest, "are stored but not enforced by this version");
            name.to_owned()
        });
        messages.collect::<Vec<_>>()
    };
    assert_eq!(named(&with_budgets).await, ["budgets"]);
    assert!(named(&without).await.is_empty());

    let (_, of_owner) = app.create_any().await;
    app.database
        .sql(
            "INSERT INTO budgets (user_id, display_name, limit_micros, period, is_hard, \
                 default_estimate_micros, require_estimate, revision, created_at, updated_at) \
             VALUES (1, '', 5, 'weekly', true, 0, false, 0, now(), now()), \
                 (2, '', 5, 'weekly', true, 0, false, 0, now(), now())",
        )
        .await;
    // Not one of the keys in memory, which are not read again because somebody wrote into the database.
    assert_eq!(named(&of_owner).await, ["budgets"]);
    app.stop().await;
}
