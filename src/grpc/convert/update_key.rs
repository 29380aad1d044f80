//! UpdateKey, read: the fields that the mask names, and of the others only what the caller has seen.

use std::fmt::Display;

use tonic::Status;

use super::key_request::{read_etag, read_user_id};
use super::limits::read_rate_limits;
use super::rules::{read_checks, read_rule, read_set};
use super::scopes::read_scopes;
use super::time::read_timestamp;
use super::update_mask::{Field, Mask, read_mask};
use crate::admin::{GRANTS_MAX, KeyPatch, UpdateKey, WindowsPatch};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::{
    AccessRule, AddressPattern, Description, DisplayName, EndpointPattern, KeyId, Metadata, NamePattern,
    Permission, RateLimits, TAGS_MAX, Tag,
};

/// A request to change a key.
///
/// # Errors
/// INVALID_ARGUMENT with every fault.
pub fn read_update(request: pb::UpdateKeyRequest) -> Result<UpdateKey, Status> {
    let pb::UpdateKeyRequest { key, update_mask, etag, validate_only } = request;
    let mut violations = Violations::default();
    let Some(mut key) = violations.require("key", key, "must be given") else {
        return violations.finish(None);
    };
    let key_id = violations.require("key.key_id", KeyId::new(key.key_id), "must be at least 1");
    let mask = read_mask(&mut violations, update_mask, &key);
    let etag = one_etag(&mut violations, etag, std::mem::take(&mut key.etag));
    let etag = read_etag(&mut violations, etag);
    let patch = read_patch(&mut violations, &mask, key);
    let key_id = violations.finish(key_id)?;
    Ok(UpdateKey { key_id, patch, etag, validate_only })
}

/// The etag stands beside the resource, or in it where it was read so. Two that differ have no meaning.
pub(super) fn one_etag(violations: &mut Violations, beside: String, within: String) -> String {
    if beside.is_empty() {
        return within;
    }
    if !within.is_empty() && within != beside {
        violations.add("etag", "must be that of the resource, where both are given");
    }
    beside
}

fn read_patch(violations: &mut Violations, mask: &Mask, key: pb::Key) -> KeyPatch {
    let Mask { fields, is_whole } = mask;
    let named = |field| fields.contains(&field);
    let mut patch = KeyPatch::default();
    if named(Field::UserId) {
        patch.user_id = read_user_id(violations, "key.user_id", key.user_id);
    }
    if named(Field::DisplayName) {
        patch.display_name = violations.take("key.display_name", DisplayName::parse(key.display_name));
    }
    if named(Field::Description) {
        patch.description = violations.take("key.description", Description::parse(key.description));
    }
    if named(Field::Tags) {
        patch.tags = Some(read_set(violations, "key.tags", &key.tags, TAGS_MAX, |text| Tag::parse(text)));
    }
    if named(Field::Metadata) {
        patch.metadata = violations.take("key.metadata", Metadata::parse(key.metadata));
    }
    if named(Field::Permissions) {
        let parse = |text: &str| Permission::parse(text);
        patch.permissions =
            Some(read_set(violations, "key.permissions", &key.permissions, GRANTS_MAX, parse));
    }
    if named(Field::Scopes) {
        patch.scopes = Some(read_scopes(violations, "key.scopes", &key.scopes));
    }
    if named(Field::Models) {
        patch.models = read_named_rule(violations, "key.models", key.models, NamePattern::parse);
    }
    if named(Field::Endpoints) {
        patch.endpoints = read_named_rule(violations, "key.endpoints", key.endpoints, EndpointPattern::parse);
    }
    if named(Field::Ips) {
        patch.ips = read_named_rule(violations, "key.ips", key.ips, AddressPattern::parse);
    }
    if named(Field::Chatbots) {
        patch.chatbots = read_named_rule(violations, "key.chatbots", key.chatbots, NamePattern::parse);
    }
    if named(Field::Observe) {
        patch.observe = Some(read_checks(violations, "key.observe", &key.observe));
    }
    (patch.requests, patch.tokens) = read_limits(violations, named, key.rate_limits);
    if *is_whole {
        patch.expire_time_seen = read_timestamp(violations, "key.expire_time", key.expire_time);
    }
    patch
}

/// A rule that is named says what it is to be: leaving it out must not come to mean ANY.
fn read_named_rule<P: Ord, E: Display>(
    violations: &mut Violations,
    field: &str,
    rule: Option<pb::AccessRule>,
    parse: impl Fn(&str) -> Result<P, E>,
) -> Option<AccessRule<P>> {
    let rule = violations.require(field, rule, "must be given where the mask names it")?;
    read_rule(violations, field, Some(rule), parse)
}

fn read_limits(
    violations: &mut Violations,
    named: impl Fn(Field) -> bool,
    limits: Option<pb::RateLimits>,
) -> (WindowsPatch, WindowsPatch) {
    let pb::RateLimits { requests, tokens } = limits.unwrap_or_default();
    let (mut requests, mut tokens) = (requests.unwrap_or_default(), tokens.unwrap_or_default());
    let mut windows = [
        (Field::RequestsPerMinute, &mut requests.per_minute),
        (Field::RequestsPerHour, &mut requests.per_hour),
        (Field::RequestsPerDay, &mut requests.per_day),
        (Field::TokensPerMinute, &mut tokens.per_minute),
        (Field::TokensPerHour, &mut tokens.per_hour),
        (Field::TokensPerDay, &mut tokens.per_day),
    ];
    // What is not named is not looked at.
    for (field, limit) in &mut windows {
        **limit = limit.filter(|_| named(*field));
    }
    let limits = pb::RateLimits { requests: Some(requests), tokens: Some(tokens) };
    let RateLimits { requests, tokens } =
        read_rate_limits(violations, "key.rate_limits", Some(limits)).unwrap_or_default();
    let named = |field, limit| named(field).then_some(limit);
    let requests = WindowsPatch {
        per_minute: named(Field::RequestsPerMinute, requests.per_minute),
        per_hour: named(Field::RequestsPerHour, requests.per_hour),
        per_day: named(Field::RequestsPerDay, requests.per_day),
    };
    let tokens = WindowsPatch {
        per_minute: named(Field::TokensPerMinute, tokens.per_minute),
        per_hour: named(Field::TokensPerHour, tokens.per_hour),
        per_day: named(Field::TokensPerDay, tokens.per_day),
    };
    (requests, tokens)
}
