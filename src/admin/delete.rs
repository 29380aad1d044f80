//! Deleting keys, and restoring them until they are purged.
//!
//! A deleted key keeps everything: restored, it is what it was, revoked or expired where it was that.

use chrono::{DateTime, TimeDelta, Utc};

use super::change::KeyChange;
use super::{Admin, AdminError, Changed, Etag, KeyView};
use crate::policy::{Key, KeyId};
use crate::storage::changes::Actor;

/// How long a deleted key can be restored.
pub const PURGE_AFTER: TimeDelta = TimeDelta::days(30);

impl Admin {
    /// Deletes a key. Deleting a deleted key keeps its first times.
    ///
    /// # Errors
    /// [`AdminError::KeyNotFound`], [`AdminError::EtagMismatch`], [`AdminError::Store`].
    pub async fn delete_key(
        &self,
        actor: Actor,
        key_id: KeyId,
        etag: Option<Etag>,
    ) -> Result<Changed<KeyView>, AdminError> {
        let change = |key: &mut Key, now: DateTime<Utc>| {
            if !key.policy.deleted {
                key.policy.deleted = true;
                key.delete_time = Some(now);
                let purge_time = now.checked_add_signed(PURGE_AFTER);
                key.purge_time = Some(purge_time.unwrap_or(DateTime::<Utc>::MAX_UTC));
            }
            Ok(())
        };
        let request = KeyChange { actor, action: "keys.delete", key_id, etag, validate_only: false };
        self.change_any_key(request, change).await
    }

    /// Restores a deleted key. One that is not deleted stays as it is.
    ///
    /// # Errors
    /// [`AdminError::PurgeDue`] from the purge time on, whether or not the purge has come by;
    /// [`AdminError::KeyNotFound`], [`AdminError::EtagMismatch`], [`AdminError::Store`].
    pub async fn undelete_key(
        &self,
        actor: Actor,
        key_id: KeyId,
        etag: Option<Etag>,
    ) -> Result<Changed<KeyView>, AdminError> {
        let change = |key: &mut Key, now: DateTime<Utc>| {
            if key.purge_time.is_some_and(|purge_time| purge_time <= now) {
                return Err(AdminError::PurgeDue(key.key_id));
            }
            key.policy.deleted = false;
            key.delete_time = None;
            key.purge_time = None;
            Ok(())
        };
        let request = KeyChange { actor, action: "keys.undelete", key_id, etag, validate_only: false };
        self.change_any_key(request, change).await
    }
}
