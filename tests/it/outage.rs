//! The database fails, or hangs, in mid-run: calls say so soon, and all is well when it returns.

mod writes;

use std::future::Future;
use std::time::Duration;

use keystile::grpc::pb;
use tokio::time::timeout;
use tonic::{Code, Response, Status, Streaming};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_client::HealthClient;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};
use tonic_types::{RpcStatusExt as _, StatusExt as _};

use crate::harness::{App, Proxy, TestDatabase, eventually, status_reason};

/// What the service promises.
const ANSWER_MAX: Duration = Duration::from_secs(2);

/// What a call may end with: the database cannot be asked, or what memory knows is too old since it cannot.
const REASONS: [&str; 2] = ["STORE_UNAVAILABLE", "STATE_TOO_OLD"];
const MESSAGES: [&str; 2] =
    ["the store is out of reach; try again", "this replica has lost touch with the changes of keys"];

/// A call that the outage must turn into UNAVAILABLE, soon.
async fn assert_unavailable<T>(what: &str, call: impl Future<Output = Result<Response<T>, Status>>) {
    let answer = timeout(ANSWER_MAX, call).await.unwrap_or_else(|_| panic!("{what} took too long"));
    let Err(status) = answer else { panic!("{what} was answered") };
    assert_eq!(status.code(), Code::Unavailable, "{what}: {status:?}");
    assert!(REASONS.contains(&status_reason(&status).as_str()), "{what}: {status:?}");
    let retry = status.get_details_retry_info().unwrap_or_else(|| panic!("{what}: no RetryInfo"));
    assert!(retry.retry_delay.is_some_and(|delay| !delay.is_zero()), "{what}");
    assert!(MESSAGES.contains(&status.message()), "{what}: nothing of the database: {status:?}");
}

/// As long as the caller is known, the members of a batch are told one by one.
async fn assert_batch_unavailable(
    call: impl Future<Output = Result<Response<pb::BatchAuthorizeResponse>, Status>>,
) {
    let answer = match timeout(ANSWER_MAX, call).await.expect("a batch took too long") {
        Ok(answer) => answer.into_inner(),
        Err(status) => {
            return assert_unavailable("BatchAuthorize", async { Err::<Response<()>, _>(status) }).await;
        }
    };
    for item in answer.items {
        let Some(pb::batch_authorize_response::item::Result::Error(status)) = item.result else {
            panic!("an item was decided")
        };
        assert_eq!(status.code, i32::from(Code::Unavailable));
        assert!(REASONS.contains(&status.get_details_error_info().unwrap().reason.as_str()));
    }
}

