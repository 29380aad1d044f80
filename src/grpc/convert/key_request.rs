//! Requests of KeyService, read.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta, Utc};
use tonic::Status;

use super::budgets::read_new_budgets;
use super::limits::read_rate_limits;
use super::request_id::take_request_id;
use super::rules::{read_checks, read_rule, read_set};
use super::scopes::{grantable, read_scopes};
use super::time::{read_duration, read_timestamp};
use crate::admin::{
    CreateKey, EXPIRATION_DAYS_MAX, Etag, Expiration, GRACE_MAX, GRANTS_MAX, KeyDraft, RotateKey, Template,
};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::{
    AddressPattern, Description, DisplayName, EndpointPattern, KeyId, Metadata, NamePattern, PATTERNS_MAX,
    Permission, TAGS_MAX, Tag, UserId,
};

/// What is wrong with a reserved scope of another user's key. The audit log's layer knows it by these words.
pub const SCOPE_IS_RESERVED: &str = "is reserved for keys of user 0";

/// A key's id.
pub fn read_key_id(violations: &mut Violations, key_id: i64) -> Option<KeyId> {
    read_key_id_at(violations, "key_id", key_id)
}

/// A key's id in another field.
pub fn read_key_id_at(violations: &mut Violations, field: &str, key_id: i64) -> Option<KeyId> {
    violations.require(field, KeyId::new(key_id), "must be at least 1")
}

/// An owner's id.
pub fn read_user_id(violations: &mut Violations, field: &str, user_id: i64) -> Option<UserId> {
    violations.require(field, UserId::new(user_id), "must be at least 0")
}

/// An etag, where one is given.
pub fn read_etag(violations: &mut Violations, etag: String) -> Option<Etag> {
    if etag.len() > 64 {
        violations.add("etag", "must be one that an answer came with");
    }
    Etag::given(etag)
}

/// A request for a new key.
///
/// # Errors
/// INVALID_ARGUMENT with every fault.
pub fn read_create(mut request: pb::CreateKeyRequest, now: DateTime<Utc>) -> Result<CreateKey, Status> {
    let mut violations = Violations::default();
    let request_id = take_request_id(&mut violations, &mut request, |request| &mut request.request_id);
    let pb::CreateKeyRequest { key, template, budgets, request_id: _, validate_only } = request;
    let draft = violations.require("key", key, "must be given");
    let draft = draft.and_then(|key| read_draft(&mut violations, key, now));
    let template = read_template(&mut violations, template);
    let budgets = read_new_budgets(&mut violations, "budgets", budgets);
    let key = template.zip(draft).map(|(template, draft)| template.apply(draft));
    let key = violations.finish(key)?;
    Ok(CreateKey { key, budgets, request_id, validate_only })
}

/// A request for another token.
///
/// # Errors
/// INVALID_ARGUMENT with every fault.
pub fn read_rotate(mut request: pb::RotateKeyRequest) -> Result<RotateKey, Status> {
    let mut violations = Violations::default();
    let request_id = take_request_id(&mut violations, &mut request, |request| &mut request.request_id);
    let pb::RotateKeyRequest { key_id, grace_period, etag, request_id: _ } = request;
    let key_id = read_key_id(&mut violations, key_id);
    let grace = read_duration(&mut violations, "grace_period", grace_period).unwrap_or_default();
    if !(TimeDelta::zero()..=GRACE_MAX).contains(&grace) {
        violations.add("grace_period", format!("must be 0 to {} days", GRACE_MAX.num_days()));
    }
    let etag = read_etag(&mut violations, etag);
    let key_id = violations.finish(key_id)?;
    Ok(RotateKey { key_id, grace, etag, request_id })
}

/// A number of days that a key is to live on.
pub fn read_days(violations: &mut Violations, days: i32) -> Option<TimeDelta> {
    let delta = Some(days).filter(|days| (1..=EXPIRATION_DAYS_MAX).contains(days));
    let delta = delta.and_then(|days| TimeDelta::try_days(days.into()));
    if delta.is_none() {
        violations.add("days", format!("must be 1 to {EXPIRATION_DAYS_MAX}"));
    }
    delta
}

/// When a key is to expire: in the future, since a time that has come would stop it, which RevokeKey does.
pub fn read_expiration(
    violations: &mut Violations,
    expiration: Option<pb::set_expiration_request::Expiration>,
    now: DateTime<Utc>,
) -> Option<Expiration> {
    use pb::set_expiration_request::Expiration as Given;
    match violations.require("expiration", expiration, "must be given: expire_time or days")? {
        Given::ExpireTime(time) => {
            read_expire_time(violations, "expire_time", Some(time), now).map(Expiration::At)
        }
        Given::Days(days) => read_days(violations, days).map(Expiration::In),
    }
}

