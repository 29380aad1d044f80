//! A row of the older system, as its database has it. No meaning is given to anything here.
//!
//! Every column is fetched as text and parsed here: integer or bigint, json, jsonb or text, with or without a
//! time zone are then all the same, and a value that cannot be read (an infinite time, JSON too deep to parse)
//! costs its own row and not the import.

use chrono::NaiveDateTime;
use diesel::QueryableByName;
use diesel::sql_types::{Bool, Nullable, Text};
use secrecy::SecretString;
use serde_json::Value;

/// One row of the older system's `api_keys` joined with its owner's row of `users`.
///
/// Field names are the column names; SQL NULL is `None`, JSON null is `Some(Value::Null)`.
#[derive(Clone, Debug)]
pub struct SourceRow {
    /// Identity of the key there, kept here.
    pub id: i64,
    /// Name shown to people.
    pub name: String,
    /// bcrypt hash of the whole token. Never printed.
    pub key_hash: SecretString,
    /// The token's first 8 characters.
    pub key_prefix: String,
    /// Owner.
    pub user_id: i64,
    /// Whether `users` has a row of the owner.
    pub owner_exists: bool,
    /// `users.is_active` of the owner.
    pub owner_is_active: Option<bool>,
    /// Whether the key was live.
    pub is_active: Option<bool>,
    /// Object from permission name to whether it is granted.
    pub permissions: Option<Value>,
    /// List of scope names.
    pub scopes: Option<Value>,
    /// Requests per minute; stored there, never enforced. So are the two that follow.
    pub rate_limit_per_minute: Option<i64>,
    /// Requests per hour.
    pub rate_limit_per_hour: Option<i64>,
    /// Requests per day.
    pub rate_limit_per_day: Option<i64>,
    /// List of model names.
    pub allowed_models: Option<Value>,
    /// List of paths.
    pub allowed_endpoints: Option<Value>,
    /// List of addresses.
    pub allowed_ips: Option<Value>,
    /// List of chatbot ids.
    pub allowed_chatbots: Option<Value>,
    /// Whether the key had no budget.
    pub is_unlimited: Option<bool>,
    /// Budget in hundredths of the currency.
    pub budget_limit_cents: Option<i64>,
    /// `total` or `monthly`.
    pub budget_type: Option<String>,
    /// Free text.
    pub description: Option<String>,
    /// List of labels.
    pub tags: Option<Value>,
    /// When the key was made (naive UTC, as all times here).
    pub created_at: Option<NaiveDateTime>,
    /// Last change of the key's row.
    pub updated_at: Option<NaiveDateTime>,
    /// Last use of the token.
    pub last_used_at: Option<NaiveDateTime>,
    /// From this instant on the key is expired.
    pub expires_at: Option<NaiveDateTime>,
    /// Requests counted.
    pub total_requests: Option<i64>,
    /// Tokens counted, input and output.
    pub total_tokens: Option<i64>,
    /// Cost so far, in a unit that the operator names.
    pub total_cost: Option<i64>,
}

/// The columns of `api_keys` that a row is made of.
pub(super) const KEY_COLUMNS: [&str; 27] = [
    "id",
    "name",
    "key_hash",
    "key_prefix",
    "user_id",
    "is_active",
    "permissions",
    "scopes",
    "rate_limit_per_minute",
    "rate_limit_per_hour",
    "rate_limit_per_day",
    "allowed_models",
    "allowed_endpoints",
    "allowed_ips",
    "allowed_chatbots",
    "is_unlimited",
    "budget_limit_cents",
    "budget_type",
    "description",
    "tags",
    "created_at",
    "updated_at",
    "last_used_at",
    "expires_at",
    "total_requests",
    "total_tokens",
    "total_cost",
];

/// The columns of `users`.
pub(super) const OWNER_COLUMNS: [&str; 2] = ["id", "is_active"];

/// Why a row cannot be read.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("row {id} of api_keys: {field}: {what}")]
pub struct UnreadableRow {
    /// Identity of the key there; 0 where the row has none.
    pub id: i64,
    /// The column.
    pub field: &'static str,
    /// What is wrong with it, after the column's name; doesn't repeat the value.
    pub what: String,
}

