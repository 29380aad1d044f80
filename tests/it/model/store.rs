//! The model: what a key store is, written as plainly as can be, for the service to be compared with.
//!
//! It shares no code with the service but the messages of the contract.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, TimeDelta, Utc};
use keystile::grpc::pb;

use super::steps::{Change, Etag, Grants, Step};

pub type Time = DateTime<Utc>;
pub type Set = BTreeSet<String>;
/// `None` is ANY.
pub type Rule = Option<Set>;

/// `ErrorInfo.reason` of a refused step.
pub type Refusal = &'static str;

/// A key as an administrator would describe it.
#[derive(Clone, Debug, PartialEq)]
pub struct Key {
    pub user_id: i64,
    pub name: String,
    pub description: String,
    pub tags: Set,
    pub scopes: Set,
    pub permissions: Set,
    pub models: Rule,
    pub chatbots: Rule,
    pub per_minute: Option<i64>,
    pub expire: Option<Time>,
    pub revoked: Option<(Time, String)>,
    pub deleted: Option<Time>,
    pub token: String,
    pub previous: Option<(String, Time)>,
    pub created: Time,
    pub updated: Time,
    /// As last answered.
    pub etag: String,
    /// Tokens that it had before those.
    pub ended: Vec<String>,
}

#[derive(Clone, Debug, Default, PartialEq)]
pub struct Owner {
    pub disabled: Option<Time>,
    pub per_minute: Option<i64>,
    /// As last answered; empty before.
    pub etag: String,
}

#[derive(Clone, Debug)]
pub struct Store {
    pub now: Time,
    pub keys: BTreeMap<i64, Key>,
    pub owners: BTreeMap<i64, Owner>,
    /// Tokens of keys that are gone for good.
    pub gone: Vec<String>,
}

/// What a step of the model does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Effect {
    Changed,
    Unchanged,
}

impl Effect {
    pub fn name(self) -> &'static str {
        match self {
            Self::Changed => "changed",
            Self::Unchanged => "unchanged",
        }
    }
}

fn effect(changed: bool) -> Effect {
    if changed { Effect::Changed } else { Effect::Unchanged }
}

/// How long a deleted key can be restored.
pub fn restorable() -> TimeDelta {
    TimeDelta::days(30)
}

impl Store {
    pub fn new(now: Time) -> Self {
        Self { now, keys: BTreeMap::new(), owners: BTreeMap::new(), gone: Vec::new() }
    }

    /// Does a step that changes a key which is there, or says why not. Tokens and etags are the service's:
    /// the caller puts them in.
    pub fn apply(&mut self, step: &Step) -> Result<Effect, Refusal> {
        let now = self.now;
        match step {
            Step::Create(_) | Step::Advance(_) | Step::Owner { .. } | Step::OwnerLimit { .. } => {
                unreachable!("not a change of a key: {step:?}")
            }
            Step::Update { key_id, etag, change } => self.live(*key_id, etag, |key| update(key, change)),
            Step::Rotate { key_id, etag, grace } => self.live(*key_id, etag, |key| {
                // The service's new token takes the place of this.
                let old = std::mem::take(&mut key.token);
                let before = key.previous.take();
                key.ended.extend(before.map(|(token, _)| token));
                if grace.is_zero() {
                    key.ended.push(old);
                } else {
                    key.previous = Some((old, now + *grace));
                }
                Ok(())
            }),
            Step::Revoke { key_id, etag, reason } => self.live(*key_id, etag, |key| {
                key.revoked.get_or_insert_with(|| (now, reason.clone()));
                Ok(())
            }),
            Step::Reactivate { key_id, etag } => self.live(*key_id, etag, |key| {
                key.revoked = None;
                Ok(())
            }),
            Step::Delete { key_id, etag } => self.any(*key_id, etag, |key| {
                key.deleted.get_or_insert(now);
                Ok(())
            }),
            Step::Undelete { key_id, etag } => self.any(*key_id, etag, |key| {
                key.deleted = None;
                Ok(())
            }),
            Step::Grant { key_id, etag, adds: true, grants } => {
                self.live(*key_id, etag, |key| add(key, grants))
            }
            Step::Grant { key_id, etag, adds: false, grants } => {
                self.live(*key_id, etag, |key| remove(key, grants))
            }
            Step::ExpireAt { key_id, etag, time } => self.live(*key_id, etag, |key| {
                key.expire = Some(*time);
                Ok(())
            }),
            Step::ExpireIn { key_id, etag, days } => self.live(*key_id, etag, |key| {
                key.expire = Some(now + TimeDelta::days(i64::from(*days)));
                Ok(())
            }),
            Step::Extend { key_id, etag, days } => self.live(*key_id, etag, |key| {
                let from = key.expire.map_or(now, |expire| expire.max(now));
                key.expire = Some(from + TimeDelta::days(i64::from(*days)));
                Ok(())
            }),
            Step::Never { key_id, etag } => self.live(*key_id, etag, |key| {
                key.expire = None;
                Ok(())
            }),
        }
    }

