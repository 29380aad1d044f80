//! What the decision table does not show: which scope is named, what observing covers, what length costs.
//! The table itself is `tests/policy_matrix.rs`.

use std::collections::BTreeSet;

use chrono::{DateTime, TimeDelta};

use super::evaluate;
use crate::policy::key::unrestricted_key;
use crate::policy::{
    AccessRequest, AccessRule, Check, CheckSet, Decision, KeyPolicy, KeySnapshot, Permission, Reason, Scope,
};

fn decide<'a>(key: &KeyPolicy, request: &AccessRequest<'a>) -> Decision<'a> {
    evaluate(&KeySnapshot::compile(key), request, DateTime::UNIX_EPOCH)
}

fn texts(texts: &[&str]) -> Vec<String> {
    texts.iter().map(|text| (*text).to_owned()).collect()
}

#[test]
fn the_first_missing_scope_or_permission_is_named() {
    let key = KeyPolicy {
        scopes: BTreeSet::from([Scope::parse("chat.*").unwrap()]),
        permissions: BTreeSet::from([Permission::parse("read").unwrap()]),
        ..unrestricted_key()
    };
    let scopes = texts(&["chat.a", "models.list", "files.read"]);
    let permissions = texts(&["read", "write", "admin"]);
    let denied =
        decide(&key, &AccessRequest { scopes: &scopes, permissions: &permissions, ..Default::default() });
    assert_eq!((denied.denied, denied.missing), (Some(Reason::ScopeMissing), Some("models.list")));
    let denied = decide(&key, &AccessRequest { permissions: &permissions, ..Default::default() });
    assert_eq!((denied.denied, denied.missing), (Some(Reason::PermissionMissing), Some("write")));
}

#[test]
fn what_is_missing_is_named_for_the_denial_only() {
    let key = KeyPolicy {
        models: AccessRule::Only(BTreeSet::new()),
        observe: CheckSet::EMPTY.with(Check::Scopes),
        ..unrestricted_key()
    };
    let scopes = texts(&["chat.a"]);
    let decision = decide(&key, &AccessRequest { scopes: &scopes, model: Some(b"m"), ..Default::default() });
    assert_eq!(
        decision,
        Decision {
            denied: Some(Reason::ModelNotAllowed),
            observed: Some(Reason::ScopeMissing),
            missing: None
        }
    );
}

#[test]
fn observing_covers_malformed_values_and_reports_the_first_failure() {
    let observe = CheckSet::EMPTY.with(Check::Ips).with(Check::Endpoints);
    let key = KeyPolicy { observe, ..unrestricted_key() };
    let malformed = AccessRequest { endpoint: Some(b"/.."), ..Default::default() };
    let decision = decide(&key, &malformed);
    assert_eq!((decision.denied, decision.observed), (None, Some(Reason::EndpointMalformed)));
    let both = AccessRequest { client_ip: Some(b"nowhere"), ..malformed };
    assert_eq!(decide(&key, &both).observed, Some(Reason::IpNotAllowed));
}

#[test]
fn what_is_observed_does_not_reach_past_the_denial() {
    let key = KeyPolicy {
        ips: AccessRule::Only(BTreeSet::new()),
        models: AccessRule::Only(BTreeSet::new()),
        observe: CheckSet::EMPTY.with(Check::Models),
        ..unrestricted_key()
    };
    let decision = decide(&key, &AccessRequest::default());
    assert_eq!((decision.denied, decision.observed), (Some(Reason::IpNotAllowed), None));
}

#[test]
fn the_state_of_a_key_cannot_be_observed_away() {
    let key = KeyPolicy { revoked: true, observe: Check::ALL.into_iter().collect(), ..unrestricted_key() };
    assert_eq!(decide(&key, &AccessRequest::default()).denied, Some(Reason::KeyRevoked));
}

#[test]
fn a_key_expires_at_the_very_instant() {
    let instant = DateTime::UNIX_EPOCH + TimeDelta::days(20_000);
    let key = KeySnapshot::compile(&KeyPolicy { expire_time: Some(instant), ..unrestricted_key() });
    let at = |now| evaluate(&key, &AccessRequest::default(), now).denied;
    assert_eq!(at(instant - TimeDelta::nanoseconds(1)), None);
    assert_eq!(at(instant), Some(Reason::KeyExpired));
    assert_eq!(at(instant + TimeDelta::nanoseconds(1)), Some(Reason::KeyExpired));
}

#[test]
fn values_of_a_mebibyte_are_denied_like_any_other() {
    let key = unrestricted_key();
    let long = vec![b'/'; 1 << 20];
    let long = Some(&long[..]);
    for (request, reason) in [
        (AccessRequest { client_ip: long, ..Default::default() }, Reason::IpNotAllowed),
        (AccessRequest { endpoint: long, ..Default::default() }, Reason::EndpointMalformed),
        (AccessRequest { method: long, ..Default::default() }, Reason::EndpointMalformed),
        (AccessRequest { model: long, ..Default::default() }, Reason::ModelNotAllowed),
        (AccessRequest { chatbot_id: long, ..Default::default() }, Reason::ChatbotNotAllowed),
    ] {
        assert_eq!(decide(&key, &request).denied, Some(reason));
    }
}
