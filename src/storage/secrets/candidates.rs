//! Secrets that may be a presented token's although no digest leads to them: what bcrypt has to look at.

use std::collections::HashMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::super::StorageError;
use super::super::prepared::Prepared;
use super::{SecretId, parse_hash};
use crate::policy::KeyId;
use crate::token::KeyHash;

/// At most this many secrets of one prefix are tried with bcrypt.
pub const CANDIDATES_MAX: i64 = 8;
/// At most this many secrets of one prefix are looked at for those that have no digest. Bounds what a token that is
/// nobody's costs the database where very many were imported with one prefix.
pub const LOOKED_AT_MAX: i64 = 1_000;

/// A secret that may be a presented token's, to be tried with bcrypt.
#[derive(Clone, Debug)]
pub struct Candidate {
    /// Which.
    pub secret_id: SecretId,
    /// Whose.
    pub key_id: KeyId,
    /// What to try.
    pub key_hash: KeyHash,
    /// Until when it works, where it was rotated away. Exclusive.
    pub grace_end: Option<DateTime<Utc>>,
    /// The key is the operator's: no other can be a caller's.
    pub is_operators: bool,
}

/// Whose secrets are candidates.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Of {
    /// Keys that are not deleted: a deleted one is nobody's.
    Undeleted,
    /// All keys, for whoever looks a token up.
    All,
}

/// Candidates by prefix. A prefix that is missing here is no secret's; one without candidates has secrets that all have
/// their digests, or are of deleted keys.
pub type Candidates = HashMap<String, Result<Vec<Candidate>, StorageError>>;

#[derive(QueryableByName)]
struct CandidateRow {
    #[diesel(sql_type = Text)]
    key_prefix: String,
    #[diesel(sql_type = Nullable<BigInt>)]
    secret_id: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    key_id: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    key_hash: Option<String>,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    expire_at: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Bool>)]
    is_operators: Option<bool>,
}

/// The secrets with these prefixes that have no digest under any of `peppers`: where one has, a mismatch is final.
/// Of each prefix the first [`CANDIDATES_MAX`] by key id, and of the operator's keys as many more.
///
/// # Errors
/// [`StorageError`].
pub async fn candidates(
    connection: &mut AsyncPgConnection,
    prefixes: &[String],
    peppers: &[String],
    of: Of,
) -> Result<Candidates, StorageError> {
    let of = match of {
        Of::Undeleted => "deleted_at IS NULL",
        Of::All => "true",
    };
    // Written so that PostgreSQL keeps its plan (see `plans`). `OFFSET 0` keeps the planner from reading all digests,
    // keys or secrets at once to compare a few, as it does where it knows little of them.
    let query = diesel::sql_query(format!(
        "SELECT asked.key_prefix, secret_id, key_id, key_hash, expire_at, is_operators \
         FROM unnest(ARRAY(SELECT unnest($1))) AS asked (key_prefix) LEFT JOIN LATERAL (\
             SELECT open.*, count(*) OVER place AS place, \
                 count(*) FILTER (WHERE is_operators) OVER place AS operators_place \
             FROM (SELECT secret_id, key_id, key_hash, it.expire_at, user_id = 0 AS is_operators \
                 FROM (SELECT * FROM key_secrets WHERE key_prefix = asked.key_prefix \
                     ORDER BY key_id, secret_id LIMIT {LOOKED_AT_MAX}) AS it \
                 JOIN LATERAL (SELECT user_id, deleted_at FROM api_keys \
                     WHERE api_keys.key_id = it.key_id OFFSET 0) AS key ON {of} \
                 WHERE NOT EXISTS (SELECT FROM key_digests \
                     WHERE secret_id = it.secret_id AND pepper_id = ANY (ARRAY(SELECT unnest($2))) OFFSET 0)) AS open \
             WINDOW place AS (ORDER BY key_id, secret_id)) AS candidate \
             ON place <= {CANDIDATES_MAX} OR (is_operators AND operators_place <= {CANDIDATES_MAX}) \
         WHERE secret_id IS NOT NULL \
             OR EXISTS (SELECT FROM key_secrets AS known WHERE known.key_prefix = asked.key_prefix \
                 OFFSET 0) \
         ORDER BY asked.key_prefix, key_id, secret_id"
    ));
    let query = query.bind::<Array<Text>, _>(prefixes).bind::<Array<Text>, _>(peppers);
    let rows: Vec<CandidateRow> = Prepared(query).load(connection).await?;
    let mut candidates = Candidates::new();
    for row in rows {
        let of_prefix = candidates.entry(row.key_prefix).or_insert_with(|| Ok(Vec::new()));
        let (Some(secret_id), Some(key_id), Some(hash)) = (row.secret_id, row.key_id, row.key_hash) else {
            continue;
        };
        // The column's check keeps ids above 0.
        let (Some(key_id), Ok(known)) = (KeyId::new(key_id), of_prefix.as_mut()) else { continue };
        match parse_hash(secret_id, &hash) {
            Ok(key_hash) => known.push(Candidate {
                secret_id: SecretId(secret_id),
                key_id,
                key_hash,
                grace_end: row.expire_at,
                is_operators: row.is_operators.unwrap_or_default(),
            }),
            Err(corrupt) => *of_prefix = Err(corrupt),
        }
    }
    Ok(candidates)
}
