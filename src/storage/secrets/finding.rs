//! Keys by what proves them: many in one statement, which also reads the state that they are of.
//!
//! The one by digests is written so that PostgreSQL keeps its plan ([`super::super::plans`]).
//!
//! A row that does not parse is the failure of its own key only: the others of the statement are found.

use chrono::{DateTime, Utc};
use diesel::dsl::sql;
use diesel::expression::SqlLiteral;
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Bool, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::super::key_rows::KeyRow;
use super::super::owners::OwnerRow;
use super::super::prepared::Prepared;
use super::super::schema::{api_keys, budgets, key_digests, key_secrets, owners, revision_counter};
use super::super::{Epoch, StorageError, changes};
use crate::policy::{BudgetId, Key, KeyId, RateLimits, Revision};
use crate::token::{Digest, PepperMark};

/// A key that was found by its token's digest, or by its id.
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

/// What was found of what was looked for, or not found, in the state at a revision of an epoch.
#[derive(Debug)]
pub struct Found<T> {
    /// Which history of the database it is of.
    pub epoch: Epoch,
    /// The newest revision in the state.
    pub revision: Revision,
    /// What was found, by what it was looked for by. [`StorageError::Corrupt`] where it does not parse.
    pub keys: Vec<(T, Result<ProvenKey, StorageError>)>,
}

type State = (i64, (i64, i64));
type KeyColumns = (Option<KeyRow>, Option<SecretColumns>, Option<OwnerRow>, Vec<i64>);

#[derive(Queryable, Selectable)]
#[diesel(table_name = key_secrets)]
struct SecretColumns {
    key_prefix: String,
    expire_at: Option<DateTime<Utc>>,
}

/// To be selected beside a key.
#[diesel::dsl::auto_type]
fn budgets_of_key_or_owner() -> _ {
    let of_key = budgets::key_id.eq(api_keys::key_id.nullable());
    let of_owner = budgets::user_id.eq(api_keys::user_id.nullable());
    budgets::table.filter(of_key.or(of_owner)).order(budgets::budget_id).select(budgets::budget_id)
}

/// The one row of `revision_counter`, said so that the planner sees that it is one: of a boolean that it knows it takes
/// half of all rows, and before the first ANALYZE it thinks of thousands, worth compiling the statement each time.
fn the_only_row() -> SqlLiteral<Bool> {
    sql("(SELECT true)")
}

/// The keys whose secrets have some of `digests`, each with the digest that led to it, in one statement.
///
/// # Errors
/// [`StorageError`].
pub async fn find_by_digests(
    connection: &mut AsyncPgConnection,
    digests: &[Digest],
) -> Result<Found<Digest>, StorageError> {
    let digests: Vec<Vec<u8>> = digests.iter().map(|digest| digest.as_bytes().to_vec()).collect();
    let asked = sql::<Bool>("key_digests.digest = ANY (ARRAY(SELECT unnest(");
    let asked = asked.bind::<Array<Binary>, _>(digests).sql(")))");
    let select = revision_counter::table
        .left_join(key_digests::table.on(asked))
        .left_join(
            key_secrets::table.on(key_secrets::secret_id.nullable().eq(key_digests::secret_id.nullable())),
        )
        .left_join(api_keys::table.on(api_keys::key_id.nullable().eq(key_secrets::key_id.nullable())))
        .left_join(owners::table.on(owners::user_id.nullable().eq(api_keys::user_id.nullable())))
        .filter(revision_counter::only_row.eq(the_only_row()))
        .select((
            (revision_counter::revision, sql::<(BigInt, BigInt)>(Epoch::SQL)),
            key_digests::digest.nullable(),
            (
                Option::<KeyRow>::as_select(),
                Option::<SecretColumns>::as_select(),
                Option::<OwnerRow>::as_select(),
                diesel::dsl::array(budgets_of_key_or_owner()),
            ),
        ));
    let rows: Vec<(State, Option<Vec<u8>>, KeyColumns)> = Prepared(select).load(connection).await?;
    let rows = rows.into_iter().map(|(state, digest, columns)| {
        let digest = digest.and_then(|bytes| Digest::from_slice(&bytes));
        (state, digest, columns)
    });
    found(rows)
}

