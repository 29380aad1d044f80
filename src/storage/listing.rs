//! Lists of keys by pages: filters, orders, and keyset pagination.
//!
//! A page is bounded work, however many keys there are and whatever is asked for:
//!
//! 1. It walks the index of its order, and looks at [`WINDOW`] keys at most. Where many keys fit, that fills it.
//! 2. Where it does not, few keys fit, or they stand together further on. If a filter has an index, that finds
//!    them: up to `FEW`, which are put in order.
//! 3. Where there are more, or no index, the page ends here, short, and the next one goes on behind the window.
//!
//! So a page may be short, even empty, though it is not the last one.

mod conditions;
mod order;

use std::collections::BTreeMap;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::key_rows::KeyRow;
use super::schema::{api_keys, key_secrets, owners};
use super::statement::{Bind, Statement, plan_by_index};
use crate::policy::{Key, KeyId, KeyState, Metadata, Tag, UserId};
use conditions::Conditions;
pub use order::{KeyOrder, OrderField, OrderValue, Position};
use order::{PlaceRow, Span};

/// A page looks at so many keys at most while it walks in order.
pub const WINDOW: i64 = 10_000;
/// So many keys at most are put in order that an index of a filter has found.
const FEW: i64 = 1_000;

/// Narrows a list; every given field must fit.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyFilter {
    /// Of this owner.
    pub user_id: Option<UserId>,
    /// In one of these states; empty: in any but deleted.
    pub states: Vec<KeyState>,
    /// With this tag.
    pub tag: Option<Tag>,
    /// The prefix starts with this.
    pub key_prefix: String,
    /// The display name holds this, whatever the case.
    pub name_contains: String,
    /// Granted this literal scope, be it by a wildcard. Empty: not given.
    pub scope: String,
    /// The rule of models allows this one. Empty: not given.
    pub model: String,
    /// With all of this.
    pub metadata: Metadata,
    /// Created at or after.
    pub created_after: Option<DateTime<Utc>>,
    /// Created before.
    pub created_before: Option<DateTime<Utc>>,
    /// Expiring at or after; not those that never do.
    pub expires_after: Option<DateTime<Utc>>,
    /// Expiring before.
    pub expires_before: Option<DateTime<Utc>>,
    /// Last used at or after.
    pub last_used_after: Option<DateTime<Utc>>,
    /// Last used before, or never.
    pub last_used_before: Option<DateTime<Utc>>,
}

/// Where a page starts and how long it is.
#[derive(Clone, Debug)]
pub struct Page {
    /// In what order.
    pub order: KeyOrder,
    /// Where the page before ended.
    pub after: Option<Position>,
    /// At most so many keys.
    pub limit: usize,
}

/// A page of keys.
#[derive(Clone, Debug)]
pub struct Listed {
    /// Each with its place.
    pub keys: Vec<(Key, Position)>,
    /// There may be more: the next page comes after this.
    pub next: Option<Position>,
}

/// One page of keys, in one transaction that sees one state.
///
/// # Errors
/// [`StorageError`].
pub async fn list(
    connection: &mut AsyncPgConnection,
    filter: &KeyFilter,
    page: &Page,
    now: DateTime<Utc>,
) -> Result<Listed, StorageError> {
    plan_by_index(connection).await?;
    let (places, next) = places(connection, filter, page, now).await?;
    let ids: Vec<KeyId> = places.iter().map(|place| place.key_id).collect();
    let mut keys = load(connection, &ids).await?;
    let mut placed = Vec::with_capacity(places.len());
    for place in places {
        // All of it is one state: a key that was found is there.
        let id = place.key_id;
        let key = keys.remove(&id).ok_or_else(|| StorageError::Defect(format!("key {id} went")))?;
        placed.push((key, place));
    }
    Ok(Listed { keys: placed, next })
}

/// The keys of a page by their places.
async fn places(
    connection: &mut AsyncPgConnection,
    filter: &KeyFilter,
    page: &Page,
    now: DateTime<Utc>,
) -> Result<(Vec<Position>, Option<Position>), StorageError> {
    let conditions = Conditions::of(filter, now)?;
    let span = Span { order: page.order, after: page.after.clone(), user_id: filter.user_id };
    let horizon = horizon(connection, &span).await?;
    let mut found = walk(connection, &conditions, &span, horizon.as_ref(), page.limit).await?;
    if found.len() > page.limit {
        found.truncate(page.limit);
        let last = found.last().cloned();
        return Ok((found, last));
    }
    let missing = page.limit.saturating_sub(found.len());
    let Some(horizon) = horizon else { return Ok((found, None)) };
    if missing == 0 || !conditions.has_index {
        return Ok((found, Some(horizon)));
    }
    let Some(rest) = few(connection, &conditions, &span, &horizon, missing).await? else {
        return Ok((found, Some(horizon)));
    };
    let has_more = rest.len() > missing;
    found.extend(rest.into_iter().take(missing));
    let last = found.last().cloned();
    Ok((found, last.filter(|_| has_more)))
}

