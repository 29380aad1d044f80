//! Limits that change while units of them are held.

use keystile::grpc::pb;

use super::{LIMITED, allowed, ask, create, limited, requests};
use crate::harness::{App, TestDatabase, denial, eventually, get};

async fn set(app: &App, key_id: i64, rate_limits: pb::RateLimits) {
    let update = pb::UpdateKeyRequest {
        key: Some(pb::Key { key_id, ..limited(rate_limits) }),
        update_mask: Some(prost_types::FieldMask { paths: vec!["rate_limits".into()] }),
        ..Default::default()
    };
    let answer = app.keys().update_key(update).await.unwrap().into_inner();
    assert!(answer.propagation.unwrap().complete);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_raised_limit_admits_more_and_a_lowered_one_nothing_until_it_is_kept() {
    let app = App::start().await;
    let (key, token) = create(&app, requests(Some(5), None, None)).await;
    assert_eq!(allowed(&app, &token, 8).await, 5);
    set(&app, key.key_id, requests(Some(9), None, None)).await;
    assert_eq!(allowed(&app, &token, 8).await, 4, "what was used counts");
    set(&app, key.key_id, requests(Some(2), None, None)).await;
    assert_eq!(allowed(&app, &token, 3).await, 0);
    set(&app, key.key_id, requests(Some(10), None, None)).await;
    assert_eq!(allowed(&app, &token, 3).await, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn units_in_hand_are_not_used_after_the_limit_was_lowered() {
    let app = App::start().await;
    let (key, token) = create(&app, requests(Some(1_000_000), None, None)).await;
    // Until the replica holds units beyond what was asked for.
    eventually("units are held", async || {
        ask(&app, &token).await;
        get(&app.ops(), "/metrics").await.body.contains("\nkeystile_limits_held 1\n")
    })
    .await;
    set(&app, key.key_id, requests(Some(0), None, None)).await;
    assert_eq!(denial(&ask(&app, &token).await).as_deref(), Some(LIMITED));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_added_limit_starts_empty_and_a_removed_one_is_gone() {
    let app = App::start().await;
    let (key, token) = create(&app, requests(Some(5), None, None)).await;
    assert_eq!(allowed(&app, &token, 5).await, 5);
    set(&app, key.key_id, requests(None, Some(3), None)).await;
    assert_eq!(allowed(&app, &token, 5).await, 3, "the hour begins with nothing used");
    set(&app, key.key_id, pb::RateLimits::default()).await;
    assert_eq!(allowed(&app, &token, 20).await, 20);
    let answer = ask(&app, &token).await;
    assert!(answer.rate_limits.is_empty() && !answer.authorization_id.is_empty());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn limits_of_an_owner_reach_the_keys_that_are_in_memory() {
    let app = App::start().await;
    let (_, token) = create(&app, pb::RateLimits::default()).await;
    assert_eq!(allowed(&app, &token, 3).await, 3);
    let set = async |rate_limits| {
        let set =
            pb::SetOwnerLimitsRequest { user_id: 7, rate_limits: Some(rate_limits), ..Default::default() };
        app.keys().set_owner_limits(set).await.unwrap();
    };
    set(requests(Some(2), None, None)).await;
    assert_eq!(allowed(&app, &token, 5).await, 2);
    set(pb::RateLimits::default()).await;
    assert_eq!(allowed(&app, &token, 5).await, 5);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_was_used_outlives_the_service() {
    let app = App::start().await;
    let (database, admin) = (app.database.clone(), app.admin_token.clone());
    let (_, token) = create(&app, requests(None, Some(10), None)).await;
    assert_eq!(allowed(&app, &token, 4).await, 4);
    app.stop().await;
    let app = App::builder().database(&database).admin_token(&admin).start().await;
    assert_eq!(allowed(&app, &token, 20).await, 6, "what was held was given back, what was used was not");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_counters_of_a_purged_key_go_with_it() {
    let app = App::start().await;
    let (key, token) = create(&app, requests(Some(5), None, None)).await;
    assert_eq!(allowed(&app, &token, 1).await, 1);
    let key_id = key.key_id;
    app.keys().delete_key(pb::DeleteKeyRequest { key_id, ..Default::default() }).await.unwrap();
    app.database
        .sql("UPDATE api_keys SET purge_at = now() - interval '1 day' WHERE deleted_at IS NOT NULL")
        .await;
    app.running.admin().purge_batch().await.unwrap();
    assert_eq!(app.database.number("SELECT count(*) FROM limit_counters").await, 0);
    app.stop().await;
}

/// What is read behind a lock has to be of then, whatever the server takes for usual.
#[tokio::test(flavor = "multi_thread")]
async fn the_isolation_of_debits_is_their_own() {
    let database = TestDatabase::new().await;
    let strict =
        format!("ALTER DATABASE {} SET default_transaction_isolation = 'serializable'", database.name());
    database.sql(&strict).await;
    let one = App::builder().database(&database).start().await;
    let other = App::builder().database(&database).admin_token(&one.admin_token).start().await;
    let (_, token) = create(&one, requests(None, Some(50), None)).await;
    let mut count = 0;
    for _ in 0..60 {
        count += allowed(&one, &token, 1).await + allowed(&other, &token, 1).await;
    }
    assert!(count <= 50, "{count}");
    eventually("all of it can be had", async || {
        count += allowed(&one, &token, 1).await;
        count == 50
    })
    .await;
    other.stop().await;
    one.stop().await;
}
