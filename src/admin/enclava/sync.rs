//! What a repeated import does with a key that is here already.
//!
//! Rules: without `--sync` an existing id is left untouched. With it, the older system's newer change is
//! applied, but it never revives a key: what was revoked, deleted or has expired here stays so, and a token
//! that was replaced here does not come back. Totals, and what budgets have spent, are counted here from the
//! first import on and are not part of a sync. A disabled owner is likewise never enabled by an import.

use chrono::{DateTime, Utc};

use super::ImportedKey;

/// What is known here of a key with the incoming id.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ExistingKey {
    /// Its last change here, or the older system's when it was not changed since the import.
    pub update_time: DateTime<Utc>,
    /// Whether it is revoked.
    pub revoked: bool,
    /// Whether it is deleted, restorable or not.
    pub deleted: bool,
    /// From this instant on it is expired.
    pub expire_time: Option<DateTime<Utc>>,
    /// Whether its token was replaced here, by rotation.
    pub rotated: bool,
}

/// What to do with one incoming key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SyncAction {
    /// It is not here: insert it.
    Insert,
    /// Leave what is here as it is.
    Leave,
    /// Take the incoming permissions, scopes, rules, limits, texts and tags, and these three.
    Apply {
        /// Whether the key is revoked afterwards.
        revoked: bool,
        /// When it expires afterwards.
        expire_time: Option<DateTime<Utc>>,
        /// Whether the incoming prefix and hash are taken too.
        take_token: bool,
    },
}

/// Decides for one incoming key; `existing` is the key with its id here, `sync` is what the operator asked for.
#[must_use]
pub fn sync_action(
    existing: Option<&ExistingKey>,
    incoming: &ImportedKey,
    sync: bool,
    now: DateTime<Utc>,
) -> SyncAction {
    let Some(existing) = existing else {
        return SyncAction::Insert;
    };
    let newer = incoming.source_updated_time.is_some_and(|time| time > existing.update_time);
    if !sync || existing.deleted || !newer {
        return SyncAction::Leave;
    }
    let expired = existing.expire_time.is_some_and(|time| now >= time);
    SyncAction::Apply {
        revoked: existing.revoked || incoming.revoked(),
        expire_time: if expired { existing.expire_time } else { incoming.expire_time },
        take_token: !existing.rotated,
    }
}
