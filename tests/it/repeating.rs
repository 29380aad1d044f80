//! `request_id`: what is repeated is done once.

use chrono::{DateTime, TimeDelta, Utc};
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use tokio::task::JoinSet;
use tonic::{Code, Status};
use uuid::Uuid;

use crate::harness::{App, status_reason};

fn create(request_id: &str, name: &str) -> pb::CreateKeyRequest {
    let key = pb::Key { user_id: 1, display_name: name.into(), ..Default::default() };
    pb::CreateKeyRequest { key: Some(key), request_id: request_id.into(), ..Default::default() }
}

fn new_id() -> String {
    Uuid::new_v4().to_string()
}

async fn created(app: &App, request: pb::CreateKeyRequest) -> pb::CreateKeyResponse {
    app.keys().create_key(request).await.unwrap().into_inner()
}

fn assert_reused(status: Status) {
    assert_eq!((status.code(), status_reason(&status)), (Code::AlreadyExists, "REQUEST_ID_REUSED".into()));
}

async fn keys_of_user_1(app: &App) -> i64 {
    app.database.number("SELECT count(*) FROM api_keys WHERE user_id = 1").await
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_creation_answers_with_the_key_as_it_is_then_and_no_token() {
    let app = App::start().await;
    let id = new_id();
    let first = created(&app, create(&id, "one")).await;
    let key = first.key.clone().unwrap();
    let before = app.database.dump_all().await;
    let again = created(&app, create(&id.to_uppercase(), "one")).await;
    assert_eq!((again.key.as_ref(), again.revision), (Some(&key), first.revision));
    assert_eq!(again.token, "");
    assert!(again.propagation.unwrap().complete);
    assert_eq!(app.database.dump_all().await, before);

    let revoke = pb::RevokeKeyRequest { key_id: key.key_id, ..Default::default() };
    let revoked = app.keys().revoke_key(revoke).await.unwrap().into_inner();
    let again = created(&app, create(&id, "one")).await;
    assert_eq!((again.key, again.revision), (revoked.key, revoked.revision));
    assert_reused(app.keys().create_key(create(&id, "two")).await.unwrap_err());
    assert_eq!(keys_of_user_1(&app).await, 1);
    let stored = app.database.dump("idempotent_requests").await.join("\n");
    assert!(!stored.contains(&first.token) && !stored.contains("one"), "only a fingerprint of the request");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_belongs_to_its_caller_and_method() {
    let app = App::start().await;
    let id = new_id();
    let key = created(&app, create(&id, "one")).await.key.unwrap();
    let second_admin = app.service_token("keystile.admin").await;
    let theirs = app.keys_as(Some(&second_admin)).create_key(create(&id, "other")).await.unwrap();
    assert_ne!(theirs.into_inner().key.unwrap().key_id, key.key_id);
    let rotate = pb::RotateKeyRequest { key_id: key.key_id, request_id: id, ..Default::default() };
    let rotated = app.keys().rotate_key(rotate).await.unwrap().into_inner();
    assert_ne!(rotated.token, "");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_failed_or_was_only_validated_leaves_its_id_free() {
    let app = App::start().await;
    let id = new_id();
    let before = app.database.dump_all().await;
    let validated = pb::CreateKeyRequest { validate_only: true, ..create(&id, "one") };
    assert_eq!(created(&app, validated).await.key.unwrap().key_id, 0);
    let rotate = pb::RotateKeyRequest { key_id: 4711, request_id: id.clone(), ..Default::default() };
    let status = app.keys().rotate_key(rotate.clone()).await.unwrap_err();
    assert_eq!(status.code(), Code::NotFound);
    assert_eq!(app.database.dump_all().await, before);
    let key_id = created(&app, create(&id, "one")).await.key.unwrap().key_id;
    let rotate = pb::RotateKeyRequest { key_id, ..rotate };
    assert_ne!(app.keys().rotate_key(rotate).await.unwrap().into_inner().token, "");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_id_is_free_again_after_a_day_and_forgotten_then() {
    let clock = ManualClock::new(DateTime::<Utc>::from_timestamp(1_900_000_000, 0).unwrap());
    let app = App::builder().clock(Clock::Manual(clock.clone())).start().await;
    let (id, other) = (new_id(), new_id());
    let first = created(&app, create(&id, "one")).await.key.unwrap();
    created(&app, create(&other, "other")).await;
    clock.advance(TimeDelta::days(1) - TimeDelta::microseconds(1));
    assert_eq!(created(&app, create(&id, "one")).await.key.unwrap().key_id, first.key_id);
    clock.advance(TimeDelta::microseconds(1));
    let second = created(&app, create(&id, "another")).await;
    assert_ne!(second.token, "", "the row that is not purged yet does not count");
    assert_eq!(created(&app, create(&id, "another")).await.key, second.key);

    let replica = App::builder().database(&app.database).admin_token(&app.admin_token);
    let replica = replica.clock(Clock::Manual(clock)).start().await;
    let left = "SELECT 2 - count(*) FROM idempotent_requests";
    app.database.until(left).await;
    assert_eq!(created(&replica, create(&id, "another")).await.key, second.key, "the newer one is kept");
    replica.stop().await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_repeated_rotation_rotates_once_whatever_it_had_seen() {
    let app = App::start().await;
    let (key, old) = app.create_any().await;
    let (key_id, etag) = (key.key_id, key.etag);
    let rotate = pb::RotateKeyRequest { key_id, etag, request_id: new_id(), ..Default::default() };
    let first = app.keys().rotate_key(rotate.clone()).await.unwrap().into_inner();
    let again = app.keys().rotate_key(rotate.clone()).await.unwrap().into_inner();
    assert_eq!((again.key, again.revision), (first.key, first.revision), "its own etag is of before");
    assert_eq!(again.token, "");
    assert_eq!(app.reason(&first.token).await, None, "and the token of the first works");
    assert_eq!(app.reason(&old).await.as_deref(), Some("KEY_INVALID"));
    let grace_period = Some(prost_types::Duration { seconds: 1, nanos: 0 });
    assert_reused(app.keys().rotate_key(pb::RotateKeyRequest { grace_period, ..rotate }).await.unwrap_err());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn requests_with_one_id_at_once_from_two_replicas_make_one_key() {
    let one = App::start().await;
    let two = App::builder().database(&one.database).admin_token(&one.admin_token).start().await;
    for round in 1..=5 {
        let id = new_id();
        let mut calls = JoinSet::new();
        for call in 0..10 {
            let mut keys = [&one, &two][call % 2].keys();
            let request = create(&id, "one");
            calls.spawn(async move { keys.create_key(request).await.unwrap().into_inner() });
        }
        let answers = calls.join_all().await;
        let first = answers[0].key.as_ref().unwrap();
        assert!(answers.iter().all(|answer| answer.key.as_ref() == Some(first)));
        let tokens: Vec<_> = answers.iter().filter(|answer| !answer.token.is_empty()).collect();
        assert_eq!(tokens.len(), 1, "the secret is shown once");
        assert_eq!(one.reason(&tokens[0].token).await, None);
        assert_eq!(keys_of_user_1(&one).await, round);

        let mut calls = JoinSet::new();
        for call in 0..6 {
            let mut keys = [&one, &two][call % 2].keys();
            let request =
                pb::RotateKeyRequest { key_id: first.key_id, request_id: id.clone(), ..Default::default() };
            calls.spawn(async move { keys.rotate_key(request).await.unwrap().into_inner() });
        }
        let answers = calls.join_all().await;
        let tokens: Vec<_> = answers.iter().filter(|answer| !answer.token.is_empty()).collect();
        assert_eq!(tokens.len(), 1);
        assert!(answers.iter().all(|answer| answer.revision == answers[0].revision));
        assert_eq!(one.reason(&tokens[0].token).await, None);
    }
    two.stop().await;
    one.stop().await;
}
