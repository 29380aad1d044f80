//! Requests and answers of AuthorizeService.

use std::time::Duration;

use chrono::TimeDelta;
use prost::Message as _;
use prost::bytes::Bytes;
use tonic::Status;

use super::budgets;
use super::keys::stored;
use super::limits::{self, rate_limits};
use super::time::{self, read_duration, timestamp};
use crate::authorize::{FilterOutcome, Freshness, Introspection, Outcome, Warning, WarningKind};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::policy::{
    AccessRequest, Budget, Dimension, DimensionSet, NAME_BYTES_MAX, Permission, Reason, Revision,
    is_literal_scope,
};
use crate::storage::secrets::ProvenKey;

use pb::authorize_response::{Decision as PbDecision, Reason as PbReason};

/// At most so many scopes and so many permissions can be asked for.
pub const ASKED_MAX: usize = 100;
/// At most so many models can be filtered.
pub const FILTER_MODELS_MAX: usize = 1_000;
/// `request_id` is at most this long.
pub const REQUEST_ID_BYTES_MAX: usize = 128;
const RESERVATION_TTL_MIN: TimeDelta = TimeDelta::seconds(1);
const RESERVATION_TTL_MAX: TimeDelta = TimeDelta::hours(24);

/// What Authorize and FilterModels have in common, checked.
#[derive(Debug)]
pub struct Asked {
    /// The dimensions that the request has nothing of.
    pub not_applicable: DimensionSet,
    /// How new the state must be.
    pub freshness: Freshness,
}

struct Common<'a> {
    scopes: &'a [String],
    permissions: &'a [String],
    not_applicable: &'a [i32],
    request_id: &'a str,
    min_revision: i64,
}

/// Checks what the calling service controls in an AuthorizeRequest.
///
/// # Errors
/// INVALID_ARGUMENT with every fault.
pub fn check_authorize(request: &pb::AuthorizeRequest, wait_max: Duration) -> Result<Asked, Status> {
    // What the end user controls is not looked at here: it leads to a decision.
    let pb::AuthorizeRequest {
        token: _,
        model: _,
        endpoint: _,
        method: _,
        chatbot_id: _,
        client_ip: _,
        scopes,
        permissions,
        not_applicable,
        estimated_tokens,
        estimated_cost_micros,
        reservation_ttl,
        request_id,
        dry_run: _,
        min_revision,
    } = request;
    let mut violations = Violations::default();
    let common = Common { scopes, permissions, not_applicable, request_id, min_revision: *min_revision };
    let asked = check_common(&mut violations, &common, wait_max);
    for (field, estimate) in
        [("estimated_tokens", estimated_tokens), ("estimated_cost_micros", estimated_cost_micros)]
    {
        if estimate.is_some_and(|estimate| estimate < 0) {
            violations.add(field, "must be at least 0");
        }
    }
    if let Some(ttl) = read_duration(&mut violations, "reservation_ttl", *reservation_ttl)
        && !(RESERVATION_TTL_MIN..=RESERVATION_TTL_MAX).contains(&ttl)
    {
        violations.add("reservation_ttl", "must be 1 s to 24 h");
    }
    violations.finish(asked)
}

/// Checks what the calling service controls in a FilterModelsRequest.
///
/// # Errors
/// INVALID_ARGUMENT with every fault.
pub fn check_filter(request: &pb::FilterModelsRequest, wait_max: Duration) -> Result<Asked, Status> {
    let pb::FilterModelsRequest {
        token: _,
        endpoint: _,
        method: _,
        chatbot_id: _,
        client_ip: _,
        scopes,
        permissions,
        not_applicable,
        models,
        min_revision,
        request_id,
    } = request;
    let mut violations = Violations::default();
    let common = Common { scopes, permissions, not_applicable, request_id, min_revision: *min_revision };
    let asked = check_common(&mut violations, &common, wait_max);
    if models.len() > FILTER_MODELS_MAX {
        violations.add("models", format!("must have at most {FILTER_MODELS_MAX} members"));
    } else {
        for (position, model) in models.iter().enumerate() {
            if model.is_empty() || model.len() > NAME_BYTES_MAX {
                violations.add(format!("models[{position}]"), format!("must be 1 to {NAME_BYTES_MAX} bytes"));
            }
        }
    }
    violations.finish(asked)
}

