//! Orders of a list, and places in them: the value that a key is ordered by, then its id.
//!
//! Every order has an index on just that. A missing value has its place: a key that never expires comes after all
//! that do, one that was never used before all that were. The order of last use goes by minutes: an index on the very
//! moment would be written with every flush of counts.

use std::cmp::Ordering;

use chrono::{DateTime, Utc};
use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Nullable, Text, Timestamptz};

use crate::policy::{KeyId, UserId};
use crate::storage::StorageError;
use crate::storage::statement::{Bind, Statement};

/// What keys are ordered by. Keys of the same value stand in the order of their ids.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OrderField {
    /// Id.
    KeyId,
    /// Creation.
    CreateTime,
    /// Last change.
    UpdateTime,
    /// Name, by code point.
    DisplayName,
    /// Expiry; never comes last.
    ExpireTime,
    /// Minute (UTC) of the last use; never comes first.
    LastUsedTime,
}

/// An order of keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct KeyOrder {
    /// By what.
    pub field: OrderField,
    /// Falling, ids included.
    pub descending: bool,
}

/// What a key is ordered by.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OrderValue {
    /// Nothing but its id.
    Id,
    /// A time; `None` is never. Of [`OrderField::LastUsedTime`]: the minute.
    Time(Option<DateTime<Utc>>),
    /// Its name.
    Name(String),
}

/// A place in an order.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Position {
    /// What the key there is ordered by.
    pub value: OrderValue,
    /// The key.
    pub key_id: KeyId,
}

impl OrderField {
    /// The indexed expression; `k` is `api_keys`, `u` is `key_usage`.
    const fn expression(self) -> &'static str {
        match self {
            Self::KeyId => "k.key_id",
            Self::CreateTime => "k.created_at",
            Self::UpdateTime => "k.updated_at",
            Self::DisplayName => "k.display_name COLLATE \"C\"",
            Self::ExpireTime => "coalesce(k.expire_at, 'infinity')",
            Self::LastUsedTime => "coalesce(u.last_used_minute, '-infinity')",
        }
    }

    const fn id(self) -> &'static str {
        match self {
            Self::LastUsedTime => "u.key_id",
            _ => "k.key_id",
        }
    }

    /// The columns of a [`PlaceRow`].
    pub(super) const fn columns(self) -> &'static str {
        match self {
            Self::KeyId => "k.key_id, NULL::timestamptz AS time, NULL::text AS name",
            Self::CreateTime => "k.key_id, k.created_at AS time, NULL::text AS name",
            Self::UpdateTime => "k.key_id, k.updated_at AS time, NULL::text AS name",
            Self::DisplayName => "k.key_id, NULL::timestamptz AS time, k.display_name AS name",
            Self::ExpireTime => "k.key_id, k.expire_at AS time, NULL::text AS name",
            Self::LastUsedTime => "u.key_id, u.last_used_minute AS time, NULL::text AS name",
        }
    }

    fn fits(self, value: &OrderValue) -> bool {
        match self {
            Self::KeyId => matches!(value, OrderValue::Id),
            Self::CreateTime | Self::UpdateTime => matches!(value, OrderValue::Time(Some(_))),
            Self::ExpireTime | Self::LastUsedTime => matches!(value, OrderValue::Time(_)),
            Self::DisplayName => matches!(value, OrderValue::Name(_)),
        }
    }
}

impl KeyOrder {
    /// By id, rising.
    pub const DEFAULT: Self = Self { field: OrderField::KeyId, descending: false };

    /// Whether a place is one of this order.
    #[must_use]
    pub fn has(self, position: &Position) -> bool {
        self.field.fits(&position.value)
    }

    /// As the indexes order.
    pub(super) fn compare(self, a: &Position, b: &Position) -> Ordering {
        let by_value = match (&a.value, &b.value) {
            (OrderValue::Time(a), OrderValue::Time(b)) if self.field == OrderField::ExpireTime => {
                (a.is_none(), a).cmp(&(b.is_none(), b))
            }
            (OrderValue::Time(a), OrderValue::Time(b)) => a.cmp(b),
            (OrderValue::Name(a), OrderValue::Name(b)) => a.cmp(b),
            _ => Ordering::Equal,
        };
        let rising = by_value.then(a.key_id.cmp(&b.key_id));
        if self.descending { rising.reverse() } else { rising }
    }
}

