//! What ends a watch: its caller's end, a log that does not reach, its deadline, the service's end.

use std::time::Duration;

use keystile::embedded::DATABASE;
use keystile::grpc::pb;
use tonic::{Code, Request, Streaming};

use super::{head, next, rename, soon, try_rename, watch, watch_as};
use crate::harness::{
    App, OwnCluster, Proxy, Standby, TestDatabase, eventually, number, socket, status_reason,
};

async fn end(watched: &mut Streaming<pb::WatchKeysResponse>) -> (Code, String) {
    let status = soon(watched.message()).await.expect_err("the end");
    (status.code(), status_reason(&status))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_caller_who_is_told_nothing_of_what_comes_after() {
    let app = App::start().await;
    let scopes = vec!["keystile.read".to_owned()];
    let service = pb::Key { display_name: "reader".into(), scopes, ..Default::default() };
    let (revoked, revoked_token) = app.create(service.clone()).await;
    let (narrowed, narrow_token) = app.create(service).await;
    let (key, _) = app.create_any().await;
    let from = head(&app).await;
    let mut by_revoked = watch_as(&app, &revoked_token, 0).await.unwrap();
    let mut by_narrowed = watch_as(&app, &narrow_token, from).await.unwrap();
    rename(&app, key.key_id, "before").await;
    assert_eq!(next(&mut by_revoked).await.revision, from + 1);
    assert_eq!(next(&mut by_narrowed).await.revision, from + 1);
    let revoke = pb::RevokeKeyRequest { key_id: revoked.key_id, ..Default::default() };
    app.keys().revoke_key(revoke).await.unwrap();
    let grants = Some(pb::Grants { scopes: vec!["keystile.read".into()], ..Default::default() });
    let remove = pb::RemoveGrantsRequest { key_id: narrowed.key_id, grants, ..Default::default() };
    app.keys().remove_grants(remove).await.unwrap();
    rename(&app, key.key_id, "after").await;
    assert_eq!(end(&mut by_revoked).await, (Code::Unauthenticated, "CALLER_TOKEN_INVALID".into()));
    // Of the other's revocation it may have been told: that was before its own end.
    let status = loop {
        match soon(by_narrowed.message()).await {
            Ok(told) => assert_eq!(told.unwrap().revision, from + 2),
            Err(status) => break status,
        }
    };
    assert_eq!(
        (status.code(), status_reason(&status)),
        (Code::PermissionDenied, "CALLER_SCOPE_MISSING".into())
    );
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_that_the_log_leaves_behind_ends() {
    let app = App::start().await;
    let (key, _) = app.create_any().await;
    let mut watched = watch(&app, 0).await;
    // Two changes, and the line of the first is gone, in one.
    app.database
        .sql(&format!(
            "BEGIN; UPDATE revision_counter SET revision = revision + 2; \
             INSERT INTO change_log (revision, subject, subject_id) \
             SELECT revision, 'key', {} FROM revision_counter; COMMIT",
            key.key_id
        ))
        .await;
    assert_eq!(end(&mut watched).await, (Code::OutOfRange, "REVISION_OUT_OF_RANGE".into()));
    let mut watched = watch(&app, 0).await;
    // A database that was set back to an older backup.
    app.database.sql("UPDATE revision_counter SET revision = revision - 1").await;
    assert_eq!(end(&mut watched).await, (Code::OutOfRange, "REVISION_OUT_OF_RANGE".into()));
    app.stop().await;
}

/// Nothing is lost, and nothing has changed since; but the same revisions may come to mean something else.
#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_when_another_database_takes_the_place_of_its_own() {
    let mut primary = OwnCluster::start().await;
    let standby = Standby::of(&primary).await;
    let proxy = Proxy::to(socket(&primary.url()).await, DATABASE).await;
    let app = App::builder().url(&proxy.url).start().await;
    let mut watched = watch(&app, 0).await;
    let (key, _) = app.create_any().await;
    let told = next(&mut watched).await;
    assert_eq!(told.key.as_ref(), Some(&key));
    let head = "SELECT revision FROM revision_counter";
    eventually("the standby has it", async || number(&standby.url(), head).await == told.revision).await;
    standby.cut_off().await;
    proxy.cut();
    primary.kill().await;
    standby.promote().await;
    assert_eq!(number(&standby.url(), head).await, told.revision);
    proxy.lead_to(&standby.socket());
    proxy.mend();
    assert_eq!(end(&mut watched).await, (Code::OutOfRange, "REVISION_OUT_OF_RANGE".into()));
    // Whoever has listed the keys anew goes on from there.
    let mut again = None;
    eventually("it can be watched again", async || {
        again = watch_as(&app, &app.admin_token, told.revision).await.ok();
        again.is_some()
    })
    .await;
    eventually("changes can be made again", async || try_rename(&app, key.key_id, "next").await.is_ok())
        .await;
    assert_eq!(next(&mut again.unwrap()).await.revision, told.revision + 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_deadline_and_with_the_service() {
    let app = App::start().await;
    let mut request = Request::new(pb::WatchKeysRequest::default());
    request.set_timeout(Duration::from_secs(2));
    let mut bounded = app.keys().watch_keys(request).await.unwrap().into_inner();
    let mut watched = watch(&app, 0).await;
    assert_eq!(end(&mut bounded).await, (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".into()));
    let stopping = tokio::spawn(app.running.stop());
    assert_eq!(end(&mut watched).await, (Code::Unavailable, "DRAINING".into()));
    stopping.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_ends_with_its_connection_when_that_is_too_old() {
    let flags = ["--max-connection-age=1s", "--max-connection-age-grace=10m"];
    let app = App::builder().flags(flags).start().await;
    let mut watched = watch(&app, 0).await;
    assert_eq!(end(&mut watched).await, (Code::Unavailable, "DRAINING".into()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_watch_outlives_a_store_out_of_reach() {
    let database = TestDatabase::new().await;
    let proxy = Proxy::before(&database).await;
    let app = App::builder().database(&database).url(proxy.url.clone()).start().await;
    let mut watched = watch(&app, 0).await;
    let from = head(&app).await;
    proxy.stall();
    eventually("the store is out of reach", async || {
        app.keys().list_keys(pb::ListKeysRequest::default()).await.is_err()
    })
    .await;
    let refused = watch_as(&app, &app.admin_token, 0).await.unwrap_err();
    assert_eq!((refused.code(), status_reason(&refused)), (Code::Unavailable, "STORE_UNAVAILABLE".into()));
    proxy.resume();
    eventually("changes can be made again", async || {
        let key = pb::Key { user_id: 1, display_name: "after".into(), ..Default::default() };
        let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
        app.keys().create_key(create).await.is_ok()
    })
    .await;
    assert_eq!(next(&mut watched).await.revision, from + 1);
    app.stop().await;
}
