//! `api_keys`: reading, locking and changing single keys.

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::BigInt;
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use tokio::time::timeout;

use super::StorageError;
use super::key_rows::{GivenKeyRow, KeyColumns, KeyRow};
use super::prepared::Prepared;
use super::schema::{api_keys, key_secrets, owners};
use crate::policy::{Description, Key, KeyId, NewKey};

/// Samples of the tables are read, however large they are: minutes only where the disk is slow.
const ANALYZE_MAX: Duration = Duration::from_secs(300);

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
            // `changes::record` sets it.
            api_keys::revision.eq(0),
        ))
        .returning(api_keys::key_id)
        .get_result(connection)
        .await?;
    KeyId::new(id).ok_or_else(|| StorageError::Defect(format!("key id {id} out of range")))
}

/// Inserts keys with the ids and times that they bring along, none of them deleted, and returns the ids of
/// those whose ids were free; give them in order of id. Their secrets follow.
///
/// Move the ids of new keys past them first: [`reserve_ids_up_to`].
///
/// # Errors
/// [`StorageError`].
pub async fn insert_given(
    connection: &mut AsyncPgConnection,
    keys: &[&Key],
) -> Result<Vec<KeyId>, StorageError> {
    let rows = keys.iter().map(|key| GivenKeyRow::of_key(key)).collect::<Result<Vec<_>, _>>()?;
    let inserted: Vec<i64> = diesel::insert_into(api_keys::table)
        .values(rows)
        .on_conflict(api_keys::key_id)
        .do_nothing()
        .returning(api_keys::key_id)
        .get_results(connection)
        .await?;
    Ok(inserted.into_iter().filter_map(KeyId::new).collect())
}

/// Sees to it that no new key gets an id up to `last` any more; never moves the ids of new keys back. To be
/// called in a transaction of its own.
///
/// Reading where the sequence stands and setting it are two steps. The lock keeps out whoever inserts a key,
/// and with that whoever takes an id, for the moment between them.
///
/// # Errors
/// [`StorageError`].
pub async fn reserve_ids_up_to(connection: &mut AsyncPgConnection, last: KeyId) -> Result<(), StorageError> {
    diesel::sql_query("LOCK TABLE api_keys IN SHARE ROW EXCLUSIVE MODE").execute(connection).await?;
    diesel::sql_query(
        "SELECT setval('api_keys_key_id_seq', $1) FROM api_keys_key_id_seq \
         WHERE last_value < $1 OR (last_value = $1 AND NOT is_called)",
    )
    .bind::<BigInt, _>(last.get())
    .execute(connection)
    .await?;
    Ok(())
}

/// Tells the planner how large the tables of keys are by now. After very many rows at once: statements that connections
/// keep were planned for the tables as they were, and are planned anew then. Leaves out a table that somebody looks
/// after already (VACUUM, ANALYZE, a new index): waiting for that could take hours.
///
/// # Errors
/// [`StorageError`]; also where it takes longer than five minutes.
pub async fn analyze(connection: &mut AsyncPgConnection) -> Result<(), StorageError> {
    let analyze = "ANALYZE (SKIP_LOCKED) api_keys, key_secrets, key_digests, key_usage, owners";
    let too_long = |_elapsed| StorageError::Unavailable("analyzing the tables took too long".to_owned());
    Ok(timeout(ANALYZE_MAX, connection.batch_execute(analyze)).await.map_err(too_long)??)
}

/// What an import has to know of a key that is here.
#[derive(Clone, Debug)]
pub struct KeyStanding {
    /// Which.
    pub key_id: KeyId,
    /// Creation; an imported key's is that of the older system.
    pub create_time: DateTime<Utc>,
    /// Last change by an administrator, or the older system's.
    pub update_time: DateTime<Utc>,
    /// Whether it is revoked.
    pub revoked: bool,
    /// Whether it is deleted, restorable or not.
    pub deleted: bool,
    /// Exclusive.
    pub expire_time: Option<DateTime<Utc>>,
    /// bcrypt of its current token, where that was imported; a token of our own has replaced it otherwise.
    pub imported_hash: Option<String>,
}

