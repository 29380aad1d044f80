//! Batches, lists of models, a key's own view, and state that is new enough.

use std::time::Duration;

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_response::{Decision, Reason};
use keystile::grpc::pb::batch_authorize_response::item::Result as Item;
use keystile::grpc::pb::key::{Check, State};
use tonic::Code;
use tonic_types::{RpcStatusExt as _, StatusExt as _};

use super::{allowed, named, narrow, only};
use crate::harness::{App, denial, judged_key, new_token, status_reason, violated_fields};

/// Keys that were used.
const COUNTED: &str = "SELECT count(*) FROM key_usage WHERE authorized_count > 0 OR last_used_at IS NOT NULL";

async fn revoked(app: &App) -> (pb::Key, String) {
    let (key, token) = app.create_any().await;
    let revoke = pb::RevokeKeyRequest { key_id: key.key_id, reason: "leaked".into(), ..Default::default() };
    let revoke = app.keys().revoke_key(revoke).await.unwrap().into_inner();
    (revoke.key.unwrap(), token)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_batch_of_a_thousand_is_answered_in_order_each_by_itself() {
    let app = App::start().await;
    let (working, works) = app.create_any().await;
    let (_, revoked) = revoked(&app).await;
    let (_, narrow) = app.create(narrow()).await;
    let asked = |position: usize| {
        let token =
            |token: &str| pb::AuthorizeRequest { token: token.to_owned().into(), ..Default::default() };
        match position % 5 {
            0 => token(&works),
            1 => token(&revoked),
            2 => pb::AuthorizeRequest { token: narrow.clone().into(), model: "o3".into(), ..allowed() },
            3 => pb::AuthorizeRequest { scopes: vec!["chat.*".into()], min_revision: -1, ..token(&works) },
            _ => token("nobody's"),
        }
    };
    let requests: Vec<_> = (0..1_000).map(asked).collect();
    let batch = pb::BatchAuthorizeRequest { requests: requests.clone() };
    let answer = app.authorize().batch_authorize(batch).await.unwrap().into_inner();
    assert_eq!(answer.items.len(), 1_000);
    for (position, item) in answer.items.into_iter().enumerate() {
        match (position % 5, item.result.unwrap()) {
            (0, Item::Response(answer)) => {
                assert_eq!((denial(&answer), judged_key(&answer).key_id), (None, working.key_id));
            }
            (1, Item::Response(answer)) => assert_eq!(denial(&answer).as_deref(), Some("KEY_REVOKED")),
            (2, Item::Response(answer)) => assert_eq!(denial(&answer).as_deref(), Some("MODEL_NOT_ALLOWED")),
            (3, Item::Error(status)) => {
                assert_eq!(status.code, i32::from(Code::InvalidArgument));
                let fields = status.get_details_bad_request().unwrap().field_violations;
                let fields: Vec<_> = fields.into_iter().map(|violation| violation.field).collect();
                assert_eq!(fields, ["scopes[0]", "min_revision"]);
                assert_eq!(status.get_details_error_info().unwrap().reason, "INVALID_REQUEST");
            }
            (4, Item::Response(answer)) => assert_eq!(denial(&answer).as_deref(), Some("KEY_INVALID")),
            (_, other) => panic!("{position}: {other:?}"),
        }
    }
    for length in [0, 1_001] {
        let requests = requests.iter().cycle().take(length).cloned().collect();
        let batch = pb::BatchAuthorizeRequest { requests };
        let refused = app.authorize().batch_authorize(batch).await.unwrap_err();
        assert_eq!(
            (refused.code(), violated_fields(&refused)),
            (Code::InvalidArgument, vec!["requests".to_owned()])
        );
    }
    let database = app.database.clone();
    app.stop().await;
    let uses = "SELECT authorized_count FROM key_usage WHERE key_id = (SELECT min(key_id) FROM api_keys \
                WHERE user_id = 1)";
    assert_eq!(database.number(uses).await, 200, "each is counted, and flushed at the end");
}

async fn filtered(
    app: &App,
    token: &str,
    models: &[&str],
    request: pb::FilterModelsRequest,
) -> pb::FilterModelsResponse {
    let models = models.iter().map(|&model| model.to_owned()).collect();
    let request = pb::FilterModelsRequest { token: token.to_owned().into(), models, ..request };
    app.authorize().filter_models(request).await.unwrap().into_inner()
}

#[tokio::test(flavor = "multi_thread")]
async fn models_are_filtered_in_order_and_only_where_the_context_is_allowed() {
    let app = App::start().await;
    let (_, token) = app.create(narrow()).await;
    let context = || pb::FilterModelsRequest {
        endpoint: "/v1/chat/completions".into(),
        method: "POST".into(),
        chatbot_id: "bot-1".into(),
        client_ip: "10.0.0.1".into(),
        ..Default::default()
    };
    let models = ["o3", "gpt-4o-mini", "GPT-4o", "gpt-4o", "gpt-4o-mini", "gpt-4"];
    let answer = filtered(&app, &token, &models, context()).await;
    assert_eq!(
        (answer.decision(), answer.reason(), answer.http_status),
        (Decision::Allow, Reason::Unspecified, 200)
    );
    assert_eq!(answer.models, ["gpt-4o-mini", "gpt-4o", "gpt-4o-mini"]);
    assert!(answer.revision > 0);
    let none = filtered(&app, &token, &["o3"], context()).await;
    assert_eq!((none.decision(), none.models.len()), (Decision::Allow, 0), "none is no denial");

    let elsewhere = pb::FilterModelsRequest { client_ip: "192.0.2.1".into(), ..context() };
    let denied = filtered(&app, &token, &models, elsewhere).await;
    assert_eq!((denied.decision(), denied.reason()), (Decision::Deny, Reason::IpNotAllowed));
    assert_eq!((denied.http_status, denied.models.len()), (403, 0));
    let unknown = filtered(&app, &new_token(), &models, context()).await;
    assert_eq!((unknown.reason(), unknown.http_status, unknown.models.len()), (Reason::KeyInvalid, 401, 0));

    let lenient = pb::Key { models: only(&["gpt-4o*"]), observe: vec![Check::Models.into()], ..named() };
    let (_, lenient) = app.create(lenient).await;
    let observed = filtered(&app, &lenient, &models, pb::FilterModelsRequest::default()).await;
    assert_eq!((observed.models.len(), observed.observed_reason()), (6, Reason::ModelNotAllowed));
    let fine = filtered(&app, &lenient, &["gpt-4o"], pb::FilterModelsRequest::default()).await;
    assert_eq!((fine.models.len(), fine.observed_reason()), (1, Reason::Unspecified));

    let thousand = vec!["gpt-4o"; 1_000];
    assert_eq!(filtered(&app, &token, &thousand, context()).await.models.len(), 1_000);
    let models = vec!["m".to_owned(); 1_001];
    let request = pb::FilterModelsRequest { token: token.clone().into(), models, ..context() };
    let refused = app.authorize().filter_models(request).await.unwrap_err();
    assert_eq!(
        (refused.code(), violated_fields(&refused)),
        (Code::InvalidArgument, vec!["models".to_owned()])
    );
    let database = app.database.clone();
    app.stop().await;
    assert_eq!(database.number(COUNTED).await, 0, "nothing is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_sees_itself_in_any_state_and_a_stranger_sees_nothing() {
    let app = App::start().await;
    let introspect = async |token: &str| {
        let request = pb::IntrospectKeyRequest { token: token.to_owned().into() };
        app.authorize().introspect_key(request).await.unwrap().into_inner()
    };
    let limits = pb::RateLimitWindows { per_hour: Some(5), ..Default::default() };
    let limits = pb::RateLimits { requests: Some(limits), ..Default::default() };
    let key = pb::Key { rate_limits: Some(limits), ..narrow() };
    let budget =
        pb::Budget { limit_micros: Some(9), period: pb::budget::Period::Total.into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), budgets: vec![budget], ..Default::default() };
    let created = app.keys().create_key(create).await.unwrap().into_inner();
    let (key, token) = (created.key.unwrap(), created.token);

    let seen = introspect(&token).await;
    let own = seen.key.clone().unwrap();
    assert_eq!(
        (seen.reason(), own.state(), seen.revision),
        (Reason::Unspecified, State::Active, created.revision)
    );
    assert_eq!((own.key_hash.as_str(), own.etag.as_str()), ("", ""));
    assert_eq!(pb::Key { etag: key.etag.clone(), budgets: key.budgets.clone(), ..own.clone() }, key);
    assert_eq!((own.budgets.len(), seen.budgets.len(), seen.rate_limits.len()), (1, 1, 1));
    assert_eq!((seen.budgets[0].limit_micros, seen.rate_limits[0].limit), (9, 5));
    assert_eq!(seen.warnings.len(), 1, "for the budget");
    assert_eq!(seen.rate_limits[0].remaining, Some(5));

    let state = async |token: &str| {
        let seen = introspect(token).await;
        (seen.reason(), seen.key.map(|key| key.state()))
    };
    let (gone, revoked) = revoked(&app).await;
    assert_eq!(state(&revoked).await, (Reason::KeyRevoked, Some(State::Revoked)));
    assert_eq!(introspect(&revoked).await.key.unwrap().revoke_reason, "leaked");
    let key_id = key.key_id;
    app.database.sql(&format!("UPDATE api_keys SET expire_at = now() WHERE key_id = {key_id}")).await;
    assert_eq!(state(&token).await, (Reason::KeyExpired, Some(State::Expired)));
    app.keys().disable_owner(pb::DisableOwnerRequest { user_id: 1, ..Default::default() }).await.unwrap();
    assert_eq!(
        state(&token).await,
        (Reason::OwnerDisabled, Some(State::OwnerDisabled)),
        "comes before expiry"
    );
    let delete =
        format!("UPDATE api_keys SET deleted_at = now(), purge_at = now() WHERE key_id = {}", gone.key_id);
    app.database.sql(&delete).await;
    let stranger = new_token();
    for token in [revoked.as_str(), &stranger, "malformed", ""] {
        let seen = introspect(token).await;
        let nothing = pb::IntrospectKeyResponse {
            reason: Reason::KeyInvalid.into(),
            revision: seen.revision,
            ..Default::default()
        };
        assert_eq!(seen, nothing, "{token:?}: existence is not revealed");
    }
    let database = app.database.clone();
    app.stop().await;
    assert_eq!(database.number(COUNTED).await, 0, "nothing is counted");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_decision_is_at_least_as_new_as_it_must_be() {
    let app = App::start().await;
    let (_, token) = app.create_any().await;
    let head = app.database.number("SELECT revision FROM revision_counter").await;
    let question = pb::AuthorizeRequest { token: token.into(), ..Default::default() };
    let at_least = |min_revision: i64| pb::AuthorizeRequest { min_revision, ..question.clone() };
    let reached = app.authorize().authorize(at_least(head)).await.unwrap().into_inner();
    assert_eq!((denial(&reached), reached.revision), (None, head));

    let (mut client, next) = (app.authorize(), at_least(head + 1));
    let waiting = tokio::spawn(async move { client.authorize(next).await });
    // Other calls come and go meanwhile.
    for _ in 0..3 {
        assert_eq!(denial(&app.authorize().authorize(question.clone()).await.unwrap().into_inner()), None);
    }
    assert!(!waiting.is_finished(), "it waits");
    app.create_any().await;
    let reached = waiting.await.unwrap().unwrap().into_inner();
    assert_eq!((denial(&reached), reached.revision), (None, head + 1), "reached while it waited");

    let never = at_least(head + 100);
    let refused = app.authorize().authorize(never.clone()).await.unwrap_err();
    assert_eq!(
        (refused.code(), status_reason(&refused).as_str()),
        (Code::Unavailable, "REVISION_NOT_REACHED")
    );
    assert!(refused.get_details_retry_info().unwrap().retry_delay.unwrap() > Duration::ZERO);
    let malformed = pb::AuthorizeRequest { token: "malformed".into(), ..never };
    let malformed = app.authorize().authorize(malformed).await.unwrap().into_inner();
    assert_eq!(denial(&malformed).as_deref(), Some("KEY_INVALID"), "nothing newer could make it right");
    app.stop().await;
}
