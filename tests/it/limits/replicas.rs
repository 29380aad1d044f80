//! Several replicas, some of them killed: never above the limit, by the clients' own log.

use std::time::Duration;

use keystile::clock::{monotonic_now, since};
use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;

use super::{allowed, create, limited, requests};
use crate::harness::{App, Process, TestDatabase, connect, denial};

#[tokio::test(flavor = "multi_thread")]
async fn replicas_share_one_limit() {
    let one = App::start().await;
    let other = App::builder().database(&one.database).admin_token(&one.admin_token).start().await;
    let (_, token) = create(&one, requests(None, Some(60), None)).await;
    let mut count = 0;
    for _ in 0..40 {
        count += allowed(&one, &token, 1).await + allowed(&other, &token, 1).await;
    }
    // What one still holds the other does not have: it comes back within seconds.
    assert!(count <= 60, "{count}");
    crate::harness::eventually("the rest can be had", async || {
        count += allowed(&other, &token, 1).await;
        count == 60
    })
    .await;
    assert_eq!(allowed(&one, &token, 5).await + allowed(&other, &token, 5).await, 0);
    other.stop().await;
    one.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_replicas_never_admit_above_the_limit() {
    const LIMIT: i64 = 400;
    let database = TestDatabase::new().await;
    let admin = App::builder().database(&database).start().await;
    let (_, token) = admin.create(limited(requests(Some(LIMIT), None, None))).await;
    let caller = admin.service_token("keystile.authorize").await;
    let url = database.url();
    let settings = [("KEYSTILE_DATABASE_URL", url.as_str()), ("KEYSTILE_ALLOW_DATA_LOSS", "true")];
    let mut count = 0;
    let began = monotonic_now();
    for _ in 0..3 {
        let mut process = Process::serve(&settings);
        let mut client = AuthorizeServiceClient::new(connect(&process.address, &caller));
        for _ in 0..200 {
            let request = pb::AuthorizeRequest { token: token.clone().into(), ..Default::default() };
            let answer = client.authorize(request).await.unwrap().into_inner();
            count += i64::from(denial(&answer).is_none());
        }
        process.kill();
    }
    assert!(count > LIMIT / 2, "{count} of {LIMIT} were given out");
    assert!(count <= LIMIT || since(began) > Duration::from_secs(58), "{count} of {LIMIT}");
    admin.stop().await;
}
