//! Adding to and removing from a key's sets: atomic set operations on a locked row, so that concurrent
//! calls lose nothing.

use std::collections::BTreeSet;

use super::{Admin, AdminError, Changed, Etag, KeyView};
use crate::policy::{
    AccessRule, AddressPattern, EndpointPattern, Key, KeyId, NamePattern, PATTERNS_MAX, Permission,
    RuleError, Scope, TAGS_MAX, Tag, UserId,
};
use crate::storage::changes::Actor;

/// A key's scopes and permissions are bounded like its rules.
pub const GRANTS_MAX: usize = PATTERNS_MAX;

/// One of the sets of a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum GrantField {
    /// Scopes.
    Scopes,
    /// Permissions.
    Permissions,
    /// Rule.
    Models,
    /// Rule.
    Endpoints,
    /// Rule.
    Ips,
    /// Rule.
    Chatbots,
    /// Tags.
    Tags,
}

impl GrantField {
    /// Its name in the contract.
    #[must_use]
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scopes => "scopes",
            Self::Permissions => "permissions",
            Self::Models => "models",
            Self::Endpoints => "endpoints",
            Self::Ips => "ips",
            Self::Chatbots => "chatbots",
            Self::Tags => "tags",
        }
    }
}

/// Patterns of the four access rules.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GrantPatterns {
    /// Of the models.
    pub models: BTreeSet<NamePattern>,
    /// Of the endpoints.
    pub endpoints: BTreeSet<EndpointPattern>,
    /// Of the addresses.
    pub ips: BTreeSet<AddressPattern>,
    /// Of the chatbots.
    pub chatbots: BTreeSet<NamePattern>,
}

/// Members of a key's sets.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Grants {
    /// Scopes.
    pub scopes: BTreeSet<Scope>,
    /// Permissions.
    pub permissions: BTreeSet<Permission>,
    /// Patterns.
    pub patterns: GrantPatterns,
    /// Tags.
    pub tags: BTreeSet<Tag>,
}

impl Grants {
    /// Whether there is nothing to add or remove.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        *self == Self::default()
    }
}

impl Admin {
    /// Adds to a key's sets. What is there already stays. Adding to a rule that allows anything makes it
    /// allow only what is added.
    ///
    /// # Errors
    /// [`AdminError::KeyNotFound`], [`AdminError::KeyDeleted`], [`AdminError::EtagMismatch`],
    /// [`AdminError::SetTooLarge`], [`AdminError::ReservedScope`], [`AdminError::Store`].
    pub async fn add_grants(
        &self,
        actor: Actor,
        key_id: KeyId,
        grants: Grants,
        etag: Option<Etag>,
    ) -> Result<Changed<KeyView>, AdminError> {
        self.change_key(actor, "keys.add_grants", key_id, etag, move |key, _| add(key, grants)).await
    }

    /// Removes from a key's sets. What is not there is no error. Removing the last pattern of a rule
    /// leaves nothing allowed.
    ///
    /// # Errors
    /// [`AdminError::KeyNotFound`], [`AdminError::KeyDeleted`], [`AdminError::EtagMismatch`],
    /// [`AdminError::RuleIsAny`], [`AdminError::Store`].
    pub async fn remove_grants(
        &self,
        actor: Actor,
        key_id: KeyId,
        grants: Grants,
        etag: Option<Etag>,
    ) -> Result<Changed<KeyView>, AdminError> {
        self.change_key(actor, "keys.remove_grants", key_id, etag, move |key, _| remove(key, grants)).await
    }
}

fn add(key: &mut Key, grants: Grants) -> Result<(), AdminError> {
    let Grants { scopes, permissions, patterns, tags } = grants;
    if key.user_id != UserId::OPERATOR && scopes.iter().any(Scope::is_reserved) {
        return Err(AdminError::ReservedScope(key.user_id));
    }
    extend(GrantField::Scopes, &mut key.policy.scopes, scopes, GRANTS_MAX)?;
    extend(GrantField::Permissions, &mut key.policy.permissions, permissions, GRANTS_MAX)?;
    extend(GrantField::Tags, &mut key.tags, tags, TAGS_MAX)?;
    let GrantPatterns { models, endpoints, ips, chatbots } = patterns;
    add_to(GrantField::Models, &mut key.policy.models, models)?;
    add_to(GrantField::Endpoints, &mut key.policy.endpoints, endpoints)?;
    add_to(GrantField::Ips, &mut key.policy.ips, ips)?;
    add_to(GrantField::Chatbots, &mut key.policy.chatbots, chatbots)
}

fn extend<T: Ord>(
    field: GrantField,
    set: &mut BTreeSet<T>,
    members: BTreeSet<T>,
    max: usize,
) -> Result<(), AdminError> {
    set.extend(members);
    if set.len() > max { Err(AdminError::SetTooLarge { field, max }) } else { Ok(()) }
}

fn add_to<P: Ord + Clone>(
    field: GrantField,
    rule: &mut AccessRule<P>,
    patterns: BTreeSet<P>,
) -> Result<(), AdminError> {
    if patterns.is_empty() {
        return Ok(());
    }
    *rule = rule.add(patterns).map_err(|error| rule_error(field, error))?;
    Ok(())
}

fn remove(key: &mut Key, grants: Grants) -> Result<(), AdminError> {
    let Grants { scopes, permissions, patterns, tags } = grants;
    key.policy.scopes.retain(|scope| !scopes.contains(scope));
    key.policy.permissions.retain(|permission| !permissions.contains(permission));
    key.tags.retain(|tag| !tags.contains(tag));
    let GrantPatterns { models, endpoints, ips, chatbots } = patterns;
    remove_from(GrantField::Models, &mut key.policy.models, models)?;
    remove_from(GrantField::Endpoints, &mut key.policy.endpoints, endpoints)?;
    remove_from(GrantField::Ips, &mut key.policy.ips, ips)?;
    remove_from(GrantField::Chatbots, &mut key.policy.chatbots, chatbots)
}

fn remove_from<P: Ord + Clone>(
    field: GrantField,
    rule: &mut AccessRule<P>,
    patterns: BTreeSet<P>,
) -> Result<(), AdminError> {
    if patterns.is_empty() {
        return Ok(());
    }
    *rule = rule.remove(patterns).map_err(|error| rule_error(field, error))?;
    Ok(())
}

fn rule_error(field: GrantField, error: RuleError) -> AdminError {
    match error {
        RuleError::RemoveFromAny => AdminError::RuleIsAny(field),
        RuleError::TooMany => AdminError::SetTooLarge { field, max: PATTERNS_MAX },
    }
}
