//! Revoking keys, and letting them work again.

use super::{Admin, AdminError, Changed, Etag, KeyView};
use crate::policy::{Description, Key, KeyId};
use crate::storage::changes::Actor;

impl Admin {
    /// Stops a key. Revoking a revoked key keeps its first reason and time.
    ///
    /// # Errors
    /// [`AdminError::KeyNotFound`], [`AdminError::KeyDeleted`], [`AdminError::EtagMismatch`],
    /// [`AdminError::Store`].
    pub async fn revoke_key(
        &self,
        actor: Actor,
        key_id: KeyId,
        reason: Description,
        etag: Option<Etag>,
    ) -> Result<Changed<KeyView>, AdminError> {
        let change = move |key: &mut Key, now| {
            if !key.policy.revoked {
                key.policy.revoked = true;
                key.revoke_time = Some(now);
                key.revoke_reason = reason;
            }
            Ok(())
        };
        self.change_key(actor, "keys.revoke", key_id, etag, change).await
    }

    /// Lets a revoked key work again; time and reason of its revocation are forgotten (the audit log keeps
    /// them). A key that is not revoked stays as it is.
    ///
    /// # Errors
    /// [`AdminError::KeyNotFound`], [`AdminError::KeyDeleted`], [`AdminError::EtagMismatch`],
    /// [`AdminError::Store`].
    pub async fn reactivate_key(
        &self,
        actor: Actor,
        key_id: KeyId,
        etag: Option<Etag>,
    ) -> Result<Changed<KeyView>, AdminError> {
        let change = |key: &mut Key, _| {
            key.policy.revoked = false;
            key.revoke_time = None;
            key.revoke_reason = Description::default();
            Ok(())
        };
        self.change_key(actor, "keys.reactivate", key_id, etag, change).await
    }
}
