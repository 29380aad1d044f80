//! The changes of a key that have methods of their own.

use chrono::{DateTime, TimeDelta, Utc};
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use pb::set_expiration_request::Expiration;
use prost_types::Duration;
use serde_json::{Value, json};

use super::{Expected, assert_traced, named};
use crate::harness::App;

#[tokio::test(flavor = "multi_thread")]
async fn every_change_of_where_a_key_stands_leaves_its_lines() {
    let clock = ManualClock::new(DateTime::<Utc>::from_timestamp(1_900_000_000, 0).unwrap());
    let app = App::builder().clock(Clock::Manual(clock.clone())).start().await;
    let mut keys = app.keys();
    let (key, _) = app.create_any().await;
    let (key_id, now, days) = (key.key_id, clock.now(), TimeDelta::days);
    let etag = String::new;
    let traced = async |before: i64, answered: i64, action, field, was: Value, is: Value| {
        let expected = Expected { subject: ("key", key_id), action, field, before: was, after: is };
        assert_traced(&app, before, answered, expected).await
    };

    let new = pb::Key { key_id, display_name: "new".into(), ..Default::default() };
    let update = pb::UpdateKeyRequest { key: Some(new), ..Default::default() };
    let answer = keys.update_key(named("keys.update", update)).await.unwrap().into_inner();
    let at = traced(2, answer.revision, "keys.update", "display_name", json!("any"), json!("new")).await;

    let grace_period = Some(Duration { seconds: 86_400, nanos: 0 });
    let rotate = pb::RotateKeyRequest { key_id, grace_period, ..Default::default() };
    let answer = keys.rotate_key(named("keys.rotate", rotate)).await.unwrap().into_inner();
    let (field, end) = ("previous_token_expire_time", json!(now + days(1)));
    let at = traced(at, answer.revision, "keys.rotate", field, Value::Null, end).await;

    keys.revoke_key(pb::RevokeKeyRequest { key_id, ..Default::default() }).await.unwrap();
    let revoked = app.database.json("SELECT * FROM audit_events WHERE action = 'keys.revoke'").await;
    assert!(revoked[0]["after"][field].is_string(), "the old token's end stays");
    assert_eq!(revoked[0]["before"][field], revoked[0]["after"][field], "and is no part of the change");
    let reactivate = pb::ReactivateKeyRequest { key_id, etag: etag() };
    let answer = keys.reactivate_key(named("keys.reactivate", reactivate)).await.unwrap().into_inner();
    let at = traced(at + 1, answer.revision, "keys.reactivate", "revoke_time", json!(now), Value::Null).await;

    let expiration = Some(Expiration::Days(2));
    let set = pb::SetExpirationRequest { key_id, expiration, etag: etag() };
    let answer = keys.set_expiration(named("keys.set_expiration", set)).await.unwrap().into_inner();
    let (field, two) = ("expire_time", json!(now + days(2)));
    let at = traced(at, answer.revision, "keys.set_expiration", field, Value::Null, two.clone()).await;

    let extend = pb::ExtendExpirationRequest { key_id, days: 3, etag: etag() };
    let answer = keys.extend_expiration(named("keys.extend_expiration", extend)).await.unwrap().into_inner();
    let five = json!(now + days(5));
    let at = traced(at, answer.revision, "keys.extend_expiration", field, two, five.clone()).await;

    let clear = pb::ClearExpirationRequest { key_id, etag: etag() };
    let answer = keys.clear_expiration(named("keys.clear_expiration", clear)).await.unwrap().into_inner();
    let at = traced(at, answer.revision, "keys.clear_expiration", field, five, Value::Null).await;

    let delete = pb::DeleteKeyRequest { key_id, etag: etag() };
    let answer = keys.delete_key(named("keys.delete", delete)).await.unwrap().into_inner();
    let (field, purge) = ("purge_time", json!(now + days(30)));
    let at = traced(at, answer.revision, "keys.delete", field, Value::Null, purge.clone()).await;

    let undelete = pb::UndeleteKeyRequest { key_id, etag: etag() };
    let answer = keys.undelete_key(named("keys.undelete", undelete)).await.unwrap().into_inner();
    traced(at, answer.revision, "keys.undelete", field, purge, Value::Null).await;
    app.stop().await;
}
