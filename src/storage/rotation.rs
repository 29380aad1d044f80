//! `key_secrets`: another secret in the place of a key's current one.
//!
//! Always a new row: what is stored late of a secret (its digest) can only be stored of the one that was proven.

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::prepared::Prepared;
use super::schema::key_secrets;
use super::secrets::{NewSecret, SecretId, insert};
use crate::policy::KeyId;

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
            let update = diesel::update(of_key.filter(key_secrets::is_current))
                .set((key_secrets::is_current.eq(false), key_secrets::expire_at.eq(end)));
            Prepared(update).execute(connection).await?;
        }
        None => {
            diesel::delete(of_key.filter(key_secrets::is_current)).execute(connection).await?;
        }
    }
    insert(connection, secret, now).await
}

/// Until when the tokens before the last rotation of some keys work, for those where one still does.
///
/// # Errors
/// [`StorageError`].
pub async fn grace_ends(
    connection: &mut AsyncPgConnection,
    keys: &[KeyId],
    now: DateTime<Utc>,
) -> Result<BTreeMap<KeyId, DateTime<Utc>>, StorageError> {
    let ids: Vec<i64> = keys.iter().map(|key| key.get()).collect();
    let rows: Vec<(i64, Option<DateTime<Utc>>)> = key_secrets::table
        .filter(key_secrets::key_id.eq_any(ids))
        .filter(key_secrets::expire_at.gt(now))
        .select((key_secrets::key_id, key_secrets::expire_at))
        .load(connection)
        .await?;
    Ok(rows.into_iter().filter_map(|(id, end)| Some((KeyId::new(id)?, end?))).collect())
}
