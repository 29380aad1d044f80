//! WatchKeys: what changes, in order, nothing left out; and everything that ends a watch.

mod ends;

use std::future::Future;
use std::time::Duration;

use keystile::grpc::pb;
use keystile::grpc::pb::key_service_client::KeyServiceClient;
use keystile::grpc::pb::watch_keys_response::Change;
use tokio::time::timeout;
use tonic::transport::Endpoint;
use tonic::{Code, Status, Streaming};

use crate::harness::{App, TestDatabase, eventually, status_reason, violated_fields};

/// Only a test that would fail waits so long.
const TOLD_MAX: Duration = Duration::from_secs(30);

pub async fn soon<T>(what: impl Future<Output = T>) -> T {
    timeout(TOLD_MAX, what).await.expect("the watch is silent")
}

pub async fn head(app: &App) -> i64 {
    app.database.number("SELECT revision FROM revision_counter").await
}

pub async fn watch_as(
    app: &App,
    token: &str,
    after_revision: i64,
) -> Result<Streaming<pb::WatchKeysResponse>, Status> {
    let request = pb::WatchKeysRequest { after_revision };
    Ok(app.keys_as(Some(token)).watch_keys(request).await?.into_inner())
}

async fn watch(app: &App, after_revision: i64) -> Streaming<pb::WatchKeysResponse> {
    watch_as(app, &app.admin_token, after_revision).await.unwrap()
}

pub async fn next(watched: &mut Streaming<pb::WatchKeysResponse>) -> pb::WatchKeysResponse {
    soon(watched.message()).await.unwrap().expect("a watch has no good end")
}

async fn next_key(watched: &mut Streaming<pb::WatchKeysResponse>) -> (i64, pb::Key) {
    let told = next(watched).await;
    assert_eq!((told.change(), &told.owner, told.key_id), (Change::KeyChanged, &None, 0));
    (told.revision, told.key.unwrap())
}

async fn try_rename(app: &App, key_id: i64, display_name: &str) -> Result<pb::Key, Status> {
    let key = Some(pb::Key { key_id, display_name: display_name.to_owned(), ..Default::default() });
    let update = pb::UpdateKeyRequest { key, ..Default::default() };
    Ok(app.keys().update_key(update).await?.into_inner().key.unwrap())
}

async fn rename(app: &App, key_id: i64, display_name: &str) -> pb::Key {
    try_rename(app, key_id, display_name).await.unwrap()
}