    /// A change that a deleted key refuses.
    fn live(
        &mut self,
        key_id: i64,
        etag: &Etag,
        change: impl FnOnce(&mut Key) -> Result<(), Refusal>,
    ) -> Result<Effect, Refusal> {
        self.any(key_id, etag, |key| match key.deleted {
            Some(_) => Err("KEY_DELETED"),
            None => change(key),
        })
    }

    fn any(
        &mut self,
        key_id: i64,
        etag: &Etag,
        change: impl FnOnce(&mut Key) -> Result<(), Refusal>,
    ) -> Result<Effect, Refusal> {
        let key = self.keys.get_mut(&key_id).ok_or("KEY_NOT_FOUND")?;
        if *etag == Etag::Stale {
            return Err("ETAG_MISMATCH");
        }
        let mut after = key.clone();
        change(&mut after)?;
        let changed = after != *key;
        if changed {
            after.updated = self.now;
        }
        *key = after;
        Ok(effect(changed))
    }

    pub fn set_disabled(&mut self, user_id: i64, disabled: bool, etag: &Etag) -> Result<Effect, Refusal> {
        let owner = self.owners.entry(user_id).or_default();
        if *etag == Etag::Stale {
            return Err("ETAG_MISMATCH");
        }
        let changed = owner.disabled.is_some() != disabled;
        if changed {
            owner.disabled = disabled.then_some(self.now);
        }
        Ok(effect(changed))
    }

    pub fn set_owner_limit(&mut self, user_id: i64, limit: Option<i64>) -> Effect {
        let owner = self.owners.entry(user_id).or_default();
        let changed = owner.per_minute != limit;
        owner.per_minute = limit;
        effect(changed)
    }

    /// Takes away what is due; says how many keys that were.
    pub fn purge(&mut self) -> usize {
        let now = self.now;
        let due = |key: &Key| key.deleted.is_some_and(|deleted| deleted + restorable() <= now);
        let ids: Vec<i64> = self.keys.iter().filter(|(_, key)| due(key)).map(|(id, _)| *id).collect();
        for id in &ids {
            let key = self.keys.remove(id).unwrap();
            self.gone.extend(key.ended);
            self.gone.push(key.token);
            self.gone.extend(key.previous.map(|(token, _)| token));
        }
        ids.len()
    }

