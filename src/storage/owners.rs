//! `owners`: what Keystile knows of the users that keys belong to.
//!
//! Most owners have no row: it comes with the first change.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Bool, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::prepared::Prepared;
use super::schema::{api_keys, owners};
use super::statement::plan_by_index;
use crate::policy::{Owner, RateLimits, RateWindows, Revision, UserId};

#[derive(Queryable, Selectable)]
#[diesel(table_name = owners)]
#[diesel(check_for_backend(diesel::pg::Pg))]
pub(super) struct OwnerRow {
    user_id: i64,
    disabled_at: Option<DateTime<Utc>>,
    requests_per_minute: Option<i64>,
    requests_per_hour: Option<i64>,
    requests_per_day: Option<i64>,
    tokens_per_minute: Option<i64>,
    tokens_per_hour: Option<i64>,
    tokens_per_day: Option<i64>,
    revision: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl OwnerRow {
    pub(super) fn is_disabled(&self) -> bool {
        self.disabled_at.is_some()
    }

    pub(super) fn rate_limits(&self) -> RateLimits {
        RateLimits {
            requests: RateWindows {
                per_minute: self.requests_per_minute,
                per_hour: self.requests_per_hour,
                per_day: self.requests_per_day,
            },
            tokens: RateWindows {
                per_minute: self.tokens_per_minute,
                per_hour: self.tokens_per_hour,
                per_day: self.tokens_per_day,
            },
        }
    }

    fn into_owner(self) -> Result<Owner, StorageError> {
        let corrupt =
            |what: &str| StorageError::Corrupt { table: "owners", id: self.user_id, what: what.to_owned() };
        Ok(Owner {
            user_id: UserId::new(self.user_id).ok_or_else(|| corrupt("user_id"))?,
            disable_time: self.disabled_at,
            rate_limits: self.rate_limits(),
            revision: Revision::new(self.revision).ok_or_else(|| corrupt("revision"))?,
            create_time: self.created_at,
            update_time: self.updated_at,
        })
    }
}

/// Which of some owners have a row, and whether they are disabled.
///
/// # Errors
/// [`StorageError`].
pub async fn known(
    connection: &mut AsyncPgConnection,
    users: &[UserId],
) -> Result<Vec<(UserId, bool)>, StorageError> {
    let ids: Vec<i64> = users.iter().map(|user| user.get()).collect();
    let rows: Vec<(i64, Option<DateTime<Utc>>)> = owners::table
        .filter(owners::user_id.eq_any(ids))
        .select((owners::user_id, owners::disabled_at))
        .load(connection)
        .await?;
    Ok(rows.into_iter().filter_map(|(id, disabled)| Some((UserId::new(id)?, disabled.is_some()))).collect())
}

/// Locks an owner's row until the transaction ends, and makes it where there was none.
///
/// # Errors
/// [`StorageError`].
pub async fn lock(
    connection: &AsyncPgConnection,
    user_id: UserId,
    now: DateTime<Utc>,
) -> Result<Owner, StorageError> {
    // Sent at once, carried out one after the other.
    let (made, row) = tokio::join!(biased; make(connection, user_id, now), lock_row(connection, user_id));
    made?;
    row?.into_owner()
}

async fn make(
    mut connection: &AsyncPgConnection,
    user_id: UserId,
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    diesel::insert_into(owners::table)
        .values((
            owners::user_id.eq(user_id.get()),
            owners::revision.eq(0),
            owners::created_at.eq(now),
            owners::updated_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(&mut connection)
        .await?;
    Ok(())
}

async fn lock_row(mut connection: &AsyncPgConnection, user_id: UserId) -> Result<OwnerRow, StorageError> {
    let row = owners::table.find(user_id.get()).select(OwnerRow::as_select()).for_update();
    Ok(row.first(&mut connection).await?)
}

/// Writes when a locked owner was disabled.
///
/// # Errors
/// [`StorageError`].
pub async fn set_disabled(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    disable_time: Option<DateTime<Utc>>,
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    let update = diesel::update(owners::table.find(user_id.get()))
        .set((owners::disabled_at.eq(disable_time), owners::updated_at.eq(now)));
    expect_one(Prepared(update).execute(connection).await?, user_id)
}

/// Writes the limits of a locked owner.
///
/// # Errors
/// [`StorageError`].
pub async fn set_limits(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    limits: RateLimits,
    now: DateTime<Utc>,
) -> Result<(), StorageError> {
    let update = diesel::update(owners::table.find(user_id.get())).set((
        owners::requests_per_minute.eq(limits.requests.per_minute),
        owners::requests_per_hour.eq(limits.requests.per_hour),
        owners::requests_per_day.eq(limits.requests.per_day),
        owners::tokens_per_minute.eq(limits.tokens.per_minute),
        owners::tokens_per_hour.eq(limits.tokens.per_hour),
        owners::tokens_per_day.eq(limits.tokens.per_day),
        owners::updated_at.eq(now),
    ));
    expect_one(Prepared(update).execute(connection).await?, user_id)
}

/// The rows of some owners, those that have one.
///
/// # Errors
/// [`StorageError`].
pub async fn rows(connection: &mut AsyncPgConnection, users: &[UserId]) -> Result<Vec<Owner>, StorageError> {
    let ids: Vec<i64> = users.iter().map(|user| user.get()).collect();
    let rows: Vec<OwnerRow> = owners::table
        .filter(owners::user_id.eq_any(ids))
        .select(OwnerRow::as_select())
        .load(connection)
        .await?;
    rows.into_iter().map(OwnerRow::into_owner).collect()
}

/// Whether an owner has keys, deleted ones that are not purged included.
///
/// # Errors
/// [`StorageError`].
pub async fn has_keys(connection: &mut AsyncPgConnection, user_id: UserId) -> Result<bool, StorageError> {
    let keys = api_keys::table.filter(api_keys::user_id.eq(user_id.get()));
    Ok(diesel::select(diesel::dsl::exists(keys)).get_result(connection).await?)
}

/// Steps from one user to the next by the indexes, rather than through all keys: as many steps as owners are
/// listed.
const LIST: &str = "\
    WITH RECURSIVE users AS ( \
        SELECT least((SELECT min(user_id) FROM api_keys WHERE user_id > $1), \
                     (SELECT min(user_id) FROM owners WHERE user_id > $1)) AS user_id \
        UNION ALL \
        SELECT least((SELECT min(user_id) FROM api_keys WHERE user_id > users.user_id), \
                     (SELECT min(user_id) FROM owners WHERE user_id > users.user_id)) \
        FROM users WHERE users.user_id IS NOT NULL) \
    SELECT users.user_id FROM users WHERE users.user_id IS NOT NULL \
    AND ($2 IS NULL OR $2 = EXISTS (SELECT FROM owners \
        WHERE owners.user_id = users.user_id AND owners.disabled_at IS NOT NULL)) LIMIT $3";

/// The same for disabled owners only, which all have a row.
const LIST_DISABLED: &str = "\
    SELECT user_id FROM owners WHERE disabled_at IS NOT NULL AND user_id > $1 ORDER BY user_id LIMIT $2";

/// Users that have keys (deleted ones included) or a row, by id, from the one after `after` on.
///
/// # Errors
/// [`StorageError`].
pub async fn list(
    connection: &mut AsyncPgConnection,
    disabled: Option<bool>,
    after: Option<UserId>,
    limit: i64,
) -> Result<Vec<UserId>, StorageError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        user_id: i64,
    }
    plan_by_index(connection).await?;
    let after = after.map_or(-1, UserId::get);
    let rows: Vec<Row> = if disabled == Some(true) {
        let query = diesel::sql_query(LIST_DISABLED).bind::<BigInt, _>(after).bind::<BigInt, _>(limit);
        query.load(connection).await?
    } else {
        let query = diesel::sql_query(LIST).bind::<BigInt, _>(after).bind::<Nullable<Bool>, _>(disabled);
        query.bind::<BigInt, _>(limit).load(connection).await?
    };
    Ok(rows.into_iter().filter_map(|row| UserId::new(row.user_id)).collect())
}

/// How many keys of each of some owners are not deleted, in the order of `users`.
///
/// # Errors
/// [`StorageError`].
pub async fn key_counts(
    connection: &mut AsyncPgConnection,
    users: &[UserId],
) -> Result<Vec<i64>, StorageError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = BigInt)]
        count: i64,
    }
    let ids: Vec<i64> = users.iter().map(|user| user.get()).collect();
    let rows: Vec<Row> = diesel::sql_query(
        "SELECT (SELECT count(*) FROM api_keys \
             WHERE api_keys.user_id = users.user_id AND deleted_at IS NULL) AS count \
         FROM unnest($1) WITH ORDINALITY AS users (user_id, place) ORDER BY place",
    )
    .bind::<Array<BigInt>, _>(ids)
    .load(connection)
    .await?;
    Ok(rows.into_iter().map(|row| row.count).collect())
}

/// How many keys of an owner are not deleted.
///
/// # Errors
/// [`StorageError`].
pub async fn key_count(mut connection: &AsyncPgConnection, user_id: UserId) -> Result<i64, StorageError> {
    let count = api_keys::table
        .filter(api_keys::user_id.eq(user_id.get()))
        .filter(api_keys::deleted_at.is_null())
        .count()
        .get_result(&mut connection)
        .await?;
    Ok(count)
}

fn expect_one(changed: usize, user_id: UserId) -> Result<(), StorageError> {
    if changed == 1 {
        return Ok(());
    }
    Err(StorageError::Defect(format!("{changed} rows changed for locked owner {user_id}")))
}
