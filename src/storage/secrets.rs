//! `key_secrets` and `key_digests`: from a token to its key.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::Bool;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::changes;
use super::key_rows::KeyRow;
use super::owners::OwnerRow;
use super::schema::{api_keys, budgets, key_digests, key_secrets, owners, revision_counter};
use crate::policy::{BudgetId, Key, KeyId, RateLimits, Revision};
use crate::token::{Digest, KeyHash, PepperMark};

/// At most this many secrets of one prefix are tried with bcrypt.
pub const CANDIDATES_MAX: i64 = 8;

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

/// A secret that may be a presented token's, to be tried with bcrypt.
#[derive(Debug)]
pub struct Candidate {
    /// Which.
    pub secret_id: SecretId,
    /// Whose.
    pub key_id: KeyId,
    /// What to try.
    pub key_hash: KeyHash,
    /// Until when it works, where it was rotated away. Exclusive.
    pub grace_end: Option<DateTime<Utc>>,
}

/// The secrets that may be a presented token's.
#[derive(Debug)]
pub struct Candidates {
    /// Whether there is any secret with the prefix at all.
    pub prefix_is_known: bool,
    /// Those without a digest under any of the peppers; where one has, a mismatch is final.
    pub open: Vec<Candidate>,
}

/// Whose secrets may be a presented token's.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Whose {
    /// Any owner's.
    Anyones,
    /// The operator's: no other key can be a caller's.
    Operators,
}

/// The secrets with this prefix, lowest key id first, at most [`CANDIDATES_MAX`].
///
/// # Errors
/// [`StorageError`].
pub async fn candidates(
    connection: &mut AsyncPgConnection,
    key_prefix: &str,
    peppers: &[String],
    whose: Whose,
) -> Result<Candidates, StorageError> {
    let is_theirs = api_keys::user_id.eq(0).or((whose == Whose::Anyones).into_sql::<Bool>());
    let with_digest = key_digests::table
        .filter(key_digests::secret_id.eq(key_secrets::secret_id))
        .filter(key_digests::pepper_id.eq_any(peppers));
    type Row = (i64, i64, String, Option<DateTime<Utc>>, bool);
    let first: Vec<Row> = key_secrets::table
        .inner_join(api_keys::table)
        .filter(key_secrets::key_prefix.eq(key_prefix))
        .filter(is_theirs)
        .order((key_secrets::key_id, key_secrets::secret_id))
        .limit(CANDIDATES_MAX)
        .select((
            key_secrets::secret_id,
            key_secrets::key_id,
            key_secrets::key_hash,
            key_secrets::expire_at,
            diesel::dsl::exists(with_digest),
        ))
        .load(connection)
        .await?;
    let prefix_is_known = !first.is_empty();
    let mut open = Vec::new();
    for (id, key_id, hash, grace_end, has_digest) in first {
        // The column's check keeps ids above 0.
        let Some(key_id) = KeyId::new(key_id).filter(|_| !has_digest) else { continue };
        open.push(Candidate { secret_id: SecretId(id), key_id, key_hash: parse_hash(id, &hash)?, grace_end });
    }
    Ok(Candidates { prefix_is_known, open })
}

/// Until when the token before the last rotation works, if it still does.
///
/// # Errors
/// [`StorageError`].
pub async fn grace_end(
    connection: &mut AsyncPgConnection,
    key_id: KeyId,
    now: DateTime<Utc>,
) -> Result<Option<DateTime<Utc>>, StorageError> {
    let end: Option<Option<DateTime<Utc>>> = key_secrets::table
        .filter(key_secrets::key_id.eq(key_id.get()))
        .filter(key_secrets::expire_at.gt(now))
        .select(key_secrets::expire_at)
        .first(connection)
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

/// A key that was found by its token's digest, as of `revision`.
#[derive(Clone, Debug)]
pub struct ProvenKey {
    /// The key.
    pub key: Key,
    /// Limits over all keys of its owner.
    pub owner_rate_limits: RateLimits,
    /// Until when the token works, where it was rotated away. Exclusive.
    pub grace_end: Option<DateTime<Utc>>,
    /// Budgets of the key and of its owner, by id.
    pub budgets: Vec<BudgetId>,
}

type FoundRow = (i64, Option<KeyRow>, Option<SecretColumns>, Option<OwnerRow>, Vec<i64>);

/// The key whose secret has one of `digests`, and the newest revision, in one statement: what is found, or
/// not found, is the state at that revision.
///
/// # Errors
/// [`StorageError`].
pub async fn find_by_digest(
    connection: &mut AsyncPgConnection,
    digests: &[Digest],
) -> Result<(Option<ProvenKey>, Revision), StorageError> {
    let digests: Vec<Vec<u8>> = digests.iter().map(|digest| digest.as_bytes().to_vec()).collect();
    let of_key_or_owner = budgets::table
        .filter(
            budgets::key_id
                .eq(api_keys::key_id.nullable())
                .or(budgets::user_id.eq(api_keys::user_id.nullable())),
        )
        .order(budgets::budget_id)
        .select(budgets::budget_id);
    let (revision, key, secret, owner, budgets): FoundRow = revision_counter::table
        .left_join(key_digests::table.on(key_digests::digest.eq_any(digests)))
        .left_join(
            key_secrets::table.on(key_secrets::secret_id.nullable().eq(key_digests::secret_id.nullable())),
        )
        .left_join(api_keys::table.on(api_keys::key_id.nullable().eq(key_secrets::key_id.nullable())))
        .left_join(owners::table.on(owners::user_id.nullable().eq(api_keys::user_id.nullable())))
        .select((
            revision_counter::revision,
            Option::<KeyRow>::as_select(),
            Option::<SecretColumns>::as_select(),
            Option::<OwnerRow>::as_select(),
            diesel::dsl::array(of_key_or_owner),
        ))
        .first(connection)
        .await?;
    let revision = changes::parse(revision)?;
    let (Some(key), Some(secret)) = (key, secret) else { return Ok((None, revision)) };
    let owner_disabled = owner.as_ref().is_some_and(|owner| owner.is_disabled());
    let proven = ProvenKey {
        key: key.into_key(secret.key_prefix, owner_disabled)?,
        owner_rate_limits: owner.map(|owner| owner.rate_limits()).unwrap_or_default(),
        grace_end: secret.expire_at,
        budgets: budgets.into_iter().filter_map(BudgetId::new).collect(),
    };
    Ok((Some(proven), revision))
}

#[derive(Queryable, Selectable)]
#[diesel(table_name = key_secrets)]
struct SecretColumns {
    key_prefix: String,
    expire_at: Option<DateTime<Utc>>,
}