/// A key's place, as the database tells it.
#[derive(QueryableByName)]
pub(super) struct PlaceRow {
    #[diesel(sql_type = BigInt)]
    key_id: i64,
    #[diesel(sql_type = Nullable<Timestamptz>)]
    time: Option<DateTime<Utc>>,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
}

impl PlaceRow {
    /// Stands for more keys than were to be found: no key has the id 0.
    pub(super) fn is_too_many(&self) -> bool {
        self.key_id == 0
    }

    pub(super) fn into_position(self, order: KeyOrder) -> Result<Position, StorageError> {
        let corrupt =
            || StorageError::Corrupt { table: "api_keys", id: self.key_id, what: "its place".to_owned() };
        let key_id = KeyId::new(self.key_id).ok_or_else(corrupt)?;
        let value = match order.field {
            OrderField::KeyId => OrderValue::Id,
            OrderField::DisplayName => OrderValue::Name(self.name.clone().ok_or_else(corrupt)?),
            _ => OrderValue::Time(self.time),
        };
        Ok(Position { value, key_id })
    }
}

/// The part of an order that a page starts in.
pub(super) struct Span {
    pub(super) order: KeyOrder,
    pub(super) after: Option<Position>,
    /// One owner's keys have an index in order of ids.
    pub(super) user_id: Option<UserId>,
}

impl Span {
    /// Selects places from the index of the order alone.
    pub(super) fn select_from_order(&self, statement: &mut Statement) {
        let field = self.order.field;
        let table = if field == OrderField::LastUsedTime { "key_usage u" } else { "api_keys k" };
        statement.add(&format!("SELECT {} FROM {table} WHERE true", field.columns()), []);
        if let (OrderField::KeyId, Some(user_id)) = (field, self.user_id) {
            statement.add(" AND k.user_id = ?", [Bind::Number(user_id.get())]);
        }
    }

    /// Behind the page before.
    pub(super) fn add_after(&self, statement: &mut Statement) {
        if let Some(after) = &self.after {
            let operator = if self.order.descending { "<" } else { ">" };
            self.add_comparison(statement, " AND ", operator, after);
        }
    }

    /// Up to a place, it included.
    pub(super) fn add_until(&self, statement: &mut Statement, until: &Position) {
        let operator = if self.order.descending { ">=" } else { "<=" };
        self.add_comparison(statement, " AND ", operator, until);
    }

    /// Behind a place; said so that the index of the order is of no use for it: it would be walked again.
    pub(super) fn add_behind(&self, statement: &mut Statement, place: &Position) {
        let (id, key_id) = (self.order.field.id(), place.key_id.get());
        if self.order.field == OrderField::KeyId {
            let operator = if self.order.descending { "<" } else { ">" };
            return statement.add(&format!(" AND {id} + 0 {operator} ?"), [Bind::Number(key_id)]);
        }
        statement.add(" AND NOT (", []);
        let operator = if self.order.descending { ">=" } else { "<=" };
        self.add_comparison(statement, "", operator, place);
        statement.add(")", []);
    }

    fn add_comparison(&self, statement: &mut Statement, head: &str, operator: &str, place: &Position) {
        let field = self.order.field;
        let key_id = Bind::Number(place.key_id.get());
        let (expression, id) = (field.expression(), field.id());
        let never = if field == OrderField::ExpireTime { "'infinity'" } else { "'-infinity'" };
        let row = format!("{head}({expression}, {id}) {operator} ");
        match &place.value {
            OrderValue::Id => statement.add(&format!("{head}{id} {operator} ?"), [key_id]),
            OrderValue::Time(Some(time)) => {
                statement.add(&format!("{row}(?, ?)"), [Bind::Time(*time), key_id])
            }
            OrderValue::Time(None) => {
                statement.add(&format!("{row}({never}::timestamptz, ?)"), [key_id]);
            }
            OrderValue::Name(name) => {
                statement.add(&format!("{row}(?, ?)"), [Bind::Text(name.clone()), key_id]);
            }
        }
    }

    /// In order.
    pub(super) fn add_order(&self, statement: &mut Statement) {
        let direction = if self.order.descending { "DESC" } else { "ASC" };
        let (expression, id) = (self.order.field.expression(), self.order.field.id());
        let order = match self.order.field {
            OrderField::KeyId => format!(" ORDER BY {id} {direction}"),
            _ => format!(" ORDER BY {expression} {direction}, {id} {direction}"),
        };
        statement.add(&order, []);
    }
}
