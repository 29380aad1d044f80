//! Every order and every further filter of ListKeys, against the same worked out here; pages with ties, while keys
//! come and go; pages that end at the window.

use std::cmp::Ordering;
use std::collections::BTreeSet;

use chrono::{DateTime, Utc};
use keystile::grpc::pb;
use keystile::grpc::pb::list_keys_request::Filter;
use keystile::storage::listing::WINDOW;
use prost_types::Timestamp;

use super::{page, rest};
use crate::harness::{App, TestDatabase, violated_fields};

const ORDERS: [&str; 6] =
    ["key_id", "create_time", "update_time", "display_name", "expire_time", "last_used_time"];

fn request(order_by: &str, page_size: i32) -> pb::ListKeysRequest {
    let filter = Some(Filter { user_id: Some(1), ..Default::default() });
    pb::ListKeysRequest { filter, order_by: order_by.to_owned(), page_size, ..Default::default() }
}

fn filtered(filter: Filter) -> pb::ListKeysRequest {
    pb::ListKeysRequest { filter: Some(filter), page_size: 1_000, ..Default::default() }
}

fn time(text: &str) -> Option<Timestamp> {
    let time: DateTime<Utc> = text.parse().unwrap();
    Some(Timestamp { seconds: time.timestamp(), nanos: 0 })
}

/// Keys of user 1 by hand, from `first` on, with few different values in every column that is ordered by.
async fn insert(database: &TestDatabase, first: i64, count: i64) {
    let last = first + count - 1;
    let statements = format!(
        "INSERT INTO api_keys (key_id, user_id, display_name, description, tags, metadata, permissions, scopes, \
             models, observe, expire_at, revision, created_at, updated_at) \
         SELECT n, 1, (ARRAY['b', 'B', 'a', 'é', 'bb'])[1 + n * 7 % 5], '', \
             CASE WHEN n % 2 = 0 THEN ARRAY['even'] ELSE '{{}}' END, '{{}}', '{{}}', \
             (ARRAY['{{}}', '{{a.b}}', '{{a.*}}', '{{*}}', '{{c}}'])[1 + n % 5]::text[], \
             (ARRAY[NULL, '{{}}', '{{gpt-4o}}', '{{gpt-4*}}', '{{*}}', '{{o3,g*}}'])[1 + n % 6]::text[], '{{}}', \
             CASE WHEN n % 3 > 0 THEN timestamptz '2036-01-01Z' + n * 5 % 4 * interval '1 day' END, 0, \
             timestamptz '2026-01-01Z' + n * 3 % 4 * interval '1 day', \
             timestamptz '2026-02-01Z' + n * 11 % 3 * interval '1 day' \
         FROM generate_series({first}, {last}) n; \
         INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
         SELECT n, true, 'p' || n % 10, 'x', true, now() FROM generate_series({first}, {last}) n"
    );
    database.sql(&statements).await;
    // Each key has its row of usage when it is committed. Of those that are used in the same minute, later keys were
    // mostly used earlier in it.
    let usage = format!(
        "UPDATE key_usage SET last_used_at = timestamptz '2026-03-01Z' + key_id * 13 % 5 * interval '1 day' \
             + (6 - key_id % 7) * interval '9 seconds' \
         WHERE key_id BETWEEN {first} AND {last} AND key_id % 4 > 0"
    );
    database.sql(&usage).await;
}

fn seconds(time: Option<&Timestamp>) -> Option<i64> {
    time.map(|time| time.seconds)
}

/// As the contract says.
fn compare(order: &str, a: &pb::Key, b: &pb::Key) -> Ordering {
    let by_value = match order {
        "key_id" => Ordering::Equal,
        "create_time" => seconds(a.create_time.as_ref()).cmp(&seconds(b.create_time.as_ref())),
        "update_time" => seconds(a.update_time.as_ref()).cmp(&seconds(b.update_time.as_ref())),
        "display_name" => a.display_name.cmp(&b.display_name),
        "expire_time" => {
            let end = |key: &pb::Key| seconds(key.expire_time.as_ref()).unwrap_or(i64::MAX);
            end(a).cmp(&end(b))
        }
        "last_used_time" => {
            let minute = |key: &pb::Key| seconds(key.last_used_time.as_ref()).map(|it| it.div_euclid(60));
            minute(a).cmp(&minute(b))
        }
        other => panic!("{other}"),
    };
    by_value.then(a.key_id.cmp(&b.key_id))
}