fn read_template(
    violations: &mut Violations,
    template: Option<pb::create_key_request::Template>,
) -> Option<Template> {
    use pb::create_key_request::Template as Given;
    let (field, template) = match template {
        None => ("template", Template::none()),
        Some(Given::DefaultKey(pb::DefaultKeyTemplate {})) => ("default_key", Template::default_key()),
        Some(Given::RestrictedKey(pb::RestrictedKeyTemplate { models, endpoints })) => {
            let models =
                read_set(violations, "restricted_key.models", &models, PATTERNS_MAX, NamePattern::parse);
            let endpoints = read_set(
                violations,
                "restricted_key.endpoints",
                &endpoints,
                PATTERNS_MAX,
                EndpointPattern::parse,
            );
            ("restricted_key", Template::restricted_key(models, endpoints))
        }
        Some(Given::ChatbotKey(pb::ChatbotKeyTemplate { chatbot_id, chatbot_name })) => {
            // Both are looked at, so that a fault of the name does not hide one of the id.
            let name = violations.take("chatbot_key.chatbot_name", DisplayName::parse(chatbot_name));
            let name = name.as_ref().map_or("", DisplayName::as_str);
            ("chatbot_key.chatbot_id", Template::chatbot_key(&chatbot_id, name))
        }
    };
    violations.take(field, template)
}

fn read_draft(violations: &mut Violations, key: pb::Key, now: DateTime<Utc>) -> Option<KeyDraft> {
    let pb::Key {
        user_id,
        display_name,
        description,
        tags,
        metadata,
        permissions,
        scopes,
        models,
        endpoints,
        ips,
        chatbots,
        rate_limits,
        observe,
        expire_time,
        // Output only: ignored (AIP 203).
        key_id: _,
        key_prefix: _,
        state: _,
        create_time: _,
        update_time: _,
        last_used_time: _,
        revoke_time: _,
        revoke_reason: _,
        delete_time: _,
        purge_time: _,
        etag: _,
        totals: _,
        budgets: _,
        key_hash: _,
        previous_token_expire_time: _,
    } = key;
    let user = read_user_id(violations, "key.user_id", user_id);
    let display_name = violations.take("key.display_name", DisplayName::parse(display_name));
    let description = read_description(violations, description);
    let tags: BTreeSet<Tag> = read_set(violations, "key.tags", &tags, TAGS_MAX, |text| Tag::parse(text));
    let metadata = violations.take("key.metadata", Metadata::parse(metadata));
    let permissions =
        read_set(violations, "key.permissions", &permissions, GRANTS_MAX, |text| Permission::parse(text));
    let given_scopes = read_scopes(violations, "key.scopes", &scopes);
    if user.is_some_and(|user| user != UserId::OPERATOR) {
        refuse_reserved(violations, &scopes);
    }
    let models = read_rule(violations, "key.models", models, NamePattern::parse);
    let endpoints = read_rule(violations, "key.endpoints", endpoints, EndpointPattern::parse);
    let ips = read_rule(violations, "key.ips", ips, AddressPattern::parse);
    let chatbots = read_rule(violations, "key.chatbots", chatbots, NamePattern::parse);
    let rate_limits = read_rate_limits(violations, "key.rate_limits", rate_limits);
    let observe = read_checks(violations, "key.observe", &observe);
    let expire_time = read_expire_time(violations, "key.expire_time", expire_time, now);
    Some(KeyDraft {
        user_id: user?,
        display_name: display_name?,
        description,
        tags,
        metadata: metadata?,
        permissions,
        scopes: given_scopes,
        models,
        endpoints,
        ips,
        chatbots,
        rate_limits,
        observe,
        expire_time,
    })
}

fn read_description(violations: &mut Violations, description: String) -> Option<Description> {
    if description.is_empty() {
        return None;
    }
    violations.take("key.description", Description::parse(description))
}

fn read_expire_time(
    violations: &mut Violations,
    field: &str,
    expire_time: Option<prost_types::Timestamp>,
    now: DateTime<Utc>,
) -> Option<DateTime<Utc>> {
    let expire_time = read_timestamp(violations, field, expire_time);
    if expire_time.is_some_and(|expire| expire <= now) {
        violations.add(field, "must be in the future");
    }
    expire_time
}

fn refuse_reserved(violations: &mut Violations, scopes: &[String]) {
    for (position, scope) in scopes.iter().enumerate() {
        if grantable(scope).is_ok_and(|scope| scope.is_reserved()) {
            violations.add(format!("key.scopes[{position}]"), SCOPE_IS_RESERVED);
        }
    }
}
