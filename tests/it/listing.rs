//! ListKeys: filters, states at an instant, pages while keys come and go.

mod orders;

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use keystile::grpc::pb::key::State;
use keystile::grpc::pb::list_keys_request::Filter;
use tonic::Code;

use crate::harness::{App, violated_fields};

const STATES: [State; 5] =
    [State::Active, State::Revoked, State::Deleted, State::Expired, State::OwnerDisabled];

async fn page(app: &App, request: pb::ListKeysRequest) -> pb::ListKeysResponse {
    app.keys().list_keys(request).await.unwrap().into_inner()
}

async fn listed(app: &App, filter: Filter) -> Vec<pb::Key> {
    let answer =
        page(app, pb::ListKeysRequest { filter: Some(filter), page_size: 1_000, ..Default::default() });
    let answer = answer.await;
    assert_eq!(answer.next_page_token, "");
    assert_eq!(answer.revision, app.database.number("SELECT revision FROM revision_counter").await);
    answer.keys
}

async fn names(app: &App, filter: Filter) -> Vec<String> {
    listed(app, filter).await.into_iter().map(|key| key.display_name).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn every_filter_narrows_and_all_must_fit() {
    let app = App::start().await;
    let make = async |user_id, name: &str, tags: &[&str], metadata: &[(&str, &str)]| {
        let tags = tags.iter().map(|&tag| tag.to_owned()).collect();
        let metadata: BTreeMap<_, _> =
            metadata.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect();
        let key = pb::Key { user_id, display_name: name.to_owned(), tags, metadata, ..Default::default() };
        app.create(key).await.0
    };
    let alpha = make(1, "Alpha 50%_x", &["a", "b"], &[("team", "red"), ("tier", "1")]).await;
    make(1, "beta", &["b"], &[("team", "red")]).await;
    make(2, "ALPHABET", &["a"], &[("team", "blue"), ("note", "red")]).await;
    make(2, "50x_x\\", &[], &[]).await;

    let all = ["First administrator", "Alpha 50%_x", "beta", "ALPHABET", "50x_x\\"];
    assert_eq!(names(&app, Filter::default()).await, all);
    let user = |user_id| Filter { user_id: Some(user_id), ..Default::default() };
    assert_eq!(names(&app, user(0)).await, all[..1]);
    assert_eq!(names(&app, user(2)).await, all[3..]);
    assert!(names(&app, user(3)).await.is_empty());
    let tag = |tag: &str| Filter { tag: tag.to_owned(), ..Default::default() };
    assert_eq!(names(&app, tag("a")).await, ["Alpha 50%_x", "ALPHABET"]);
    assert!(names(&app, tag("A")).await.is_empty());
    let holds = |text: &str| Filter { name_contains: text.to_owned(), ..Default::default() };
    assert_eq!(names(&app, holds("alpha")).await, ["Alpha 50%_x", "ALPHABET"]);
    assert_eq!(names(&app, holds("50%")).await, ["Alpha 50%_x"], "no wildcard");
    assert_eq!(names(&app, holds("_X")).await, ["Alpha 50%_x", "50x_x\\"], "no wildcard");
    assert_eq!(names(&app, holds("\\")).await, ["50x_x\\"]);
    let prefix = |text: &str| Filter { key_prefix: text.to_owned(), ..Default::default() };
    assert_eq!(names(&app, prefix(&alpha.key_prefix)).await, ["Alpha 50%_x"]);
    assert_eq!(names(&app, prefix("ks_")).await, all);
    assert!(names(&app, prefix("%")).await.is_empty() && names(&app, prefix("KS_")).await.is_empty());
    let metadata = |pairs: &[(&str, &str)]| Filter {
        metadata: pairs.iter().map(|(name, value)| ((*name).to_owned(), (*value).to_owned())).collect(),
        ..Default::default()
    };
    assert_eq!(names(&app, metadata(&[("team", "red")])).await, ["Alpha 50%_x", "beta"]);
    assert_eq!(names(&app, metadata(&[("team", "red"), ("tier", "1")])).await, ["Alpha 50%_x"]);
    assert!(names(&app, metadata(&[("team", "re")])).await.is_empty());
    let both =
        Filter { user_id: Some(1), tag: "b".into(), name_contains: "ALPHA".into(), ..Default::default() };
    assert_eq!(names(&app, both).await, ["Alpha 50%_x"]);
    app.stop().await;
}

/// A key for every way of standing: deleted, revoked, owner disabled; expiring never, just before, at and
/// just after `instant`.
async fn every_standing(app: &App, instant: DateTime<Utc>) -> BTreeSet<i64> {
    let mut ids = BTreeSet::new();
    let micro = TimeDelta::microseconds(1);
    let ends = [None, Some(instant - micro), Some(instant), Some(instant + micro)];
    for (deleted, revoked, disabled) in (0..8).map(|bits| (bits & 1 > 0, bits & 2 > 0, bits & 4 > 0)) {
        for end in ends {
            let key_id = 1_000 + i64::try_from(ids.len()).unwrap();
            let time = |set: bool| if set { "now()" } else { "NULL" };
            let end = end.map_or("NULL".to_owned(), |end| format!("'{}'", end.to_rfc3339()));
            let (deleted, revoked, user_id) = (time(deleted), time(revoked), if disabled { 8 } else { 7 });
            let insert = format!(
                "INSERT INTO api_keys (key_id, user_id, display_name, description, tags, metadata, \
                     permissions, scopes, observe, expire_at, revoked_at, deleted_at, purge_at, revision, \
                     created_at, updated_at) \
                 VALUES ({key_id}, {user_id}, 'k', '', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', {end}, \
                     {revoked}, {deleted}, {deleted}, 0, now(), now()); \
                 INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
                 VALUES ({key_id}, true, 'ks_{key_id}', 'x', false, now())"
            );
            app.database.sql(&insert).await;
            ids.insert(key_id);
        }
    }
    ids
}

#[tokio::test(flavor = "multi_thread")]
async fn the_states_of_a_list_are_those_of_its_keys_at_the_very_instant() {
    let instant: DateTime<Utc> = "2027-03-01T00:00:00Z".parse().unwrap();
    let clock = ManualClock::new(instant);
    let app = App::builder().clock(Clock::Manual(clock.clone())).start().await;
    app.keys().disable_owner(pb::DisableOwnerRequest { user_id: 8, ..Default::default() }).await.unwrap();
    let all = every_standing(&app, instant).await;
    let mut counts = Vec::new();
    for micros in [-1, 0, 1] {
        clock.set(instant + TimeDelta::microseconds(micros));
        let mut seen = BTreeSet::new();
        let mut count = [0; 5];
        for (state, count) in STATES.into_iter().zip(&mut count) {
            let filter = Filter { states: vec![state.into()], ..Default::default() };
            for key in listed(&app, filter).await.into_iter().filter(|key| key.key_id >= 1_000) {
                assert_eq!(key.state(), state, "key {} by SQL and by policy", key.key_id);
                assert!(seen.insert(key.key_id), "a key is in one state");
                *count += 1;
            }
        }
        assert_eq!(seen, all, "and in one of these");
        counts.push(count);
    }
    // Active, revoked, deleted, expired, owner disabled: the end is exclusive.
    assert_eq!(counts, [[3, 8, 16, 1, 4], [2, 8, 16, 2, 4], [1, 8, 16, 3, 4]]);

    let two = Filter { states: vec![State::Expired.into(), State::Deleted.into()], ..Default::default() };
    assert_eq!(listed(&app, two).await.len(), 19);
    assert_eq!(listed(&app, Filter::default()).await.len(), 1 + 16, "all but deleted");
    app.stop().await;
}

/// All pages from here on.
async fn rest(app: &App, mut request: pb::ListKeysRequest) -> Vec<i64> {
    let mut ids = Vec::new();
    loop {
        let answer = page(app, request.clone()).await;
        ids.extend(answer.keys.iter().map(|key| key.key_id));
        if answer.next_page_token.is_empty() {
            return ids;
        }
        assert_eq!(answer.keys.len(), usize::try_from(request.page_size).unwrap());
        request.page_token = answer.next_page_token;
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn pages_go_on_while_keys_come_and_go() {
    let app = App::start().await;
    for _ in 0..7 {
        app.create_any().await;
    }
    let pages = |order_by: &str, page_token: &str| pb::ListKeysRequest {
        filter: Some(Filter { user_id: Some(1), ..Default::default() }),
        order_by: order_by.to_owned(),
        page_size: 2,
        page_token: page_token.to_owned(),
    };
    assert_eq!(rest(&app, pages("", "")).await, [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(rest(&app, pages("key_id desc", "")).await, [8, 7, 6, 5, 4, 3, 2]);

    let rising = page(&app, pages("key_id", "")).await.next_page_token;
    let falling = page(&app, pages("key_id desc", "")).await.next_page_token;
    // The last of a page, one before and one after it go; one comes.
    let delete = "UPDATE api_keys SET deleted_at = now(), purge_at = now() WHERE key_id IN (2, 3, 5, 7)";
    app.database.sql(delete).await;
    app.create_any().await;
    assert_eq!(rest(&app, pages("", &rising)).await, [4, 6, 8, 9], "the same order by another name");
    assert_eq!(rest(&app, pages("key_id desc", &falling)).await, [6, 4]);

    let refused = async |request: pb::ListKeysRequest| {
        let status = app.keys().list_keys(request).await.unwrap_err();
        assert_eq!(status.code(), Code::InvalidArgument);
        violated_fields(&status)
    };
    assert_eq!(refused(pages("key_id desc", &rising)).await, ["page_token"], "another order");
    let other = pb::ListKeysRequest { filter: None, ..pages("", &rising) };
    assert_eq!(refused(other).await, ["page_token"], "another filter");
    assert_eq!(refused(pages("", "garbage")).await, ["page_token"]);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_page_has_fifty_keys_or_as_many_as_asked_for_up_to_a_thousand() {
    let app = App::start().await;
    app.database
        .sql(
            "INSERT INTO api_keys (key_id, user_id, display_name, description, tags, metadata, permissions, \
                 scopes, observe, revision, created_at, updated_at) \
             SELECT id, 1, 'k', '', '{}', '{}', '{}', '{}', '{}', 0, now(), now() \
             FROM generate_series(100, 1199) id; \
             INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
             SELECT id, true, 'same', 'x', true, now() FROM generate_series(100, 1199) id",
        )
        .await;
    for (page_size, length) in
        [(0, 50), (1, 1), (999, 999), (1_000, 1_000), (1_001, 1_000), (i32::MAX, 1_000)]
    {
        let answer = page(&app, pb::ListKeysRequest { page_size, ..Default::default() }).await;
        assert_eq!((answer.keys.len(), answer.next_page_token.is_empty()), (length, false), "{page_size}");
    }
    let refused = pb::ListKeysRequest { page_size: -1, ..Default::default() };
    let refused = app.keys().list_keys(refused).await.unwrap_err();
    assert_eq!(
        (refused.code(), violated_fields(&refused)),
        (Code::InvalidArgument, vec!["page_size".to_owned()])
    );
    let exact = pb::ListKeysRequest {
        filter: Some(Filter { key_prefix: "same".into(), ..Default::default() }),
        page_size: 550,
        ..Default::default()
    };
    assert_eq!(rest(&app, exact).await, (100..1_200).collect::<Vec<i64>>(), "no empty page at the end");
    app.stop().await;
}