#[tokio::test(flavor = "multi_thread")]
async fn every_order_is_kept_by_pages_of_every_length() {
    let app = App::start().await;
    insert(&app.database, 100, 25).await;
    let all = page(&app, request("", 1_000)).await.keys;
    assert_eq!(all.len(), 25);
    for order in ORDERS {
        let mut expected = all.clone();
        expected.sort_by(|a, b| compare(order, a, b));
        let mut expected: Vec<i64> = expected.iter().map(|key| key.key_id).collect();
        for (direction, suffixes) in [("rising", &["", " asc"][..]), ("falling", &[" desc"][..])] {
            for suffix in suffixes {
                for page_size in [1, 7, 25, 1_000] {
                    let listed = rest(&app, request(&format!("{order}{suffix}"), page_size)).await;
                    assert_eq!(listed, expected, "{order}, {direction}, by {page_size}");
                }
            }
            expected.reverse();
        }
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn every_further_filter_narrows() {
    let app = App::start().await;
    insert(&app.database, 100, 60).await;
    let fitting = |fits: fn(i64) -> bool| (100..160).filter(|n| fits(*n)).collect::<Vec<i64>>();
    let of = |filter: Filter| Filter { user_id: Some(1), ..filter };
    let scope = |scope: &str| of(Filter { scope: scope.into(), ..Default::default() });
    let model = |model: &str| of(Filter { model: model.into(), ..Default::default() });
    let created = |after, before| {
        of(Filter { created_after: time(after), created_before: time(before), ..Default::default() })
    };
    let expires_after = of(Filter { expires_after: time("2036-01-03T00:00:00Z"), ..Default::default() });
    let expires_before = of(Filter { expires_before: time("2036-01-02T00:00:00Z"), ..Default::default() });
    let used_after = |text| of(Filter { last_used_after: time(text), ..Default::default() });
    let used_before = |text| of(Filter { last_used_before: time(text), ..Default::default() });
    type Fits = fn(i64) -> bool;
    let cases: [(&str, Filter, Fits); 17] = [
        ("scope below a wildcard", scope("a.b"), |n| [1, 2, 3].contains(&(n % 5))),
        ("scope of one segment", scope("c"), |n| [3, 4].contains(&(n % 5))),
        ("scope that is a wildcard's own", scope("a"), |n| n % 5 == 3),
        ("reserved scope", scope("keystile.read"), |_| false),
        ("model by name and prefix", model("gpt-4o"), |n| n % 6 != 1),
        ("model by prefix", model("gpt-4o-mini"), |n| [0, 3, 4, 5].contains(&(n % 6))),
        ("model by the shortest prefix", model("gemini"), |n| [0, 4, 5].contains(&(n % 6))),
        ("model that is a pattern's text", model("gpt-4*"), |n| [0, 3, 4, 5].contains(&(n % 6))),
        ("model of a rule with ANY only", model("é"), |n| [0, 4].contains(&(n % 6))),
        ("created", created("2026-01-02T00:00:00Z", "2026-01-04T00:00:00Z"), |n| {
            [1, 2].contains(&(n * 3 % 4))
        }),
        ("expiring at or after", expires_after, |n| n % 3 > 0 && n * 5 % 4 >= 2),
        ("expiring before", expires_before, |n| n % 3 > 0 && n * 5 % 4 < 1),
        ("used at or after", used_after("2026-03-04T00:00:00Z"), |n| n % 4 > 0 && n * 13 % 5 >= 3),
        ("used at or after a second", used_after("2026-03-04T00:00:27Z"), |n| {
            n % 4 > 0 && (n * 13 % 5, 6 - n % 7) >= (3, 3)
        }),
        ("used before or never", used_before("2026-03-02T00:00:00Z"), |n| n % 4 == 0 || n * 13 % 5 < 1),
        ("used before a second or never", used_before("2026-03-02T00:00:27Z"), |n| {
            n % 4 == 0 || (n * 13 % 5, 6 - n % 7) < (1, 3)
        }),
        ("two of them", of(Filter { tag: "even".into(), scope: "c".into(), ..Default::default() }), |n| {
            n % 2 == 0 && [3, 4].contains(&(n % 5))
        }),
    ];
    for (what, filter, fits) in cases {
        for order in ORDERS {
            let request = pb::ListKeysRequest { order_by: order.into(), ..filtered(filter.clone()) };
            let mut listed: Vec<i64> = page(&app, request).await.keys.iter().map(|key| key.key_id).collect();
            listed.sort_unstable();
            assert_eq!(listed, fitting(fits), "{what}, by {order}");
        }
    }
    let administrators = Filter { scope: "keystile.read".into(), ..Default::default() };
    assert!(
        page(&app, filtered(administrators)).await.keys.is_empty(),
        "the literal scope, not what implies it"
    );
    let administrators = Filter { scope: "keystile.admin".into(), ..Default::default() };
    assert_eq!(page(&app, filtered(administrators)).await.keys[0].key_id, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn nothing_is_skipped_or_doubled_while_keys_come_and_go_between_ties() {
    let app = App::start().await;
    insert(&app.database, 10_000, 60).await;
    for order in ORDERS.map(|order| [order.to_owned(), format!("{order} desc")]).as_flattened() {
        let staying: BTreeSet<i64> = (10_000..10_060).collect();
        let (done, stop) = tokio::sync::watch::channel(false);
        let database = app.database.clone();
        // Comes and goes with the very values that the listed keys have, on both sides of them.
        let churn = tokio::spawn(async move {
            while !*stop.borrow() {
                insert(&database, 9_000, 40).await;
                insert(&database, 11_000, 40).await;
                database
                    .sql("DELETE FROM api_keys WHERE key_id < 10000 AND user_id = 1 OR key_id >= 11000")
                    .await;
            }
        });
        for page_size in [2, 9] {
            let listed = rest(&app, request(order, page_size)).await;
            let unique: BTreeSet<i64> = listed.iter().copied().collect();
            assert_eq!(listed.len(), unique.len(), "{order}: a key is listed twice");
            assert!(staying.is_subset(&unique), "{order}: a key is missing");
        }
        done.send_replace(true);
        churn.await.unwrap();
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_is_of_one_filter_and_one_order() {
    let app = App::start().await;
    insert(&app.database, 100, 10).await;
    let token = page(&app, request("expire_time desc", 3)).await.next_page_token;
    let go_on = |order: &str| pb::ListKeysRequest { page_token: token.clone(), ..request(order, 3) };
    assert_eq!(page(&app, go_on(" expire_time desc ")).await.keys.len(), 3, "the same by another name");
    for other in ["expire_time", "", "create_time desc", "last_used_time desc"] {
        let refused = app.keys().list_keys(go_on(other)).await.unwrap_err();
        assert_eq!(violated_fields(&refused), ["page_token"], "{other}");
    }
    let mut other = go_on("expire_time desc");
    other.filter.as_mut().unwrap().created_after = time("2020-01-01T00:00:00Z");
    let refused = app.keys().list_keys(other).await.unwrap_err();
    assert_eq!(violated_fields(&refused), ["page_token"]);
    app.stop().await;
}

/// All pages, however short; returns the keys and the number of pages.
async fn pages(app: &App, mut request: pb::ListKeysRequest) -> (Vec<i64>, usize) {
    let (mut ids, mut count) = (Vec::new(), 0);
    loop {
        let answer = page(app, request.clone()).await;
        ids.extend(answer.keys.iter().map(|key| key.key_id));
        count += 1;
        if answer.next_page_token.is_empty() {
            return (ids, count);
        }
        request.page_token = answer.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn rare_keys_behind_the_window_come_at_once_and_many_by_short_pages() {
    let app = App::start().await;
    let window = WINDOW;
    insert(&app.database, 100, 3 * window).await;
    let (rare, many) = (100 + 2 * window, 100 + 3 * window - 3_000);
    let mark = format!(
        "UPDATE api_keys SET tags = tags || '{{rare}}' WHERE key_id IN (150, {rare}, {}); \
         UPDATE api_keys SET tags = tags || '{{many}}' WHERE key_id >= {many}; \
         UPDATE api_keys SET display_name = 'x' WHERE key_id >= {many}; \
         UPDATE api_keys SET revoked_at = now() WHERE key_id = {rare}; ANALYZE",
        rare + 1
    );
    app.database.sql(&mark).await;
    let tag = |tag: &str| filtered(Filter { tag: tag.into(), ..Default::default() });
    assert_eq!(pages(&app, tag("rare")).await, (vec![150, rare, rare + 1], 1));
    let one = pb::ListKeysRequest { page_size: 1, ..tag("rare") };
    assert_eq!(pages(&app, one).await, (vec![150, rare, rare + 1], 3), "also one by one");
    let falling = pb::ListKeysRequest { order_by: "create_time desc".into(), ..tag("rare") };
    let (mut listed, count) = pages(&app, falling).await;
    listed.sort_unstable();
    assert_eq!((listed, count), (vec![150, rare, rare + 1], 1), "in any order");
    let revoked = filtered(Filter { states: vec![pb::key::State::Revoked.into()], ..Default::default() });
    assert_eq!(pages(&app, revoked).await, (vec![rare], 1));

    let (listed, count) = pages(&app, tag("many")).await;
    assert_eq!(listed, (many..many + 3_000).collect::<Vec<i64>>(), "all of them, and once");
    assert!(count > 3, "the first pages were empty: {count}");
    let no_index = filtered(Filter { name_contains: "x".into(), ..Default::default() });
    let (listed, count) = pages(&app, no_index).await;
    assert_eq!((listed.len(), listed[0]), (3_000, many));
    assert!(count > 3, "{count}");
    app.stop().await;
}
