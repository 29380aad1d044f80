//! A row of the older system, as its database has it. No meaning is given to anything here.

use chrono::NaiveDateTime;
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
    /// Cost so far, in units of [`super::Options::total_cost_unit`].
    pub total_cost: Option<i64>,
}