async fn assert_all_unavailable(app: &App, key_id: i64, token: &str) {
    let authorize = || app.authorize();
    let keys = || app.keys();
    let request = pb::AuthorizeRequest { token: token.to_owned().into(), ..Default::default() };
    let batch = pb::BatchAuthorizeRequest { requests: vec![request.clone()] };
    let filter = pb::FilterModelsRequest { token: token.to_owned().into(), ..Default::default() };
    let introspect = pb::IntrospectKeyRequest { token: token.to_owned().into() };
    let key = pb::Key { user_id: 1, display_name: "never".into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
    let get = pb::GetKeyRequest { key_id, ..Default::default() };
    let revoke = pb::RevokeKeyRequest { key_id, ..Default::default() };
    let grants = Some(pb::Grants { tags: vec!["t".into()], ..Default::default() });
    let add = pb::AddGrantsRequest { key_id, grants, ..Default::default() };
    let disable = pb::DisableOwnerRequest { user_id: 1, ..Default::default() };
    tokio::join!(
        async { assert_unavailable("Authorize", authorize().authorize(request)).await },
        async { assert_batch_unavailable(authorize().batch_authorize(batch)).await },
        async { assert_unavailable("FilterModels", authorize().filter_models(filter)).await },
        async { assert_unavailable("IntrospectKey", authorize().introspect_key(introspect)).await },
        async { assert_unavailable("CreateKey", keys().create_key(create)).await },
        async { assert_unavailable("GetKey", keys().get_key(get)).await },
        async { assert_unavailable("ListKeys", keys().list_keys(pb::ListKeysRequest::default())).await },
        async { assert_unavailable("RevokeKey", keys().revoke_key(revoke)).await },
        async { assert_unavailable("AddGrants", keys().add_grants(add)).await },
        async { assert_unavailable("DisableOwner", keys().disable_owner(disable)).await },
    );
}

/// The states of a service's health, as they come.
struct Health(Streaming<HealthCheckResponse>);

impl Health {
    async fn watch(app: &App, service: &str) -> Self {
        let request = HealthCheckRequest { service: service.to_owned() };
        Self(HealthClient::new(app.channel()).watch(request).await.unwrap().into_inner())
    }

    async fn next(&mut self) -> ServingStatus {
        self.0.message().await.unwrap().unwrap().status()
    }
}

async fn liveness(app: &App) -> ServingStatus {
    let request = HealthCheckRequest { service: "liveness".to_owned() };
    HealthClient::new(app.channel()).check(request).await.unwrap().into_inner().status()
}

/// Breaks the database of a service in mid-run and mends it again.
async fn outage(app: &App, break_it: impl AsyncFnOnce(), mend_it: impl AsyncFnOnce()) {
    let (key, token) = app.create_any().await;
    let names = ["", "keystile.v1.AuthorizeService", "keystile.store"];
    let mut watched = Vec::new();
    for name in names {
        let mut health = Health::watch(app, name).await;
        eventually("ready", async || health.next().await == ServingStatus::Serving).await;
        watched.push(health);
    }
    break_it().await;
    assert_all_unavailable(app, key.key_id, &token).await;
    for health in &mut watched {
        assert_eq!(health.next().await, ServingStatus::NotServing);
    }
    assert_eq!(liveness(app).await, ServingStatus::Serving, "whatever the database does");
    assert_all_unavailable(app, key.key_id, &token).await;
    let known = app.authorize().authorize(pb::AuthorizeRequest::default()).await.unwrap_err();
    assert_eq!(status_reason(&known), "STATE_TOO_OLD", "of the caller, which was in memory");

    mend_it().await;
    for health in &mut watched {
        assert_eq!(health.next().await, ServingStatus::Serving);
    }
    assert_eq!(app.reason(&token).await, None);
    let get = pb::GetKeyRequest { key_id: key.key_id, ..Default::default() };
    let kept = app.keys().get_key(get).await.unwrap().into_inner().key.unwrap();
    assert_eq!((kept.etag, kept.tags), (key.etag, key.tags), "nothing of what failed was done");
    app.create_any().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_is_down_is_unavailable_until_it_returns() {
    let app = App::builder().flags(["--max-staleness=1s"]).start().await;
    let database = app.database.clone();
    let stop = async || database.allow_connections(false).await;
    outage(&app, stop, async || database.allow_connections(true).await).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_hangs_is_unavailable_until_it_returns() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::before(&database).await;
    let flags = ["--max-staleness=1s"];
    let app = App::builder().database(&database).url(&proxy.url).flags(flags).start().await;
    outage(&app, async || proxy.stall(), async || proxy.resume()).await;
    app.stop().await;
}

/// Without callers to look up first, what they call for meets the hanging database by itself.
#[tokio::test(flavor = "multi_thread")]
async fn what_has_begun_gives_up_soon_too_and_malformed_tokens_need_no_database() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::before(&database).await;
    let app = App::builder().database(&database).url(&proxy.url).flags(["--no-auth"]).start().await;
    let (_, token) = app.create_any().await;
    let disable = pb::DisableOwnerRequest { user_id: 1, ..Default::default() };
    let request = pb::AuthorizeRequest { token: token.clone().into(), ..Default::default() };
    proxy.stall();
    assert_unavailable("DisableOwner", app.keys().disable_owner(disable.clone())).await;
    assert_unavailable("Authorize", app.authorize().authorize(request.clone())).await;
    assert_eq!(app.reason("malformed").await.as_deref(), Some("KEY_INVALID"));

    let batch = pb::BatchAuthorizeRequest { requests: vec![request; 100] };
    let answer = timeout(ANSWER_MAX, async { app.authorize().batch_authorize(batch).await }).await;
    for item in answer.expect("a batch waits once").unwrap().into_inner().items {
        let Some(pb::batch_authorize_response::item::Result::Error(status)) = item.result else {
            panic!("an item was decided")
        };
        assert_eq!(status.code, i32::from(Code::Unavailable));
        assert!(!status.details.is_empty());
    }

    proxy.resume();
    app.keys().disable_owner(disable).await.unwrap();
    assert_eq!(app.reason(&token).await.as_deref(), Some("OWNER_DISABLED"));
    app.stop().await;
}

/// A machine that vanished (a failover): nothing resets its connections, the kernel tries on for minutes.
#[tokio::test(flavor = "multi_thread")]
async fn connections_that_lead_nowhere_are_given_up_one_call_each() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::before(&database).await;
    let app = App::builder().database(&database).url(&proxy.url).flags(["--pool-size=3"]).start().await;
    let (_, token) = app.create_any().await;
    proxy.forget_connections();
    let request = pb::AuthorizeRequest { token: token.into(), ..Default::default() };
    let mut failures = 0;
    while let Err(status) = app.authorize().authorize(request.clone()).await {
        assert_eq!(status.code(), Code::Unavailable);
        failures += 1;
        assert!(failures <= 3, "there were no more connections than that");
    }
    app.stop().await;
}
