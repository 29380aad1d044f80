//! When a change is answered as complete, and when not.

use std::time::Duration;

use chrono::{DateTime, TimeDelta, Utc};
use keystile::clock::Clock;
use keystile::grpc::pb;
use tokio::task::JoinSet;
use tonic::{Code, Request};

use super::{Replicas, key, metric, revoke};
use crate::harness::{App, eventually};

fn time(timestamp: &prost_types::Timestamp) -> DateTime<Utc> {
    DateTime::from_timestamp(timestamp.seconds, u32::try_from(timestamp.nanos).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_complete_when_every_replica_has_it() {
    let replicas = Replicas::with(["--propagation-wait=60s"]).await;
    let url = replicas.database.url();
    let others = [replicas.another(&url, []).await, replicas.another(&url, []).await];
    let applied = |revision| format!("applied >= {revision} AND timeline = 1");
    for _ in 0..20 {
        let key_id = key(&replicas.first).await;
        let (revision, propagation) = revoke(&replicas.first, key_id).await;
        assert!(propagation.complete);
        assert_eq!((propagation.certain_by, propagation.certain_after), (None, None));
        let revision_text = f64::from(i32::try_from(revision).unwrap());
        for app in &others {
            assert!(metric(app, "keystile_applied_revision") >= revision_text);
        }
    }
    // Also while the others change much at the same time.
    let mut changes = JoinSet::new();
    for app in [&replicas.first].into_iter().chain(&others) {
        for _ in 0..10 {
            let key_id = key(app).await;
            let mut keys = app.keys();
            changes.spawn(async move {
                let revoke = pb::RevokeKeyRequest { key_id, ..Default::default() };
                keys.revoke_key(revoke).await.unwrap().into_inner()
            });
        }
    }
    let answers = changes.join_all().await;
    assert!(answers.iter().all(|answer| answer.propagation.unwrap().complete));
    let last = answers.iter().map(|answer| answer.revision).max().unwrap();
    eventually("said by all", async || replicas.count(&applied(last)).await == 3).await;
    for app in others {
        app.stop().await;
    }
    replicas.first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_a_hanging_replica_may_not_have_says_from_when_it_is_certain() {
    let replicas = Replicas::with(["--propagation-wait=100ms"]).await;
    let key_id = key(&replicas.first).await;
    let (proxy, second) = replicas.behind_proxy(["--max-staleness=100s"]).await;
    proxy.stall();
    let before = Clock::System.now();
    let (revision, propagation) = revoke(&replicas.first, key_id).await;
    assert!(!propagation.complete);
    // 100 s and a tenth more, from the commit on.
    let by = time(&propagation.certain_by.unwrap()) - before;
    assert!(by >= TimeDelta::seconds(110) && by < TimeDelta::seconds(170), "{by}");
    let after = Duration::try_from(propagation.certain_after.unwrap()).unwrap();
    assert!(after <= Duration::from_secs(110) && after > Duration::from_secs(50), "{after:?}");
    let series = "keystile_propagation_duration_seconds_count{outcome=\"incomplete\"}";
    assert_eq!(metric(&replicas.first, series), 1.0);

    // What changes nothing is waited for as well: it answers a state that others may not have.
    let (again, propagation) = revoke(&replicas.first, key_id).await;
    assert_eq!((again, propagation.complete), (revision, false));
    proxy.resume();
    eventually("complete", async || revoke(&replicas.first, key_id).await.1.complete).await;
    second.stop().await;
    replicas.first.stop().await;
}

/// The row of a replica that follows nothing.
fn row(timeline: &str, applied: i64, staleness_ms: i64) -> String {
    format!(
        "INSERT INTO replicas (replica_id, address, system_identifier, timeline, applied, beat, staleness_ms) \
         SELECT gen_random_uuid(), 'elsewhere', system_identifier, {timeline}, {applied}, 1, {staleness_ms} FROM replicas \
         WHERE address <> 'elsewhere'"
    )
}

#[tokio::test(flavor = "multi_thread")]
async fn a_change_is_certain_after_the_largest_staleness_from_its_commit_on() {
    let app = App::builder().flags(["--propagation-wait=100ms"]).start().await;
    let key_id = key(&app).await;
    for seconds in [100, 200, 150] {
        app.database.sql(&row("timeline", 0, seconds * 1_000)).await;
    }
    // A replica may renew its lease as long as the commit is on its way.
    app.database
        .sql(
            "CREATE FUNCTION linger() RETURNS trigger LANGUAGE plpgsql AS \
             $$ BEGIN PERFORM pg_sleep(2); RETURN NULL; END $$; \
             CREATE CONSTRAINT TRIGGER linger AFTER INSERT ON change_log DEFERRABLE INITIALLY DEFERRED \
             FOR EACH ROW EXECUTE FUNCTION linger()",
        )
        .await;
    let (revision, propagation) = revoke(&app, key_id).await;
    assert!(!propagation.complete);
    let certain_by = time(&propagation.certain_by.unwrap());
    let begun =
        app.database.json(&format!("SELECT committed_at FROM change_log WHERE revision = {revision}")).await;
    let begun: DateTime<Utc> = serde_json::from_value(begun[0]["committed_at"].clone()).unwrap();
    let after = certain_by - begun;
    assert!(after >= TimeDelta::seconds(222), "two seconds, 200, and a tenth of them: {after}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_request_is_waited_for_too() {
    let replicas = Replicas::with(["--propagation-wait=100ms"]).await;
    let (proxy, second) = replicas.behind_proxy([]).await;
    proxy.stall();
    let create = || pb::CreateKeyRequest {
        key: Some(pb::Key { user_id: 1, display_name: "twice".into(), ..Default::default() }),
        request_id: "3e2f9c1a-8f4b-4a55-9b77-0d6c2f1e5a90".into(),
        ..Default::default()
    };
    for token_is_there in [true, false] {
        let answer = replicas.first.keys().create_key(create()).await.unwrap().into_inner();
        assert_eq!(!answer.token.is_empty(), token_is_there);
        assert!(!answer.propagation.unwrap().complete);
    }
    let validate_only = pb::CreateKeyRequest { validate_only: true, request_id: String::new(), ..create() };
    let answer = replicas.first.keys().create_key(validate_only).await.unwrap().into_inner();
    assert_eq!(answer.propagation, None, "nothing was changed");
    proxy.resume();
    second.stop().await;
    replicas.first.stop().await;
}

/// An owner who is disabled already.
#[tokio::test(flavor = "multi_thread")]
async fn a_change_of_an_owner_that_changes_nothing_is_waited_for_too() {
    let replicas = Replicas::with(["--propagation-wait=100ms"]).await;
    let (proxy, second) = replicas.behind_proxy([]).await;
    proxy.stall();
    let mut told = Vec::new();
    for _ in 0..2 {
        let disable = pb::DisableOwnerRequest { user_id: 1, ..Default::default() };
        let answer = replicas.first.keys().disable_owner(disable).await.unwrap().into_inner();
        told.push((answer.revision, answer.propagation.unwrap().complete));
    }
    assert_eq!(told[0], told[1]);
    assert!(!told[1].1);
    proxy.resume();
    second.stop().await;
    replicas.first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_renews_its_row_is_never_given_up() {
    let replicas = Replicas::with([]).await;
    let url = replicas.database.url();
    let second = replicas.another(&url, ["--max-staleness=3s"]).await;
    // More than twice its staleness and a tenth.
    eventually("renewed", async || replicas.count("staleness_ms = 3000 AND beat > 32").await == 1).await;
    assert_eq!(metric(&replicas.first, "keystile_replicas_collected_total"), 0.0);
    assert_eq!(metric(&second, "keystile_renewals_total{outcome=\"fenced\"}"), 0.0);
    second.stop().await;
    replicas.first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_deadline_ends_the_wait_before_it_comes() {
    let replicas = Replicas::with(["--propagation-wait=60s"]).await;
    let key_id = key(&replicas.first).await;
    let (proxy, second) = replicas.behind_proxy(["--max-staleness=5m"]).await;
    proxy.stall();
    // Once is enough: a machine that has no time for an answer may miss its deadline.
    eventually("an answer before the deadline", async || {
        let mut request = Request::new(pb::RevokeKeyRequest { key_id, ..Default::default() });
        request.set_timeout(Duration::from_secs(2));
        match replicas.first.keys().revoke_key(request).await {
            Ok(answer) => {
                assert!(!answer.into_inner().propagation.unwrap().complete);
                true
            }
            Err(late) => {
                assert!(matches!(late.code(), Code::DeadlineExceeded | Code::Cancelled), "{late:?}");
                false
            }
        }
    })
    .await;
    proxy.resume();
    second.stop().await;
    replicas.first.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_goes_without_a_word_is_given_up_after_its_staleness_and_comes_back() {
    let replicas = Replicas::with(["--propagation-wait=60s"]).await;
    let key_id = key(&replicas.first).await;
    let (proxy, second) = replicas.behind_proxy(["--max-staleness=1s"]).await;
    proxy.stall();
    let (_, propagation) = revoke(&replicas.first, key_id).await;
    assert!(propagation.complete, "it was waited for until it could not decide any more");
    assert_eq!(replicas.count("staleness_ms = 1000").await, 0);
    assert_eq!(metric(&replicas.first, "keystile_replicas_collected_total"), 1.0);
    assert!(!second.running.is_ready());
    proxy.resume();
    eventually("back", async || replicas.count("staleness_ms = 1000").await == 1).await;
    eventually("ready", async || second.running.is_ready()).await;
    assert!(metric(&second, "keystile_renewals_total{outcome=\"fenced\"}") >= 1.0);
    second.stop().await;
    replicas.first.stop().await;
}

/// Revisions of another history say nothing about this one.
#[tokio::test(flavor = "multi_thread")]
async fn a_row_of_another_epoch_does_not_count() {
    let app = App::builder().flags(["--propagation-wait=100ms"]).start().await;
    let key_id = key(&app).await;
    app.database.sql(&row("timeline + 1", 1_000_000, 300_000)).await;
    assert!(!revoke(&app, key_id).await.1.complete);
    app.database.sql("DELETE FROM replicas WHERE address = 'elsewhere'").await;
    app.database.sql(&row("timeline", 1_000_000, 300_000)).await;
    assert!(revoke(&app, key_id).await.1.complete);
    app.stop().await;
}

/// Nobody to wait for but oneself: the table is read once a change, and not again and again.
#[tokio::test(flavor = "multi_thread")]
async fn a_replica_alone_reads_the_table_once_a_change() {
    let app = App::start().await;
    let lists =
        || metric(&app, "keystile_store_call_duration_seconds_count{call=\"replicas.list\",kind=\"read\"}");
    let beats = "SELECT beat FROM replicas";
    let (lists_before, beats_before) = (lists(), app.database.number(beats).await);
    for _ in 0..50 {
        key(&app).await;
    }
    // One a change, and one a second.
    let seconds = (app.database.number(beats).await - beats_before) / 4;
    let most = 50.0 + f64::from(i32::try_from(seconds).unwrap()) + 2.0;
    assert!(lists() - lists_before <= most, "{} of {most}", lists() - lists_before);
    app.stop().await;
}
