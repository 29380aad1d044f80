//! For how long a replica decides: from before its renewal on, and with its row until its last answer.

use std::net::TcpStream;
use std::time::Duration;

use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use keystile::clock::BootTime;
use keystile::grpc::pb;

use super::count;
use crate::harness::{App, TestDatabase, eventually};

/// What `--max-staleness` is where nothing else is said.
const STALENESS: Duration = Duration::from_secs(30);

/// A session that holds the row of the only replica, and what beat it shows.
async fn hold(mut session: AsyncPgConnection) -> (AsyncPgConnection, i64) {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        beat: i64,
    }
    session.batch_execute("BEGIN").await.unwrap();
    let row: Row =
        diesel::sql_query("SELECT beat FROM replicas FOR UPDATE").get_result(&mut session).await.unwrap();
    (session, row.beat)
}

/// Waits until the replica waits for its row.
async fn until_renewing(database: &TestDatabase) {
    let renewing = "SELECT count(*) FROM pg_stat_activity WHERE datname = current_database() \
                    AND wait_event_type = 'Lock' AND query LIKE 'UPDATE replicas%'";
    database.until(renewing).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_renewal_that_takes_long_does_not_lengthen_the_lease() {
    let app = App::start().await;
    let cache = app.running.authorizer().cache();
    eventually("one renewal between two holds", async || {
        let (mut first, before) = hold(app.database.session().await).await;
        until_renewing(&app.database).await;
        let begun = BootTime::now();
        let second = tokio::spawn(hold(app.database.session().await));
        let waiting = "SELECT count(*) / 2 FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        app.database.until(waiting).await;
        first.batch_execute("COMMIT").await.unwrap();
        let (mut second, after) = second.await.unwrap();
        // The next one waits: all that came of this one was done.
        until_renewing(&app.database).await;
        let now = BootTime::now();
        let left = cache.trust_left();
        second.batch_execute("COMMIT").await.unwrap();
        let is_one = after == before + 1;
        // It had begun, at the latest, when it was seen to wait.
        assert!(!is_one || now.since(begun) + left <= STALENESS, "{:?} {left:?}", now.since(begun));
        is_one
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_stops_renews_its_row_until_its_last_answer() {
    let app = App::start().await;
    let database = app.database.clone();
    let lock = database.hold("LOCK TABLE revision_counter IN EXCLUSIVE MODE").await;
    let mut keys = app.keys();
    let held = tokio::spawn(async move {
        let key = pb::Key { user_id: 1, display_name: "held".into(), ..Default::default() };
        keys.create_key(pb::CreateKeyRequest { key: Some(key), ..Default::default() }).await
    });
    database.until_blocked().await;
    let address = app.address();
    let stopping = tokio::spawn(app.running.stop());
    eventually("the listener closes", async || TcpStream::connect(address).is_err()).await;
    let beat = database.number("SELECT beat FROM replicas").await;
    eventually("renewed", async || count(&database, &format!("beat > {beat} + 1")).await == 1).await;
    assert!(!held.is_finished());
    lock.let_go().await;
    held.await.unwrap().expect("it is answered");
    stopping.await.unwrap().unwrap();
    assert_eq!(count(&database, "true").await, 0);
}