    /// The first check that fails; `None` allows.
    pub fn decide(&self, token: &str, model: Option<&str>, scopes: &[&str]) -> Option<Refusal> {
        let now = self.now;
        let bears = |key: &&Key| {
            let in_grace = key.previous.as_ref().is_some_and(|(old, end)| old == token && now < *end);
            key.token == token || in_grace
        };
        let Some(key) = self.keys.values().find(bears) else { return Some("KEY_INVALID") };
        let granted = |wanted: &&str| key.scopes.iter().any(|scope| grants(scope, wanted));
        let named = |rule: &Rule, name: Option<&str>| match (rule, name) {
            (None, _) => true,
            (Some(_), None) => false,
            (Some(patterns), Some(name)) => patterns.iter().any(|pattern| fits(pattern, name)),
        };
        if key.deleted.is_some() {
            Some("KEY_INVALID")
        } else if key.revoked.is_some() {
            Some("KEY_REVOKED")
        } else if self.is_disabled(key.user_id) {
            Some("OWNER_DISABLED")
        } else if key.expire.is_some_and(|expire| expire <= now) {
            Some("KEY_EXPIRED")
        } else if !scopes.iter().all(granted) {
            Some("SCOPE_MISSING")
        } else if !named(&key.models, model) {
            Some("MODEL_NOT_ALLOWED")
        } else if !named(&key.chatbots, None) {
            Some("CHATBOT_NOT_ALLOWED")
        } else if key.per_minute == Some(0) || self.is_without_requests(key.user_id) {
            Some("RATE_LIMITED")
        } else {
            None
        }
    }

    pub fn is_disabled(&self, user_id: i64) -> bool {
        self.owners.get(&user_id).is_some_and(|owner| owner.disabled.is_some())
    }

    fn is_without_requests(&self, user_id: i64) -> bool {
        self.owners.get(&user_id).is_some_and(|owner| owner.per_minute == Some(0))
    }

    pub fn state(&self, key: &Key) -> pb::key::State {
        if key.deleted.is_some() {
            pb::key::State::Deleted
        } else if key.revoked.is_some() {
            pb::key::State::Revoked
        } else if self.is_disabled(key.user_id) {
            pb::key::State::OwnerDisabled
        } else if key.expire.is_some_and(|expire| expire <= self.now) {
            pb::key::State::Expired
        } else {
            pb::key::State::Active
        }
    }
}

/// `*` grants all (nobody here asks for reserved ones), `chat.*` whatever starts with `chat.`.
fn grants(scope: &str, wanted: &str) -> bool {
    match scope.strip_suffix('*') {
        Some(start) => wanted.starts_with(start),
        None => scope == wanted,
    }
}

fn fits(pattern: &str, name: &str) -> bool {
    match pattern.strip_suffix('*') {
        Some(start) => name.starts_with(start),
        None => pattern == name,
    }
}

fn update(key: &mut Key, change: &Change) -> Result<(), Refusal> {
    match change {
        Change::Name(name) => key.name.clone_from(name),
        Change::Description(description) => key.description.clone_from(description),
        Change::Tags(tags) => key.tags.clone_from(tags),
        Change::Scopes(scopes) => key.scopes.clone_from(scopes),
        Change::Models(models) => key.models.clone_from(models),
        Change::PerMinute(limit) => key.per_minute = *limit,
        Change::Everything { name, scopes, models } => {
            key.name.clone_from(name);
            key.scopes.clone_from(scopes);
            key.models.clone_from(models);
            (key.description, key.tags, key.permissions) = (String::new(), Set::new(), Set::new());
            (key.chatbots, key.per_minute) = (None, None);
        }
    }
    Ok(())
}

fn add(key: &mut Key, grants: &Grants) -> Result<(), Refusal> {
    key.scopes.extend(grants.scopes.iter().cloned());
    key.permissions.extend(grants.permissions.iter().cloned());
    key.tags.extend(grants.tags.iter().cloned());
    for (rule, patterns) in [(&mut key.models, &grants.models), (&mut key.chatbots, &grants.chatbots)] {
        if !patterns.is_empty() {
            rule.get_or_insert_default().extend(patterns.iter().cloned());
        }
    }
    Ok(())
}

fn remove(key: &mut Key, grants: &Grants) -> Result<(), Refusal> {
    key.scopes.retain(|scope| !grants.scopes.contains(scope));
    key.permissions.retain(|permission| !grants.permissions.contains(permission));
    key.tags.retain(|tag| !grants.tags.contains(tag));
    for (rule, patterns) in [(&mut key.models, &grants.models), (&mut key.chatbots, &grants.chatbots)] {
        if !patterns.is_empty() {
            rule.as_mut().ok_or("RULE_IS_ANY")?.retain(|pattern| !patterns.contains(pattern));
        }
    }
    Ok(())
}
