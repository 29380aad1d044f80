//! What a key of the older system ("Enclava") becomes: the mapping of one exported row, and nothing else.
//!
//! Pure: rows in, domain values out. Reading the older database, writing ours, the change log and the progress
//! bar belong to the callers. The rules, and where the older system left room, the choice made:
//!
//! | column | becomes |
//! |---|---|
//! | `id`, `user_id` | kept; below 1 the row is rejected (user 0 is the operator, who never comes from there), and so are an id above [`KEY_ID_MAX`] and an owner that `users` lacks |
//! | `users.is_active` | false or NULL: the owner is disabled |
//! | `is_active` | false or NULL: revoked, at `updated_at`, else at the time of the import |
//! | `name`, `description` | kept; control characters become spaces and what is too long is cut, with a warning: a label must not cost a working key |
//! | `tags` | kept; what is no valid tag is dropped with a warning |
//! | `key_prefix` | must be 8 printable ASCII characters, else no token could ever be found: rejected |
//! | `key_hash` | must be bcrypt that we can prove, else rejected |
//! | `permissions` | names whose value is `true` (a list: its names); others are named in a warning, since the older system took them as granted |
//! | `scopes` | `llm:chat` → `chat.completions`, `llm:embeddings` → `embeddings.create`; reserved ones are dropped and named |
//! | `allowed_*` | NULL, JSON null and `[]` → ANY; else ONLY. Wildcards and CIDRs matched only literally before: dropped with a warning unless [`Options::keep_wildcards`]. When nothing is left the rule is ONLY nothing, never ANY |
//! | `rate_limit_*` | NULL → 60, 3600, 86400; below 1 the row is rejected: no reading of it is safe |
//! | `is_unlimited`, `budget_*` | see [`ImportedBudget`]; a type that is neither `total` nor `monthly` is rejected |
//! | counters | NULL → 0; negative → 0 with a warning |
//! | times | naive, taken as UTC; a missing `created_at` is the time of the import, a missing `updated_at` the `created_at` |
//!
//! A JSON column of a shape that the older system never wrote (say, `false` where a list belongs) may have been
//! read as "anything" there. Such a row is rejected: guessing could open a key. Whatever is dropped narrows a key.

mod amounts;
mod finding;
mod grants;
mod imported;
mod options;
mod prefix;
mod rules;
mod sync;
#[cfg(test)]
mod tests;
mod texts;

use chrono::{DateTime, Utc};
use secrecy::ExposeSecret;

pub use crate::storage::enclava_source::{SourceRow, UnreadableRow};

use crate::policy::{KeyId, Metadata, UserId};
use crate::token::KeyHash;

pub use finding::{Rejection, RejectionKind, Warning, WarningKind};
pub use imported::{Converted, ImportedBudget, ImportedKey, ImportedLimits, ImportedPeriod};
pub use options::{CostUnit, CostUnitError, Options};
pub use prefix::{PREFIX_CANDIDATES_MAX, PREFIX_CHARS, name_ninths};
pub use sync::{ExistingKey, SyncAction, sync_action};

use finding::Notes;

/// The largest id of a key that is taken: new keys get the ids after it, and numbers of programs that count in
/// floating point are exact up to here.
pub const KEY_ID_MAX: i64 = 1 << 53;

/// Converts one row of the older system's `api_keys`, joined with its owner; `now` is the time of the import.
///
/// Source of the rules: the table on this module.
///
/// # Errors
/// [`Rejection`] when the row cannot be taken without guessing; the first fault found is the one named.
pub fn convert(row: &SourceRow, options: &Options, now: DateTime<Utc>) -> Result<Converted, Rejection> {
    let mut notes = Notes::new(row.id);
    let key_id = KeyId::new(row.id).filter(|id| id.get() <= KEY_ID_MAX).ok_or_else(|| {
        notes.reject(RejectionKind::IdOutOfRange, "id", format_args!("must be 1 to {KEY_ID_MAX}"))
    })?;
    let user_id = owner(row, &notes)?;
    let key_prefix = prefix::read(&row.key_prefix, &notes)?;
    let key_hash = KeyHash::parse(row.key_hash.expose_secret())
        .map_err(|fault| notes.reject(RejectionKind::KeyHashInvalid, "key_hash", fault))?;

    let revoked = row.is_active != Some(true);
    let source_updated_time = row.updated_at.map(|time| time.and_utc());
    let create_time = row.created_at.map_or(now, |time| time.and_utc());
    let key = ImportedKey {
        key_id,
        user_id,
        owner_disabled: row.owner_is_active != Some(true),
        display_name: texts::display_name(row, &mut notes)?,
        description: texts::description(row, &mut notes)?,
        tags: texts::tags(row, &mut notes),
        metadata: Metadata::default(),
        key_prefix,
        key_hash,
        permissions: grants::permissions(row, &mut notes)?,
        scopes: grants::scopes(row, options, &mut notes)?,
        models: rules::models(row, options, &mut notes)?,
        endpoints: rules::endpoints(row, options, &mut notes)?,
        ips: rules::ips(row, options, &mut notes)?,
        chatbots: rules::chatbots(row, options, &mut notes)?,
        limits: amounts::limits(row, &notes)?,
        budget: amounts::budget(row, options, &mut notes)?,
        create_time,
        update_time: source_updated_time.unwrap_or(create_time),
        source_updated_time,
        last_used_time: row.last_used_at.map(|time| time.and_utc()),
        expire_time: row.expires_at.map(|time| time.and_utc()),
        revoke_time: revoked.then(|| source_updated_time.unwrap_or(now)),
        total_requests: amounts::count(row.total_requests, "total_requests", &mut notes),
        total_tokens: amounts::count(row.total_tokens, "total_tokens", &mut notes),
        total_cost: amounts::total_cost(row, options, &mut notes)?,
    };
    Ok(Converted { key, warnings: notes.into_warnings() })
}

/// The owner; the operator (0) is never one that an import may name, or its keys could hold reserved scopes.
fn owner(row: &SourceRow, notes: &Notes) -> Result<UserId, Rejection> {
    let user_id =
        UserId::new(row.user_id).filter(|user_id| *user_id != UserId::OPERATOR).ok_or_else(|| {
            notes.reject(RejectionKind::UserIdOutOfRange, "user_id", "must be 1 or more: 0 is the operator")
        })?;
    if row.owner_exists {
        return Ok(user_id);
    }
    let what = format_args!("users has no row {user_id}, so whether the owner is active cannot be told");
    Err(notes.reject(RejectionKind::OwnerMissing, "user_id", what))
}

/// The row that the store could not read, as a rejection.
#[must_use]
pub fn unreadable(row: &UnreadableRow) -> Rejection {
    Notes::new(row.id).reject(RejectionKind::ValueUnreadable, row.field, &row.what)
}