/// A row as it is fetched. No `Debug`: it holds a hash.
#[derive(QueryableByName)]
#[diesel(check_for_backend(diesel::pg::Pg))]
pub(super) struct TextRow {
    #[diesel(sql_type = Nullable<Text>)]
    id: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    name: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    key_hash: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    key_prefix: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    user_id: Option<String>,
    #[diesel(sql_type = Bool)]
    owner_exists: bool,
    #[diesel(sql_type = Nullable<Text>)]
    owner_is_active: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    is_active: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    permissions: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    scopes: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    rate_limit_per_minute: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    rate_limit_per_hour: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    rate_limit_per_day: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    allowed_models: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    allowed_endpoints: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    allowed_ips: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    allowed_chatbots: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    is_unlimited: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    budget_limit_cents: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    budget_type: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    description: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    tags: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    created_at: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    updated_at: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    last_used_at: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    expires_at: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    total_requests: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    total_tokens: Option<String>,
    #[diesel(sql_type = Nullable<Text>)]
    total_cost: Option<String>,
}

impl TextRow {
    /// Parses the row. A text, hash or owner that is NULL, which the older system's schema forbids, becomes an
    /// empty text or 0: whoever gives meaning to the row refuses what cannot be.
    pub(super) fn parse(self) -> Result<SourceRow, UnreadableRow> {
        let no_id = |what: &str| UnreadableRow { id: 0, field: "id", what: what.to_owned() };
        let id = self.id.as_deref().ok_or_else(|| no_id("is NULL"))?;
        let id = id.parse().map_err(|_| no_id("is no 64-bit integer"))?;
        let field = |name| Field { id, name };
        Ok(SourceRow {
            id,
            name: self.name.unwrap_or_default(),
            key_hash: SecretString::from(self.key_hash.unwrap_or_default()),
            key_prefix: self.key_prefix.unwrap_or_default(),
            user_id: field("user_id").integer(self.user_id)?.unwrap_or(0),
            owner_exists: self.owner_exists,
            owner_is_active: field("users.is_active").boolean(self.owner_is_active)?,
            is_active: field("is_active").boolean(self.is_active)?,
            permissions: field("permissions").json(self.permissions)?,
            scopes: field("scopes").json(self.scopes)?,
            rate_limit_per_minute: field("rate_limit_per_minute").integer(self.rate_limit_per_minute)?,
            rate_limit_per_hour: field("rate_limit_per_hour").integer(self.rate_limit_per_hour)?,
            rate_limit_per_day: field("rate_limit_per_day").integer(self.rate_limit_per_day)?,
            allowed_models: field("allowed_models").json(self.allowed_models)?,
            allowed_endpoints: field("allowed_endpoints").json(self.allowed_endpoints)?,
            allowed_ips: field("allowed_ips").json(self.allowed_ips)?,
            allowed_chatbots: field("allowed_chatbots").json(self.allowed_chatbots)?,
            is_unlimited: field("is_unlimited").boolean(self.is_unlimited)?,
            budget_limit_cents: field("budget_limit_cents").integer(self.budget_limit_cents)?,
            budget_type: self.budget_type,
            description: self.description,
            tags: field("tags").json(self.tags)?,
            created_at: field("created_at").time(self.created_at)?,
            updated_at: field("updated_at").time(self.updated_at)?,
            last_used_at: field("last_used_at").time(self.last_used_at)?,
            expires_at: field("expires_at").time(self.expires_at)?,
            total_requests: field("total_requests").integer(self.total_requests)?,
            total_tokens: field("total_tokens").integer(self.total_tokens)?,
            total_cost: field("total_cost").integer(self.total_cost)?,
        })
    }
}

/// A column of a row, to be parsed; NULL is `None`.
struct Field {
    id: i64,
    name: &'static str,
}

impl Field {
    fn read<T>(
        &self,
        text: Option<String>,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Result<Option<T>, UnreadableRow> {
        let unreadable = |what| UnreadableRow { id: self.id, field: self.name, what };
        text.map(|text| parse(&text).map_err(unreadable)).transpose()
    }

    fn integer(&self, text: Option<String>) -> Result<Option<i64>, UnreadableRow> {
        self.read(text, |text| text.parse().map_err(|_| "is no 64-bit integer".to_owned()))
    }

    fn boolean(&self, text: Option<String>) -> Result<Option<bool>, UnreadableRow> {
        self.read(text, |text| text.parse().map_err(|_| "is neither true nor false".to_owned()))
    }

    fn json(&self, text: Option<String>) -> Result<Option<Value>, UnreadableRow> {
        // The parser's words name a place in the text, never the text.
        self.read(text, |text| {
            serde_json::from_str(text).map_err(|error| format!("is not readable JSON: {error}"))
        })
    }

    /// A time that has a zone is shown in UTC by the session's settings.
    fn time(&self, text: Option<String>) -> Result<Option<NaiveDateTime>, UnreadableRow> {
        self.read(text, |text| {
            let naive = text.strip_suffix("+00").unwrap_or(text);
            NaiveDateTime::parse_from_str(naive, "%Y-%m-%d %H:%M:%S%.f")
                .map_err(|_| "is no time of our calendar".to_owned())
        })
    }
}