fn check_common(violations: &mut Violations, common: &Common<'_>, wait_max: Duration) -> Option<Asked> {
    check_names(violations, "scopes", common.scopes, is_literal_scope);
    check_names(violations, "permissions", common.permissions, |name| Permission::parse(name).is_ok());
    let mut not_applicable = DimensionSet::EMPTY;
    for (position, dimension) in common.not_applicable.iter().enumerate() {
        match pb::authorize_request::Dimension::try_from(*dimension) {
            Ok(pb::authorize_request::Dimension::Model) => {
                not_applicable = not_applicable.with(Dimension::Model);
            }
            Ok(pb::authorize_request::Dimension::Endpoint) => {
                not_applicable = not_applicable.with(Dimension::Endpoint);
            }
            Ok(pb::authorize_request::Dimension::Chatbot) => {
                not_applicable = not_applicable.with(Dimension::Chatbot);
            }
            Ok(pb::authorize_request::Dimension::Unspecified) | Err(_) => {
                violations.add(format!("not_applicable[{position}]"), "must be MODEL, ENDPOINT or CHATBOT");
            }
        }
    }
    if common.request_id.len() > REQUEST_ID_BYTES_MAX || common.request_id.chars().any(char::is_control) {
        let description = format!("must be at most {REQUEST_ID_BYTES_MAX} bytes without control characters");
        violations.add("request_id", description);
    }
    let revision = Revision::new(common.min_revision);
    let min_revision = violations.require("min_revision", revision, "must be at least 0")?;
    Some(Asked { not_applicable, freshness: Freshness { min_revision, wait_max } })
}

fn check_names(violations: &mut Violations, field: &str, names: &[String], is_valid: fn(&str) -> bool) {
    if names.len() > ASKED_MAX {
        violations.add(field, format!("must have at most {ASKED_MAX} members"));
        return;
    }
    for (position, name) in names.iter().enumerate().filter(|(_, name)| !is_valid(name)) {
        let description = format!("{:?} is no literal name", name.chars().take(40).collect::<String>());
        violations.add(format!("{field}[{position}]"), description);
    }
}

/// The decisive part of a checked request.
#[must_use]
pub fn access<'a>(request: &'a pb::AuthorizeRequest, asked: &Asked) -> AccessRequest<'a> {
    AccessRequest {
        model: given(&request.model),
        endpoint: given(&request.endpoint),
        method: given(&request.method),
        chatbot_id: given(&request.chatbot_id),
        client_ip: given(&request.client_ip),
        scopes: &request.scopes,
        permissions: &request.permissions,
        not_applicable: asked.not_applicable,
    }
}

/// The decisive part of a checked request.
#[must_use]
pub fn filter_access<'a>(request: &'a pb::FilterModelsRequest, asked: &Asked) -> AccessRequest<'a> {
    AccessRequest {
        model: None,
        endpoint: given(&request.endpoint),
        method: given(&request.method),
        chatbot_id: given(&request.chatbot_id),
        client_ip: given(&request.client_ip),
        scopes: &request.scopes,
        permissions: &request.permissions,
        not_applicable: asked.not_applicable,
    }
}

fn given(value: &Bytes) -> Option<&[u8]> {
    (!value.is_empty()).then_some(value)
}

/// The contract's name of a reason.
#[must_use]
pub fn reason(reason: Option<Reason>) -> PbReason {
    match reason {
        None => PbReason::Unspecified,
        Some(Reason::KeyInvalid) => PbReason::KeyInvalid,
        Some(Reason::KeyRevoked) => PbReason::KeyRevoked,
        Some(Reason::OwnerDisabled) => PbReason::OwnerDisabled,
        Some(Reason::KeyExpired) => PbReason::KeyExpired,
        Some(Reason::IpNotAllowed) => PbReason::IpNotAllowed,
        Some(Reason::EndpointMalformed) => PbReason::EndpointMalformed,
        Some(Reason::EndpointNotAllowed) => PbReason::EndpointNotAllowed,
        Some(Reason::ScopeMissing) => PbReason::ScopeMissing,
        Some(Reason::PermissionMissing) => PbReason::PermissionMissing,
        Some(Reason::ModelNotAllowed) => PbReason::ModelNotAllowed,
        Some(Reason::ChatbotNotAllowed) => PbReason::ChatbotNotAllowed,
        Some(Reason::RateLimited) => PbReason::RateLimited,
        Some(Reason::BudgetExceeded) => PbReason::BudgetExceeded,
    }
}

fn verdict(denied: Option<Reason>) -> (i32, i32, i32) {
    let decision = if denied.is_none() { PbDecision::Allow } else { PbDecision::Deny };
    let http_status = denied.map_or(200, Reason::http_status);
    (decision.into(), reason(denied).into(), i32::from(http_status))
}

/// The answer to Authorize.
#[must_use]
pub fn response(outcome: Outcome, authorization_id: Option<String>) -> pb::AuthorizeResponse {
    let (decision, denied, http_status) = verdict(outcome.denied);
    pb::AuthorizeResponse {
        decision,
        reason: denied,
        message: outcome.message.into_owned(),
        http_status,
        authorization_id: authorization_id.unwrap_or_default(),
        // Encoded already; empty is absent.
        key: outcome.key.map(|key| Bytes::copy_from_slice(key.shown())).unwrap_or_default(),
        rate_limits: outcome.limits.iter().map(limits::status).collect(),
        budgets: Vec::new(),
        retry_after: outcome.retry_after.map(time::duration),
        warnings: warnings(outcome.warnings),
        observed_reason: reason(outcome.observed).into(),
        revision: outcome.revision.get(),
    }
}

