//! The store is away: what is in hand is used up, then limited requests are not decided, or go by a local share.

use keystile::grpc::pb;
use keystile::grpc::pb::warning::Kind;
use tonic::Code;

use super::{LIMITED, create, requests};
use crate::harness::{App, Proxy, TestDatabase, denial, eventually, status_reason};

async fn ask(app: &App, token: &str) -> Result<pb::AuthorizeResponse, tonic::Status> {
    let request = pb::AuthorizeRequest { token: token.to_owned().into(), ..Default::default() };
    Ok(app.authorize().authorize(request).await?.into_inner())
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_limited_keys_are_not_decided_and_others_are() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::before(&database).await;
    let app = App::builder().database(&database).url(proxy.url.clone()).start().await;
    let (_, token) = create(&app, requests(Some(1_000_000), None, None)).await;
    let (_, unlimited) = app.create_any().await;
    assert_eq!(denial(&ask(&app, &unlimited).await.unwrap()), None);
    assert_eq!(denial(&ask(&app, &token).await.unwrap()), None);
    for how in [Proxy::cut, Proxy::stall] {
        how(&proxy);
        eventually("what was in hand is used up", async || ask(&app, &token).await.is_err()).await;
        let refused = ask(&app, &token).await.unwrap_err();
        assert_eq!(
            (refused.code(), status_reason(&refused).as_str()),
            (Code::Unavailable, "LIMITS_UNAVAILABLE")
        );
        assert_eq!(denial(&ask(&app, &unlimited).await.unwrap()), None, "memory decides");
        proxy.mend();
        proxy.resume();
        eventually("limits are debited again", async || ask(&app, &token).await.is_ok()).await;
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_the_store_a_replica_may_go_on_by_its_share() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::before(&database).await;
    let flags = ["--limits-without-store", "local-share"];
    let app = App::builder().database(&database).url(proxy.url.clone()).flags(flags).start().await;
    let other = App::builder().database(&database).start().await;
    let (_, token) = create(&app, requests(Some(10), None, None)).await;
    assert_eq!(denial(&ask(&app, &token).await.unwrap()), None);
    proxy.cut();
    let is_local =
        |answer: &pb::AuthorizeResponse| answer.warnings.iter().any(|it| it.kind() == Kind::LocalLimits);
    let mut local = 0;
    eventually("the local share is used up", async || {
        let answer = ask(&app, &token).await.unwrap();
        local += u32::from(denial(&answer).is_none() && is_local(&answer));
        denial(&answer).as_deref() == Some(LIMITED)
    })
    .await;
    assert_eq!(local, 5, "half of the limit: there are two replicas");
    proxy.mend();
    eventually("limits are debited again", async || {
        ask(&app, &token).await.is_ok_and(|answer| denial(&answer).is_none() && !is_local(&answer))
    })
    .await;
    other.stop().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_somebody_holds_stops_its_key_alone() {
    let app = App::start().await;
    let (key, held) = create(&app, requests(Some(100), None, None)).await;
    let (_, free) = create(&app, requests(Some(100), None, None)).await;
    assert_eq!(denial(&ask(&app, &held).await.unwrap()), None);
    let lock = format!("SELECT 1 FROM limit_counters WHERE subject_id = {} FOR UPDATE", key.key_id);
    let hold = app.database.hold(&lock).await;
    eventually("the held row's key is not decided", async || ask(&app, &held).await.is_err()).await;
    for _ in 0..20 {
        assert_eq!(denial(&ask(&app, &free).await.unwrap()), None);
    }
    hold.let_go().await;
    eventually("the row is free", async || ask(&app, &held).await.is_ok()).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn counters_that_do_not_parse_stop_their_key_alone() {
    let app = App::start().await;
    let (key, bad) = create(&app, requests(Some(100), None, None)).await;
    let (_, good) = create(&app, requests(Some(100), None, None)).await;
    let corrupt = format!(
        "INSERT INTO limit_counters (kind, subject_id, counters) VALUES (0, {}, '\\x09')",
        key.key_id
    );
    app.database.sql(&corrupt).await;
    let refused = ask(&app, &bad).await.unwrap_err();
    assert_eq!(refused.code(), Code::Unavailable);
    assert_eq!(denial(&ask(&app, &good).await.unwrap()), None);
    app.stop().await;
}
