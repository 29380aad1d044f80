//! Faults of the database itself: it restarts, crashes, and goes on as another one.

use keystile::embedded::DATABASE;

use super::fleet::Pace;
use super::scenario::{Place, Scenario, turn};
use crate::harness::{OwnCluster, Standby, eventually, number};

const REVISION: &str = "SELECT revision FROM revision_counter";

async fn begin(name: &'static str) -> (OwnCluster, Scenario) {
    let turn = turn().await;
    let cluster = OwnCluster::start().await;
    let place = Place { url: cluster.url(), name: DATABASE.to_owned() };
    let scenario = Scenario::begin(name, turn, place, Pace::IMPATIENT).await;
    (cluster, scenario)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_restarts_or_crashes_forgets_nothing() {
    let (mut cluster, scenario) = begin("database restarted").await;
    cluster.restart().await;
    scenario.until_well().await;
    cluster.crash().await;
    scenario.until_well().await;
    scenario.end().await;
    cluster.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn after_a_failover_only_what_was_lost_is_absent() {
    let (mut primary, mut scenario) = begin("failover").await;
    let standby = Standby::of(&primary).await;
    scenario.until_well().await;
    standby.cut_off().await;
    // These are answered, and lost.
    scenario.recorder().until_stopped().await;
    scenario.stop_changes().await;

    for proxy in &scenario.fleet.proxies {
        proxy.cut();
    }
    let others = "SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend' \
                  AND pid <> pg_backend_pid()";
    let url = primary.url();
    eventually("nobody is at the old database", async || number(&url, others).await == 0).await;
    scenario.recorder().resolve(&url).await;
    let last = number(&url, REVISION).await;
    let from = scenario.recorder().now();
    primary.kill().await;
    standby.promote().await;
    let base = number(&standby.url(), REVISION).await;
    assert!(base < last, "something is lost: {base} of {last}");
    scenario.recorder().failed_over(from, base);
    scenario.moved_to(standby.url());
    for proxy in &scenario.fleet.proxies {
        proxy.lead_to(&standby.socket());
        proxy.mend();
    }
    scenario.recorder().until_decided(&[0, 1, 2]).await;
    scenario.start_changes();
    let is_reused = async || number(&standby.url(), REVISION).await > last;
    eventually("the revisions that were lost are taken again", is_reused).await;
    scenario.until_well().await;
    scenario.end().await;
}
