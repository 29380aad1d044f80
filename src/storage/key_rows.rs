//! Rows of `api_keys`, and how they become a [`Key`]: the one place where that is done.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use ipnet::IpNet;
use serde_json::Value;

use super::StorageError;
use super::schema::api_keys;
use crate::policy::{
    AccessRule, AddressPattern, Check, CheckSet, Description, DisplayName, EndpointPattern, Key, KeyId,
    KeyPolicy, Metadata, NamePattern, NewKey, Permission, RateLimits, RateWindows, Revision, Scope, Tag,
    UserId,
};

#[derive(Queryable, Selectable)]
#[diesel(table_name = api_keys)]
#[diesel(check_for_backend(diesel::pg::Pg))]
pub(super) struct KeyRow {
    key_id: i64,
    user_id: i64,
    display_name: String,
    description: String,
    tags: Vec<String>,
    metadata: Value,
    permissions: Vec<String>,
    scopes: Vec<String>,
    models: Option<Vec<String>>,
    endpoints: Option<Vec<String>>,
    ips: Option<Vec<IpNet>>,
    chatbots: Option<Vec<String>>,
    observe: Vec<String>,
    requests_per_minute: Option<i64>,
    requests_per_hour: Option<i64>,
    requests_per_day: Option<i64>,
    tokens_per_minute: Option<i64>,
    tokens_per_hour: Option<i64>,
    tokens_per_day: Option<i64>,
    expire_at: Option<DateTime<Utc>>,
    revoked_at: Option<DateTime<Utc>>,
    revoke_reason: String,
    deleted_at: Option<DateTime<Utc>>,
    purge_at: Option<DateTime<Utc>>,
    revision: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl KeyRow {
    /// The key, with what other tables know of it. Fails where a column does not parse: nothing is
    /// decided from such a row.
    pub(super) fn into_key(self, key_prefix: String, owner_disabled: bool) -> Result<Key, StorageError> {
        let id = self.key_id;
        self.parse(key_prefix, owner_disabled).map_err(|what| StorageError::Corrupt {
            table: "api_keys",
            id,
            what,
        })
    }

    fn parse(self, key_prefix: String, owner_disabled: bool) -> Result<Key, String> {
        let metadata: BTreeMap<String, String> =
            serde_json::from_value(self.metadata).map_err(|error| format!("metadata: {error}"))?;
        let policy = KeyPolicy {
            revoked: self.revoked_at.is_some(),
            deleted: self.deleted_at.is_some(),
            owner_disabled,
            expire_time: self.expire_at,
            ips: rule("ips", self.ips, |ip| AddressPattern::new(ip.addr(), ip.prefix_len()))?,
            endpoints: rule("endpoints", self.endpoints, |text| EndpointPattern::parse(&text))?,
            models: rule("models", self.models, |text| NamePattern::parse(&text))?,
            chatbots: rule("chatbots", self.chatbots, |text| NamePattern::parse(&text))?,
            scopes: set("scopes", self.scopes, |text| Scope::parse(&text))?,
            permissions: set("permissions", self.permissions, Permission::parse)?,
            observe: checks(&self.observe)?,
        };
        Ok(Key {
            key_id: KeyId::new(self.key_id).ok_or("key_id")?,
            user_id: UserId::new(self.user_id).ok_or("user_id")?,
            display_name: named("display_name", DisplayName::parse(self.display_name))?,
            description: named("description", Description::parse(self.description))?,
            tags: set("tags", self.tags, Tag::parse)?,
            metadata: named("metadata", Metadata::parse(metadata))?,
            key_prefix,
            policy,
            rate_limits: RateLimits {
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
            },
            revoke_time: self.revoked_at,
            revoke_reason: named("revoke_reason", Description::parse(self.revoke_reason))?,
            delete_time: self.deleted_at,
            purge_time: self.purge_at,
            create_time: self.created_at,
            update_time: self.updated_at,
            revision: Revision::new(self.revision).ok_or("revision")?,
        })
    }
}

fn named<T, E: std::fmt::Display>(field: &str, result: Result<T, E>) -> Result<T, String> {
    result.map_err(|error| format!("{field}: {error}"))
}

fn set<S, T: Ord, E: std::fmt::Display>(
    field: &str,
    values: Vec<S>,
    parse: impl Fn(S) -> Result<T, E>,
) -> Result<BTreeSet<T>, String> {
    values.into_iter().map(|value| named(field, parse(value))).collect()
}

fn rule<S, T: Ord + Clone, E: std::fmt::Display>(
    field: &str,
    values: Option<Vec<S>>,
    parse: impl Fn(S) -> Result<T, E>,
) -> Result<AccessRule<T>, String> {
    match values {
        None => Ok(AccessRule::Any),
        Some(values) => Ok(AccessRule::Only(set(field, values, parse)?)),
    }
}

fn checks(names: &[String]) -> Result<CheckSet, String> {
    names.iter().try_fold(CheckSet::EMPTY, |set, name| {
        Check::parse(name).map(|check| set.with(check)).ok_or_else(|| format!("observe: {name}"))
    })
}

/// The columns of a key that a change writes. Built from the domain types only.
#[derive(AsChangeset, Insertable)]
#[diesel(table_name = api_keys)]
#[diesel(treat_none_as_null = true)]
pub(super) struct KeyColumns {
    user_id: i64,
    display_name: String,
    description: String,
    tags: Vec<String>,
    metadata: Value,
    permissions: Vec<String>,
    scopes: Vec<String>,
    models: Option<Vec<String>>,
    endpoints: Option<Vec<String>>,
    ips: Option<Vec<IpNet>>,
    chatbots: Option<Vec<String>>,
    observe: Vec<String>,
    requests_per_minute: Option<i64>,
    requests_per_hour: Option<i64>,
    requests_per_day: Option<i64>,
    tokens_per_minute: Option<i64>,
    tokens_per_hour: Option<i64>,
    tokens_per_day: Option<i64>,
    expire_at: Option<DateTime<Utc>>,
}

impl KeyColumns {
    pub(super) fn of_new(key: &NewKey) -> Result<Self, StorageError> {
        Ok(Self {
            user_id: key.user_id.get(),
            display_name: key.display_name.as_str().to_owned(),
            description: key.description.as_str().to_owned(),
            tags: texts(&key.tags, Tag::as_str),
            metadata: metadata_json(&key.metadata),
            permissions: texts(&key.permissions, Permission::as_str),
            scopes: texts(&key.scopes, Scope::as_str),
            models: names(&key.models),
            endpoints: rule_texts(&key.endpoints, EndpointPattern::as_str),
            ips: networks(&key.ips)?,
            chatbots: names(&key.chatbots),
            observe: key.observe.iter().map(|check| check.as_str().to_owned()).collect(),
            requests_per_minute: key.rate_limits.requests.per_minute,
            requests_per_hour: key.rate_limits.requests.per_hour,
            requests_per_day: key.rate_limits.requests.per_day,
            tokens_per_minute: key.rate_limits.tokens.per_minute,
            tokens_per_hour: key.rate_limits.tokens.per_hour,
            tokens_per_day: key.rate_limits.tokens.per_day,
            expire_at: key.expire_time,
        })
    }

