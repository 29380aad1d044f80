//! Taking away what time has made useless: deleted keys whose purge time has come, secrets whose grace has
//! ended, ids of requests that have run out.
//!
//! In batches, each a transaction of its own; safe on several replicas at once.

use super::{Admin, AdminError, snapshot};
use crate::policy::KeyId;
use crate::storage::changes::{self, Actor, AuditLine, Change, Subject};
use crate::storage::{Session, StorageError, budgets, keys, purge};

/// At most so many keys a batch: each has a line in both logs, and the revision row is held meanwhile.
const KEYS_A_BATCH: i64 = 100;
/// At most so many other rows a batch.
const ROWS_A_BATCH: i64 = 1_000;

/// What one batch took away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Purged {
    /// Deleted keys.
    pub keys: usize,
    /// Secrets that were rotated away.
    pub secrets: usize,
    /// Ids of requests.
    pub requests: usize,
}

impl Purged {
    /// Whether there was nothing left to take.
    #[must_use]
    pub fn is_empty(self) -> bool {
        self == Self::default()
    }
}

impl Admin {
    /// Takes away one batch of each kind. Purged keys leave a change and a line of the audit log, by
    /// `command/purge`; what else goes has no effect any more, and leaves nothing.
    ///
    /// # Errors
    /// [`AdminError::Store`]; the batch that failed is still there then.
    pub async fn purge_batch(&self) -> Result<Purged, AdminError> {
        let now = self.settings.clock.now();
        let keys = self.store.write("purge.keys", move |session| {
            Box::pin(async move {
                let due = purge::lock_due_keys(session, now, KEYS_A_BATCH).await?;
                let mut lines = Vec::with_capacity(due.len());
                for key_id in &due {
                    let line = line(session, *key_id, now).await?;
                    lines.push(Change {
                        subject: Subject::Key(*key_id),
                        budget: None,
                        adds_tokens: false,
                        line,
                    });
                }
                if !due.is_empty() {
                    purge::delete_keys(session, &due).await?;
                    changes::record_many(session, &Actor::command("purge"), lines).await?;
                }
                Ok::<_, AdminError>(due.len())
            })
        });
        let keys = keys.await?;
        let secrets = self.store.write::<_, StorageError, _>("purge.secrets", move |session| {
            Box::pin(async move { purge::delete_ended_secrets(session, now, ROWS_A_BATCH).await })
        });
        let secrets = secrets.await?;
        let requests = self.store.write::<_, StorageError, _>("purge.requests", move |session| {
            Box::pin(async move { purge::delete_ended_requests(session, now, ROWS_A_BATCH).await })
        });
        Ok(Purged { keys, secrets, requests: requests.await? })
    }
}

async fn line(
    session: &mut Session,
    key_id: KeyId,
    now: chrono::DateTime<chrono::Utc>,
) -> Result<AuditLine, StorageError> {
    let before = match keys::get(session, key_id).await {
        Ok(Some(key)) => {
            let budgets = budgets::of(session, Some(key_id), None, now).await?;
            Some(snapshot::key(&key, &budgets))
        }
        Ok(None) => None,
        // It must not keep the others from going.
        Err(error @ StorageError::Corrupt { .. }) => {
            tracing::warn!(key.id = key_id.get(), error = %error, "a key is purged that cannot be read");
            None
        }
        Err(error) => return Err(error),
    };
    Ok(AuditLine { action: "keys.purge", before, after: None })
}
