//! Several replicas, some of them killed: never above the limit, by the clients' own log.

use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use keystile::clock::{monotonic_now, since};
use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use rustix::process::Signal;
use tokio::task::JoinSet;

use super::{allowed, create, limited, requests};
use crate::harness::{App, OwnCluster, Process, connect, denial, eventually};

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
    eventually("the rest can be had", async || {
        count += allowed(&other, &token, 1).await;
        count == 60
    })
    .await;
    assert_eq!(allowed(&one, &token, 5).await + allowed(&other, &token, 5).await, 0);
    other.stop().await;
    one.stop().await;
}

/// Clients that ask one replica about one key without a pause, and count.
#[derive(Clone, Debug, Default)]
struct Counts {
    admitted: Arc<AtomicI64>,
    refused: Arc<AtomicI64>,
}

impl Counts {
    fn admitted(&self) -> i64 {
        self.admitted.load(Ordering::Relaxed)
    }

    fn refused(&self) -> i64 {
        self.refused.load(Ordering::Relaxed)
    }

    /// Asks until dropped, whatever befalls the replica.
    fn ask(&self, address: &str, caller: &str, token: &str) -> JoinSet<()> {
        let mut asking = JoinSet::new();
        for _ in 0..8 {
            let mut client = AuthorizeServiceClient::new(connect(address, caller));
            let (counts, token) = (self.clone(), token.to_owned());
            asking.spawn(async move {
                loop {
                    let request = pb::AuthorizeRequest { token: token.clone().into(), ..Default::default() };
                    let Ok(answer) = client.authorize(request).await else {
                        tokio::task::yield_now().await;
                        continue;
                    };
                    let count =
                        if denial(answer.get_ref()).is_none() { &counts.admitted } else { &counts.refused };
                    count.fetch_add(1, Ordering::Relaxed);
                }
            });
        }
        asking
    }

    /// Until the limit is seen to be used up.
    async fn until_refused(&self) {
        let before = self.refused();
        eventually("it is refused", async || self.refused() >= before + 100).await;
    }
}

/// Starts a replica.
fn replica(url: &str) -> Process {
    Process::serve(&[("KEYSTILE_DATABASE_URL", url), ("KEYSTILE_ALLOW_DATA_LOSS", "true")])
}

#[tokio::test(flavor = "multi_thread")]
async fn killed_replicas_never_admit_above_the_limit() {
    const LIMIT: i64 = 2_000;
    let admin = App::start().await;
    let (_, token) = admin.create(limited(requests(None, Some(LIMIT), None))).await;
    let caller = admin.service_token("keystile.authorize").await;
    let counts = Counts::default();
    for _ in 0..3 {
        let mut process = replica(&admin.database.url());
        let asking = counts.ask(&process.address, &caller, &token);
        let before = counts.admitted() + counts.refused();
        // It dies while it answers, with units in hand and debits under way.
        eventually("it has answered", async || counts.admitted() + counts.refused() >= before + 100).await;
        process.kill();
        drop(asking);
    }
    let asking = counts.ask(&admin.address().to_string(), &caller, &token);
    counts.until_refused().await;
    drop(asking);
    let count = counts.admitted();
    assert!(count > 0 && count <= LIMIT, "{count} of {LIMIT}");
    admin.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_and_crashes_admits_nothing_above_the_limit() {
    const LIMIT: i64 = 3_000;
    let mut cluster = OwnCluster::start().await;
    let admin = App::builder().url(cluster.url()).start().await;
    let (_, token) = admin.create(limited(requests(None, Some(LIMIT), None))).await;
    let caller = admin.service_token("keystile.authorize").await;
    let mut process = replica(&cluster.url());
    let counts = Counts::default();
    let addresses = [process.address.clone(), admin.address().to_string()];
    let asking = addresses.map(|address| counts.ask(&address, &caller, &token));
    eventually("some is given out", async || counts.admitted() >= 200).await;
    cluster.restart().await;
    let before = counts.admitted() + counts.refused();
    eventually("it goes on", async || counts.admitted() + counts.refused() > before + 100).await;
    cluster.crash().await;
    counts.until_refused().await;
    drop(asking);
    let count = counts.admitted();
    assert!(count <= LIMIT, "{count} of {LIMIT}");
    assert!(process.terminate().success());
    admin.stop().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stood_still_uses_nothing_of_what_it_held() {
    const LIMIT: i64 = 1_000;
    let admin = App::start().await;
    let (_, token) = admin.create(limited(requests(None, Some(LIMIT), None))).await;
    let caller = admin.service_token("keystile.authorize").await;
    let mut process = replica(&admin.database.url());
    let counts = Counts::default();
    let stopped = counts.ask(&process.address, &caller, &token);
    eventually("it holds units", async || counts.admitted() >= 100).await;
    process.signal(Signal::STOP);
    let began = monotonic_now();
    // What it held is over meanwhile.
    let others = counts.ask(&admin.address().to_string(), &caller, &token);
    eventually("time passes", async || since(began) > Duration::from_secs(2)).await;
    counts.until_refused().await;
    process.signal(Signal::CONT);
    drop(others);
    counts.until_refused().await;
    drop(stopped);
    let count = counts.admitted();
    assert!(count <= LIMIT, "{count} of {LIMIT}");
    assert!(process.terminate().success());
    admin.stop().await;
}
