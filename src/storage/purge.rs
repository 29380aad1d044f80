//! What time has made useless, taken away in bounded batches.
//!
//! Safe on several replicas at once: each takes the rows that no other holds (`SKIP LOCKED`), so nobody waits.
//!
//! What is to go is an array, found once: behind `IN (SELECT …)` PostgreSQL may read the whole table, or look for the
//! batch again for each row and take more than it.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::schema::{api_keys, budget_periods, budgets};
use crate::policy::KeyId;

/// Locks at most `limit` deleted keys whose time has come, those that are overdue longest first.
///
/// # Errors
/// [`StorageError`].
pub async fn lock_due_keys(
    connection: &mut AsyncPgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<Vec<KeyId>, StorageError> {
    let due: Vec<i64> = api_keys::table
        .filter(api_keys::purge_at.le(now))
        .order((api_keys::purge_at, api_keys::key_id))
        .limit(limit)
        .select(api_keys::key_id)
        .for_update()
        .skip_locked()
        .load(connection)
        .await?;
    Ok(due.into_iter().filter_map(KeyId::new).collect())
}

/// Removes locked keys with their secrets, digests, counters of limits and budgets. Their usage stays: it is what their owners
/// have spent, and what tells an import that the ids are used up.
///
/// # Errors
/// [`StorageError`].
pub async fn delete_keys(connection: &mut AsyncPgConnection, keys: &[KeyId]) -> Result<(), StorageError> {
    let ids: Vec<i64> = keys.iter().map(|key| key.get()).collect();
    // Secrets and digests go with their key.
    diesel::delete(api_keys::table.filter(api_keys::key_id.eq_any(&ids))).execute(connection).await?;
    // Locked in the order of everybody who locks them.
    diesel::sql_query(
        "DELETE FROM limit_counters WHERE kind = 0 AND subject_id = ANY (ARRAY( \
             SELECT subject_id FROM limit_counters WHERE kind = 0 AND subject_id = ANY ($1) \
             ORDER BY subject_id FOR UPDATE))",
    )
    .bind::<Array<BigInt>, _>(&ids)
    .execute(connection)
    .await?;
    let gone: Vec<i64> = diesel::delete(budgets::table.filter(budgets::key_id.eq_any(&ids)))
        .returning(budgets::budget_id)
        .get_results(connection)
        .await?;
    diesel::delete(budget_periods::table.filter(budget_periods::budget_id.eq_any(gone)))
        .execute(connection)
        .await?;
    // The row that a key gets with its creation; here in case somebody has removed it.
    diesel::sql_query(
        "INSERT INTO key_usage (key_id) SELECT * FROM unnest($1) AS purged (key_id) ORDER BY key_id \
         ON CONFLICT (key_id) DO NOTHING",
    )
    .bind::<Array<BigInt>, _>(ids)
    .execute(connection)
    .await?;
    Ok(())
}

/// Removes at most `limit` secrets that were rotated away and whose grace has ended, with their digests, and
/// answers how many.
///
/// # Errors
/// [`StorageError`].
pub async fn delete_ended_secrets(
    connection: &mut AsyncPgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<usize, StorageError> {
    let deleted = diesel::sql_query(
        "DELETE FROM key_secrets WHERE secret_id = ANY (ARRAY(SELECT secret_id FROM key_secrets \
         WHERE expire_at <= $1 ORDER BY expire_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
    )
    .bind::<Timestamptz, _>(now)
    .bind::<BigInt, _>(limit);
    Ok(deleted.execute(connection).await?)
}

/// Forgets at most `limit` ids of requests that have run out, and answers how many.
///
/// # Errors
/// [`StorageError`].
pub async fn delete_ended_requests(
    connection: &mut AsyncPgConnection,
    now: DateTime<Utc>,
    limit: i64,
) -> Result<usize, StorageError> {
    let deleted = diesel::sql_query(
        "DELETE FROM idempotent_requests WHERE ctid = ANY (ARRAY(SELECT ctid FROM idempotent_requests \
         WHERE expire_at <= $1 ORDER BY expire_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
    )
    .bind::<Timestamptz, _>(now)
    .bind::<BigInt, _>(limit);
    Ok(deleted.execute(connection).await?)
}
