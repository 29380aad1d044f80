//! An imported key as the store keeps it.

use crate::admin::enclava::{ImportedBudget, ImportedKey, ImportedPeriod};
use crate::policy::{
    AccessRule, CheckSet, Description, Key, KeyPolicy, KeyTotals, Micros, NewBudget, Period, RateLimits,
    RateWindows, Revision,
};

/// Why a key that arrives revoked is so.
const REVOKE_REASON: &str = "inactive in the older system";

/// The key; its revision is not known before it is written.
pub(super) fn key(imported: &ImportedKey) -> Key {
    let reason = if imported.revoked() { REVOKE_REASON } else { "" };
    Key {
        key_id: imported.key_id,
        user_id: imported.user_id,
        display_name: imported.display_name.clone(),
        description: imported.description.clone(),
        tags: imported.tags.clone(),
        metadata: imported.metadata.clone(),
        key_prefix: imported.key_prefix.clone(),
        policy: KeyPolicy {
            revoked: imported.revoked(),
            deleted: false,
            owner_disabled: imported.owner_disabled,
            expire_time: imported.expire_time,
            ips: imported.ips.clone(),
            endpoints: imported.endpoints.clone(),
            models: imported.models.clone(),
            chatbots: imported.chatbots.clone(),
            scopes: imported.scopes.clone(),
            permissions: imported.permissions.clone(),
            observe: CheckSet::EMPTY,
        },
        rate_limits: rate_limits(imported),
        revoke_time: imported.revoke_time,
        revoke_reason: Description::parse(reason).unwrap_or_default(),
        delete_time: None,
        purge_time: None,
        create_time: imported.create_time,
        update_time: imported.update_time,
        revision: Revision::START,
    }
}

/// Its limits: on requests only, as the older system had them.
pub(super) fn rate_limits(imported: &ImportedKey) -> RateLimits {
    let limits = imported.limits;
    let requests = RateWindows {
        per_minute: limits.requests_per_minute,
        per_hour: limits.requests_per_hour,
        per_day: limits.requests_per_day,
    };
    RateLimits { requests, tokens: RateWindows::default() }
}

/// What it has used.
pub(super) fn totals(imported: &ImportedKey) -> KeyTotals {
    KeyTotals {
        total_requests: imported.total_requests,
        total_tokens: imported.total_tokens,
        total_cost_micros: imported.total_cost.get(),
        authorized_count: 0,
        last_used_time: imported.last_used_time,
    }
}

/// The terms of its budget: hard, on every model, without an estimate, as the older system had them.
pub(super) fn budget(imported: &ImportedBudget) -> NewBudget {
    NewBudget {
        display_name: "imported".to_owned(),
        limit: imported.limit,
        period: match imported.period {
            ImportedPeriod::Total => Period::Total,
            ImportedPeriod::Monthly => Period::Monthly,
        },
        is_hard: true,
        warning: None,
        models: AccessRule::Any,
        default_estimate: Micros::ZERO,
        require_estimate: false,
    }
}