/// What is here of some ids.
///
/// # Errors
/// [`StorageError`].
pub async fn standings(
    connection: &mut AsyncPgConnection,
    ids: &[KeyId],
) -> Result<Vec<KeyStanding>, StorageError> {
    type Row = (
        i64,
        DateTime<Utc>,
        DateTime<Utc>,
        Option<DateTime<Utc>>,
        Option<DateTime<Utc>>,
        Option<DateTime<Utc>>,
        Option<String>,
    );
    let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
    let imported =
        key_secrets::key_id.eq(api_keys::key_id).and(key_secrets::is_current).and(key_secrets::imported);
    let rows: Vec<Row> = api_keys::table
        .left_join(key_secrets::table.on(imported))
        .filter(api_keys::key_id.eq_any(ids))
        .select((
            api_keys::key_id,
            api_keys::created_at,
            api_keys::updated_at,
            api_keys::revoked_at,
            api_keys::deleted_at,
            api_keys::expire_at,
            key_secrets::key_hash.nullable(),
        ))
        .load(connection)
        .await?;
    let standings = rows.into_iter().filter_map(
        |(key_id, create_time, update_time, revoked, deleted, expire_time, imported_hash)| {
            Some(KeyStanding {
                key_id: KeyId::new(key_id)?,
                create_time,
                update_time,
                revoked: revoked.is_some(),
                deleted: deleted.is_some(),
                expire_time,
                imported_hash,
            })
        },
    );
    Ok(standings.collect())
}

/// Reads a key.
///
/// # Errors
/// [`StorageError`].
pub async fn get(mut connection: &AsyncPgConnection, key_id: KeyId) -> Result<Option<Key>, StorageError> {
    let row: Option<(KeyRow, String, Option<DateTime<Utc>>)> = api_keys::table
        .inner_join(key_secrets::table.on(key_secrets::key_id.eq(api_keys::key_id)))
        .left_join(owners::table.on(owners::user_id.eq(api_keys::user_id)))
        .filter(api_keys::key_id.eq(key_id.get()))
        .filter(key_secrets::is_current)
        .select((KeyRow::as_select(), key_secrets::key_prefix, owners::disabled_at.nullable()))
        .first(&mut connection)
        .await
        .optional()?;
    row.map(|(row, prefix, disabled)| row.into_key(prefix, disabled.is_some())).transpose()
}

/// Locks a key's row until the transaction ends, and reads the key as it is then.
///
/// Both are sent at once, and what is sent later is carried out later: it sees what those have committed whom the lock
/// waited for. So whatever else is joined with this, behind it and `biased`, is of the locked key too.
///
/// # Errors
/// [`StorageError`].
pub async fn lock(connection: &AsyncPgConnection, key_id: KeyId) -> Result<Option<Key>, StorageError> {
    let (locked, key) = tokio::join!(biased; lock_row(connection, key_id), get(connection, key_id));
    Ok(if locked? { key? } else { None })
}

/// Whether there is one.
async fn lock_row(mut connection: &AsyncPgConnection, key_id: KeyId) -> Result<bool, StorageError> {
    let locked: Option<i64> = api_keys::table
        .filter(api_keys::key_id.eq(key_id.get()))
        .select(api_keys::key_id)
        .for_update()
        .first(&mut connection)
        .await
        .optional()?;
    Ok(locked.is_some())
}

/// Writes everything of a locked key that an administrator can set or bring about, but for its secrets.
///
/// # Errors
/// [`StorageError`].
pub async fn update(mut connection: &AsyncPgConnection, key: &Key) -> Result<(), StorageError> {
    let update = diesel::update(api_keys::table.find(key.key_id.get())).set((
        KeyColumns::of_key(key)?,
        api_keys::revoked_at.eq(key.revoke_time),
        api_keys::revoke_reason.eq(Description::as_str(&key.revoke_reason)),
        api_keys::deleted_at.eq(key.delete_time),
        api_keys::purge_at.eq(key.purge_time),
        api_keys::updated_at.eq(key.update_time),
    ));
    expect_one(Prepared(update).execute(&mut connection).await?, key.key_id)
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
