//! What is kept of keys, owners and budgets beyond what decides.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::{
    AccessRule, AddressPattern, BudgetId, CheckSet, Description, DisplayName, EndpointPattern, KeyId,
    KeyPolicy, Metadata, Micros, NamePattern, Permission, Revision, Scope, Tag, UserId,
};

/// The largest rate limit that can be set.
pub const RATE_LIMIT_MAX: i64 = 1_000_000_000_000;

/// Limits in three windows; `None` is no limit, 0 admits nothing. At most [`RATE_LIMIT_MAX`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateWindows {
    /// In any 60 seconds.
    pub per_minute: Option<i64>,
    /// In any 3600 seconds.
    pub per_hour: Option<i64>,
    /// In any 86400 seconds.
    pub per_day: Option<i64>,
}

impl RateWindows {
    /// The limits that are set, by name and length in seconds.
    pub fn iter(self) -> impl Iterator<Item = (&'static str, i64, i64)> {
        let windows = [
            ("per_minute", 60, self.per_minute),
            ("per_hour", 3_600, self.per_hour),
            ("per_day", 86_400, self.per_day),
        ];
        windows.into_iter().filter_map(|(name, seconds, limit)| Some((name, seconds, limit?)))
    }
}

/// Rate limits of a key or an owner.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RateLimits {
    /// On admitted requests.
    pub requests: RateWindows,
    /// On model tokens.
    pub tokens: RateWindows,
}

impl RateLimits {
    /// Limits on requests only.
    #[must_use]
    pub const fn requests(per_minute: i64, per_hour: i64, per_day: i64) -> Self {
        Self {
            requests: RateWindows {
                per_minute: Some(per_minute),
                per_hour: Some(per_hour),
                per_day: Some(per_day),
            },
            tokens: RateWindows { per_minute: None, per_hour: None, per_day: None },
        }
    }
}

/// A key as it is kept, without its secrets.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Key {
    /// Identity.
    pub key_id: KeyId,
    /// Owner.
    pub user_id: UserId,
    /// For people.
    pub display_name: DisplayName,
    /// For people.
    pub description: Description,
    /// For people.
    pub tags: BTreeSet<Tag>,
    /// For programs; Authorize returns it.
    pub metadata: Metadata,
    /// What an administrator may see of the current token.
    pub key_prefix: String,
    /// What decides.
    pub policy: KeyPolicy,
    /// The key's own limits.
    pub rate_limits: RateLimits,
    /// Set while revoked.
    pub revoke_time: Option<DateTime<Utc>>,
    /// Why; may be empty.
    pub revoke_reason: Description,
    /// Set while deleted.
    pub delete_time: Option<DateTime<Utc>>,
    /// When a deleted key is purged.
    pub purge_time: Option<DateTime<Utc>>,
    /// Creation.
    pub create_time: DateTime<Utc>,
    /// Last change by an administrator.
    pub update_time: DateTime<Utc>,
    /// Of the last change.
    pub revision: Revision,
}

/// A key to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewKey {
    /// Owner.
    pub user_id: UserId,
    /// For people.
    pub display_name: DisplayName,
    /// For people.
    pub description: Description,
    /// For people.
    pub tags: BTreeSet<Tag>,
    /// For programs.
    pub metadata: Metadata,
    /// Granted.
    pub permissions: BTreeSet<Permission>,
    /// Granted.
    pub scopes: BTreeSet<Scope>,
    /// Rule.
    pub models: AccessRule<NamePattern>,
    /// Rule.
    pub endpoints: AccessRule<EndpointPattern>,
    /// Rule.
    pub ips: AccessRule<AddressPattern>,
    /// Rule.
    pub chatbots: AccessRule<NamePattern>,
    /// Limits.
    pub rate_limits: RateLimits,
    /// Checks that do not deny.
    pub observe: CheckSet,
    /// Exclusive.
    pub expire_time: Option<DateTime<Utc>>,
}

/// What a key has used, over its whole life.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct KeyTotals {
    /// Requests with a usage record.
    pub total_requests: i64,
    /// Input and output.
    pub total_tokens: i64,
    /// Cost in micros.
    pub total_cost_micros: i64,
    /// ALLOWs.
    pub authorized_count: i64,
    /// Last ALLOW.
    pub last_used_time: Option<DateTime<Utc>>,
}

/// What Keystile knows of an owner.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Owner {
    /// Identity.
    pub user_id: UserId,
    /// Set while disabled.
    pub disable_time: Option<DateTime<Utc>>,
    /// Over all keys of the owner.
    pub rate_limits: RateLimits,
    /// Of the last change.
    pub revision: Revision,
    /// First change.
    pub create_time: DateTime<Utc>,
    /// Last change.
    pub update_time: DateTime<Utc>,
}

/// Over what time a budget counts; calendar periods are in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Period {
    /// The budget's whole life.
    Total,
    /// Midnight to midnight.
    Daily,
    /// Monday to Monday.
    Weekly,
    /// First to first.
    Monthly,
    /// New Year to New Year.
    Yearly,
}

/// A budget to be created.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct NewBudget {
    /// For people; may be empty, at most 100 characters.
    pub display_name: String,
    /// At the limit, nothing more is admitted.
    pub limit: Micros,
    /// Immutable.
    pub period: Period,
    /// Denies, rather than warns.
    pub is_hard: bool,
    /// From here on it warns.
    pub warning: Option<Micros>,
    /// The models that it counts; immutable.
    pub models: AccessRule<NamePattern>,
    /// Reserved for a request without an estimate.
    pub default_estimate: Micros,
    /// Denies a request without an estimate.
    pub require_estimate: bool,
}

/// Whose budget it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum BudgetSubject {
    /// One key.
    Key(KeyId),
    /// All keys of an owner together.
    Owner(UserId),
}

/// A budget with the balance of its current period.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Budget {
    /// Identity.
    pub budget_id: BudgetId,
    /// Whose.
    pub subject: BudgetSubject,
    /// What it says.
    pub terms: NewBudget,
    /// Spent in the current period.
    pub spent: Micros,
    /// Reserved in the current period.
    pub reserved: Micros,
    /// End of the current period; none for [`Period::Total`].
    pub reset_time: Option<DateTime<Utc>>,
    /// Of the last change.
    pub revision: Revision,
    /// Creation.
    pub create_time: DateTime<Utc>,
    /// Last change.
    pub update_time: DateTime<Utc>,
}