/// The keys with some ids, with their current secrets, in one statement.
///
/// # Errors
/// [`StorageError`].
pub async fn find_by_ids(
    connection: &mut AsyncPgConnection,
    ids: &[KeyId],
) -> Result<Found<KeyId>, StorageError> {
    let ids: Vec<i64> = ids.iter().map(|id| id.get()).collect();
    let current = key_secrets::key_id.nullable().eq(api_keys::key_id.nullable()).and(key_secrets::is_current);
    let select = revision_counter::table
        .left_join(api_keys::table.on(api_keys::key_id.eq_any(ids)))
        .left_join(key_secrets::table.on(current))
        .left_join(owners::table.on(owners::user_id.nullable().eq(api_keys::user_id.nullable())))
        .filter(revision_counter::only_row.eq(the_only_row()))
        .select((
            (revision_counter::revision, sql::<(BigInt, BigInt)>(Epoch::SQL)),
            api_keys::key_id.nullable(),
            (
                Option::<KeyRow>::as_select(),
                Option::<SecretColumns>::as_select(),
                Option::<OwnerRow>::as_select(),
                diesel::dsl::array(budgets_of_key_or_owner()),
            ),
        ));
    let rows: Vec<(State, Option<i64>, KeyColumns)> = Prepared(select).load(connection).await?;
    found(rows.into_iter().map(|(state, id, columns)| (state, id.and_then(KeyId::new), columns)))
}

/// There is a row for everything that was found, or else one with the state alone.
fn found<T>(rows: impl Iterator<Item = (State, Option<T>, KeyColumns)>) -> Result<Found<T>, StorageError> {
    let mut state = None;
    let mut keys = Vec::new();
    for ((revision, (system, timeline)), by, (key, secret, owner, budgets)) in rows {
        state = Some((Epoch::new(system, timeline), changes::parse(revision)?));
        if let (Some(by), Some(key), Some(secret)) = (by, key, secret) {
            keys.push((by, proven(key, secret, owner, budgets)));
        }
    }
    let none = || StorageError::Defect("revision_counter has no row".to_owned());
    let (epoch, revision) = state.ok_or_else(none)?;
    Ok(Found { epoch, revision, keys })
}

fn proven(
    key: KeyRow,
    secret: SecretColumns,
    owner: Option<OwnerRow>,
    budgets: Vec<i64>,
) -> Result<ProvenKey, StorageError> {
    let owner_disabled = owner.as_ref().is_some_and(OwnerRow::is_disabled);
    Ok(ProvenKey {
        key: key.into_key(secret.key_prefix, owner_disabled)?,
        owner_rate_limits: owner.map(|owner| owner.rate_limits()).unwrap_or_default(),
        grace_end: secret.expire_at,
        budgets: budgets.into_iter().filter_map(BudgetId::new).collect(),
    })
}

#[derive(QueryableByName)]
struct DigestRow {
    #[diesel(sql_type = Binary)]
    digest: Vec<u8>,
}

/// The digests under one pepper of the keys that were used last, at most `limit`, the last used first. Which those are
/// goes by the minute of the last use; among keys of the same minute, newer ones come in.
///
/// # Errors
/// [`StorageError`].
pub async fn last_used(
    connection: &mut AsyncPgConnection,
    pepper: &PepperMark,
    limit: i64,
) -> Result<Vec<Digest>, StorageError> {
    // The order is that of an index.
    let rows: Vec<DigestRow> = diesel::sql_query(
        "SELECT digest FROM (SELECT key_id, last_used_at FROM key_usage WHERE last_used_at IS NOT NULL \
             ORDER BY coalesce(last_used_minute, '-infinity') DESC, key_id DESC LIMIT $2) AS used \
         JOIN key_secrets USING (key_id) JOIN key_digests USING (secret_id) \
         WHERE is_current AND pepper_id = $1 ORDER BY last_used_at DESC, key_id DESC",
    )
    .bind::<Text, _>(pepper.as_str())
    .bind::<BigInt, _>(limit)
    .load(connection)
    .await?;
    Ok(rows.into_iter().filter_map(|row| Digest::from_slice(&row.digest)).collect())
}
