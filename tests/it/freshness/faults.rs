//! Faults of replicas, and of what lies between them and the database.

use std::time::Duration;

use super::fleet::Pace;
use super::history::Outcome;
use super::scenario::{Place, Scenario, turn, until_refused};
use crate::harness::TestDatabase;

async fn begin(name: &'static str, pace: Pace) -> Scenario {
    let turn = turn().await;
    let database = TestDatabase::new().await;
    let place = Place { url: database.url(), name: database.name().to_owned() };
    Scenario::begin(name, turn, place, pace).await
}

#[tokio::test(flavor = "multi_thread")]
async fn without_faults_every_change_is_complete_and_every_request_decided() {
    let scenario = begin("without faults", Pace::HEALTHY).await;
    for _ in 0..3 {
        scenario.until_well().await;
    }
    let history = scenario.end().await;
    for request in &history.requests {
        assert!(matches!(request.outcome, Outcome::Decided { .. }), "{request:?}");
    }
    for change in &history.changes {
        // Of a deleted key nothing else changes.
        assert!(change.promised.is_some_and(|it| it.is_complete) || change.is_refused, "{change:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn without_notifications_changes_come_through_all_the_same() {
    let scenario = begin("notifications cut", Pace::HEALTHY).await;
    for proxy in &scenario.fleet.proxies {
        proxy.silence();
    }
    for _ in 0..2 {
        scenario.until_well().await;
    }
    let left_out: u64 = scenario.fleet.proxies.iter().map(|proxy| proxy.left_out()).sum();
    println!("notifications left out: {left_out}");
    let history = scenario.end().await;
    for change in &history.changes {
        assert!(change.promised.is_some_and(|it| it.is_complete) || change.is_refused, "{change:?}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_slow_answer_brings_is_not_older_than_what_is_known_by_then() {
    let scenario = begin("answers delayed", Pace::PATIENT).await;
    let fleet = &scenario.fleet;
    // What these two load comes late; changes and what the replicas learn of them do not.
    for replica in [0, 1] {
        fleet.set_reachable(replica, false);
        fleet.proxies[replica].delay(Duration::from_millis(400));
    }
    for _ in 0..4 {
        scenario.until_well().await;
    }
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_cut_off_from_the_database_does_not_decide_from_what_was() {
    let scenario = begin("database unreachable", Pace::IMPATIENT).await;
    let (fleet, recorder) = (&scenario.fleet, scenario.recorder());
    // One is refused, one gets no answer, one goes on and changes things.
    fleet.set_reachable(0, false);
    fleet.set_reachable(1, false);
    fleet.proxies[0].cut();
    fleet.proxies[1].stall();
    recorder.until_stopped().await;
    recorder.until_passed(Pace::IMPATIENT.beyond()).await;
    until_refused(&scenario, 0).await;
    until_refused(&scenario, 1).await;
    recorder.until_decided(&[2]).await;
    fleet.proxies[0].mend();
    fleet.proxies[1].resume();
    fleet.set_reachable(0, true);
    fleet.set_reachable(1, true);
    scenario.until_well().await;

    // Now all of them.
    for proxy in &fleet.proxies {
        proxy.cut();
    }
    recorder.until_passed(Pace::IMPATIENT.beyond()).await;
    until_refused(&scenario, 2).await;
    for proxy in &fleet.proxies {
        proxy.mend();
    }
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_was_stopped_does_not_decide_from_what_was() {
    let scenario = begin("a replica stopped", Pace::IMPATIENT).await;
    let (fleet, recorder) = (&scenario.fleet, scenario.recorder());
    // Within its lease, and then beyond.
    fleet.stop(0);
    recorder.until_passed(Duration::from_millis(300)).await;
    fleet.go_on(0);
    scenario.until_well().await;
    for _ in 0..2 {
        fleet.stop(0);
        recorder.until_stopped().await;
        recorder.until_passed(Pace::IMPATIENT.beyond()).await;
        fleet.go_on(0);
        scenario.until_well().await;
    }
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_killed_replica_holds_nothing_up_for_ever_and_its_successor_knows_what_changed() {
    let mut scenario = begin("a replica killed", Pace::PATIENT).await;
    scenario.fleet.kill(0);
    scenario.recorder().until_stopped().await;
    scenario.recorder().until_complete().await;
    scenario.until_well().await;
    scenario.fleet.start_at(0).await;
    scenario.until_well().await;
    scenario.end().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_that_starts_while_a_change_waits_knows_of_it() {
    let mut scenario = begin("a replica starts", Pace::PATIENT).await;
    for _ in 0..2 {
        // Changes wait for it.
        scenario.fleet.stop(0);
        scenario.add_replica().await;
        scenario.fleet.go_on(0);
        scenario.until_well().await;
    }
    scenario.end().await;
}
