//! RotateKey: the new token, the grace of the old one, and what hits both.

use chrono::{DateTime, TimeDelta, Utc};
use diesel_async::SimpleAsyncConnection as _;
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use prost_types::{Duration, Timestamp};
use tonic::{Code, Status};

use crate::harness::{App, denial, status_reason};

const INVALID: Option<&str> = Some("KEY_INVALID");

fn start() -> ManualClock {
    ManualClock::new(DateTime::<Utc>::from_timestamp(1_900_000_000, 0).unwrap())
}

async fn app(clock: &ManualClock) -> App {
    App::builder().clock(Clock::Manual(clock.clone())).start().await
}

async fn rotate(app: &App, key_id: i64, grace: i64) -> Result<(pb::Key, String), Status> {
    let grace_period = Some(Duration { seconds: grace, nanos: 0 });
    let request = pb::RotateKeyRequest { key_id, grace_period, ..Default::default() };
    let rotated = app.keys().rotate_key(request).await?.into_inner();
    assert!(rotated.propagation.unwrap().complete);
    Ok((rotated.key.unwrap(), rotated.token))
}

async fn reasons(app: &App, tokens: &[&str]) -> Vec<Option<String>> {
    let mut reasons = Vec::new();
    for token in tokens {
        reasons.push(app.reason(token).await);
    }
    reasons
}

