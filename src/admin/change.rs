//! How a key is changed: locked, compared with what the caller has seen, changed, logged.

use chrono::{DateTime, Utc};

use super::read::{KeyView, finish, view};
use super::{Admin, AdminError, Changed, Etag};
use crate::policy::{Key, KeyId};
use crate::storage::changes::Actor;
use crate::storage::keys;

impl Admin {
    /// Changes a key that is not deleted. A change that finds everything as it wants it changes nothing.
    ///
    /// # Errors
    /// Those of `change`; [`AdminError::KeyNotFound`], [`AdminError::KeyDeleted`],
    /// [`AdminError::EtagMismatch`], [`AdminError::Store`].
    pub(super) async fn change_key(
        &self,
        actor: Actor,
        action: &'static str,
        key_id: KeyId,
        etag: Option<Etag>,
        change: impl FnOnce(&mut Key, DateTime<Utc>) -> Result<(), AdminError> + Send + 'static,
    ) -> Result<Changed<KeyView>, AdminError> {
        let now = self.settings.clock.now();
        self.store
            .write(action, move |session| {
                Box::pin(async move {
                    let before = keys::lock(session, key_id).await?;
                    let before = before.ok_or(AdminError::KeyNotFound(key_id))?;
                    Etag::check(etag.as_ref(), before.revision)?;
                    if before.policy.deleted {
                        return Err(AdminError::KeyDeleted(key_id));
                    }
                    let mut after = before.clone();
                    change(&mut after, now)?;
                    if after == before {
                        let revision = before.revision;
                        return Ok(Changed { resource: view(session, before, now).await?, revision });
                    }
                    after.update_time = now;
                    keys::update(session, &after).await?;
                    finish(session, &actor, action, Some(&before), key_id, now).await
                })
            })
            .await
    }
}
