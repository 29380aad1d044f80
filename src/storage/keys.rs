//! `api_keys`: reading, locking and changing single keys.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::key_rows::{KeyColumns, KeyRow};
use super::schema::{api_keys, key_secrets, owners};
use crate::policy::{Description, Key, KeyId, NewKey, Revision};

/// Inserts a key and returns its id. Its secret follows ([`super::secrets::insert`]).
///
/// # Errors
/// [`StorageError`]; a constraint where the operator's reserved scopes are given to someone else.
pub async fn insert(
    connection: &mut AsyncPgConnection,
    key: &NewKey,
    now: DateTime<Utc>,
) -> Result<KeyId, StorageError> {
    let id: i64 = diesel::insert_into(api_keys::table)
        .values((
            KeyColumns::of_new(key)?,
            api_keys::created_at.eq(now),
            api_keys::updated_at.eq(now),
            // Set by `stamp`, once the transaction has its revision.
            api_keys::revision.eq(0),
        ))
        .returning(api_keys::key_id)
        .get_result(connection)
        .await?;
    KeyId::new(id).ok_or_else(|| StorageError::Defect(format!("key id {id} out of range")))
}

/// Reads a key.
///
/// # Errors
/// [`StorageError`].
pub async fn get(connection: &mut AsyncPgConnection, key_id: KeyId) -> Result<Option<Key>, StorageError> {
    let row: Option<(KeyRow, String, Option<DateTime<Utc>>)> = api_keys::table
        .inner_join(key_secrets::table.on(key_secrets::key_id.eq(api_keys::key_id)))
        .left_join(owners::table.on(owners::user_id.eq(api_keys::user_id)))
        .filter(api_keys::key_id.eq(key_id.get()))
        .filter(key_secrets::is_current)
        .select((KeyRow::as_select(), key_secrets::key_prefix, owners::disabled_at.nullable()))
        .first(connection)
        .await
        .optional()?;
    row.map(|(row, prefix, disabled)| row.into_key(prefix, disabled.is_some())).transpose()
}

/// Locks a key's row until the transaction ends, then reads it.
///
/// # Errors
/// [`StorageError`].
pub async fn lock(connection: &mut AsyncPgConnection, key_id: KeyId) -> Result<Option<Key>, StorageError> {
    let locked: Option<i64> = api_keys::table
        .filter(api_keys::key_id.eq(key_id.get()))
        .select(api_keys::key_id)
        .for_update()
        .first(connection)
        .await
        .optional()?;
    match locked {
        Some(_) => get(connection, key_id).await,
        None => Ok(None),
    }
}

/// Writes everything of a locked key that an administrator can set.
///
/// # Errors
/// [`StorageError`].
pub async fn update(connection: &mut AsyncPgConnection, key: &Key) -> Result<(), StorageError> {
    let changed = diesel::update(api_keys::table.find(key.key_id.get()))
        .set((
            KeyColumns::of_key(key)?,
            api_keys::revoked_at.eq(key.revoke_time),
            api_keys::revoke_reason.eq(Description::as_str(&key.revoke_reason)),
            api_keys::updated_at.eq(key.update_time),
        ))
        .execute(connection)
        .await?;
    expect_one(changed, key.key_id)
}

/// Puts the revision of a change on its key. The key's row is locked already, so this waits for nothing
/// while the revision row is held.
///
/// # Errors
/// [`StorageError`].
pub async fn stamp(
    connection: &mut AsyncPgConnection,
    key_id: KeyId,
    revision: Revision,
) -> Result<(), StorageError> {
    let changed = diesel::update(api_keys::table.find(key_id.get()))
        .set(api_keys::revision.eq(revision.get()))
        .execute(connection)
        .await?;
    expect_one(changed, key_id)
}

fn expect_one(changed: usize, key_id: KeyId) -> Result<(), StorageError> {
    if changed == 1 {
        return Ok(());
    }
    Err(StorageError::Defect(format!("{changed} rows changed for locked key {key_id}")))
}

/// Held until the transaction ends, so that replicas that bootstrap at once take turns. ("bootstrp".)
const BOOTSTRAP_LOCK: i64 = 0x626f_6f74_7374_7270;

/// Waits for other bootstraps.
///
/// # Errors
/// [`StorageError`].
pub async fn lock_bootstrap(connection: &mut AsyncPgConnection) -> Result<(), StorageError> {
    diesel::sql_query("SELECT pg_advisory_xact_lock($1)")
        .bind::<diesel::sql_types::BigInt, _>(BOOTSTRAP_LOCK)
        .execute(connection)
        .await?;
    Ok(())
}

/// Whether the operator has a usable key that may administer.
///
/// # Errors
/// [`StorageError`].
pub async fn has_administrator(
    connection: &mut AsyncPgConnection,
    now: DateTime<Utc>,
) -> Result<bool, StorageError> {
    let administrators = api_keys::table
        .filter(api_keys::user_id.eq(0))
        .filter(api_keys::deleted_at.is_null())
        .filter(api_keys::revoked_at.is_null())
        .filter(api_keys::expire_at.is_null().or(api_keys::expire_at.gt(now)))
        .filter(api_keys::scopes.overlaps_with(vec!["keystile.admin", "keystile.*"]));
    Ok(diesel::select(diesel::dsl::exists(administrators)).get_result(connection).await?)
}
