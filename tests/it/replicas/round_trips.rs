//! How much a change says to the database before it is complete.

use keystile::grpc::pb;

use super::{key, revoke};
use crate::harness::{App, Proxy, TestDatabase, eventually};

async fn reactivate(app: &App, key_id: i64) {
    app.keys().reactivate_key(pb::ReactivateKeyRequest { key_id, ..Default::default() }).await.unwrap();
}

/// What else happens at the time is counted too, so that the least of many is what counts: once the connections know the
/// statements, a revocation prepares none. A transaction is five round trips and the list of the replicas one; the
/// replica's own follower may look and publish meanwhile.
#[tokio::test(flavor = "multi_thread")]
async fn a_revocation_takes_few_round_trips_and_prepares_nothing() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::before(&database).await;
    let app = App::builder().database(&database).url(&proxy.url).flags(["--pool-size=2"]).start().await;
    let key_id = key(&app).await;
    eventually("a revocation of few words", async || {
        let before = (proxy.round_trips(), proxy.prepared());
        assert!(revoke(&app, key_id).await.1.complete);
        let (round_trips, prepared) = (proxy.round_trips() - before.0, proxy.prepared() - before.1);
        reactivate(&app, key_id).await;
        prepared == 0 && round_trips <= 8
    })
    .await;
    app.stop().await;
}

/// Progress is said between two renewals, without a sign of life, and does not wait for the disk; renewals do.
#[tokio::test(flavor = "multi_thread")]
async fn progress_is_said_at_once_and_without_the_disk_but_signs_of_life_are_on_it() {
    let app = App::start().await;
    // The setting as it is at the end of each statement.
    app.database.sql("CREATE TABLE said (is_beat boolean, applied bigint, durable text)").await;
    app.database
        .sql(
            "CREATE FUNCTION note_said() RETURNS trigger LANGUAGE plpgsql AS $$ BEGIN \
                 INSERT INTO said VALUES \
                     (NEW.beat <> OLD.beat, NEW.applied, current_setting('synchronous_commit')); \
                 RETURN NULL; END $$",
        )
        .await;
    let trigger =
        "CREATE TRIGGER note_said AFTER UPDATE ON replicas FOR EACH ROW EXECUTE FUNCTION note_said()";
    app.database.sql(trigger).await;
    let key_id = key(&app).await;
    let count = async |condition: &str| {
        app.database.number(&format!("SELECT count(*) FROM said WHERE {condition}")).await
    };
    eventually("said between two renewals", async || {
        let (revision, _) = revoke(&app, key_id).await;
        reactivate(&app, key_id).await;
        count(&format!("NOT is_beat AND applied >= {revision}")).await > 0
    })
    .await;
    eventually("renewed", async || count("is_beat").await > 1).await;
    assert_eq!(count("durable <> CASE WHEN is_beat THEN 'on' ELSE 'off' END").await, 0);
    app.stop().await;
}
