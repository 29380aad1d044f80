//! `key_secrets` and `key_digests`: from a token to its key.

mod candidates;
mod finding;

pub use candidates::{CANDIDATES_MAX, Candidate, Candidates, LOOKED_AT_MAX, Of, candidates};
pub use finding::{Found, ProvenKey, find_by_digests, find_by_ids, last_used};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, Binary, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::schema::{key_digests, key_secrets};
use crate::policy::KeyId;
use crate::token::{Digest, KeyHash, PepperMark};

/// The constraint that no two own tokens share their public id.
pub const PREFIX_CONSTRAINT: &str = "key_secrets_own_prefix_is_unique";

/// Whether a constraint says that a token belongs to a key already.
#[must_use]
pub fn is_token_constraint(constraint: &str) -> bool {
    [PREFIX_CONSTRAINT, "key_digests_pkey"].contains(&constraint)
}

/// Identity of a secret; a rotation makes a new one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct SecretId(i64);

/// A key's secret to be stored.
#[derive(Debug)]
pub struct NewSecret<'a> {
    /// Whose.
    pub key_id: KeyId,
    /// What an administrator may see of the token.
    pub key_prefix: &'a str,
    /// bcrypt of the whole token.
    pub key_hash: &'a KeyHash,
    /// It comes from an older system: its prefix need not be unique.
    pub imported: bool,
}

/// Stores the current secret of a key.
///
/// # Errors
/// [`StorageError`]; a constraint where the prefix of an own token is taken.
pub async fn insert(
    connection: &mut AsyncPgConnection,
    secret: &NewSecret<'_>,
    now: DateTime<Utc>,
) -> Result<SecretId, StorageError> {
    let id = diesel::insert_into(key_secrets::table)
        .values((
            key_secrets::key_id.eq(secret.key_id.get()),
            key_secrets::is_current.eq(true),
            key_secrets::key_prefix.eq(secret.key_prefix),
            key_secrets::key_hash.eq(secret.key_hash.expose()),
            key_secrets::imported.eq(secret.imported),
            key_secrets::created_at.eq(now),
        ))
        .returning(key_secrets::secret_id)
        .get_result(connection)
        .await?;
    Ok(SecretId(id))
}

/// Stores the current secrets of new keys, [`insert`] for many.
///
/// # Errors
/// [`StorageError`].
pub async fn insert_many(
    connection: &mut AsyncPgConnection,
    secrets: &[NewSecret<'_>],
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    let rows = secrets.iter().map(|secret| {
        (
            key_secrets::key_id.eq(secret.key_id.get()),
            key_secrets::is_current.eq(true),
            key_secrets::key_prefix.eq(secret.key_prefix),
            key_secrets::key_hash.eq(secret.key_hash.expose()),
            key_secrets::imported.eq(secret.imported),
            key_secrets::created_at.eq(now),
        )
    });
    let rows: Vec<_> = rows.collect();
    diesel::insert_into(key_secrets::table).values(rows).execute(connection).await?;
    Ok(())
}

/// The prefixes of all imported secrets, with their keys.
///
/// # Errors
/// [`StorageError`].
pub async fn imported_prefixes(
    connection: &mut AsyncPgConnection,
) -> Result<Vec<(KeyId, String)>, StorageError> {
    let rows: Vec<(i64, String)> = key_secrets::table
        .filter(key_secrets::imported)
        .select((key_secrets::key_id, key_secrets::key_prefix))
        .load(connection)
        .await?;
    Ok(rows.into_iter().filter_map(|(id, prefix)| Some((KeyId::new(id)?, prefix))).collect())
}

/// Stores the digest of a secret that has just been made.
///
/// # Errors
/// [`StorageError`].
pub async fn insert_digest(
    connection: &mut AsyncPgConnection,
    secret: SecretId,
    pepper: &PepperMark,
    digest: &Digest,
) -> Result<(), StorageError> {
    diesel::insert_into(key_digests::table)
        .values((
            key_digests::digest.eq(digest.as_bytes().as_slice()),
            key_digests::pepper_id.eq(pepper.as_str()),
            key_digests::secret_id.eq(secret.0),
        ))
        .execute(connection)
        .await?;
    Ok(())
}

/// What came of [`store_proven_digest`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum DigestOutcome {
    /// The secret has its digest.
    Stored,
    /// The secret is gone, or has another hash: what was proven is not the key's token any more.
    SecretChanged,
}

