//! Revoking keys.

use super::read::{KeyView, finish, view};
use super::{Admin, AdminError, Changed, Etag};
use crate::policy::{Description, KeyId};
use crate::storage::changes::Actor;
use crate::storage::keys;

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
        let now = self.settings.clock.now();
        self.store
            .write("keys.revoke", move |session| {
                Box::pin(async move {
                    let before = keys::lock(session, key_id).await?;
                    let before = before.ok_or(AdminError::KeyNotFound(key_id))?;
                    Etag::check(etag.as_ref(), before.revision)?;
                    if before.policy.deleted {
                        return Err(AdminError::KeyDeleted(key_id));
                    }
                    if before.policy.revoked {
                        let revision = before.revision;
                        return Ok(Changed { resource: view(session, before, now).await?, revision });
                    }
                    let mut after = before.clone();
                    after.revoke_time = Some(now);
                    after.revoke_reason = reason;
                    after.update_time = now;
                    keys::update(session, &after).await?;
                    finish(session, &actor, "keys.revoke", Some(&before), key_id, now).await
                })
            })
            .await
    }
}
