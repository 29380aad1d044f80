//! `owners`: what Keystile knows of the users that keys belong to.
//!
//! Most owners have no row: it comes with the first change.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::schema::{api_keys, owners};
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
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    now: DateTime<Utc>,
) -> Result<Owner, StorageError> {
    diesel::insert_into(owners::table)
        .values((
            owners::user_id.eq(user_id.get()),
            owners::revision.eq(0),
            owners::created_at.eq(now),
            owners::updated_at.eq(now),
        ))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    let row: OwnerRow = owners::table
        .find(user_id.get())
        .select(OwnerRow::as_select())
        .for_update()
        .first(connection)
        .await?;
    row.into_owner()
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
    let changed = diesel::update(owners::table.find(user_id.get()))
        .set((owners::disabled_at.eq(disable_time), owners::updated_at.eq(now)))
        .execute(connection)
        .await?;
    expect_one(changed, user_id)
}

/// Puts the revision of a change on its locked owner.
///
/// # Errors
/// [`StorageError`].
pub async fn stamp(
    connection: &mut AsyncPgConnection,
    user_id: UserId,
    revision: Revision,
) -> Result<(), StorageError> {
    let changed = diesel::update(owners::table.find(user_id.get()))
        .set(owners::revision.eq(revision.get()))
        .execute(connection)
        .await?;
    expect_one(changed, user_id)
}

/// How many keys of an owner are not deleted.
///
/// # Errors
/// [`StorageError`].
pub async fn key_count(connection: &mut AsyncPgConnection, user_id: UserId) -> Result<i64, StorageError> {
    let count = api_keys::table
        .filter(api_keys::user_id.eq(user_id.get()))
        .filter(api_keys::deleted_at.is_null())
        .count()
        .get_result(connection)
        .await?;
    Ok(count)
}

fn expect_one(changed: usize, user_id: UserId) -> Result<(), StorageError> {
    if changed == 1 {
        return Ok(());
    }
    Err(StorageError::Defect(format!("{changed} rows changed for locked owner {user_id}")))
}
