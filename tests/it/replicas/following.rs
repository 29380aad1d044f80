//! A replica registers, follows, is given up and comes back, and goes.

use super::{Replicas, count, key, metric, revoke, until_applied, until_trusted};
use crate::harness::{App, Proxy, TestDatabase, eventually, get};

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_has_a_row_from_before_it_serves_until_after_it_stopped() {
    let replicas = Replicas::with([]).await;
    let second = replicas.another(&replicas.database.url(), ["--max-staleness=7s"]).await;
    assert_eq!(replicas.count("true").await, 2);
    let row = format!("address = '{}' AND staleness_ms = 7000", second.address());
    assert_eq!(replicas.count(&row).await, 1, "as people see it");
    let beat = replicas.database.number(&format!("SELECT beat FROM replicas WHERE {row}")).await;
    eventually("renewed", async || replicas.count(&format!("{row} AND beat > {beat} + 2")).await == 1).await;
    assert!(metric(&second, "keystile_trust_seconds") > 0.0);

    second.stop().await;
    assert_eq!(replicas.count("true").await, 1);
    let database = replicas.database.clone();
    replicas.first.stop().await;
    assert_eq!(count(&database, "true").await, 0);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_replica_whose_row_is_gone_drops_everything_and_registers_under_another_id() {
    let app = App::start().await;
    let id = app.database.lines("SELECT replica_id::text AS line FROM replicas").await.remove(0);
    app.database.sql("DELETE FROM replicas").await;
    let other = format!("replica_id <> '{id}'");
    eventually("registered anew", async || count(&app.database, &other).await == 1).await;
    assert_eq!(count(&app.database, "true").await, 1);
    eventually("noticed", async || metric(&app, "keystile_restarts_total{cause=\"fenced\"}") == 1.0).await;
    assert_eq!(metric(&app, "keystile_renewals_total{outcome=\"fenced\"}"), 1.0);
    until_trusted(&app).await;
    let key_id = key(&app).await;
    assert!(revoke(&app, key_id).await.1.complete, "all is as before");
    app.stop().await;
}

/// A line of the change log by whoever does not notify.
const LINE: &str = "BEGIN; UPDATE revision_counter SET revision = revision + 1; \
    INSERT INTO change_log (revision, subject, subject_id) SELECT revision, 'key', 1 FROM revision_counter; COMMIT";

#[tokio::test(flavor = "multi_thread")]
async fn a_change_that_nobody_told_of_is_followed_all_the_same() {
    let app = App::start().await;
    let restarts = metric(&app, "keystile_restarts_total{cause=\"gap\"}");
    for _ in 0..3 {
        app.database.sql(LINE).await;
    }
    let head = app.database.number("SELECT revision FROM revision_counter").await;
    until_applied(&app, head).await;
    eventually("said", async || count(&app.database, &format!("applied = {head}")).await == 1).await;
    assert_eq!(metric(&app, "keystile_restarts_total{cause=\"gap\"}"), restarts, "line by line");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_followed_line_by_line_drops_everything() {
    let app = App::start().await;
    let restarts = |cause: &str| metric(&app, &format!("keystile_restarts_total{{cause=\"{cause}\"}}"));
    assert_eq!(restarts("start"), 1.0);
    app.database.sql("UPDATE revision_counter SET revision = revision + 1").await;
    eventually("a missing line", async || restarts("gap") == 1.0).await;
    app.database.sql("UPDATE revision_counter SET revision = revision - 1").await;
    eventually("a head that went back", async || restarts("backwards") == 1.0).await;
    app.database.sql("UPDATE revision_counter SET revision = revision + 10001").await;
    eventually("too many lines", async || restarts("behind") == 1.0).await;
    let head = app.database.number("SELECT revision FROM revision_counter").await;
    until_applied(&app, head).await;
    until_trusted(&app).await;
    let key_id = key(&app).await;
    assert!(revoke(&app, key_id).await.1.complete);
    app.stop().await;
}

/// Its connection hangs, or is cut, or leads nowhere: it makes another.
#[tokio::test(flavor = "multi_thread")]
async fn a_lost_connection_is_replaced_and_readiness_tells_when_it_took_too_long() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::before(&database).await;
    let flags = ["--max-staleness=1s"];
    let app = App::builder().database(&database).url(&proxy.url).flags(flags).start().await;
    let ready = async |status| get(&app.ops(), "/readyz").await.status == status;
    let beats = async || database.number("SELECT beat FROM replicas").await;

    let before = beats().await;
    proxy.forget_connections();
    eventually("another connection", async || beats().await > before + 2).await;
    eventually("ready", async || ready(200).await).await;

    let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
               WHERE datname = current_database() AND pid <> pg_backend_pid()";
    database.sql(end).await;
    let before = beats().await;
    eventually("another connection", async || beats().await > before + 2).await;

    proxy.stall();
    eventually("not ready", async || ready(503).await).await;
    assert_eq!(metric(&app, "keystile_trust_seconds"), 0.0);
    proxy.resume();
    eventually("ready again", async || ready(200).await).await;
    assert!(metric(&app, "keystile_renewals_total{outcome=\"error\"}") >= 1.0);
    app.stop().await;
}