#[tokio::test(flavor = "multi_thread")]
async fn the_old_token_works_for_its_grace_and_says_so() {
    let clock = start();
    let app = app(&clock).await;
    let (key, old) = app.create_any().await;
    let (rotated, new) = rotate(&app, key.key_id, 3_600).await.unwrap();
    assert_ne!((&rotated.key_prefix, &rotated.etag), (&key.key_prefix, &key.etag));
    assert!(new.starts_with(&rotated.key_prefix));
    let end = clock.now() + TimeDelta::hours(1);
    assert_eq!(rotated.previous_token_expire_time.unwrap().seconds, end.timestamp());

    for (token, warns) in [(&old, true), (&new, false)] {
        let answer = app.ask(token, pb::AuthorizeRequest::default()).await;
        assert_eq!(denial(&answer), None);
        let in_grace = answer.warnings.iter().any(|it| it.kind() == pb::warning::Kind::OldTokenInGrace);
        assert_eq!(in_grace, warns);
    }
    clock.set(end - TimeDelta::microseconds(1));
    assert_eq!(app.reason(&old).await, None);
    clock.set(end);
    assert_eq!(app.reason(&old).await.as_deref(), INVALID, "the end is exclusive");
    assert_eq!(app.reason(&new).await, None);
    let get = pb::GetKeyRequest { key_id: key.key_id, ..Default::default() };
    let shown = app.keys().get_key(get).await.unwrap().into_inner().key.unwrap();
    assert_eq!(shown.previous_token_expire_time, None);

    let audit = app.database.json("SELECT * FROM audit_events WHERE action = 'keys.rotate'").await;
    assert_eq!(audit.len(), 1);
    assert_eq!(audit[0]["before"]["key_prefix"], key.key_prefix);
    assert_eq!(audit[0]["after"]["key_prefix"], rotated.key_prefix);
    assert!(audit[0]["after"]["previous_token_expire_time"].is_string());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_grace_the_old_token_ends_with_the_answer_and_a_key_never_has_three() {
    let app = App::start().await;
    let (key, first) = app.create_any().await;
    let key_id = key.key_id;
    let (_, second) = rotate(&app, key_id, 86_400).await.unwrap();
    assert_eq!(reasons(&app, &[&first, &second]).await, [None, None]);
    let (_, third) = rotate(&app, key_id, 30 * 86_400).await.unwrap();
    let invalid = INVALID.map(str::to_owned);
    assert_eq!(reasons(&app, &[&first, &second, &third]).await, [invalid.clone(), None, None]);
    let secrets = format!("SELECT count(*) FROM key_secrets WHERE key_id = {key_id}");
    assert_eq!(app.database.number(&secrets).await, 2);

    let (bare, fourth) = rotate(&app, key_id, 0).await.unwrap();
    assert_eq!(bare.previous_token_expire_time, None);
    let tokens = [&*first, &*second, &*third, &*fourth];
    assert_eq!(reasons(&app, &tokens).await, [invalid.clone(), invalid.clone(), invalid, None]);
    assert_eq!(app.database.number(&secrets).await, 1);
    let digests = "SELECT count(*) FROM key_digests JOIN key_secrets USING (secret_id)";
    assert_eq!(app.database.number(&format!("{digests} WHERE key_id = {key_id}")).await, 1);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_stops_a_key_stops_both_tokens() {
    let clock = start();
    let app = app(&clock).await;
    let expire = clock.now() + TimeDelta::hours(2);
    let expire_time = Some(Timestamp { seconds: expire.timestamp(), nanos: 0 });
    let key = pb::Key { user_id: 1, display_name: "both".into(), expire_time, ..Default::default() };
    let (key, old) = app.create(key).await;
    let key_id = key.key_id;
    let (_, new) = rotate(&app, key_id, 86_400).await.unwrap();
    let both = async |expected: Option<&str>| {
        let expected = expected.map(str::to_owned);
        assert_eq!(reasons(&app, &[&old, &new]).await, [expected.clone(), expected]);
    };
    both(None).await;
    app.keys().revoke_key(pb::RevokeKeyRequest { key_id, ..Default::default() }).await.unwrap();
    both(Some("KEY_REVOKED")).await;
    app.keys().reactivate_key(pb::ReactivateKeyRequest { key_id, ..Default::default() }).await.unwrap();
    both(None).await;
    app.keys().delete_key(pb::DeleteKeyRequest { key_id, ..Default::default() }).await.unwrap();
    both(INVALID).await;
    app.keys().undelete_key(pb::UndeleteKeyRequest { key_id, ..Default::default() }).await.unwrap();
    clock.set(expire);
    both(Some("KEY_EXPIRED")).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_stopped_key_gets_another_token_and_stays_stopped_and_a_deleted_one_none() {
    let app = App::start().await;
    let (key, leaked) = app.create_any().await;
    let key_id = key.key_id;
    app.keys().revoke_key(pb::RevokeKeyRequest { key_id, ..Default::default() }).await.unwrap();
    let (rotated, fresh) = rotate(&app, key_id, 0).await.unwrap();
    assert_eq!(rotated.state(), pb::key::State::Revoked);
    assert_eq!(app.reason(&fresh).await.as_deref(), Some("KEY_REVOKED"));
    assert_eq!(app.reason(&leaked).await.as_deref(), INVALID);
    app.keys().reactivate_key(pb::ReactivateKeyRequest { key_id, ..Default::default() }).await.unwrap();
    assert_eq!(app.reason(&fresh).await, None);
    assert_eq!(app.reason(&leaked).await.as_deref(), INVALID, "the leaked one never worked in between");

    app.keys().delete_key(pb::DeleteKeyRequest { key_id, ..Default::default() }).await.unwrap();
    let status = rotate(&app, key_id, 0).await.unwrap_err();
    assert_eq!((status.code(), status_reason(&status)), (Code::FailedPrecondition, "KEY_DELETED".into()));
    app.stop().await;
}

/// Stores an active key of user 1 with a token of an older system.
async fn import(app: &App, key_id: i64, token: &str) {
    let hash = bcrypt::hash(token, 4).unwrap();
    app.database
        .sql(&format!(
            "INSERT INTO api_keys (key_id, user_id, display_name, description, tags, metadata, permissions, \
                 scopes, observe, revision, created_at, updated_at) \
             VALUES ({key_id}, 1, 'imported', '', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', 0, now(), now()); \
             INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
             VALUES ({key_id}, true, '{}', '{hash}', true, now())",
            &token[..8]
        ))
        .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_key_gets_a_token_of_our_own() {
    let app = App::start().await;
    let old = "sk-older-0001-abcdefghijkl";
    import(&app, 101, old).await;
    let (rotated, new) = rotate(&app, 101, 3_600).await.unwrap();
    assert!(rotated.key_prefix.starts_with("ks_") && new.starts_with(&rotated.key_prefix));
    // The old one was never used here: it is proven by bcrypt in its grace.
    assert_eq!(reasons(&app, &[old, &new, old]).await, [None, None, None]);
    assert_eq!(app.running.authorizer().bcrypt_runs(), 1);
    rotate(&app, 101, 0).await.unwrap();
    assert_eq!(app.reason(old).await.as_deref(), INVALID);
    app.stop().await;
}

/// The proof of the old token is done, its digest is not stored yet, and the key is rotated.
#[tokio::test(flavor = "multi_thread")]
async fn a_rotation_during_the_proof_of_the_old_token_ends_it_all_the_same() {
    let app = App::start().await;
    let old = "sk-older-0001-abcdefghijkl";
    import(&app, 101, old).await;
    let mut session = app.database.session().await;
    session.batch_execute("BEGIN; SELECT 1 FROM key_secrets WHERE key_id = 101 FOR UPDATE").await.unwrap();
    let mut client = app.authorize();
    let asked = pb::AuthorizeRequest { token: old.into(), ..Default::default() };
    let proof = tokio::spawn(async move { client.authorize(asked).await.unwrap() });
    app.database.until_blocked().await;
    let mut keys = app.keys();
    let request = pb::RotateKeyRequest { key_id: 101, ..Default::default() };
    let rotation = tokio::spawn(async move { keys.rotate_key(request).await.unwrap().into_inner() });
    let both = "SELECT CASE WHEN count(*) = 2 THEN 1 ELSE 0 END FROM pg_stat_activity \
                WHERE datname = current_database() AND wait_event_type = 'Lock'";
    app.database.until(both).await;
    session.batch_execute("COMMIT").await.unwrap();
    proof.await.unwrap();
    let new = rotation.await.unwrap().token;
    assert_eq!(app.reason(old).await.as_deref(), INVALID);
    assert_eq!(app.reason(&new).await, None);
    assert_eq!(app.database.number("SELECT count(*) FROM key_digests WHERE secret_id > 1").await, 1);
    app.stop().await;
}
