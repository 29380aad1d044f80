//! ReactivateKey, DeleteKey, UndeleteKey, and the purge.

use chrono::{DateTime, TimeDelta, Utc};
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use prost_types::{Duration, FieldMask};
use tonic::{Code, Status};

use crate::harness::{App, eventually, status_reason};

const MONTH: TimeDelta = TimeDelta::days(30);

fn start() -> ManualClock {
    ManualClock::new(DateTime::<Utc>::from_timestamp(1_900_000_000, 0).unwrap())
}

async fn app(clock: &ManualClock) -> App {
    App::builder().clock(Clock::Manual(clock.clone())).start().await
}

async fn delete(app: &App, key_id: i64) -> pb::KeyMutationResponse {
    let request = pb::DeleteKeyRequest { key_id, ..Default::default() };
    app.keys().delete_key(request).await.unwrap().into_inner()
}

async fn undelete(app: &App, key_id: i64) -> Result<pb::KeyMutationResponse, Status> {
    let request = pb::UndeleteKeyRequest { key_id, ..Default::default() };
    Ok(app.keys().undelete_key(request).await?.into_inner())
}

fn refused(status: Status) -> (Code, String) {
    (status.code(), status_reason(&status))
}

fn lasting(key: pb::Key) -> pb::Key {
    pb::Key { etag: String::new(), update_time: None, ..key }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_reactivated_key_works_again_and_forgets_why_it_did_not() {
    let app = App::start().await;
    let (key, token) = app.create_any().await;
    let key_id = key.key_id;
    let reactivate = pb::ReactivateKeyRequest { key_id, ..Default::default() };
    let idle = app.keys().reactivate_key(reactivate.clone()).await.unwrap().into_inner();
    assert_eq!(idle.key, Some(key.clone()), "there is nothing to do");
    let revoke = pb::RevokeKeyRequest { key_id, reason: "leaked".into(), ..Default::default() };
    app.keys().revoke_key(revoke).await.unwrap();
    let back = app.keys().reactivate_key(reactivate.clone()).await.unwrap().into_inner();
    assert_eq!(lasting(back.key.clone().unwrap()), lasting(key), "as it was before");
    assert_eq!(app.reason(&token).await, None);
    let again = app.keys().reactivate_key(reactivate).await.unwrap().into_inner();
    assert_eq!((again.key, again.revision), (back.key, back.revision));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_is_nobodys_and_can_be_restored_as_it_was() {
    let clock = start();
    let app = app(&clock).await;
    let (key, token) = app.create_any().await;
    let key_id = key.key_id;
    let deleted = delete(&app, key_id).await;
    assert_eq!(app.reason(&token).await.as_deref(), Some("KEY_INVALID"));
    let shown = deleted.key.clone().unwrap();
    assert_eq!(shown.state(), pb::key::State::Deleted);
    assert_eq!(shown.delete_time.unwrap().seconds, clock.now().timestamp());
    assert_eq!(shown.purge_time.unwrap().seconds, (clock.now() + MONTH).timestamp());
    clock.advance(TimeDelta::days(1));
    let again = delete(&app, key_id).await;
    assert_eq!((again.key, again.revision), (deleted.key, deleted.revision), "the first times stay");

    let listed = async |states: Vec<i32>| {
        let filter = Some(pb::list_keys_request::Filter { user_id: Some(1), states, ..Default::default() });
        let list = pb::ListKeysRequest { filter, ..Default::default() };
        app.keys().list_keys(list).await.unwrap().into_inner().keys.len()
    };
    assert_eq!(listed(Vec::new()).await, 0);
    assert_eq!(listed(vec![pb::key::State::Deleted.into()]).await, 1);

    let restored = undelete(&app, key_id).await.unwrap();
    assert_eq!(lasting(restored.key.clone().unwrap()), lasting(key));
    assert_eq!(app.reason(&token).await, None);
    let again = undelete(&app, key_id).await.unwrap();
    assert_eq!((again.key, again.revision), (restored.key, restored.revision));

    app.keys().revoke_key(pb::RevokeKeyRequest { key_id, ..Default::default() }).await.unwrap();
    delete(&app, key_id).await;
    assert_eq!(undelete(&app, key_id).await.unwrap().key.unwrap().state(), pb::key::State::Revoked);
    assert_eq!(app.reason(&token).await.as_deref(), Some("KEY_REVOKED"));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deleted_key_takes_no_other_change() {
    let app = App::start().await;
    let (key, _) = app.create_any().await;
    let key_id = key.key_id;
    delete(&app, key_id).await;
    let before = app.database.dump_all().await;
    let mut keys = app.keys();
    let named = pb::Key { key_id, display_name: "new".into(), ..Default::default() };
    let update_mask = Some(FieldMask { paths: vec!["display_name".into()] });
    let update = pb::UpdateKeyRequest { key: Some(named), update_mask, ..Default::default() };
    let days = Some(pb::set_expiration_request::Expiration::Days(1));
    let grants = Some(pb::Grants { tags: vec!["a".into()], ..Default::default() });
    let etag = String::new;
    let outcomes = [
        keys.update_key(update).await.map(drop),
        keys.rotate_key(pb::RotateKeyRequest { key_id, ..Default::default() }).await.map(drop),
        keys.revoke_key(pb::RevokeKeyRequest { key_id, ..Default::default() }).await.map(drop),
        keys.reactivate_key(pb::ReactivateKeyRequest { key_id, etag: etag() }).await.map(drop),
        keys.set_expiration(pb::SetExpirationRequest { key_id, expiration: days, etag: etag() })
            .await
            .map(drop),
        keys.extend_expiration(pb::ExtendExpirationRequest { key_id, days: 1, etag: etag() }).await.map(drop),
        keys.clear_expiration(pb::ClearExpirationRequest { key_id, etag: etag() }).await.map(drop),
        keys.add_grants(pb::AddGrantsRequest { key_id, grants: grants.clone(), etag: etag() })
            .await
            .map(drop),
        keys.remove_grants(pb::RemoveGrantsRequest { key_id, grants, etag: etag() }).await.map(drop),
    ];
    for outcome in outcomes {
        assert_eq!(refused(outcome.unwrap_err()), (Code::FailedPrecondition, "KEY_DELETED".into()));
    }
    assert_eq!(app.database.dump_all().await, before);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn restoring_ends_at_the_purge_time_whether_or_not_the_purge_has_come_by() {
    let clock = start();
    let app = app(&clock).await;
    let (key, _) = app.create_any().await;
    let deleted_at = clock.now();
    delete(&app, key.key_id).await;
    clock.set(deleted_at + MONTH - TimeDelta::microseconds(1));
    undelete(&app, key.key_id).await.unwrap();
    delete(&app, key.key_id).await;
    clock.advance(MONTH);
    let status = undelete(&app, key.key_id).await.unwrap_err();
    assert_eq!(refused(status), (Code::FailedPrecondition, "KEY_PURGE_DUE".into()));
    let get = pb::GetKeyRequest { key_id: key.key_id, ..Default::default() };
    let shown = app.keys().get_key(get).await.unwrap().into_inner().key.unwrap();
    assert_eq!(shown.state(), pb::key::State::Deleted, "it is still there");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_key_is_purged_at_its_time_with_all_that_is_its_but_its_usage() {
    let clock = start();
    let app = app(&clock).await;
    let budget =
        pb::Budget { limit_micros: Some(1), period: pb::budget::Period::Total.into(), ..Default::default() };
    let key = pb::Key { user_id: 1, display_name: "to go".into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), budgets: vec![budget], ..Default::default() };
    let created = app.keys().create_key(create).await.unwrap().into_inner();
    let (used, token) = (created.key.unwrap().key_id, created.token);
    let (unused, kept) = (app.create_any().await.0.key_id, app.create_any().await.0.key_id);
    assert_eq!(app.reason(&token).await, None);
    let grace_period = Some(Duration { seconds: 30 * 86_400, nanos: 0 });
    let rotate = pb::RotateKeyRequest { key_id: used, grace_period, ..Default::default() };
    let new = app.keys().rotate_key(rotate).await.unwrap().into_inner().token;
    let counted = "SELECT authorized_count FROM key_usage WHERE key_id = ";
    app.database.until(&format!("SELECT coalesce(({counted}{used}), 0)")).await;
    delete(&app, used).await;
    clock.advance(TimeDelta::microseconds(1));
    delete(&app, unused).await;

    // A service purges when it starts.
    clock.advance(MONTH - TimeDelta::microseconds(1));
    let replica = App::builder().database(&app.database).admin_token(&app.admin_token);
    let replica = replica.clock(Clock::Manual(clock.clone())).start().await;
    let exists = |key_id| format!("SELECT count(*) FROM api_keys WHERE key_id = {key_id}");
    let gone = async |key_id| app.database.number(&exists(key_id)).await == 0;
    eventually("the first is purged", async || gone(used).await).await;
    assert!(!gone(unused).await, "a microsecond early");
    replica.stop().await;
    clock.advance(TimeDelta::microseconds(1));
    let replica = App::builder().database(&app.database).admin_token(&app.admin_token);
    let replica = replica.clock(Clock::Manual(clock.clone())).start().await;
    eventually("the second is purged", async || gone(unused).await).await;
    replica.stop().await;

    assert!(!gone(kept).await);
    for left in ["budgets", "key_secrets"] {
        let rows = format!("SELECT count(*) FROM {left} WHERE key_id IN ({used}, {unused})");
        assert_eq!(app.database.number(&rows).await, 0, "{left}");
    }
    assert_eq!(app.database.number(&format!("{counted}{used}")).await, 1, "its usage stays");
    assert_eq!(app.database.number(&format!("{counted}{unused}")).await, 0, "and tells that the id is spent");
    for token in [&token, &new] {
        assert_eq!(app.reason(token).await.as_deref(), Some("KEY_INVALID"));
    }
    let status = undelete(&app, used).await.unwrap_err();
    assert_eq!(refused(status), (Code::NotFound, "KEY_NOT_FOUND".into()));
    let lines = app.database.json("SELECT * FROM audit_events WHERE action = 'keys.purge' ORDER BY 1").await;
    assert_eq!(lines.len(), 2);
    assert_eq!((&lines[0]["actor"], &lines[0]["after"]), (&"command/purge".into(), &serde_json::Value::Null));
    assert_eq!(lines[0]["resource"], format!("keys/{used}"));
    assert_eq!(lines[0]["before"]["budgets"].as_array().unwrap().len(), 1);
    let change = format!("SELECT max(revision) FROM change_log WHERE subject_id = {unused}");
    assert_eq!(app.database.number(&change).await, lines[1]["revision"].as_i64().unwrap());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_purge_at_once_share_the_work() {
    let clock = start();
    let app = app(&clock).await;
    // More than two batches.
    let many = "INSERT INTO api_keys (user_id, display_name, description, tags, metadata, permissions, scopes, \
                    observe, revision, created_at, updated_at, deleted_at, purge_at) \
                SELECT 7, 'due', '', '{}', '{}', '{}', '{}', '{}', 0, now(), now(), '2020-01-01', '2020-02-01' \
                FROM generate_series(1, 250)";
    app.database.sql(many).await;
    let before = app.database.number("SELECT revision FROM revision_counter").await;
    let start = async || {
        let replica = App::builder().database(&app.database).admin_token(&app.admin_token);
        replica.clock(Clock::Manual(clock.clone())).start().await
    };
    let (one, two, three) = tokio::join!(start(), start(), start());
    let left = "SELECT count(*) FROM api_keys WHERE user_id = 7";
    eventually("all are purged", async || app.database.number(left).await == 0).await;
    for replica in [one, two, three] {
        replica.stop().await;
    }
    let lines = "SELECT count(DISTINCT resource) FROM audit_events WHERE action = 'keys.purge'";
    assert_eq!(app.database.number(lines).await, 250);
    let head = app.database.number("SELECT revision FROM revision_counter").await;
    assert_eq!(head, before + 250, "each once");
    app.stop().await;
}
