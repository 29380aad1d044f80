//! Disabling the owners that are inactive in the older system; none is ever enabled.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use crate::admin::snapshot;
use crate::policy::{Owner, Revision, UserId};
use crate::storage::changes::{self, Actor, AuditLine, Change, Stamp, Subject};
use crate::storage::{Session, StorageError, owners};

/// An owner that was disabled and not logged yet.
pub(super) struct Disabled {
    pub(super) user_id: UserId,
    line: AuditLine,
}

impl Disabled {
    pub(super) fn into_change(self) -> Change {
        Change { subject: Subject::Owner(self.user_id), budget: None, adds_tokens: false, line: self.line }
    }
}

/// Disables owners, lowest first; answers those that were not disabled already. To be logged and stamped.
pub(super) async fn disable(
    session: &mut Session,
    users: &BTreeSet<UserId>,
    now: DateTime<Utc>,
) -> Result<Vec<Disabled>, StorageError> {
    let mut disabled = Vec::new();
    for user_id in users {
        let before = owners::lock(session, *user_id, now).await?;
        if before.disable_time.is_none() {
            disabled.push(disable_locked(session, before, now).await?);
        }
    }
    Ok(disabled)
}

async fn disable_locked(
    session: &mut Session,
    before: Owner,
    now: DateTime<Utc>,
) -> Result<Disabled, StorageError> {
    let after = Owner { disable_time: Some(now), update_time: now, ..before.clone() };
    owners::set_disabled(session, before.user_id, after.disable_time, now).await?;
    let line = AuditLine {
        action: "owners.disable",
        before: Some(snapshot::owner(&before)),
        after: Some(snapshot::owner(&after)),
    };
    Ok(Disabled { user_id: before.user_id, line })
}

/// Disables those owners about whom nothing was ever said here, and logs it. Answers which.
pub(super) async fn disable_unknown(
    session: &mut Session,
    actor: &Actor,
    users: &BTreeSet<UserId>,
    now: DateTime<Utc>,
) -> Result<(Vec<UserId>, Option<Stamp>), StorageError> {
    let mut disabled = Vec::new();
    for user_id in users {
        let before = owners::lock(session, *user_id, now).await?;
        if before.revision == Revision::START && before.disable_time.is_none() {
            disabled.push(disable_locked(session, before, now).await?);
        }
    }
    let users: Vec<UserId> = disabled.iter().map(|owner| owner.user_id).collect();
    let lines = disabled.into_iter().map(Disabled::into_change).collect();
    let (_, stamp) = changes::record_many(session, actor, lines).await?;
    Ok((users, stamp))
}
