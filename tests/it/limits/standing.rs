//! How limits stand, as administrators see it.

use keystile::grpc::pb;
use keystile::grpc::pb::rate_limit_status::{Metric, Subject};

use super::{allowed, by_minute, create, requests};
use crate::harness::{App, eventually};

async fn of_key(app: &App, key_id: i64, view: pb::key::View) -> Vec<pb::RateLimitStatus> {
    let request = pb::GetKeyRequest { key_id, view: view.into() };
    app.keys().get_key(request).await.unwrap().into_inner().rate_limits
}

async fn of_owner(app: &App) -> Vec<pb::RateLimitStatus> {
    let request = pb::GetOwnerRequest { user_id: 7 };
    app.keys().get_owner(request).await.unwrap().into_inner().rate_limits
}

/// Whose, of what, by how many seconds, how many, how many are left.
fn stands(statuses: &[pb::RateLimitStatus]) -> Vec<(Subject, Metric, i64, i64, i64)> {
    let stands = |it: &pb::RateLimitStatus| {
        (it.subject(), it.metric(), it.window.unwrap().seconds, it.limit, it.remaining.unwrap())
    };
    statuses.iter().map(stands).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn administrators_see_how_the_limits_of_a_key_and_its_owner_stand() {
    use pb::key::View::{Basic, Full};
    let app = App::start().await;
    let (bare, other) = create(&app, pb::RateLimits::default()).await;
    assert_eq!(of_key(&app, bare.key_id, Basic).await, []);
    assert_eq!(of_owner(&app).await, [], "nothing is limited");

    let set = pb::SetOwnerLimitsRequest {
        user_id: 7,
        rate_limits: Some(requests(None, Some(100), None)),
        ..Default::default()
    };
    app.keys().set_owner_limits(set).await.unwrap();
    let (key, token) = create(&app, by_minute(Some(10), Some(500))).await;
    let whole = of_key(&app, key.key_id, Basic).await;
    let by_key = |left| (Subject::Key, Metric::Requests, 60, 10, left);
    let by_tokens = (Subject::Key, Metric::Tokens, 60, 500, 500);
    let by_owner = |left| (Subject::Owner, Metric::Requests, 3_600, 100, left);
    assert_eq!(stands(&whole), [by_key(10), by_tokens, by_owner(100)], "nothing was used");
    assert_eq!(whole[0].reset_after, Some(prost_types::Duration::default()));

    assert_eq!(allowed(&app, &token, 4).await, 4);
    assert_eq!(allowed(&app, &other, 2).await, 2);
    // What the replica holds beyond what was used comes back.
    eventually("what is not used is back", async || {
        stands(&of_owner(&app).await) == [by_owner(94)]
            && stands(&of_key(&app, key.key_id, Basic).await) == [by_key(6), by_tokens, by_owner(94)]
    })
    .await;
    let full = of_key(&app, key.key_id, Full).await;
    assert_eq!(stands(&full), [by_key(6), by_tokens, by_owner(94)]);
    assert!((1..=62).contains(&full[0].reset_after.unwrap().seconds), "{full:?}");
    let bare = of_key(&app, bare.key_id, Basic).await;
    assert_eq!(stands(&bare), [by_owner(94)], "a key without limits is under its owner's");

    app.keys().delete_key(pb::DeleteKeyRequest { key_id: key.key_id, ..Default::default() }).await.unwrap();
    let deleted = of_key(&app, key.key_id, Basic).await;
    assert_eq!(stands(&deleted), [by_key(6), by_tokens, by_owner(94)], "it may be restored");
    app.stop().await;
}
