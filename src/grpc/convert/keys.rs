//! Keys and owners for messages.

use super::budgets::budget;
use super::limits::rate_limits;
use super::owners::owner;
use super::rules::{checks, rule};
use super::time::timestamp;
use crate::admin::{Changed, Etag, KeyView, OwnerView};
use crate::cache::Propagation;
use crate::grpc::pb;
use crate::policy::{Key, KeyState, KeyTotals};

/// States, as the contract and the domain name them.
pub const STATES: [(pb::key::State, KeyState); 5] = [
    (pb::key::State::Active, KeyState::Active),
    (pb::key::State::Revoked, KeyState::Revoked),
    (pb::key::State::Deleted, KeyState::Deleted),
    (pb::key::State::Expired, KeyState::Expired),
    (pb::key::State::OwnerDisabled, KeyState::OwnerDisabled),
];

/// A key with everything that is shown of it.
#[must_use]
pub fn key(view: &KeyView) -> pb::Key {
    let state = view.key.policy.state(view.read_time);
    pb::Key {
        etag: Etag::of(view.key.revision).as_str().to_owned(),
        totals: Some(totals(&view.totals)),
        last_used_time: view.totals.last_used_time.map(timestamp),
        budgets: view.budgets.iter().map(budget).collect(),
        key_hash: view.key_hash.as_ref().map(|hash| hash.expose().to_owned()).unwrap_or_default(),
        previous_token_expire_time: view.previous_token_end.map(timestamp),
        ..stored(&view.key, state)
    }
}

/// What the key itself says; the rest is left empty.
#[must_use]
pub fn stored(key: &Key, state: KeyState) -> pb::Key {
    let policy = &key.policy;
    let state =
        STATES.iter().find(|(_, known)| *known == state).map_or(0, |(message, _)| i32::from(*message));
    pb::Key {
        key_id: key.key_id.get(),
        user_id: key.user_id.get(),
        display_name: key.display_name.as_str().to_owned(),
        description: key.description.as_str().to_owned(),
        tags: key.tags.iter().map(|tag| tag.as_str().to_owned()).collect(),
        metadata: key.metadata.as_map().clone(),
        key_prefix: key.key_prefix.clone(),
        state,
        permissions: policy.permissions.iter().map(|it| it.as_str().to_owned()).collect(),
        scopes: policy.scopes.iter().map(|scope| scope.as_str().to_owned()).collect(),
        models: Some(rule(&policy.models)),
        endpoints: Some(rule(&policy.endpoints)),
        ips: Some(rule(&policy.ips)),
        chatbots: Some(rule(&policy.chatbots)),
        rate_limits: Some(rate_limits(key.rate_limits)),
        observe: checks(policy.observe),
        expire_time: policy.expire_time.map(timestamp),
        create_time: Some(timestamp(key.create_time)),
        update_time: Some(timestamp(key.update_time)),
        last_used_time: None,
        revoke_time: key.revoke_time.map(timestamp),
        revoke_reason: key.revoke_reason.as_str().to_owned(),
        delete_time: key.delete_time.map(timestamp),
        purge_time: key.purge_time.map(timestamp),
        etag: String::new(),
        totals: None,
        budgets: Vec::new(),
        key_hash: String::new(),
        previous_token_expire_time: None,
    }
}

/// Totals for a message.
#[must_use]
pub fn totals(totals: &KeyTotals) -> pb::KeyTotals {
    pb::KeyTotals {
        total_requests: totals.total_requests,
        total_tokens: totals.total_tokens,
        total_cost_micros: totals.total_cost_micros,
        authorized_count: totals.authorized_count,
    }
}

/// How far a change has come, for a message.
#[must_use]
pub fn propagation(propagation: Propagation) -> pb::Propagation {
    match propagation {
        Propagation::Complete => pb::Propagation { complete: true, certain_by: None, certain_after: None },
        Propagation::Incomplete { certain_by, certain_after } => pb::Propagation {
            complete: false,
            certain_by: Some(timestamp(certain_by)),
            certain_after: prost_types::Duration::try_from(certain_after).ok(),
        },
    }
}

/// What a change of a key answers.
#[must_use]
pub fn key_mutation(changed: &Changed<KeyView>) -> pb::KeyMutationResponse {
    pb::KeyMutationResponse {
        key: Some(key(&changed.resource)),
        revision: changed.revision.get(),
        propagation: Some(propagation(changed.propagation)),
    }
}

/// What a change of an owner answers.
#[must_use]
pub fn owner_mutation(changed: &Changed<OwnerView>) -> pb::OwnerMutationResponse {
    pb::OwnerMutationResponse {
        owner: Some(owner(&changed.resource)),
        revision: changed.revision.get(),
        propagation: Some(propagation(changed.propagation)),
    }
}
