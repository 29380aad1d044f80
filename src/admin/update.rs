//! Changing fields of a key.
//!
//! What has methods of its own (state, expiry, token, budgets) is not changed here.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::change::{KeyChange, not_deleted};
use super::{Admin, AdminError, Changed, Etag, KeyView};
use crate::policy::{
    AccessRule, AddressPattern, CheckSet, Description, DisplayName, EndpointPattern, Key, KeyId, Metadata,
    NamePattern, Permission, RateWindows, Scope, Tag, UserId,
};
use crate::storage::changes::Actor;

/// New values of fields; `None` leaves a field as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyPatch {
    /// Another owner.
    pub user_id: Option<UserId>,
    /// For people.
    pub display_name: Option<DisplayName>,
    /// For people.
    pub description: Option<Description>,
    /// For people; all of them.
    pub tags: Option<BTreeSet<Tag>>,
    /// For programs; all of it.
    pub metadata: Option<Metadata>,
    /// Granted; all of them.
    pub permissions: Option<BTreeSet<Permission>>,
    /// Granted; all of them.
    pub scopes: Option<BTreeSet<Scope>>,
    /// Rule.
    pub models: Option<AccessRule<NamePattern>>,
    /// Rule.
    pub endpoints: Option<AccessRule<EndpointPattern>>,
    /// Rule.
    pub ips: Option<AccessRule<AddressPattern>>,
    /// Rule.
    pub chatbots: Option<AccessRule<NamePattern>>,
    /// Limits on requests.
    pub requests: WindowsPatch,
    /// Limits on model tokens.
    pub tokens: WindowsPatch,
    /// Checks that do not deny; all of them.
    pub observe: Option<CheckSet>,
    /// The expiry in the caller's copy of the key. Another one than the key's is a change that cannot be made
    /// here, and must not be lost in silence.
    pub expire_time_seen: Option<DateTime<Utc>>,
}

/// New limits of the three windows: `None` leaves a limit as it is, `Some(None)` takes it away.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct WindowsPatch {
    /// In any 60 seconds.
    pub per_minute: Option<Option<i64>>,
    /// In any 3600 seconds.
    pub per_hour: Option<Option<i64>>,
    /// In any 86400 seconds.
    pub per_day: Option<Option<i64>>,
}

/// A key to be changed.
#[derive(Clone, Debug)]
pub struct UpdateKey {
    /// Which.
    pub key_id: KeyId,
    /// How.
    pub patch: KeyPatch,
    /// What the caller has seen of it.
    pub etag: Option<Etag>,
    /// Check everything, change nothing.
    pub validate_only: bool,
}

impl Admin {
    /// Changes fields of a key, or only checks that they could be changed.
    ///
    /// # Errors
    /// [`AdminError::KeyNotFound`], [`AdminError::KeyDeleted`], [`AdminError::EtagMismatch`],
    /// [`AdminError::ReservedScope`] where the key would hold one and not be the operator's, whichever of the
    /// two is changed; [`AdminError::ExpireTimeByUpdate`], [`AdminError::Store`].
    pub async fn update_key(&self, actor: Actor, request: UpdateKey) -> Result<Changed<KeyView>, AdminError> {
        let UpdateKey { key_id, patch, etag, validate_only } = request;
        let change = KeyChange { actor, action: "keys.update", key_id, etag, validate_only };
        self.change_any_key(change, move |key, _| {
            not_deleted(key)?;
            patch.apply(key)
        })
        .await
    }
}

fn set<T>(field: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *field = value;
    }
}

impl WindowsPatch {
    fn apply(self, windows: &mut RateWindows) {
        set(&mut windows.per_minute, self.per_minute);
        set(&mut windows.per_hour, self.per_hour);
        set(&mut windows.per_day, self.per_day);
    }
}

impl KeyPatch {
    fn apply(self, key: &mut Key) -> Result<(), AdminError> {
        if self.expire_time_seen.is_some() && self.expire_time_seen != key.policy.expire_time {
            return Err(AdminError::ExpireTimeByUpdate);
        }
        set(&mut key.user_id, self.user_id);
        set(&mut key.display_name, self.display_name);
        set(&mut key.description, self.description);
        set(&mut key.tags, self.tags);
        set(&mut key.metadata, self.metadata);
        set(&mut key.policy.permissions, self.permissions);
        set(&mut key.policy.scopes, self.scopes);
        set(&mut key.policy.models, self.models);
        set(&mut key.policy.endpoints, self.endpoints);
        set(&mut key.policy.ips, self.ips);
        set(&mut key.policy.chatbots, self.chatbots);
        set(&mut key.policy.observe, self.observe);
        self.requests.apply(&mut key.rate_limits.requests);
        self.tokens.apply(&mut key.rate_limits.tokens);
        if key.user_id != UserId::OPERATOR && key.policy.scopes.iter().any(Scope::is_reserved) {
            return Err(AdminError::ReservedScope(key.user_id));
        }
        Ok(())
    }
}
