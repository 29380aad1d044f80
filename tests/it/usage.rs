//! Writing counts changes no index within a minute, and what is indexed is right whoever writes and serves what it is for.

use std::sync::Arc;

use chrono::{DateTime, Utc};
use keystile::authorize::{UseCounter, add_up};
use keystile::grpc::pb;
use keystile::grpc::pb::list_keys_request::Filter;
use keystile::policy::KeyId;
use keystile::storage::usage::{Uses, add_uses};
use keystile::storage::{StorageError, Store};
use prost_types::Timestamp;

use crate::harness::{App, TestDatabase, eventually};

/// Few enough for several versions of each row to fit a page of PostgreSQL's.
const KEYS: i64 = 20;
/// No keys are loaded at the start.
const NONE: &str = "--cache-warm-up=0";
/// Nobody else has a session.
const ALONE: &str = "SELECT (count(*) = 1)::int FROM pg_stat_activity WHERE datname = current_database()";

/// Adds one use to each of the keys, in an order that is not theirs.
async fn flush(store: &Store, time: &str) {
    let last_used_time: DateTime<Utc> = time.parse().unwrap();
    let ids = (1..=KEYS).rev().map(|id| KeyId::new(id).unwrap());
    let uses: Vec<Uses> = ids.map(|key_id| Uses { key_id, count: 1, last_used_time }).collect();
    let written = store.write::<_, StorageError, _>("flush", move |session| {
        Box::pin(async move { add_uses(session, &uses).await })
    });
    written.await.unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn counts_of_the_same_minute_are_written_without_the_indexes() {
    let database = TestDatabase::new().await;
    database.sql(&format!("INSERT INTO key_usage (key_id) SELECT generate_series(1, {KEYS})")).await;
    let mut hot = Vec::new();
    // Whatever the time zone: minutes are those of UTC.
    for time in [
        "2026-11-23T12:00:00.000001Z",
        "2026-11-23T12:00:59.999999Z",
        "2026-11-23T12:01:00Z",
        "2026-11-23T12:00:30Z",
    ] {
        let store = Store::new(&database.url().into(), 2).unwrap();
        flush(&store, time).await;
        drop(store);
        // A session's changes are counted when it has ended, at the latest.
        database.until(ALONE).await;
        let counts = "SELECT n_tup_upd || ' updates, hot ' || n_tup_hot_upd AS line FROM pg_stat_user_tables \
                      WHERE relname = 'key_usage'";
        hot.extend(database.lines(counts).await);
    }
    let expected = ["20 updates, hot 0", "40 updates, hot 20", "60 updates, hot 20", "80 updates, hot 40"];
    assert_eq!(hot, expected, "a new minute is indexed, and one that is over leaves the last use as it is");
    let right = "SELECT count(*) FROM key_usage WHERE authorized_count = 4 \
                 AND last_used_at = '2026-11-23 12:01Z' AND last_used_minute = last_used_at";
    assert_eq!(database.number(right).await, KEYS);
}

#[tokio::test]
async fn the_minute_is_right_whoever_writes_and_whatever_was_there() {
    let database = TestDatabase::new().await;
    let down = include_str!("../../migrations/2026-11-23-140000_order_usage_by_minute/down.sql");
    database.sql(down).await;
    // As older programs write, before the migration and beside newer ones.
    let times =
        ["NULL", "'2026-11-23 12:00:59.999999Z'", "'2026-11-23 12:00+05:45'", "'1969-12-31 23:59:59Z'"];
    let write = async |first: usize| {
        for (number, time) in times.iter().enumerate() {
            let id = first + number;
            let insert = format!("INSERT INTO key_usage (key_id, last_used_at) VALUES ({id}, now())");
            let update = format!("UPDATE key_usage SET last_used_at = {time} WHERE key_id = {id}");
            database.sql(&format!("SET timezone = 'Asia/Kathmandu'; {insert}; {update}")).await;
        }
    };
    write(1).await;
    let before = database.dump("key_usage").await;
    database.sql(include_str!("../../migrations/2026-11-23-140000_order_usage_by_minute/up.sql")).await;
    write(5).await;
    let minutes = "SELECT coalesce((last_used_minute AT TIME ZONE 'UTC')::text, 'never') AS line FROM key_usage \
                   ORDER BY key_id";
    let expected = ["never", "2026-11-23 12:00:00", "2026-11-23 06:15:00", "1969-12-31 23:59:00"];
    assert_eq!(database.lines(minutes).await, [expected, expected].concat());
    database.sql("DELETE FROM key_usage WHERE key_id > 4").await;
    database.sql(down).await;
    assert_eq!(database.dump("key_usage").await, before, "and nothing is lost on the way back");
}

#[tokio::test(flavor = "multi_thread")]
async fn the_index_by_minute_serves_the_order_the_filters_and_the_start() {
    let database = TestDatabase::new().await;
    let app = App::builder().database(&database).start().await;
    let token = app.admin_token.clone();
    app.stop().await;
    let keys = "INSERT INTO api_keys (key_id, user_id, display_name, description, tags, metadata, permissions, scopes, \
                    observe, revision, created_at, updated_at) \
                SELECT n, 1, 'k', '', '{}', '{}', '{}', '{}', '{}', 0, now(), now() FROM generate_series(100, 20099) n";
    database.sql(keys).await;
    let secrets = "INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
                   SELECT n, true, 'ks_' || n, 'x', false, now() FROM generate_series(100, 20099) n";
    database.sql(secrets).await;
    let used = "UPDATE key_usage SET last_used_at = timestamptz '2026-11-23Z' - key_id * interval '1 minute'";
    database.sql(used).await;
    database.sql("VACUUM ANALYZE").await;
    let scans =
        "SELECT idx_scan FROM pg_stat_user_indexes WHERE indexrelname = 'key_usage_by_minute_of_last_use'";
    let ask = async |filter: Filter, order_by: &str, warm_up: &str| {
        database.until(ALONE).await;
        let before = database.number(scans).await;
        let builder = App::builder().database(&database).admin_token(&token);
        let app = builder.flags([warm_up]).start().await;
        let filter = Some(filter);
        let request = pb::ListKeysRequest { filter, order_by: order_by.to_owned(), ..Default::default() };
        app.keys().list_keys(request).await.unwrap();
        app.stop().await;
        database.until(ALONE).await;
        database.number(scans).await > before
    };
    let midnight: DateTime<Utc> = "2026-11-23T00:00:00Z".parse().unwrap();
    let ago = |minutes: i64| Some(Timestamp { seconds: midnight.timestamp() - 60 * minutes + 30, nanos: 0 });
    let base = Filter::default;
    assert!(!ask(base(), "", NONE).await, "it is not for everything");
    assert!(ask(base(), "last_used_time", NONE).await);
    assert!(ask(base(), "last_used_time desc", NONE).await);
    assert!(ask(Filter { last_used_after: ago(110), ..base() }, "", NONE).await);
    assert!(ask(Filter { last_used_before: ago(20_090), ..base() }, "", NONE).await);
    assert!(ask(base(), "", "--cache-warm-up=10").await, "the keys that were used last");
    let indexes = "SELECT indexname::text AS line FROM pg_indexes WHERE tablename = 'key_usage' ORDER BY 1";
    let expected = ["key_usage_by_minute_of_last_use", "key_usage_pkey"];
    assert_eq!(database.lines(indexes).await, expected, "none by the moment, which every flush would write");
}

/// Uses each of so many keys, so many times in all.
fn use_keys(counter: &UseCounter, keys: i64, uses: i64, time: &str) {
    let now: DateTime<Utc> = time.parse().unwrap();
    for number in 0..uses {
        counter.count(KeyId::new(1 + number % keys).unwrap(), now);
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn what_many_keys_have_used_is_put_down_at_once_and_added_up_once() {
    let database = TestDatabase::new().await;
    database
        .sql("INSERT INTO key_usage (key_id, authorized_count) SELECT n, 5 FROM generate_series(1, 3000) n")
        .await;
    let stores = [1, 2, 3].map(|_| Store::new(&database.url().into(), 2).unwrap());
    let counter = UseCounter::new(Arc::default());
    let pending = "SELECT count(*) FROM pending_uses";
    for time in ["2026-11-23T12:00:01Z", "2026-11-23T12:00:00Z", "2026-11-23T12:00:02.5Z"] {
        use_keys(&counter, 6_000, 9_000, time);
        counter.flush(&stores[0]).await.unwrap();
    }
    use_keys(&counter, 2, 10, "2026-11-23T11:00:00Z");
    counter.flush(&stores[0]).await.unwrap();
    assert_eq!(database.number(pending).await, 3);
    let total = "SELECT sum(authorized_count)::bigint FROM key_usage";
    assert_eq!(database.number(total).await, 3_000 * 5 + 10, "few keys are written at once");
    // All replicas at once.
    let [one, two, three] = &stores;
    let (one, two, three) = tokio::join!(add_up(one), add_up(two), add_up(three));
    one.and(two).and(three).unwrap();
    assert_eq!(database.number(pending).await, 0);
    assert_eq!(database.number(total).await, 3_000 * 5 + 10 + 3 * 9_000);
    let wrong = "SELECT count(*) FROM key_usage WHERE last_used_at <> '2026-11-23 12:00:02.5Z' OR authorized_count <> \
                 3 * (CASE WHEN key_id <= 3000 THEN 2 ELSE 1 END) + (CASE WHEN key_id <= 3000 THEN 5 ELSE 0 END) \
                 + (CASE WHEN key_id <= 2 THEN 5 ELSE 0 END)";
    assert_eq!(database.number(wrong).await, 0);
    add_up(&stores[0]).await.unwrap();
    assert_eq!(database.number(total).await, 3_000 * 5 + 10 + 3 * 9_000, "once");
}

#[tokio::test(flavor = "multi_thread")]
async fn what_a_replica_put_down_is_added_up_by_the_next_and_by_the_way_back() {
    let database = TestDatabase::new().await;
    let put_down = "INSERT INTO pending_uses (key_ids, counts, last_used_at) \
                    SELECT array_agg(n), array_agg(2), array_agg(timestamptz '2026-11-23Z') FROM generate_series(1, 9) n";
    let total = "SELECT coalesce(sum(authorized_count), 0)::bigint FROM key_usage WHERE key_id < 10";
    // More than are added up at once.
    database.sql(&format!("{put_down};").repeat(25)).await;
    let app = App::builder().database(&database).start().await;
    eventually("they are added up", async || database.number(total).await == 450).await;
    app.stop().await;
    database.sql(put_down).await;
    let down = include_str!("../../migrations/2026-11-23-150000_create_pending_uses/down.sql");
    database.sql(down).await;
    assert_eq!(database.number(total).await, 468);
}

#[tokio::test(flavor = "multi_thread")]
async fn what_cannot_be_put_down_is_kept_for_the_next_time() {
    let database = TestDatabase::new().await;
    let store = Store::new(&database.url().into(), 2).unwrap();
    let counter = UseCounter::new(Arc::default());
    use_keys(&counter, 6_000, 6_000, "2026-11-23T12:00:00Z");
    database.sql("ALTER TABLE pending_uses RENAME TO away").await;
    counter.flush(&store).await.unwrap_err();
    database.sql("ALTER TABLE away RENAME TO pending_uses").await;
    use_keys(&counter, 1, 1, "2026-11-23T12:00:00Z");
    counter.flush(&store).await.unwrap();
    add_up(&store).await.unwrap();
    assert_eq!(database.number("SELECT sum(authorized_count)::bigint FROM key_usage").await, 6_001);
}
