//! What a row became: the key as this service keeps it.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::Warning;
use crate::policy::{
    AccessRule, AddressPattern, Description, DisplayName, EndpointPattern, KeyId, Metadata, Micros,
    NamePattern, Permission, Scope, Tag, UserId,
};
use crate::token::KeyHash;

/// A row that can be taken, with everything about it that its operator should know.
#[derive(Clone, Debug)]
pub struct Converted {
    /// The key.
    pub key: ImportedKey,
    /// What was dropped or changed on the way, in the order of the fields; empty for most keys.
    pub warnings: Vec<Warning>,
}

/// A key of the older system in this service's terms. Times are UTC.
#[derive(Clone, Debug)]
pub struct ImportedKey {
    /// Identity, as it was.
    pub key_id: KeyId,
    /// Owner, as it was; never the operator.
    pub user_id: UserId,
    /// Whether the owner was inactive there. An import disables owners, it never enables one.
    pub owner_disabled: bool,
    /// Name shown to people.
    pub display_name: DisplayName,
    /// Free text.
    pub description: Description,
    /// Labels, at most [`crate::policy::TAGS_MAX`].
    pub tags: BTreeSet<Tag>,
    /// Empty: the older system had none.
    pub metadata: Metadata,
    /// The token's first 8 characters: 8 printable ASCII characters.
    pub key_prefix: String,
    /// bcrypt hash of the whole token.
    pub key_hash: KeyHash,
    /// Granted permissions.
    pub permissions: BTreeSet<Permission>,
    /// Granted scopes, none of them reserved.
    pub scopes: BTreeSet<Scope>,
    /// Which models may be called.
    pub models: AccessRule<NamePattern>,
    /// Which endpoints may be called.
    pub endpoints: AccessRule<EndpointPattern>,
    /// From which addresses.
    pub ips: AccessRule<AddressPattern>,
    /// Which chatbots may be called.
    pub chatbots: AccessRule<NamePattern>,
    /// Limits on requests; the older system had none on tokens.
    pub limits: ImportedLimits,
    /// The budget, if there was one.
    pub budget: Option<ImportedBudget>,
    /// When the key was made.
    pub create_time: DateTime<Utc>,
    /// Last change: the older system's, else `create_time`.
    pub update_time: DateTime<Utc>,
    /// Last change by the older system's own account; what `--sync` compares. `None` when it kept none.
    pub source_updated_time: Option<DateTime<Utc>>,
    /// Last use of the token.
    pub last_used_time: Option<DateTime<Utc>>,
    /// From this instant on the key is expired.
    pub expire_time: Option<DateTime<Utc>>,
    /// When it was revoked; `None` while it is not. See [`Self::revoked`].
    pub revoke_time: Option<DateTime<Utc>>,
    /// Requests counted so far, ≥ 0.
    pub total_requests: i64,
    /// Tokens counted so far, input and output, ≥ 0.
    pub total_tokens: i64,
    /// Cost so far.
    pub total_cost: Micros,
}

impl ImportedKey {
    /// Whether the key arrives revoked.
    #[must_use]
    pub fn revoked(&self) -> bool {
        self.revoke_time.is_some()
    }
}

/// Requests admitted per window, each ≥ 1; `None` would be unlimited, which an import never gives.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportedLimits {
    /// Per 60 s.
    pub requests_per_minute: Option<i64>,
    /// Per 3 600 s.
    pub requests_per_hour: Option<i64>,
    /// Per 86 400 s.
    pub requests_per_day: Option<i64>,
}

/// A hard budget on the key.
///
/// There is one when `is_unlimited` is false and a limit is set. False without a limit gives none, with a
/// warning; true or NULL gives none. A negative limit becomes 0, which admits nothing either, with a warning.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ImportedBudget {
    /// What the limit is for.
    pub period: ImportedPeriod,
    /// The limit; 0 admits nothing.
    pub limit: Micros,
    /// What is spent already: the key's total cost under [`ImportedPeriod::Total`], 0 under
    /// [`ImportedPeriod::Monthly`], since the older system did not keep a month's cost.
    pub spent: Micros,
}

/// The two budget periods that the older system knew.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ImportedPeriod {
    /// The key's whole life.
    Total,
    /// A calendar month, UTC.
    Monthly,
}
