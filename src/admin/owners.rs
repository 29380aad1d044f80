//! Disabling and enabling owners.

use super::{Admin, AdminError, Changed, Etag, snapshot};
use crate::policy::{Owner, UserId};
use crate::storage::changes::{self, Actor, AuditLine, Subject};
use crate::storage::{StorageError, owners};

/// An owner with everything that is shown of it.
#[derive(Clone, Debug)]
pub struct OwnerView {
    /// The owner.
    pub owner: Owner,
    /// Keys that are not deleted.
    pub key_count: i64,
}

/// Ends a transaction that leaves nothing behind, not even the row that locking an owner makes.
enum RolledBack {
    Unchanged(Box<Changed<OwnerView>>),
    Failed(AdminError),
}

impl From<AdminError> for RolledBack {
    fn from(error: AdminError) -> Self {
        Self::Failed(error)
    }
}

impl From<StorageError> for RolledBack {
    fn from(error: StorageError) -> Self {
        Self::Failed(error.into())
    }
}

impl Admin {
    /// Stops all keys of an owner, or lets them work again. Doing so twice changes nothing, and keeps the
    /// first time.
    ///
    /// # Errors
    /// [`AdminError::OperatorOwner`], [`AdminError::EtagMismatch`], [`AdminError::Store`].
    pub async fn set_owner_disabled(
        &self,
        actor: Actor,
        user_id: UserId,
        disabled: bool,
        etag: Option<Etag>,
    ) -> Result<Changed<OwnerView>, AdminError> {
        if user_id == UserId::OPERATOR {
            return Err(AdminError::OperatorOwner);
        }
        let now = self.settings.clock.now();
        let written = self
            .store
            .write("owners.set_disabled", move |session| {
                Box::pin(async move {
                    let before = owners::lock(session, user_id, now).await?;
                    Etag::check(etag.as_ref(), before.revision)?;
                    let key_count = owners::key_count(session, user_id).await?;
                    if before.disable_time.is_some() == disabled {
                        let revision = before.revision;
                        let unchanged =
                            Changed { resource: OwnerView { owner: before, key_count }, revision };
                        return Err(RolledBack::Unchanged(Box::new(unchanged)));
                    }
                    let disable_time = disabled.then_some(now);
                    let mut owner = Owner { disable_time, update_time: now, ..before.clone() };
                    owners::set_disabled(session, user_id, disable_time, now).await?;
                    let line = AuditLine {
                        action: if disabled { "owners.disable" } else { "owners.enable" },
                        before: Some(snapshot::owner(&before)),
                        after: Some(snapshot::owner(&owner)),
                    };
                    let revision = changes::record(session, &actor, Subject::Owner(user_id), line).await?;
                    owners::stamp(session, user_id, revision).await?;
                    owner.revision = revision;
                    Ok(Changed { resource: OwnerView { owner, key_count }, revision })
                })
            })
            .await;
        match written {
            Ok(changed) => Ok(changed),
            Err(RolledBack::Unchanged(unchanged)) => Ok(*unchanged),
            Err(RolledBack::Failed(error)) => Err(error),
        }
    }
}