/// What answers tell of a key, an encoded AuthorizedKey: made once when the key is loaded.
#[must_use]
pub fn describe(proven: &ProvenKey) -> Box<[u8]> {
    let key = &proven.key;
    let described = pb::AuthorizedKey {
        key_id: key.key_id.get(),
        user_id: key.user_id.get(),
        display_name: key.display_name.as_str().to_owned(),
        key_prefix: key.key_prefix.clone(),
        scopes: key.policy.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        permissions: key.policy.permissions.iter().map(|it| it.as_str().to_owned()).collect(),
        tags: key.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
        metadata: key.metadata.as_map().clone(),
        expire_time: key.policy.expire_time.map(timestamp),
    };
    described.encode_to_vec().into()
}

/// The key of an answer, decoded, for whoever reads answers. `None` where there is none.
#[must_use]
pub fn judged_key(answer: &pb::AuthorizeResponse) -> Option<pb::AuthorizedKey> {
    (!answer.key.is_empty()).then(|| pb::AuthorizedKey::decode(answer.key.clone()).ok()).flatten()
}

fn warnings(warnings: Vec<Warning>) -> Vec<pb::Warning> {
    let kind = |kind| match kind {
        WarningKind::KeyExpiresSoon => pb::warning::Kind::KeyExpiresSoon,
        WarningKind::OldTokenInGrace => pb::warning::Kind::OldTokenInGrace,
        WarningKind::LocalLimits => pb::warning::Kind::LocalLimits,
        WarningKind::NotEnforced => pb::warning::Kind::NotEnforced,
    };
    let message = |warning: Warning| pb::Warning {
        kind: kind(warning.kind).into(),
        message: warning.message.into_owned(),
    };
    warnings.into_iter().map(message).collect()
}

/// The answer to FilterModels.
#[must_use]
pub fn filter_response(outcome: FilterOutcome, mut models: Vec<String>) -> pb::FilterModelsResponse {
    let (decision, denied, http_status) = verdict(outcome.context.denied);
    let allowed = outcome.allowed.iter();
    pb::FilterModelsResponse {
        decision,
        reason: denied,
        message: outcome.context.message.into_owned(),
        http_status,
        models: allowed.filter_map(|position| models.get_mut(*position).map(std::mem::take)).collect(),
        revision: outcome.context.revision.get(),
        observed_reason: reason(outcome.context.observed).into(),
    }
}

/// The answer to IntrospectKey.
#[must_use]
pub fn introspection(view: Introspection) -> pb::IntrospectKeyResponse {
    let key = view.key.as_ref().map(|(facts, state)| pb::Key {
        totals: Some(super::keys::totals(&view.totals)),
        last_used_time: view.totals.last_used_time.map(timestamp),
        budgets: view.budgets.iter().filter(|budget| is_of_key(budget)).map(budgets::budget).collect(),
        previous_token_expire_time: facts.grace_end.map(timestamp),
        ..stored(&facts.key, *state)
    });
    pb::IntrospectKeyResponse {
        owner_rate_limits: view.key.as_ref().map(|(facts, _)| rate_limits(facts.owner_rate_limits)),
        rate_limits: view.limits.iter().map(limits::status).collect(),
        budgets: view.budgets.iter().map(budget_status).collect(),
        warnings: warnings(view.warnings),
        revision: view.revision.get(),
        reason: reason(view.reason).into(),
        key,
    }
}

fn is_of_key(budget: &Budget) -> bool {
    matches!(budget.subject, crate::policy::BudgetSubject::Key(_))
}

fn budget_status(budget: &Budget) -> pb::BudgetStatus {
    pb::BudgetStatus {
        budget_id: budget.budget_id.get(),
        limit_micros: budget.terms.limit.get(),
        spent_micros: budget.spent.get(),
        reserved_micros: budget.reserved.get(),
        reset_time: budget.reset_time.map(timestamp),
    }
}

/// How long a caller waits at most, by its `grpc-timeout` (gRPC over HTTP/2: digits and a unit).
#[must_use]
pub fn read_timeout(header: Option<&str>) -> Option<Duration> {
    let header = header?;
    let unit = header.chars().last()?;
    let digits = header.strip_suffix(unit)?;
    if digits.is_empty() || digits.len() > 8 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    let nanos: u64 = match unit {
        'H' => 3_600_000_000_000,
        'M' => 60_000_000_000,
        'S' => 1_000_000_000,
        'm' => 1_000_000,
        'u' => 1_000,
        'n' => 1,
        _ => return None,
    };
    let count: u64 = digits.parse().ok()?;
    Some(Duration::from_nanos(count.saturating_mul(nanos)))
}
