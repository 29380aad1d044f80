//! What the model holds, as messages of the contract.

use chrono::{DateTime, TimeDelta, Utc};
use keystile::grpc::pb;

use super::steps::{Change, Grants};
use super::store::{Key, Rule, Set, Store, Time, restorable};

pub fn stamp(time: Time) -> prost_types::Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap();
    prost_types::Timestamp { seconds: time.timestamp(), nanos }
}

pub fn span(delta: TimeDelta) -> prost_types::Duration {
    prost_types::Duration { seconds: delta.num_seconds(), nanos: 0 }
}

pub fn list(set: &Set) -> Vec<String> {
    set.iter().cloned().collect()
}

pub fn rule(rule: &Rule) -> Option<pb::AccessRule> {
    use pb::access_rule::Mode;
    let (mode, patterns) = rule.as_ref().map_or((Mode::Any, Vec::new()), |set| (Mode::Only, list(set)));
    Some(pb::AccessRule { mode: mode.into(), patterns })
}

pub fn limits(per_minute: Option<i64>) -> Option<pb::RateLimits> {
    let requests = pb::RateLimitWindows { per_minute, ..Default::default() };
    Some(pb::RateLimits { requests: Some(requests), tokens: None })
}

pub fn grants(grants: &Grants) -> Option<pb::Grants> {
    let Grants { scopes, permissions, tags, models, chatbots } = grants;
    Some(pb::Grants {
        scopes: list(scopes),
        permissions: list(permissions),
        tags: list(tags),
        models: list(models),
        chatbots: list(chatbots),
        ..Default::default()
    })
}

pub fn update(key_id: i64, change: &Change) -> (pb::Key, Vec<String>) {
    let mut key = pb::Key { key_id, ..Default::default() };
    let path = match change {
        Change::Name(name) => {
            key.display_name.clone_from(name);
            "display_name"
        }
        Change::Description(description) => {
            key.description.clone_from(description);
            "description"
        }
        Change::Tags(tags) => {
            key.tags = list(tags);
            "tags"
        }
        Change::Scopes(scopes) => {
            key.scopes = list(scopes);
            "scopes"
        }
        Change::Models(models) => {
            key.models = rule(models);
            "models"
        }
        Change::PerMinute(limit) => {
            key.rate_limits = limits(*limit);
            "rate_limits"
        }
        Change::Everything { name, scopes, models } => {
            (key.display_name, key.scopes, key.models) = (name.clone(), list(scopes), rule(models));
            // A rule that the mask names must be given.
            (key.endpoints, key.ips, key.chatbots) = (rule(&None), rule(&None), rule(&None));
            "*"
        }
    };
    (key, vec![path.to_owned()])
}

/// The whole key but its counts, which are flushed in their own time.
pub fn compare_key(store: &Store, key_id: i64, actual: pb::Key, context: &str) {
    let key = &store.keys[&key_id];
    let grace = key.previous.as_ref().map(|(_, end)| *end).filter(|end: &DateTime<Utc>| store.now < *end);
    let expected = pb::Key {
        key_id,
        user_id: key.user_id,
        display_name: key.name.clone(),
        description: key.description.clone(),
        tags: list(&key.tags),
        key_prefix: key.token.rsplit_once('_').unwrap().0.to_owned(),
        state: store.state(key).into(),
        permissions: list(&key.permissions),
        scopes: list(&key.scopes),
        models: rule(&key.models),
        endpoints: rule(&None),
        ips: rule(&None),
        chatbots: rule(&key.chatbots),
        rate_limits: actual.rate_limits,
        expire_time: key.expire.map(stamp),
        create_time: Some(stamp(key.created)),
        update_time: Some(stamp(key.updated)),
        last_used_time: actual.last_used_time,
        revoke_time: key.revoked.as_ref().map(|(time, _)| stamp(*time)),
        revoke_reason: key.revoked.as_ref().map(|(_, reason)| reason.clone()).unwrap_or_default(),
        delete_time: key.deleted.map(stamp),
        purge_time: key.deleted.map(|deleted| stamp(deleted + restorable())),
        etag: key.etag.clone(),
        totals: actual.totals,
        previous_token_expire_time: grace.map(stamp),
        ..Default::default()
    };
    let per_minute = actual.rate_limits.and_then(|limits| limits.requests).and_then(|it| it.per_minute);
    assert_eq!(per_minute, key.per_minute, "{context}");
    assert_eq!(actual, expected, "{context}");
}

pub fn compare_owner(store: &Store, actual: &pb::Owner, context: &str) {
    let owner = &store.owners[&actual.user_id];
    let living = |key: &&Key| key.user_id == actual.user_id && key.deleted.is_none();
    assert_eq!(actual.disabled, owner.disabled.is_some(), "{context}");
    assert_eq!(actual.disable_time, owner.disabled.map(stamp), "{context}");
    let per_minute = actual.rate_limits.and_then(|limits| limits.requests).and_then(|it| it.per_minute);
    assert_eq!(per_minute, owner.per_minute, "{context}");
    let count = store.keys.values().filter(living).count();
    assert_eq!(usize::try_from(actual.key_count).unwrap(), count, "{context}");
}
