//! Keys come into memory: in batches, once for all who ask, fairly, and never from what is too old.

mod floods;

use std::sync::Arc;
use std::time::Duration;

use keystile::cache::{
    self, Bounds, KeyCache, LoadError, Loaded, Loader, LoaderSettings, QueueBounds, ReadAt, Wanted,
};
use keystile::clock::BootTime;
use keystile::grpc::pb;
use keystile::policy::{CheckSet, KeyId};
use keystile::storage::{Store, secrets};
use keystile::token::{Pepper, PepperId, Peppers, os_rng};
use tokio::runtime::Handle;
use tokio::task::JoinSet;
use tonic::Code;

use crate::harness::{App, TestDatabase, denial, eventually, new_token};
use crate::metrics::Page;

async fn value(app: &App, series: &str) -> f64 {
    Page::of(app).await.value(series).unwrap_or_else(|| panic!("no {series}"))
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_asked_for_at_once_is_loaded_together_and_the_same_once() {
    let app = App::start().await;
    let tokens: Vec<String> = (0..200).map(|_| new_token()).collect();
    app.create_any().await;
    let of_loads = "keystile_loads_total{outcome=\"queued\"}";
    let (loads, batches) = (of_loads, "keystile_load_batch_keys_count");
    let before = (value(&app, loads).await, value(&app, batches).await);
    let mut calls = JoinSet::new();
    for token in tokens.iter().chain(&tokens) {
        let mut client = app.authorize();
        let request = pb::AuthorizeRequest { token: token.clone().into(), ..Default::default() };
        calls.spawn(async move { denial(&client.authorize(request).await.unwrap().into_inner()) });
    }
    assert!(calls.join_all().await.iter().all(|reason| reason.as_deref() == Some("KEY_INVALID")));
    let loads = value(&app, loads).await - before.0;
    let batches = value(&app, batches).await - before.1;
    assert_eq!(loads, 200.0, "each once: later ones join, or find in memory that it is nobody's");
    assert!(batches < 100.0, "{batches} batches");
    assert_eq!(value(&app, "keystile_cache_unknown_tokens").await, 200.0);
    for token in &tokens {
        assert_eq!(app.reason(token).await.as_deref(), Some("KEY_INVALID"));
    }
    assert_eq!(value(&app, of_loads).await - before.0, 200.0, "all are known by now");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_row_that_was_changed_by_hand_is_seen_when_the_key_is_read_again() {
    let app = App::builder().flags(["--cache-refresh=1s"]).start().await;
    let (key, token) = app.create_any().await;
    let (gone, gone_token) = app.create_any().await;
    assert_eq!((app.reason(&token).await, app.reason(&gone_token).await), (None, None));
    let (key_id, gone_id) = (key.key_id, gone.key_id);
    app.database.sql(&format!("UPDATE api_keys SET revoked_at = now() WHERE key_id = {key_id}")).await;
    app.database.sql(&format!("DELETE FROM api_keys WHERE key_id = {gone_id}")).await;
    eventually("it is read again while it is used", async || {
        app.reason(&token).await.as_deref() == Some("KEY_REVOKED")
    })
    .await;
    eventually("it has gone", async || app.reason(&gone_token).await.as_deref() == Some("KEY_INVALID")).await;
    assert!(value(&app, "keystile_loads_total{outcome=\"refresh\"}").await >= 2.0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_callers_row_that_was_changed_by_hand_is_seen_on_a_connection_that_lasts() {
    let app = App::builder().flags(["--cache-refresh=1s"]).start().await;
    let (_, token) = app.create_any().await;
    let caller = app.service_token("keystile.authorize").await;
    let mut client = app.authorize_as(Some(&caller));
    let question = || pb::AuthorizeRequest { token: token.clone().into(), ..Default::default() };
    for _ in 0..3 {
        client.authorize(question()).await.unwrap();
    }
    let revoke = "UPDATE api_keys SET revoked_at = now() WHERE scopes = '{keystile.authorize}'";
    app.database.sql(revoke).await;
    eventually("his key is read again", async || {
        let refused = client.clone().authorize(question()).await.err();
        refused.is_some_and(|status| status.code() == Code::Unauthenticated)
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_keys_that_were_used_last_are_there_from_the_start() {
    let app = App::start().await;
    let mut keys = Vec::new();
    for _ in 0..5 {
        keys.push(app.create_any().await);
    }
    for (_, token) in &keys[1..] {
        assert_eq!(app.reason(token).await, None);
    }
    let (database, admin) = (app.database.clone(), app.admin_token.clone());
    app.stop().await;
    // Callers are not counted: these four were used at all, and the last two of them last.
    for (position, (key, _)) in keys.iter().enumerate() {
        let used = "UPDATE key_usage SET last_used_at = now() + make_interval(secs => ";
        let at = format!("{used} {position}) WHERE key_id = {} AND last_used_at IS NOT NULL", key.key_id);
        database.sql(&at).await;
    }
    let builder = App::builder().database(&database).admin_token(&admin);
    let app = builder.flags(["--cache-warm-up=2"]).start().await;
    assert_eq!(value(&app, "keystile_cache_keys").await, 2.0);
    let missed = "keystile_cache_lookups_total{outcome=\"missing\"}";
    assert_eq!(app.reason(&keys[3].1).await, None);
    let before = value(&app, missed).await;
    assert_eq!(app.reason(&keys[4].1).await, None);
    assert_eq!(value(&app, missed).await, before);
    assert_eq!(app.reason(&keys[1].1).await, None);
    assert_eq!(value(&app, missed).await, before + 1.0);
    app.stop().await;
}

/// A loader on a database, and a cache that has not begun to follow it.
async fn loader(database: &TestDatabase) -> (Store, Arc<KeyCache>, Loader) {
    let store = Store::new(&database.url().into(), 4).unwrap();
    let cache = KeyCache::new(cache::Settings {
        bounds: Bounds { entries: 1_000, bytes: 1 << 20, unknown: 1_000 },
        observe: CheckSet::EMPTY,
        describe: |_| Box::default(),
        refresh: Duration::from_secs(600),
        leases: keystile::leases::Leases::new(keystile::leases::WithoutStore::Refuse, Arc::default()),
        metrics: Arc::default(),
    });
    let pepper = Pepper::generate(PepperId::parse("test").unwrap(), &mut os_rng());
    let settings = LoaderSettings {
        bounds: QueueBounds { each: 10, all: 10 },
        unknown_each: 1_000,
        peppers: Arc::new(Peppers::new(pepper, Vec::new()).unwrap()),
        runtime: Handle::current(),
        metrics: Arc::default(),
    };
    (store.clone(), Arc::clone(&cache), Loader::new(store, cache, settings))
}

async fn head(store: &Store) -> ReadAt {
    let nothing =
        store.read("head", |session| Box::pin(async move { secrets::find_by_ids(session, &[]).await }));
    let found = nothing.await.unwrap();
    ReadAt { epoch: found.epoch, revision: found.revision }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_came_too_late_is_loaded_again_and_not_for_ever() {
    let database = TestDatabase::new().await;
    let (store, cache, loader) = loader(&database).await;
    let nobodys = || Wanted::Key(KeyId::new(1_000_000).unwrap());
    // Whatever is read is of another epoch than what the cache knows.
    let Err(LoadError::Store(error)) = loader.load(nobodys()).await else { panic!("it was admitted") };
    assert!(error.is_outage(), "it may be asked again: {error}");

    cache.restart(head(&store).await);
    cache.trust_until(BootTime::now().plus(Duration::from_secs(600)));
    assert!(matches!(loader.load(nobodys()).await, Ok(Loaded::Unknown)));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_load_goes_on_for_the_others_when_one_who_waits_goes_away() {
    let database = TestDatabase::new().await;
    let (store, cache, loader) = loader(&database).await;
    cache.restart(head(&store).await);
    let nobodys = || Wanted::Key(KeyId::new(1_000_000).unwrap());
    let mut session = database.session().await;
    use diesel_async::SimpleAsyncConnection as _;
    session.batch_execute("BEGIN; LOCK TABLE key_secrets IN ACCESS EXCLUSIVE MODE").await.unwrap();
    let first = tokio::spawn({
        let loader = loader.clone();
        async move { loader.load(nobodys()).await }
    });
    database.until_blocked().await;
    let other = tokio::spawn(async move { loader.load(nobodys()).await });
    first.abort();
    assert!(first.await.unwrap_err().is_cancelled());
    session.batch_execute("COMMIT").await.unwrap();
    assert!(matches!(other.await.unwrap(), Ok(Loaded::Unknown)));
}
