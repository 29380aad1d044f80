//! UpdateKey: what a mask changes and what it leaves, and who may own what.

use std::collections::BTreeMap;

use keystile::grpc::pb;
use prost_types::{FieldMask, Timestamp};
use tokio::task::JoinSet;
use tonic::{Code, Status};

use crate::harness::{App, status_reason, violated_fields};

/// Far enough off.
const EXPIRE: Option<Timestamp> = Some(Timestamp { seconds: 4_000_000_000, nanos: 123_456_000 });

fn texts(words: &[&str]) -> Vec<String> {
    words.iter().map(|&word| word.to_owned()).collect()
}

fn only(patterns: &[&str]) -> Option<pb::AccessRule> {
    Some(pb::AccessRule { mode: pb::access_rule::Mode::Only.into(), patterns: texts(patterns) })
}

fn any() -> Option<pb::AccessRule> {
    Some(pb::AccessRule { mode: pb::access_rule::Mode::Any.into(), patterns: Vec::new() })
}

fn windows(per_minute: Option<i64>, per_hour: Option<i64>, per_day: Option<i64>) -> pb::RateLimitWindows {
    pb::RateLimitWindows { per_minute, per_hour, per_day }
}

fn limits(requests: pb::RateLimitWindows, tokens: pb::RateLimitWindows) -> Option<pb::RateLimits> {
    Some(pb::RateLimits { requests: Some(requests), tokens: Some(tokens) })
}

/// Two keys that differ in every field that can be changed.
fn one() -> pb::Key {
    pb::Key {
        user_id: 7,
        display_name: "one".into(),
        description: "of two".into(),
        tags: texts(&["a", "b"]),
        metadata: BTreeMap::from([("team".into(), "red".into())]),
        permissions: texts(&["read"]),
        scopes: texts(&["chat.completions"]),
        models: only(&["gpt-4o*"]),
        endpoints: only(&["/v1/a"]),
        ips: only(&["127.0.0.0/8"]),
        chatbots: only(&["bot"]),
        rate_limits: limits(windows(Some(1), Some(2), Some(3)), windows(Some(4), Some(5), Some(6))),
        observe: vec![pb::key::Check::Models.into()],
        expire_time: EXPIRE,
        ..Default::default()
    }
}

fn other() -> pb::Key {
    pb::Key {
        user_id: 8,
        display_name: "other".into(),
        description: String::new(),
        tags: texts(&["c"]),
        metadata: BTreeMap::from([("cost".into(), "9".into())]),
        permissions: Vec::new(),
        scopes: texts(&["*"]),
        models: any(),
        endpoints: only(&[]),
        ips: only(&["::1"]),
        chatbots: any(),
        rate_limits: limits(windows(None, Some(20), Some(0)), windows(Some(40), None, Some(60))),
        observe: Vec::new(),
        ..Default::default()
    }
}

fn update(key: pb::Key, paths: &[&str]) -> pb::UpdateKeyRequest {
    let update_mask = Some(FieldMask { paths: texts(paths) });
    pb::UpdateKeyRequest { key: Some(key), update_mask, ..Default::default() }
}

async fn updated(app: &App, request: pb::UpdateKeyRequest) -> pb::Key {
    app.keys().update_key(request).await.unwrap().into_inner().key.unwrap()
}

async fn get(app: &App, key_id: i64) -> pb::Key {
    let get = pb::GetKeyRequest { key_id, ..Default::default() };
    app.keys().get_key(get).await.unwrap().into_inner().key.unwrap()
}

/// What a change leaves as it is: everything but this.
fn lasting(key: pb::Key) -> pb::Key {
    pb::Key { etag: String::new(), update_time: None, ..key }
}

fn refused(status: Status) -> (Code, String) {
    (status.code(), status_reason(&status))
}

