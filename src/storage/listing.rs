//! Lists of keys by pages: filters, and keyset pagination by key id.

use chrono::{DateTime, Utc};
use diesel::dsl::{InnerJoinQuerySource, LeftJoinQuerySource, not};
use diesel::pg::Pg;
use diesel::prelude::*;
use diesel::sql_types::{Bool, Nullable};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::key_rows::KeyRow;
use super::schema::{api_keys, key_secrets, owners};
use crate::policy::{Key, KeyId, KeyState, Metadata, Tag, UserId};

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
    /// With all of this.
    pub metadata: Metadata,
}

/// Where a page starts and how long it is.
#[derive(Clone, Copy, Debug)]
pub struct Page {
    /// The key that the page before ended with.
    pub after: Option<KeyId>,
    /// Falling order of ids.
    pub descending: bool,
    /// At most so many keys.
    pub limit: i64,
}

type KeysAndSecrets = InnerJoinQuerySource<
    api_keys::table,
    key_secrets::table,
    diesel::dsl::Eq<key_secrets::key_id, api_keys::key_id>,
>;
type Tables =
    LeftJoinQuerySource<KeysAndSecrets, owners::table, diesel::dsl::Eq<owners::user_id, api_keys::user_id>>;
type Condition = Box<dyn BoxableExpression<Tables, Pg, SqlType = Nullable<Bool>>>;

/// One page of keys in order of their ids.
///
/// # Errors
/// [`StorageError`].
pub async fn list(
    connection: &mut AsyncPgConnection,
    filter: &KeyFilter,
    page: Page,
    now: DateTime<Utc>,
) -> Result<Vec<Key>, StorageError> {
    let mut query = api_keys::table
        .inner_join(key_secrets::table.on(key_secrets::key_id.eq(api_keys::key_id)))
        .left_join(owners::table.on(owners::user_id.eq(api_keys::user_id)))
        .filter(key_secrets::is_current)
        .select((KeyRow::as_select(), key_secrets::key_prefix, owners::disabled_at.nullable()))
        .limit(page.limit)
        .into_boxed();
    if let Some(user_id) = filter.user_id {
        query = query.filter(api_keys::user_id.eq(user_id.get()));
    }
    if let Some(tag) = &filter.tag {
        query = query.filter(api_keys::tags.contains(vec![tag.as_str().to_owned()]));
    }
    if !filter.key_prefix.is_empty() {
        let pattern = format!("{}%", escape_like(&filter.key_prefix));
        query = query.filter(key_secrets::key_prefix.like(pattern));
    }
    if !filter.name_contains.is_empty() {
        let pattern = format!("%{}%", escape_like(&filter.name_contains));
        query = query.filter(api_keys::display_name.ilike(pattern));
    }
    if !filter.metadata.as_map().is_empty() {
        let wanted = serde_json::to_value(filter.metadata.as_map())
            .map_err(|error| StorageError::Defect(error.to_string()))?;
        query = query.filter(api_keys::metadata.contains(wanted));
    }
    query = if filter.states.is_empty() {
        query.filter(api_keys::deleted_at.is_null())
    } else {
        let mut any: Condition = Box::new(diesel::dsl::sql::<Nullable<Bool>>("false"));
        for state in &filter.states {
            any = Box::new(any.or(in_state(*state, now)));
        }
        query.filter(any)
    };
    query = match (page.after, page.descending) {
        (Some(after), false) => query.filter(api_keys::key_id.gt(after.get())),
        (Some(after), true) => query.filter(api_keys::key_id.lt(after.get())),
        (None, _) => query,
    };
    query = if page.descending {
        query.order(api_keys::key_id.desc())
    } else {
        query.order(api_keys::key_id.asc())
    };
    let rows: Vec<(KeyRow, String, Option<DateTime<Utc>>)> = query.load(connection).await?;
    rows.into_iter().map(|(row, prefix, disabled)| row.into_key(prefix, disabled.is_some())).collect()
}

/// The same precedence as [`KeyPolicy::state`](crate::policy::KeyPolicy::state); a test compares them.
fn in_state(state: KeyState, now: DateTime<Utc>) -> Condition {
    let deleted = api_keys::deleted_at.is_not_null();
    let revoked = api_keys::revoked_at.is_not_null();
    let owner_disabled = owners::disabled_at.nullable().is_not_null();
    let expired = api_keys::expire_at.is_not_null().and(api_keys::expire_at.le(now));
    match state {
        KeyState::Deleted => Box::new(deleted.nullable()),
        KeyState::Revoked => Box::new(not(deleted).and(revoked).nullable()),
        KeyState::OwnerDisabled => Box::new(not(deleted).and(not(revoked)).and(owner_disabled).nullable()),
        KeyState::Expired => Box::new(not(deleted).and(not(revoked)).and(not(owner_disabled)).and(expired)),
        KeyState::Active => {
            let live = not(deleted).and(not(revoked)).and(not(owner_disabled));
            Box::new(live.and(api_keys::expire_at.is_null().or(api_keys::expire_at.gt(now))))
        }
    }
}

/// `%`, `_` and `\` stand for themselves.
fn escape_like(text: &str) -> String {
    let mut escaped = String::with_capacity(text.len());
    for character in text.chars() {
        if matches!(character, '%' | '_' | '\\') {
            escaped.push('\\');
        }
        escaped.push(character);
    }
    escaped
}

#[cfg(test)]
mod tests {
    use super::escape_like;

    #[test]
    fn wildcards_of_like_stand_for_themselves() {
        assert_eq!(escape_like(r"50%_a\b"), r"50\%\_a\\b");
    }
}