    pub(super) fn of_key(key: &Key) -> Result<Self, StorageError> {
        let policy = &key.policy;
        Self::of_new(&NewKey {
            user_id: key.user_id,
            display_name: key.display_name.clone(),
            description: key.description.clone(),
            tags: key.tags.clone(),
            metadata: key.metadata.clone(),
            permissions: policy.permissions.clone(),
            scopes: policy.scopes.clone(),
            models: policy.models.clone(),
            endpoints: policy.endpoints.clone(),
            ips: policy.ips.clone(),
            chatbots: policy.chatbots.clone(),
            rate_limits: key.rate_limits,
            observe: policy.observe,
            expire_time: policy.expire_time,
        })
    }
}

/// All columns of a key that comes with its id and its past.
#[derive(Insertable)]
#[diesel(table_name = api_keys)]
pub(super) struct GivenKeyRow {
    key_id: i64,
    #[diesel(embed)]
    columns: KeyColumns,
    revoked_at: Option<DateTime<Utc>>,
    revoke_reason: String,
    revision: i64,
    created_at: DateTime<Utc>,
    updated_at: DateTime<Utc>,
}

impl GivenKeyRow {
    pub(super) fn of_key(key: &Key) -> Result<Self, StorageError> {
        Ok(Self {
            key_id: key.key_id.get(),
            columns: KeyColumns::of_key(key)?,
            revoked_at: key.revoke_time,
            revoke_reason: key.revoke_reason.as_str().to_owned(),
            // Set by `stamp_many`, once the transaction has its revisions.
            revision: 0,
            created_at: key.create_time,
            updated_at: key.update_time,
        })
    }
}

fn metadata_json(metadata: &Metadata) -> Value {
    metadata.as_map().iter().map(|(name, value)| (name.clone(), Value::String(value.clone()))).collect()
}

fn texts<T>(values: &BTreeSet<T>, text: impl Fn(&T) -> &str) -> Vec<String> {
    values.iter().map(|value| text(value).to_owned()).collect()
}

pub(super) fn names(rule: &AccessRule<NamePattern>) -> Option<Vec<String>> {
    rule_texts(rule, NamePattern::as_str)
}

fn rule_texts<T>(rule: &AccessRule<T>, text: impl Fn(&T) -> &str) -> Option<Vec<String>> {
    match rule {
        AccessRule::Any => None,
        AccessRule::Only(patterns) => Some(texts(patterns, text)),
    }
}

fn networks(rule: &AccessRule<AddressPattern>) -> Result<Option<Vec<IpNet>>, StorageError> {
    let AccessRule::Only(patterns) = rule else { return Ok(None) };
    let networks = patterns.iter().map(|pattern| {
        IpNet::new(pattern.network(), pattern.prefix_len())
            .map_err(|error| StorageError::Defect(format!("address pattern {pattern}: {error}")))
    });
    networks.collect::<Result<_, _>>().map(Some)
}