#[tokio::test(flavor = "multi_thread")]
async fn from_now_on_every_change_is_told_once_as_it_is_now() {
    let app = App::start().await;
    let (before, _) = app.create_any().await;
    let reader = app.service_token("keystile.read").await;
    let mut watched = watch_as(&app, &reader, 0).await.unwrap();
    let from = head(&app).await;
    let budget =
        pb::Budget { limit_micros: Some(9), period: pb::budget::Period::Total.into(), ..Default::default() };
    let key = pb::Key { user_id: 4, display_name: "watched".into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), budgets: vec![budget], ..Default::default() };
    let created = app.keys().create_key(create).await.unwrap().into_inner().key.unwrap();
    assert_eq!(next_key(&mut watched).await, (from + 1, created.clone()));
    assert_eq!((created.budgets.len(), created.key_hash.as_str()), (1, ""), "as GetKey shows it to a reader");

    let rotate = pb::RotateKeyRequest {
        key_id: before.key_id,
        grace_period: Some(prost_types::Duration { seconds: 3_600, nanos: 0 }),
        ..Default::default()
    };
    let rotated = app.keys().rotate_key(rotate).await.unwrap().into_inner().key.unwrap();
    assert!(rotated.previous_token_expire_time.is_some());
    assert_eq!(next_key(&mut watched).await, (from + 2, rotated));

    let disabled =
        app.keys().disable_owner(pb::DisableOwnerRequest { user_id: 4, ..Default::default() }).await;
    let told = next(&mut watched).await;
    assert_eq!((told.revision, told.change(), &told.key), (from + 3, Change::OwnerChanged, &None));
    assert_eq!(told.owner, disabled.unwrap().into_inner().owner);

    let delete = pb::DeleteKeyRequest { key_id: created.key_id, ..Default::default() };
    app.keys().delete_key(delete).await.unwrap();
    let (revision, deleted) = next_key(&mut watched).await;
    assert_eq!((revision, deleted.state()), (from + 4, pb::key::State::Deleted));
    app.database.sql("UPDATE api_keys SET purge_at = now() WHERE purge_at IS NOT NULL").await;
    app.running.admin().purge_batch().await.unwrap();
    let told = next(&mut watched).await;
    assert_eq!((told.revision, told.change(), told.key_id), (from + 5, Change::KeyPurged, created.key_id));
    assert_eq!((told.key, told.owner), (None, None));

    app.database
        .sql(
            "INSERT INTO change_log (revision, subject) SELECT revision + 1, 'all' FROM revision_counter; \
                      UPDATE revision_counter SET revision = revision + 1",
        )
        .await;
    let told = next(&mut watched).await;
    assert_eq!((told.revision, told.change()), (from + 6, Change::AllChanged));
    let page = crate::harness::get(&app.ops(), "/metrics").await.body;
    assert!(page.contains("\nkeystile_watched_changes_total 6\n"), "{page}");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn from_a_revision_on_nothing_is_left_out_however_many_there_are() {
    let app = App::start().await;
    let (key, _) = app.create_any().await;
    let from = head(&app).await;
    // More than a page.
    for number in 0..150 {
        rename(&app, key.key_id, &format!("t{number}")).await;
    }
    let now = rename(&app, key.key_id, "last").await;
    let mut watched = watch(&app, from).await;
    for revision in from + 1..=from + 151 {
        assert_eq!(
            next_key(&mut watched).await,
            (revision, now.clone()),
            "each change, with what is there now"
        );
    }
    let next = rename(&app, key.key_id, "next").await;
    assert_eq!(next_key(&mut watched).await, (from + 152, next.clone()));
    let mut later = watch(&app, from + 151).await;
    assert_eq!(next_key(&mut later).await, (from + 152, next));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn changes_of_one_replica_are_told_by_another() {
    let database = TestDatabase::new().await;
    let one = App::builder().database(&database).start().await;
    let other = App::builder().database(&database).admin_token(&one.admin_token).start().await;
    let mut watched = watch(&other, 0).await;
    let from = head(&one).await;
    let (key, _) = one.create_any().await;
    assert_eq!(next_key(&mut watched).await, (from + 1, key));
    one.stop().await;
    other.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_log_does_not_reach_is_out_of_range() {
    let app = App::start().await;
    let (key, _) = app.create_any().await;
    for number in 0..5 {
        rename(&app, key.key_id, &format!("t{number}")).await;
    }
    let head = head(&app).await;
    let refused = async |after: i64| {
        let status = watch_as(&app, &app.admin_token, after).await.unwrap_err();
        (status.code(), status_reason(&status))
    };
    let out_of_range = (Code::OutOfRange, "REVISION_OUT_OF_RANGE".to_owned());
    assert_eq!(refused(head + 1).await, out_of_range, "nothing has that revision yet");
    assert_eq!(refused(i64::MAX).await, out_of_range);
    app.database.sql(&format!("DELETE FROM change_log WHERE revision < {head}")).await;
    assert_eq!(refused(head - 2).await, out_of_range, "the line after it is gone");
    let mut reached = watch(&app, head - 1).await;
    assert_eq!(next_key(&mut reached).await.0, head);
    app.database.sql("DELETE FROM change_log").await;
    assert_eq!(refused(head - 3).await, out_of_range);
    let mut at_head = watch(&app, head).await;
    let renamed = rename(&app, key.key_id, "next").await;
    assert_eq!(next_key(&mut at_head).await, (head + 1, renamed), "nothing older is needed");
    let status = watch_as(&app, &app.admin_token, -1).await.unwrap_err();
    assert_eq!(
        (status.code(), violated_fields(&status)),
        (Code::InvalidArgument, vec!["after_revision".into()])
    );
    app.stop().await;
}

/// Keys so large that a watcher who does not read holds few of them up.
#[tokio::test(flavor = "multi_thread")]
async fn a_watcher_that_does_not_read_holds_nobody_up_and_misses_nothing() {
    let app = App::start().await;
    let patterns = (0..500).map(|number| format!("model-{number}-{}", "x".repeat(100))).collect();
    let models = Some(pb::AccessRule { mode: pb::access_rule::Mode::Only.into(), patterns });
    let key = pb::Key { user_id: 1, display_name: "large".into(), models, ..Default::default() };
    let (key, _) = app.create(key).await;
    let from = head(&app).await;
    let bearer = crate::harness::Bearer::new(Some(&app.admin_token));
    let endpoint = Endpoint::from_shared(format!("http://{}", app.address())).unwrap();
    let endpoint = endpoint.initial_stream_window_size(65_535).initial_connection_window_size(65_535);
    let mut client = KeyServiceClient::with_interceptor(endpoint.connect_lazy(), bearer);
    let request = pb::WatchKeysRequest { after_revision: from };
    let mut slow = client.watch_keys(request).await.unwrap().into_inner();
    let mut quick = watch(&app, from).await;
    for number in 0..100 {
        rename(&app, key.key_id, &format!("t{number}")).await;
    }
    for revision in from + 1..=from + 100 {
        assert_eq!(next_key(&mut quick).await.0, revision);
    }
    // 100 of 60 kB: what is sent to the slow one is what fits its window and the bounded channel.
    let sent = async || {
        let page = crate::harness::get(&app.ops(), "/metrics").await.body;
        let line = page.lines().find_map(|line| line.strip_prefix("keystile_watched_changes_total "));
        line.unwrap().parse::<i64>().unwrap()
    };
    let (mut last, mut looks) = (0, 0);
    eventually("nothing more is sent", async || {
        let now = sent().await;
        looks = if now == last { looks + 1 } else { 0 };
        last = now;
        looks == 50
    })
    .await;
    assert!((101..=160).contains(&last), "{last}: 100 to the quick one, few to the slow one");
    for revision in from + 1..=from + 100 {
        assert_eq!(next_key(&mut slow).await.0, revision);
    }
    app.stop().await;
}
