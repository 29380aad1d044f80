//! LookupKey: the key of a token that was found somewhere.

use chrono::{DateTime, TimeDelta, Utc};
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use prost_types::Duration;
use tonic::{Code, Status};

use crate::harness::{App, new_token, status_reason};
use crate::look_alikes;

async fn lookup(app: &App, token: impl Into<prost::bytes::Bytes>) -> Result<pb::Key, Status> {
    let request = pb::LookupKeyRequest { token: token.into() };
    Ok(app.keys().lookup_key(request).await?.into_inner().key.unwrap())
}

async fn assert_unknown(app: &App, token: impl Into<prost::bytes::Bytes>) {
    let status = lookup(app, token).await.unwrap_err();
    assert_eq!((status.code(), status_reason(&status)), (Code::NotFound, "TOKEN_UNKNOWN".to_owned()));
    assert_eq!(
        status.message(),
        "no key has this token",
        "one answer for all, and nothing of the token in it"
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn a_token_leads_to_its_key_whatever_state_that_is_in() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    let (key_id, before) = (key.key_id, app.database.dump_all().await);
    assert_eq!(lookup(&app, token.clone()).await.unwrap(), key, "as GetKey shows it");
    let reader = app.service_token("keystile.read").await;
    let request = pb::LookupKeyRequest { token: token.clone().into() };
    app.keys_as(Some(&reader)).lookup_key(request).await.unwrap();
    let own = lookup(&app, reader).await.unwrap();
    assert_eq!(own.scopes, ["keystile.read"]);
    let after = app.database.dump_all().await;
    assert!(before.iter().filter(|line| line.starts_with("key_usage")).all(|line| after.contains(line)));
    assert_eq!(
        app.database.number("SELECT count(*) FROM key_usage WHERE authorized_count > 0").await,
        0,
        "it counts no use"
    );

    app.keys().revoke_key(pb::RevokeKeyRequest { key_id, ..Default::default() }).await.unwrap();
    assert_eq!(lookup(&app, token.clone()).await.unwrap().state(), pb::key::State::Revoked);
    app.keys().delete_key(pb::DeleteKeyRequest { key_id, ..Default::default() }).await.unwrap();
    assert_eq!(lookup(&app, token).await.unwrap().state(), pb::key::State::Deleted);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn the_token_before_is_known_for_its_grace() {
    let clock = ManualClock::new(DateTime::<Utc>::from_timestamp(1_900_000_000, 0).unwrap());
    let app = App::builder().clock(Clock::Manual(clock.clone())).start().await;
    let (key, old) = app.create_any().await;
    let grace_period = Some(Duration { seconds: 60, nanos: 0 });
    let rotate = pb::RotateKeyRequest { key_id: key.key_id, grace_period, ..Default::default() };
    let rotated = app.keys().rotate_key(rotate).await.unwrap().into_inner();
    assert_eq!(lookup(&app, old.clone()).await.unwrap(), rotated.key.clone().unwrap());
    clock.advance(TimeDelta::seconds(60));
    assert_unknown(&app, old).await;
    assert_eq!(lookup(&app, rotated.token).await.unwrap().key_id, key.key_id);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_imported_token_is_proven_and_nothing_is_written() {
    let app = App::start().await;
    let token = "sk-older-0001-abcdefghijkl";
    let hash = bcrypt::hash(token, 4).unwrap();
    app.database
        .sql(&format!(
            "INSERT INTO api_keys (key_id, user_id, display_name, description, tags, metadata, permissions, \
                 scopes, observe, revision, created_at, updated_at) \
             VALUES (101, 1, 'imported', '', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', 0, now(), now()); \
             INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
             VALUES (101, true, 'sk-older', '{hash}', true, now())"
        ))
        .await;
    let before = app.database.dump_all().await;
    assert_eq!(lookup(&app, token).await.unwrap().key_id, 101);
    assert_unknown(&app, "sk-older-0002-abcdefghijkl").await;
    assert_eq!(app.database.dump_all().await, before);
    assert_eq!(app.reason(token).await, None);
    assert_eq!(lookup(&app, token).await.unwrap().key_id, 101, "and by its digest");
    assert_unknown(&app, "sk-older-0002-abcdefghijkl").await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn any_other_bytes_are_no_keys_token() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    for wrong in [
        String::new(),
        new_token(),
        key.key_prefix,
        look_alikes::broken_checksum(&token),
        look_alikes::other_secret(&token),
        format!("{token}\n"),
        "x".repeat(1 << 20),
    ] {
        assert_unknown(&app, wrong).await;
    }
    assert_unknown(&app, vec![0xff; 32]).await;
    assert_unknown(&app, vec![0; 32]).await;
    app.stop().await;
}
