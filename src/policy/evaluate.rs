//! The decision: checks 1 to 10 in order, the first failure counts.
//!
//! Check 1 here is only *not deleted*: that the token is known and its secret right was shown before a snapshot was
//! at hand. Checks 11 and 12 charge, so they come after this function and only when it allows.
//!
//! A value that is given is always checked, even where it was declared not applicable or the key's rule is ANY: what
//! is malformed is denied for every key.

use chrono::{DateTime, Utc};

use super::check::Check;
use super::decision::{Decision, Reason};
use super::endpoint::parse_request_method;
use super::key::KeyState;
use super::path::normalise_path;
use super::request::{AccessRequest, Dimension};
use super::snapshot::{KeySnapshot, NameRule};

/// Checks 5 to 10, in their order.
const CHECKS: [Check; 6] =
    [Check::Ips, Check::Endpoints, Check::Scopes, Check::Permissions, Check::Models, Check::Chatbots];

/// Whether this key may make this request at `now`.
///
/// A check that the key observes is made and reported in [`Decision::observed`], but does not deny, whatever it
/// found (a malformed value included): observing is for traffic that must not break. Where several observed checks
/// fail, the first is reported. Checks 1 to 4 cannot be observed.
#[must_use]
pub fn evaluate<'a>(key: &KeySnapshot, request: &AccessRequest<'a>, now: DateTime<Utc>) -> Decision<'a> {
    if let Some(reason) = refuse_state(key.standing.state(now)) {
        return Decision { denied: Some(reason), ..Decision::default() };
    }
    let mut observed = None;
    for check in CHECKS {
        let Err(failure) = perform(check, key, request) else { continue };
        if !key.observe.contains(check) {
            return Decision { denied: Some(failure.reason), observed, missing: failure.missing };
        }
        observed = observed.or(Some(failure.reason));
    }
    Decision { denied: None, observed, missing: None }
}

/// Why one check failed.
struct Failure<'a> {
    reason: Reason,
    missing: Option<&'a str>,
}

impl From<Reason> for Failure<'_> {
    fn from(reason: Reason) -> Self {
        Self { reason, missing: None }
    }
}

fn refuse_state(state: KeyState) -> Option<Reason> {
    match state {
        KeyState::Deleted => Some(Reason::KeyInvalid),
        KeyState::Revoked => Some(Reason::KeyRevoked),
        KeyState::OwnerDisabled => Some(Reason::OwnerDisabled),
        KeyState::Expired => Some(Reason::KeyExpired),
        KeyState::Active => None,
    }
}

fn perform<'a>(check: Check, key: &KeySnapshot, request: &AccessRequest<'a>) -> Result<(), Failure<'a>> {
    match check {
        Check::Ips => check_ip(key, request)?,
        Check::Endpoints => check_endpoint(key, request)?,
        Check::Scopes => {
            check_granted(request.scopes, |scope| key.rules.scopes.grants(scope), Reason::ScopeMissing)?;
        }
        Check::Permissions => {
            check_granted(
                request.permissions,
                |asked| key.rules.permissions.grants(asked),
                Reason::PermissionMissing,
            )?;
        }
        Check::Models => {
            let not_applicable = request.not_applicable.contains(Dimension::Model);
            check_name(&key.rules.models, request.model, not_applicable, Reason::ModelNotAllowed)?;
        }
        Check::Chatbots => {
            let not_applicable = request.not_applicable.contains(Dimension::Chatbot);
            check_name(&key.rules.chatbots, request.chatbot_id, not_applicable, Reason::ChatbotNotAllowed)?;
        }
        // They charge, so they are not made here.
        Check::RateLimits | Check::Budgets => {}
    }
    Ok(())
}

fn check_ip(key: &KeySnapshot, request: &AccessRequest<'_>) -> Result<(), Reason> {
    let allowed = match request.client_ip {
        Some(value) => key.rules.ips.allows(value),
        None => key.rules.ips.is_any(),
    };
    if allowed { Ok(()) } else { Err(Reason::IpNotAllowed) }
}

fn check_endpoint(key: &KeySnapshot, request: &AccessRequest<'_>) -> Result<(), Reason> {
    let method = match request.method {
        Some(value) => Some(parse_request_method(value).ok_or(Reason::EndpointMalformed)?),
        None => None,
    };
    let allowed = match request.endpoint {
        Some(value) => {
            let path = normalise_path(value).map_err(|_| Reason::EndpointMalformed)?;
            key.rules.endpoints.allows(&path, method)
        }
        None => key.rules.endpoints.is_any() || request.not_applicable.contains(Dimension::Endpoint),
    };
    if allowed { Ok(()) } else { Err(Reason::EndpointNotAllowed) }
}

fn check_granted<'a>(
    asked: &'a [String],
    is_granted: impl Fn(&str) -> bool,
    reason: Reason,
) -> Result<(), Failure<'a>> {
    match asked.iter().find(|asked| !is_granted(asked)) {
        Some(missing) => Err(Failure { reason, missing: Some(missing) }),
        None => Ok(()),
    }
}

fn check_name(
    rule: &NameRule,
    value: Option<&[u8]>,
    not_applicable: bool,
    reason: Reason,
) -> Result<(), Reason> {
    let allowed = match value {
        Some(value) => rule.allows(value),
        None => rule.is_any() || not_applicable,
    };
    if allowed { Ok(()) } else { Err(reason) }
}

#[cfg(test)]
mod tests;
