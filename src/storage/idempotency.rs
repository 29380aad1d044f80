//! `idempotent_requests`: which requests with an id have been carried out, and what came of them.
//!
//! A request takes its id in the transaction of its change: where that fails, the id is free again. Two that
//! take the same id at once take turns by its row, from whatever replica.
//!
//! The column `key_id` has its name from the time when only keys were made: it holds the id of whatever the method makes.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::query_dsl::methods::FilterDsl as _;
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::StorageError;
use super::prepared::Prepared;
use super::schema::idempotent_requests;

/// Whose request it is, and which. The same id of another caller or method is another request.
#[derive(Clone, Copy, Debug)]
pub struct RequestName<'a> {
    /// The audit log's name of who asks.
    pub caller: &'a str,
    /// `keys.create`.
    pub method: &'static str,
    /// What the caller gave.
    pub request_id: Uuid,
}

/// A request that was carried out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Carried {
    /// SHA-256 of the request.
    pub fingerprint: [u8; 32],
    /// The id of what it made or changed, at least 1: a key, or a budget, as its method says.
    pub resource_id: i64,
}

/// Takes a request's id until `expire_at`; false where it is taken. Waits for a transaction that has taken
/// it and has not ended yet.
///
/// # Errors
/// [`StorageError`].
pub async fn take(
    connection: &mut AsyncPgConnection,
    name: RequestName<'_>,
    fingerprint: &[u8; 32],
    now: DateTime<Utc>,
    expire_at: DateTime<Utc>,
) -> Result<bool, StorageError> {
    use idempotent_requests as table;
    let taken = diesel::insert_into(table::table)
        .values((
            table::caller.eq(name.caller),
            table::method.eq(name.method),
            table::request_id.eq(name.request_id),
            table::fingerprint.eq(fingerprint.as_slice()),
            table::expire_at.eq(expire_at),
        ))
        .on_conflict((table::caller, table::method, table::request_id))
        .do_update()
        .set((
            table::fingerprint.eq(fingerprint.as_slice()),
            table::key_id.eq(None::<i64>),
            table::expire_at.eq(expire_at),
        ))
        // One that has run out and is not purged yet.
        .filter(table::expire_at.le(now))
        .execute(connection)
        .await?;
    Ok(taken == 1)
}

/// Says what came of a request whose id this transaction has taken: see [`Carried::resource_id`].
///
/// # Errors
/// [`StorageError`].
pub async fn complete(
    connection: &mut AsyncPgConnection,
    name: RequestName<'_>,
    resource_id: i64,
) -> Result<(), StorageError> {
    let RequestName { caller, method, request_id } = name;
    let update = diesel::update(idempotent_requests::table.find((caller, method, request_id)))
        .set(idempotent_requests::key_id.eq(resource_id));
    Prepared(update).execute(connection).await?;
    Ok(())
}

/// What came of a request, where its id is known and has not run out.
///
/// # Errors
/// [`StorageError`].
pub async fn find(
    connection: &mut AsyncPgConnection,
    name: RequestName<'_>,
    now: DateTime<Utc>,
) -> Result<Option<Carried>, StorageError> {
    let RequestName { caller, method, request_id } = name;
    let found: Option<(Vec<u8>, Option<i64>)> = QueryDsl::filter(
        idempotent_requests::table.find((caller, method, request_id)),
        idempotent_requests::expire_at.gt(now),
    )
    .select((idempotent_requests::fingerprint, idempotent_requests::key_id))
    .first(connection)
    .await
    .optional()?;
    let Some((fingerprint, resource_id)) = found else { return Ok(None) };
    let carried = fingerprint.try_into().ok().zip(resource_id);
    let (fingerprint, resource_id) =
        carried.ok_or_else(|| StorageError::Defect(format!("request {request_id} is half written")))?;
    Ok(Some(Carried { fingerprint, resource_id }))
}
