//! When keys expire. Only these change it; an update does not.
//!
//! A revoked or expired key takes a new time as any other: extending an expired key revives it.

use chrono::{DateTime, TimeDelta, Utc};

use super::{Admin, AdminError, Changed, Etag, KeyView};
use crate::policy::{Key, KeyId};
use crate::storage::changes::Actor;

/// A key's life is set or extended by at most so many days at a time.
pub const EXPIRATION_DAYS_MAX: i32 = 3_650;

/// The last second that the contract can say: 9999-12-31T23:59:59Z.
const LAST_SECOND: i64 = 253_402_300_799;

/// When a key is to expire.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiration {
    /// Then.
    At(DateTime<Utc>),
    /// So long from now.
    In(TimeDelta),
}

impl Admin {
    /// Sets when a key expires.
    ///
    /// # Errors
    /// [`AdminError::ExpirationTooLate`], [`AdminError::KeyNotFound`], [`AdminError::KeyDeleted`],
    /// [`AdminError::EtagMismatch`], [`AdminError::Store`].
    pub async fn set_expiration(
        &self,
        actor: Actor,
        key_id: KeyId,
        expiration: Expiration,
        etag: Option<Etag>,
    ) -> Result<Changed<KeyView>, AdminError> {
        let change = move |key: &mut Key, now| {
            key.policy.expire_time = Some(match expiration {
                Expiration::At(time) => time,
                Expiration::In(time) => later(now, time)?,
            });
            Ok(())
        };
        self.change_key(actor, "keys.set_expiration", key_id, etag, change).await
    }

    /// Adds to the later of now and the key's expiry; to now where it has none.
    ///
    /// # Errors
    /// As [`Admin::set_expiration`].
    pub async fn extend_expiration(
        &self,
        actor: Actor,
        key_id: KeyId,
        by: TimeDelta,
        etag: Option<Etag>,
    ) -> Result<Changed<KeyView>, AdminError> {
        let change = move |key: &mut Key, now: DateTime<Utc>| {
            let from = key.policy.expire_time.map_or(now, |expire_time| expire_time.max(now));
            key.policy.expire_time = Some(later(from, by)?);
            Ok(())
        };
        self.change_key(actor, "keys.extend_expiration", key_id, etag, change).await
    }

    /// Lets a key live without end.
    ///
    /// # Errors
    /// [`AdminError::KeyNotFound`], [`AdminError::KeyDeleted`], [`AdminError::EtagMismatch`],
    /// [`AdminError::Store`].
    pub async fn clear_expiration(
        &self,
        actor: Actor,
        key_id: KeyId,
        etag: Option<Etag>,
    ) -> Result<Changed<KeyView>, AdminError> {
        let change = |key: &mut Key, _| {
            key.policy.expire_time = None;
            Ok(())
        };
        self.change_key(actor, "keys.clear_expiration", key_id, etag, change).await
    }
}

fn later(from: DateTime<Utc>, by: TimeDelta) -> Result<DateTime<Utc>, AdminError> {
    from.checked_add_signed(by)
        .filter(|time| time.timestamp() <= LAST_SECOND)
        .ok_or(AdminError::ExpirationTooLate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn no_expiry_is_later_than_the_contract_can_say() {
        let last = DateTime::<Utc>::from_timestamp(LAST_SECOND, 999_999_000).unwrap();
        let day = TimeDelta::days(1);
        assert_eq!(later(last - day, day).unwrap(), last);
        assert!(matches!(later(last, TimeDelta::microseconds(1)), Err(AdminError::ExpirationTooLate)));
        let end = DateTime::<Utc>::MAX_UTC;
        assert!(matches!(later(end, day), Err(AdminError::ExpirationTooLate)), "and nothing overflows");
    }
}