/// Stores the digest of a token that bcrypt has just proven, **only where the secret still has the very
/// hash that was proven**: a rotation in between must not resurrect the old token. The row lock makes a
/// rotation under way wait, or be seen.
///
/// # Errors
/// [`StorageError`].
pub async fn store_proven_digest(
    connection: &mut AsyncPgConnection,
    secret: SecretId,
    proven: &KeyHash,
    pepper: &PepperMark,
    digest: &Digest,
) -> Result<DigestOutcome, StorageError> {
    let still: Option<i64> = key_secrets::table
        .filter(key_secrets::secret_id.eq(secret.0))
        .filter(key_secrets::key_hash.eq(proven.expose()))
        .select(key_secrets::secret_id)
        .for_share()
        .first(connection)
        .await
        .optional()?;
    if still.is_none() {
        return Ok(DigestOutcome::SecretChanged);
    }
    diesel::insert_into(key_digests::table)
        .values((
            key_digests::digest.eq(digest.as_bytes().as_slice()),
            key_digests::pepper_id.eq(pepper.as_str()),
            key_digests::secret_id.eq(secret.0),
        ))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(DigestOutcome::Stored)
}

/// A token's digest under another pepper, for a secret that has one already.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FurtherDigest {
    /// The one that its secret has.
    pub known: Digest,
    /// The one to be stored.
    pub digest: Digest,
}

/// Stores further digests, all under one pepper, where the ones that led to their secrets are still there; returns
/// how many.
///
/// # Errors
/// [`StorageError`].
pub async fn add_digests(
    connection: &mut AsyncPgConnection,
    pepper: &PepperMark,
    digests: &[FurtherDigest],
) -> Result<usize, StorageError> {
    let known: Vec<&[u8]> = digests.iter().map(|it| it.known.as_bytes().as_slice()).collect();
    let further: Vec<&[u8]> = digests.iter().map(|it| it.digest.as_bytes().as_slice()).collect();
    // The lock makes a rotation under way be waited for, and its secret be left out.
    let insert = diesel::sql_query(
        "INSERT INTO key_digests (digest, pepper_id, secret_id) \
         SELECT further.digest, $3, secret_id FROM unnest($1, $2) AS further (known, digest) \
         JOIN key_digests AS has ON has.digest = further.known JOIN key_secrets USING (secret_id) \
         ORDER BY secret_id FOR KEY SHARE OF key_secrets ON CONFLICT DO NOTHING",
    );
    let insert = insert.bind::<Array<Binary>, _>(known).bind::<Array<Binary>, _>(further);
    Ok(insert.bind::<Text, _>(pepper.as_str()).execute(connection).await?)
}

/// Until when the token before the last rotation works, if it still does.
///
/// # Errors
/// [`StorageError`].
pub async fn grace_end(
    mut connection: &AsyncPgConnection,
    key_id: KeyId,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StorageError> {
    let end: Option<Option<DateTime<Utc>>> = key_secrets::table
        .filter(key_secrets::key_id.eq(key_id.get()))
        .filter(key_secrets::expire_at.gt(now))
        .select(key_secrets::expire_at)
        .first(&mut connection)
        .await
        .optional()?;
    Ok(end.flatten())
}

/// The hash of a key's current token.
///
/// # Errors
/// [`StorageError`].
pub async fn current_hash(
    connection: &mut AsyncPgConnection,
    key_id: KeyId,
) -> Result<Option<KeyHash>, StorageError> {
    let found: Option<(i64, String)> = key_secrets::table
        .filter(key_secrets::key_id.eq(key_id.get()))
        .filter(key_secrets::is_current)
        .select((key_secrets::secret_id, key_secrets::key_hash))
        .first(connection)
        .await
        .optional()?;
    found.map(|(id, hash)| parse_hash(id, &hash)).transpose()
}

fn parse_hash(secret_id: i64, hash: &str) -> Result<KeyHash, StorageError> {
    KeyHash::parse(hash).map_err(|error| StorageError::Corrupt {
        table: "key_secrets",
        id: secret_id,
        what: format!("key_hash: {error}"),
    })
}
