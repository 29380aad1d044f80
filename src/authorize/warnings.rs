//! What a caller should know although it does not deny.

use chrono::{DateTime, TimeDelta, Utc};

use crate::policy::RateLimits;
use crate::storage::secrets::ProvenKey;

/// A key that expires within this time gets a warning.
pub const KEY_EXPIRES_SOON: TimeDelta = TimeDelta::days(7);

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// The key expires within [`KEY_EXPIRES_SOON`].
    KeyExpiresSoon,
    /// The token was rotated away and works only for its grace.
    OldTokenInGrace,
    /// A limit that is stored but not enforced by this version.
    NotEnforced,
}

/// Something to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// One sentence.
    pub message: String,
}

/// All warnings of a key at `now`.
pub(super) fn of(key: &ProvenKey, now: DateTime<Utc>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |kind, message| warnings.push(Warning { kind, message });
    if let Some(expire) = key.key.policy.expire_time
        && now < expire
        && expire - now <= KEY_EXPIRES_SOON
    {
        warn(WarningKind::KeyExpiresSoon, format!("the key expires at {}", expire.format("%FT%TZ")));
    }
    if let Some(end) = key.grace_end {
        let end = end.format("%FT%TZ");
        warn(
            WarningKind::OldTokenInGrace,
            format!("the token was rotated away and works until {end}; use the new one"),
        );
    }
    for (subject, limits) in [("key", key.key.rate_limits), ("owner", key.owner_rate_limits)] {
        for name in names(limits) {
            let message = format!("{subject}.rate_limits.{name} is stored but not enforced by this version");
            warn(WarningKind::NotEnforced, message);
        }
    }
    for budget in &key.budgets {
        let message = format!("budgets/{budget} is stored but not enforced by this version");
        warn(WarningKind::NotEnforced, message);
    }
    warnings
}

fn names(limits: RateLimits) -> impl Iterator<Item = String> {
    [("requests", limits.requests), ("tokens", limits.tokens)]
        .into_iter()
        .flat_map(|(metric, windows)| windows.iter().map(move |(window, _, _)| format!("{metric}.{window}")))
}