/// The last key that the walk looks at; `None` where the order ends before.
async fn horizon(connection: &mut AsyncPgConnection, span: &Span) -> Result<Option<Position>, StorageError> {
    let mut statement = Statement::default();
    span.select_from_order(&mut statement);
    span.add_after(&mut statement);
    span.add_order(&mut statement);
    statement.add(" OFFSET ? LIMIT 1", [Bind::Number(WINDOW - 1)]);
    let rows: Vec<PlaceRow> = statement.into_query().load(connection).await?;
    rows.into_iter().next().map(|row| row.into_position(span.order)).transpose()
}

/// What fits up to the horizon, in order: one more than `limit`, so that one sees whether there is more.
async fn walk(
    connection: &mut AsyncPgConnection,
    conditions: &Conditions,
    span: &Span,
    horizon: Option<&Position>,
    limit: usize,
) -> Result<Vec<Position>, StorageError> {
    let mut statement = Statement::default();
    conditions.select(&mut statement, span.order);
    span.add_after(&mut statement);
    if let Some(horizon) = horizon {
        span.add_until(&mut statement, horizon);
    }
    span.add_order(&mut statement);
    statement.add(" LIMIT ?", [Bind::Number(one_more(limit))]);
    let rows: Vec<PlaceRow> = statement.into_query().load(connection).await?;
    rows.into_iter().map(|row| row.into_position(span.order)).collect()
}

/// What fits behind the horizon, if that is few: found by the index of a filter, then put in order. One more than
/// `limit`, as above. `None` where it is many.
async fn few(
    connection: &mut AsyncPgConnection,
    conditions: &Conditions,
    span: &Span,
    horizon: &Position,
    limit: usize,
) -> Result<Option<Vec<Position>>, StorageError> {
    let mut statement = Statement::default();
    statement.add("WITH few AS MATERIALIZED (", []);
    conditions.select(&mut statement, span.order);
    span.add_behind(&mut statement, horizon);
    statement.add(" LIMIT ?)", [Bind::Number(FEW + 1)]);
    statement.add(
        " SELECT key_id, time, name FROM few WHERE (SELECT count(*) FROM few) <= ?",
        [Bind::Number(FEW)],
    );
    statement
        .add(" UNION ALL SELECT 0, NULL, NULL WHERE (SELECT count(*) FROM few) > ?", [Bind::Number(FEW)]);
    let rows: Vec<PlaceRow> = statement.into_query().load(connection).await?;
    if rows.iter().any(PlaceRow::is_too_many) {
        return Ok(None);
    }
    let found: Result<Vec<Position>, _> = rows.into_iter().map(|row| row.into_position(span.order)).collect();
    let mut found = found?;
    found.sort_by(|a, b| span.order.compare(a, b));
    found.truncate(limit.saturating_add(1));
    Ok(Some(found))
}

fn one_more(limit: usize) -> i64 {
    i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX)
}

/// Those of some keys that are there, deleted ones included.
///
/// # Errors
/// [`StorageError`].
pub async fn load(
    connection: &mut AsyncPgConnection,
    keys: &[KeyId],
) -> Result<BTreeMap<KeyId, Key>, StorageError> {
    let ids: Vec<i64> = keys.iter().map(|key| key.get()).collect();
    let rows: Vec<(KeyRow, String, Option<DateTime<Utc>>)> = api_keys::table
        .inner_join(key_secrets::table.on(key_secrets::key_id.eq(api_keys::key_id)))
        .left_join(owners::table.on(owners::user_id.eq(api_keys::user_id)))
        .filter(api_keys::key_id.eq_any(ids))
        .filter(key_secrets::is_current)
        .select((KeyRow::as_select(), key_secrets::key_prefix, owners::disabled_at.nullable()))
        .load(connection)
        .await?;
    let keys = rows.into_iter().map(|(row, prefix, disabled)| {
        let key = row.into_key(prefix, disabled.is_some())?;
        Ok((key.key_id, key))
    });
    keys.collect()
}
