//! What is written while the database fails: wholly there or not at all, and counts are kept.

use std::collections::BTreeSet;

use diesel_async::SimpleAsyncConnection as _;
use keystile::grpc::pb;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{App, status_reason};

fn create() -> pb::CreateKeyRequest {
    let key = pb::Key { user_id: 1, display_name: "interrupted".into(), ..Default::default() };
    let budget =
        pb::Budget { limit_micros: Some(1), period: pb::budget::Period::Total.into(), ..Default::default() };
    pb::CreateKeyRequest { key: Some(key), budgets: vec![budget], ..Default::default() }
}

/// The ids of the keys that a table knows, by a query for `line`.
async fn ids(app: &App, query: &str) -> BTreeSet<i64> {
    app.database.lines(query).await.iter().map(|id| id.parse().unwrap()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_the_outage_interrupts_is_wholly_there_or_not_at_all() {
    let app = App::start().await;
    let mut writers = JoinSet::new();
    for _ in 0..8 {
        let mut keys = app.keys();
        writers.spawn(async move {
            let mut made = BTreeSet::new();
            loop {
                match keys.create_key(create()).await {
                    Ok(created) => made.insert(created.into_inner().key.unwrap().key_id),
                    Err(status) => {
                        assert_eq!(status.code(), Code::Unavailable, "{status:?}");
                        assert_eq!(status_reason(&status), "STORE_UNAVAILABLE");
                        return made;
                    }
                };
            }
        });
    }
    app.database.until("SELECT CASE WHEN count(*) > 20 THEN 1 ELSE 0 END FROM change_log").await;
    app.database.allow_connections(false).await;
    let answered: BTreeSet<i64> = writers.join_all().await.into_iter().flatten().collect();
    app.database.allow_connections(true).await;

    let there = ids(&app, "SELECT key_id::text AS line FROM api_keys WHERE user_id = 1").await;
    assert!(answered.len() >= 12 && answered.is_subset(&there), "what was answered is there");
    assert!(there.len() <= answered.len() + 8, "each writer has one of unknown outcome at most");
    let secrets =
        "SELECT key_id::text AS line FROM key_secrets JOIN key_digests USING (secret_id) WHERE key_id > 1";
    assert_eq!(ids(&app, secrets).await, there);
    assert_eq!(ids(&app, "SELECT key_id::text AS line FROM budgets").await, there);
    let changes = "SELECT subject_id::text AS line FROM change_log WHERE subject_id > 1";
    assert_eq!(ids(&app, changes).await, there);
    let audit = "SELECT substr(resource, 6) AS line FROM audit_events WHERE revision > 1";
    assert_eq!(ids(&app, audit).await, there);
    let head = app.database.number("SELECT revision FROM revision_counter").await;
    assert_eq!(usize::try_from(head).unwrap(), there.len() + 1);
    app.create_any().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_write_that_has_done_all_but_commit_leaves_nothing() {
    let app = App::start().await;
    let before = app.database.dump_all().await;
    let mut session = app.database.session().await;
    session.batch_execute("BEGIN; SELECT * FROM revision_counter FOR UPDATE").await.unwrap();
    let mut keys = app.keys();
    let call = tokio::spawn(async move { keys.create_key(create()).await });
    app.database.end_blocked().await;
    assert_eq!(call.await.unwrap().unwrap_err().code(), Code::Unavailable);
    session.batch_execute("COMMIT").await.unwrap();
    assert_eq!(app.database.dump_all().await, before);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn uses_that_could_not_be_written_are_written_when_the_database_returns() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    let mut session = app.database.session().await;
    // The flush waits, so that it is certain where its end finds it.
    session.batch_execute("BEGIN; LOCK TABLE key_usage").await.unwrap();
    for _ in 0..5 {
        assert_eq!(app.reason(&token).await, None);
    }
    app.database.end_blocked().await;
    session.batch_execute("COMMIT").await.unwrap();
    let count = format!("SELECT authorized_count FROM key_usage WHERE key_id = {}", key.key_id);
    app.database.until(&format!("SELECT count(*) FROM ({count}) t WHERE authorized_count = 5")).await;
    let database = app.database.clone();
    app.stop().await;
    assert_eq!(database.number(&count).await, 5, "and none twice");
}
