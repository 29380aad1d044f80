//! SetExpiration, ExtendExpiration, ClearExpiration.

use chrono::{DateTime, TimeDelta, Utc};
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use pb::set_expiration_request::Expiration;
use prost_types::Timestamp;
use tonic::{Code, Status};

use crate::harness::{App, status_reason};

/// 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

fn timestamp(time: DateTime<Utc>) -> Timestamp {
    Timestamp { seconds: time.timestamp(), nanos: time.timestamp_subsec_nanos().try_into().unwrap() }
}

/// One key by a clock that stands still.
struct Stage {
    app: App,
    clock: ManualClock,
    key_id: i64,
    token: String,
}

impl Stage {
    async fn set() -> Self {
        let clock = ManualClock::new(DateTime::<Utc>::from_timestamp(1_900_000_000, 0).unwrap());
        let app = App::builder().clock(Clock::Manual(clock.clone())).start().await;
        let (key, token) = app.create_any().await;
        Self { app, clock, key_id: key.key_id, token }
    }

    async fn set_to(&self, expiration: Expiration) -> Result<pb::KeyMutationResponse, Status> {
        let (key_id, expiration) = (self.key_id, Some(expiration));
        let request = pb::SetExpirationRequest { key_id, expiration, ..Default::default() };
        Ok(self.app.keys().set_expiration(request).await?.into_inner())
    }

    async fn extend(&self, days: i32) -> Result<pb::KeyMutationResponse, Status> {
        let request = pb::ExtendExpirationRequest { key_id: self.key_id, days, ..Default::default() };
        Ok(self.app.keys().extend_expiration(request).await?.into_inner())
    }

    async fn clear(&self) -> pb::KeyMutationResponse {
        let request = pb::ClearExpirationRequest { key_id: self.key_id, ..Default::default() };
        self.app.keys().clear_expiration(request).await.unwrap().into_inner()
    }

    async fn reason(&self) -> Option<String> {
        self.app.reason(&self.token).await
    }
}

/// Fails unless the key expires then.
fn assert_expires(answer: &pb::KeyMutationResponse, at: DateTime<Utc>) {
    assert_eq!(answer.key.as_ref().unwrap().expire_time, Some(timestamp(at)));
}

#[tokio::test(flavor = "multi_thread")]
async fn an_expiry_is_set_by_instant_or_days_and_cleared() {
    let stage = Stage::set().await;
    let now = stage.clock.now();
    let at = now + TimeDelta::microseconds(1);
    let set = stage.set_to(Expiration::ExpireTime(timestamp(at))).await.unwrap();
    assert_expires(&set, at);
    let again = stage.set_to(Expiration::ExpireTime(timestamp(at))).await.unwrap();
    assert_eq!((again.revision, &again.key), (set.revision, &set.key));
    assert_eq!(stage.reason().await, None);
    stage.clock.set(at);
    assert_eq!(stage.reason().await.as_deref(), Some("KEY_EXPIRED"));

    let cleared = stage.clear().await;
    assert_eq!(cleared.key.as_ref().unwrap().expire_time, None);
    assert_eq!(stage.reason().await, None);
    assert_eq!(stage.clear().await.revision, cleared.revision, "there is nothing to do");

    assert_expires(&stage.set_to(Expiration::Days(1)).await.unwrap(), at + TimeDelta::days(1));
    assert_expires(&stage.set_to(Expiration::Days(3_650)).await.unwrap(), at + TimeDelta::days(3_650));
    stage.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn extending_adds_to_the_later_of_now_and_the_expiry() {
    let stage = Stage::set().await;
    let (now, days) = (stage.clock.now(), TimeDelta::days);
    assert_expires(&stage.extend(3).await.unwrap(), now + days(3));
    assert_expires(&stage.extend(3_650).await.unwrap(), now + days(3_653));
    stage.set_to(Expiration::Days(1)).await.unwrap();
    stage.clock.advance(days(5));
    assert_eq!(stage.reason().await.as_deref(), Some("KEY_EXPIRED"));
    assert_expires(&stage.extend(2).await.unwrap(), now + days(7));
    assert_eq!(stage.reason().await, None, "it is revived");
    stage.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn no_expiry_is_later_than_the_contract_can_say() {
    let stage = Stage::set().await;
    let last = Timestamp { seconds: LAST_SECOND, nanos: 999_999_000 };
    let set = stage.set_to(Expiration::ExpireTime(last)).await.unwrap();
    assert_eq!(set.key.unwrap().expire_time, Some(last));
    let status = stage.extend(1).await.unwrap_err();
    let too_late = (Code::FailedPrecondition, "EXPIRATION_TOO_LATE".to_owned());
    assert_eq!((status.code(), status_reason(&status)), too_late);
    stage.clock.set(DateTime::from_timestamp(LAST_SECOND - 86_400, 0).unwrap());
    stage.set_to(Expiration::Days(1)).await.unwrap();
    let status = stage.set_to(Expiration::Days(2)).await.unwrap_err();
    assert_eq!((status.code(), status_reason(&status)), too_late);
    stage.app.stop().await;
}