/// A path, and what it does to a key.
type Case = (&'static str, fn(&mut pb::Key, pb::Key));

fn set_limit(
    key: &mut pb::Key,
    other: &pb::Key,
    of: fn(&mut pb::RateLimits) -> &mut Option<pb::RateLimitWindows>,
    window: fn(&mut pb::RateLimitWindows) -> &mut Option<i64>,
) {
    let limit = *window(of(&mut other.rate_limits.unwrap()).as_mut().unwrap());
    *window(of(key.rate_limits.as_mut().unwrap()).as_mut().unwrap()) = limit;
}

const CASES: [Case; 21] = [
    ("user_id", |key, other| key.user_id = other.user_id),
    ("display_name", |key, other| key.display_name = other.display_name),
    ("description", |key, other| key.description = other.description),
    ("tags", |key, other| key.tags = other.tags),
    ("metadata", |key, other| key.metadata = other.metadata),
    ("permissions", |key, other| key.permissions = other.permissions),
    ("scopes", |key, other| key.scopes = other.scopes),
    ("models", |key, other| key.models = other.models),
    ("endpoints", |key, other| key.endpoints = other.endpoints),
    ("ips", |key, other| key.ips = other.ips),
    ("chatbots", |key, other| key.chatbots = other.chatbots),
    ("observe", |key, other| key.observe = other.observe),
    ("rate_limits", |key, other| key.rate_limits = other.rate_limits),
    ("rate_limits.requests", |key, other| {
        key.rate_limits.as_mut().unwrap().requests = other.rate_limits.unwrap().requests;
    }),
    ("rate_limits.tokens", |key, other| {
        key.rate_limits.as_mut().unwrap().tokens = other.rate_limits.unwrap().tokens;
    }),
    ("rate_limits.requests.per_minute", |key, other| {
        set_limit(key, &other, |it| &mut it.requests, |it| &mut it.per_minute);
    }),
    ("rate_limits.requests.per_hour", |key, other| {
        set_limit(key, &other, |it| &mut it.requests, |it| &mut it.per_hour);
    }),
    ("rate_limits.requests.per_day", |key, other| {
        set_limit(key, &other, |it| &mut it.requests, |it| &mut it.per_day);
    }),
    ("rate_limits.tokens.per_minute", |key, other| {
        set_limit(key, &other, |it| &mut it.tokens, |it| &mut it.per_minute);
    }),
    ("rate_limits.tokens.per_hour", |key, other| {
        set_limit(key, &other, |it| &mut it.tokens, |it| &mut it.per_hour);
    }),
    ("rate_limits.tokens.per_day", |key, other| {
        set_limit(key, &other, |it| &mut it.tokens, |it| &mut it.per_day);
    }),
];

#[tokio::test(flavor = "multi_thread")]
async fn a_path_changes_what_it_names_and_nothing_else() {
    let app = App::start().await;
    for (path, change) in CASES {
        let (key, _) = app.create(one()).await;
        let mut expected = key.clone();
        change(&mut expected, other());
        assert_ne!(expected, key, "{path}");
        let request = update(pb::Key { key_id: key.key_id, ..other() }, &[path]);
        let answer = app.keys().update_key(request.clone()).await.unwrap().into_inner();
        let after = answer.key.unwrap();
        assert_eq!(lasting(after.clone()), lasting(expected), "{path}");
        assert_ne!(after.etag, key.etag, "{path}");
        assert_eq!(get(&app, key.key_id).await, after, "{path}: as it is stored");
        let again = app.keys().update_key(request).await.unwrap().into_inner();
        assert_eq!((again.revision, again.key), (answer.revision, Some(after)), "{path}: nothing to do");
    }
    let audited = "SELECT count(*) FROM audit_events WHERE action = 'keys.update' AND before <> after";
    assert_eq!(app.database.number(audited).await, 21);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_a_mask_what_is_set_is_changed_and_nothing_is_cleared() {
    let app = App::start().await;
    let (key, _) = app.create(one()).await;
    for update_mask in [None, Some(FieldMask::default())] {
        let per_hour = limits(windows(None, Some(20), None), windows(None, None, None));
        let some =
            pb::Key { key_id: key.key_id, tags: texts(&["x"]), rate_limits: per_hour, ..Default::default() };
        let request = pb::UpdateKeyRequest { key: Some(some), update_mask, ..Default::default() };
        let after = updated(&app, request).await;
        let merged = limits(windows(Some(1), Some(20), Some(3)), windows(Some(4), Some(5), Some(6)));
        let expected = pb::Key { tags: texts(&["x"]), rate_limits: merged, ..key.clone() };
        assert_eq!(lasting(after), lasting(expected));
    }
    // As it was read, but for what is to change: output-only fields do not count.
    let read = get(&app, key.key_id).await;
    let renamed = pb::Key { display_name: "renamed".into(), ..read.clone() };
    let request = pb::UpdateKeyRequest { key: Some(renamed), ..Default::default() };
    let after = updated(&app, request).await;
    assert_eq!(lasting(after), lasting(pb::Key { display_name: "renamed".into(), ..read }));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_star_replaces_everything_that_can_be_changed() {
    let app = App::start().await;
    let (key, _) = app.create(one()).await;
    let key_id = key.key_id;
    let rules =
        |key: pb::Key| pb::Key { models: any(), endpoints: any(), ips: any(), chatbots: any(), ..key };
    let bare = rules(pb::Key { key_id, display_name: "bare".into(), ..Default::default() });
    let after = updated(&app, update(bare.clone(), &["*"])).await;
    let none = limits(windows(None, None, None), windows(None, None, None));
    let mut expected = pb::Key { user_id: 7, rate_limits: none, expire_time: EXPIRE, ..bare };
    (expected.key_prefix, expected.state) = (key.key_prefix.clone(), key.state);
    (expected.create_time, expected.totals) = (key.create_time, key.totals);
    assert_eq!(lasting(after), lasting(expected), "the owner stays where none is given, and the expiry");

    let without_rules = pb::Key { key_id, display_name: "bare".into(), ..Default::default() };
    let status = app.keys().update_key(update(without_rules, &["*"])).await.unwrap_err();
    let rule_fields = ["key.models", "key.endpoints", "key.ips", "key.chatbots"];
    assert_eq!(violated_fields(&status), rule_fields, "a rule that is left out must not become ANY");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_expiry_is_not_changed_and_not_lost_in_silence() {
    let app = App::start().await;
    let (key, _) = app.create(one()).await;
    let later = Some(Timestamp { seconds: 4_100_000_000, nanos: 0 });
    let mask = |paths: &[&str]| (!paths.is_empty()).then(|| FieldMask { paths: texts(paths) });
    let request = |expire_time, paths: &[&str]| {
        let key = pb::Key { expire_time, description: "new".into(), ..key.clone() };
        pb::UpdateKeyRequest { key: Some(key), update_mask: mask(paths), ..Default::default() }
    };
    for paths in [&[][..], &["*"]] {
        let status = app.keys().update_key(request(later, paths)).await.unwrap_err();
        assert_eq!(refused(status.clone()), (Code::InvalidArgument, "INVALID_REQUEST".into()));
        assert_eq!(violated_fields(&status), ["key.expire_time"]);
    }
    // Who picks other fields has not asked for it.
    let after = updated(&app, request(later, &["description"])).await;
    assert_eq!((after.expire_time, after.description.as_str()), (EXPIRE, "new"));
    let whole = pb::Key { expire_time: EXPIRE, tags: Vec::new(), ..after };
    assert_eq!(updated(&app, update(whole, &["*"])).await.expire_time, EXPIRE);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_given_to_another_owner_stands_with_him() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    let disable = pb::DisableOwnerRequest { user_id: 1, ..Default::default() };
    app.keys().disable_owner(disable).await.unwrap();
    assert_eq!(app.reason(&token).await.as_deref(), Some("OWNER_DISABLED"));
    let to = |user_id| update(pb::Key { key_id: key.key_id, user_id, ..Default::default() }, &["user_id"]);
    let checked = pb::UpdateKeyRequest { validate_only: true, ..to(2) };
    assert_eq!(updated(&app, checked).await.state(), pb::key::State::Active, "as it would be");
    assert_eq!(app.reason(&token).await.as_deref(), Some("OWNER_DISABLED"), "and is not");
    assert_eq!(updated(&app, to(2)).await.state(), pb::key::State::Active);
    assert_eq!(app.reason(&token).await, None);
    assert_eq!(updated(&app, to(0)).await.user_id, 0, "named, 0 is the operator");
    assert_eq!(updated(&app, to(1)).await.state(), pb::key::State::OwnerDisabled);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn reserved_scopes_stay_with_the_operator_whichever_way_a_key_changes() {
    let app = App::start().await;
    let reserved = (Code::FailedPrecondition, "RESERVED_SCOPE".to_owned());
    let scopes = texts(&["keystile.read"]);
    let (users, _) = app.create_any().await;
    let service = pb::Key { display_name: "service".into(), scopes: scopes.clone(), ..Default::default() };
    let (operators, _) = app.create(service).await;
    let before = app.database.dump_all().await;
    let granted = pb::Key { key_id: users.key_id, scopes: scopes.clone(), ..Default::default() };
    let moved = pb::Key { key_id: operators.key_id, user_id: 7, ..Default::default() };
    for (key, path) in [(granted.clone(), "scopes"), (moved.clone(), "user_id")] {
        for validate_only in [false, true] {
            let request = pb::UpdateKeyRequest { validate_only, ..update(key.clone(), &[path]) };
            assert_eq!(refused(app.keys().update_key(request).await.unwrap_err()), reserved);
        }
    }
    // A typing error grants nothing for ever: it is refused, but it can be taken from a key that has it from before.
    let mistyped = texts(&["keystile.auth"]);
    let asked = pb::Key { key_id: operators.key_id, scopes: mistyped.clone(), ..Default::default() };
    let status = app.keys().update_key(update(asked, &["scopes"])).await.unwrap_err();
    assert_eq!(refused(status.clone()), (Code::InvalidArgument, "INVALID_REQUEST".into()));
    for word in ["key.scopes[0]", "keystile.authorize", "keystile.read", "keystile.admin"] {
        assert!(status.message().contains(word), "{word}: {}", status.message());
    }
    let grants = Some(pb::Grants { scopes: mistyped, ..Default::default() });
    let removal = pb::RemoveGrantsRequest { key_id: operators.key_id, grants, ..Default::default() };
    app.keys().remove_grants(removal).await.unwrap();
    assert_eq!(app.database.dump_all().await, before);
    let both = updated(&app, update(granted, &["scopes", "user_id"])).await;
    assert_eq!((both.user_id, both.scopes), (0, scopes));
    let given_up = updated(&app, update(moved, &["scopes", "user_id"])).await;
    assert_eq!((given_up.user_id, given_up.scopes), (7, Vec::new()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn validation_alone_changes_nothing() {
    let app = App::start().await;
    let (key, _) = app.create(one()).await;
    let before = app.database.dump_all().await;
    let request = update(pb::Key { key_id: key.key_id, ..other() }, &["display_name", "scopes"]);
    let request = pb::UpdateKeyRequest { validate_only: true, etag: key.etag.clone(), ..request };
    let answer = app.keys().update_key(request.clone()).await.unwrap().into_inner();
    let as_it_would_be = answer.key.unwrap();
    assert_eq!((as_it_would_be.display_name.as_str(), &as_it_would_be.etag), ("other", &key.etag));
    let stale = pb::UpdateKeyRequest { etag: "r1".into(), ..request };
    let status = app.keys().update_key(stale).await.unwrap_err();
    assert_eq!(refused(status), (Code::Aborted, "ETAG_MISMATCH".into()));
    assert_eq!(app.database.dump_all().await, before);
    app.stop().await;
}

/// A change of `key_id` that needs this etag.
async fn change(app: &App, number: usize, key_id: i64, etag: String) -> Result<i64, Status> {
    let mut keys = app.keys();
    match number % 4 {
        0 => {
            let key = pb::Key { key_id, display_name: format!("by {number}"), etag, ..Default::default() };
            let request = update(key, &["display_name"]);
            keys.update_key(request).await.map(|it| it.into_inner().revision)
        }
        1 => {
            let request = pb::RotateKeyRequest { key_id, etag, ..Default::default() };
            keys.rotate_key(request).await.map(|it| it.into_inner().revision)
        }
        2 => {
            let request = pb::ExtendExpirationRequest { key_id, days: 1, etag };
            keys.extend_expiration(request).await.map(|it| it.into_inner().revision)
        }
        _ => {
            let request = pb::DeleteKeyRequest { key_id, etag };
            keys.delete_key(request).await.map(|it| it.into_inner().revision)
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn of_writers_that_have_seen_the_same_exactly_one_wins() {
    let app = std::sync::Arc::new(App::start().await);
    for round in 0..8 {
        let (key, _) = app.create_any().await;
        let mut writers = JoinSet::new();
        for writer in 0..4 {
            let (app, etag, key_id) = (app.clone(), key.etag.clone(), key.key_id);
            writers.spawn(async move { change(&app, round + writer, key_id, etag).await });
        }
        let (won, lost): (Vec<_>, Vec<_>) = writers.join_all().await.into_iter().partition(Result::is_ok);
        assert_eq!(won.len(), 1);
        for status in lost {
            assert_eq!(refused(status.unwrap_err()), (Code::Aborted, "ETAG_MISMATCH".into()));
        }
    }
    std::sync::Arc::into_inner(app).unwrap().stop().await;
}
