//! `key_usage`: what keys have used.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::prepared::Prepared;
use super::schema::{api_keys, key_usage};
use crate::policy::{KeyId, KeyTotals};

#[derive(Queryable, Selectable)]
#[diesel(table_name = key_usage)]
#[diesel(check_for_backend(diesel::pg::Pg))]
struct UsageRow {
    key_id: i64,
    total_requests: i64,
    total_tokens: i64,
    total_cost_micros: i64,
    authorized_count: i64,
    last_used_at: Option<DateTime<Utc>>,
}

/// The totals of those of some keys that have a row: every key does from its first commit on.
///
/// # Errors
/// [`StorageError`].
pub async fn totals(
    mut connection: &AsyncPgConnection,
    keys: &[KeyId],
) -> Result<Vec<(KeyId, KeyTotals)>, StorageError> {
    let ids: Vec<i64> = keys.iter().map(|key| key.get()).collect();
    let rows: Vec<UsageRow> = key_usage::table
        .filter(key_usage::key_id.eq_any(ids))
        .select(UsageRow::as_select())
        .load(&mut connection)
        .await?;
    let totals = rows.into_iter().filter_map(|row| {
        let totals = KeyTotals {
            total_requests: row.total_requests,
            total_tokens: row.total_tokens,
            total_cost_micros: row.total_cost_micros,
            authorized_count: row.authorized_count,
            last_used_time: row.last_used_at,
        };
        Some((KeyId::new(row.key_id)?, totals))
    });
    Ok(totals.collect())
}

/// Stores the totals that imported keys bring along.
///
/// # Errors
/// [`StorageError`].
pub async fn insert_many(
    connection: &mut AsyncPgConnection,
    totals: &[(KeyId, KeyTotals)],
) -> Result<(), StorageError> {
    let rows = totals.iter().map(|(key_id, totals)| {
        (
            key_usage::key_id.eq(key_id.get()),
            key_usage::total_requests.eq(totals.total_requests),
            key_usage::total_tokens.eq(totals.total_tokens),
            key_usage::total_cost_micros.eq(totals.total_cost_micros),
            key_usage::authorized_count.eq(totals.authorized_count),
            key_usage::last_used_at.eq(totals.last_used_time),
        )
    });
    let rows: Vec<_> = rows.collect();
    diesel::insert_into(key_usage::table).values(rows).execute(connection).await?;
    Ok(())
}

/// Those of some keys that were here once and are purged: their usage has stayed.
///
/// # Errors
/// [`StorageError`].
pub async fn purged(connection: &mut AsyncPgConnection, keys: &[KeyId]) -> Result<Vec<KeyId>, StorageError> {
    let ids: Vec<i64> = keys.iter().map(|key| key.get()).collect();
    let key = api_keys::table.filter(api_keys::key_id.eq(key_usage::key_id));
    let purged: Vec<i64> = key_usage::table
        .filter(key_usage::key_id.eq_any(ids))
        .filter(diesel::dsl::not(diesel::dsl::exists(key)))
        .select(key_usage::key_id)
        .load(connection)
        .await?;
    Ok(purged.into_iter().filter_map(KeyId::new).collect())
}

/// How ALLOWs are added to the totals of keys, a row for each that has none; between both stands what is added.
const ADD: &str = "INSERT INTO key_usage AS usage (key_id, authorized_count, last_used_at)";
const TO_TOTALS: &str = "ON CONFLICT (key_id) DO UPDATE SET \
     authorized_count = usage.authorized_count + excluded.authorized_count, \
     last_used_at = greatest(usage.last_used_at, excluded.last_used_at)";
/// So many rows of `pending_uses` are added up at once: with 50 000 keys in each, within the time of a transaction.
const ROWS_MAX: u32 = 10;

/// ALLOWs of one key since the last flush.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Uses {
    /// Which key.
    pub key_id: KeyId,
    /// How many.
    pub count: i64,
    /// When the last one was.
    pub last_used_time: DateTime<Utc>,
}

/// Adds ALLOWs to the totals of their keys, in one statement.
///
/// Rows are locked in order of key, so that replicas do not wait for each other in a circle: `INSERT` takes them as
/// they come. An `UPDATE` would be cheaper, but its plan chooses the order, and a key whose row somebody has removed
/// would not be counted.
///
/// # Errors
/// [`StorageError`].
pub async fn add_uses(connection: &mut AsyncPgConnection, uses: &[Uses]) -> Result<(), StorageError> {
    let Columns { ids, counts, times } = Columns::of(uses);
    let add = diesel::sql_query(format!(
        "{ADD} SELECT * FROM unnest($1, $2, $3) AS uses (key_id, count, last) ORDER BY key_id {TO_TOTALS}"
    ))
    .bind::<Array<BigInt>, _>(ids)
    .bind::<Array<BigInt>, _>(counts)
    .bind::<Array<Timestamptz>, _>(times);
    Prepared(add).execute(connection).await?;
    Ok(())
}

/// [`Uses`] by columns.
struct Columns {
    ids: Vec<i64>,
    counts: Vec<i64>,
    times: Vec<DateTime<Utc>>,
}

impl Columns {
    fn of(uses: &[Uses]) -> Self {
        Self {
            ids: uses.iter().map(|uses| uses.key_id.get()).collect(),
            counts: uses.iter().map(|uses| uses.count).collect(),
            times: uses.iter().map(|uses| uses.last_used_time).collect(),
        }
    }
}

/// Puts ALLOWs of many keys down in one row, to be added to the totals later.
///
/// # Errors
/// [`StorageError`].
pub async fn put_down(connection: &mut AsyncPgConnection, uses: &[Uses]) -> Result<(), StorageError> {
    let Columns { ids, counts, times } = Columns::of(uses);
    let put_down =
        diesel::sql_query("INSERT INTO pending_uses (key_ids, counts, last_used_at) VALUES ($1, $2, $3)");
    let put_down = put_down
        .bind::<Array<BigInt>, _>(ids)
        .bind::<Array<BigInt>, _>(counts)
        .bind::<Array<Timestamptz>, _>(times);
    Prepared(put_down).execute(connection).await?;
    Ok(())
}

/// Adds what was put down to the totals of its keys, a bounded part of it; answers of how many keys. Several may do so at
/// once: each takes rows that no other has, and locks totals in order of key.
///
/// # Errors
/// [`StorageError`].
pub async fn add_up(connection: &mut AsyncPgConnection) -> Result<usize, StorageError> {
    let add_up = diesel::sql_query(format!(
        "WITH taken AS (\
             DELETE FROM pending_uses WHERE batch_id = ANY (ARRAY(\
                 SELECT batch_id FROM pending_uses ORDER BY batch_id LIMIT {ROWS_MAX} FOR UPDATE SKIP LOCKED)) \
             RETURNING key_ids, counts, last_used_at) \
         {ADD} SELECT key_id, sum(count)::bigint, max(last) FROM taken \
             CROSS JOIN LATERAL unnest(key_ids, counts, last_used_at) AS uses (key_id, count, last) \
             GROUP BY key_id ORDER BY key_id {TO_TOTALS}"
    ));
    Ok(Prepared(add_up).execute(connection).await?)
}
