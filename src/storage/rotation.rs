//! `key_secrets`: another secret in the place of a key's current one.
//!
//! Always a new row: what is stored late of a secret (its digest) can only be stored of the one that was proven.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::schema::key_secrets;
use super::secrets::{NewSecret, SecretId, insert};

/// Ends the current secret of a locked key, digests and all, and stores another in its place.
///
/// # Errors
/// [`StorageError`].
pub async fn replace_current(
    connection: &mut AsyncPgConnection,
    secret: &NewSecret<'_>,
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    let current = key_secrets::table
        .filter(key_secrets::key_id.eq(secret.key_id.get()))
        .filter(key_secrets::is_current);
    diesel::delete(current).execute(connection).await?;
    insert(connection, secret, now).await?;
    Ok(())
}

/// Stores another current secret of a locked key. The one before works until `grace_end`, or not at all; what
/// was before that is ended.
///
/// # Errors
/// [`StorageError`]; a constraint where the prefix of an own token is taken.
pub async fn rotate(
    connection: &mut AsyncPgConnection,
    secret: &NewSecret<'_>,
    grace_end: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<SecretId, StorageError> {
    let of_key = key_secrets::table.filter(key_secrets::key_id.eq(secret.key_id.get()));
    diesel::delete(of_key.filter(diesel::dsl::not(key_secrets::is_current))).execute(connection).await?;
    match grace_end {
        Some(end) => {
            diesel::update(of_key.filter(key_secrets::is_current))
                .set((key_secrets::is_current.eq(false), key_secrets::expire_at.eq(end)))
                .execute(connection)
                .await?;
        }
        None => {
            diesel::delete(of_key.filter(key_secrets::is_current)).execute(connection).await?;
        }
    }
    insert(connection, secret, now).await
}
