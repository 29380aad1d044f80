//! What a caller should know although it does not deny.

use std::borrow::Cow;

use chrono::{DateTime, TimeDelta, Utc};

use crate::cache::CachedKey;

/// A key that expires within this time gets a warning.
pub const KEY_EXPIRES_SOON: TimeDelta = TimeDelta::days(7);

/// What a warning is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum WarningKind {
    /// The key expires within [`KEY_EXPIRES_SOON`].
    KeyExpiresSoon,
    /// The token was rotated away and works only for its grace.
    OldTokenInGrace,
    /// Rate limits were counted by this replica alone.
    LocalLimits,
    /// A budget that is stored but not enforced by this version.
    NotEnforced,
}

/// Something to know.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Warning {
    /// What it is about.
    pub kind: WarningKind,
    /// One sentence.
    pub message: Cow<'static, str>,
}

/// All warnings of a key at `now`. Allocates nothing where there are none.
pub(super) fn of(key: &CachedKey, now: DateTime<Utc>) -> Vec<Warning> {
    let mut warnings = Vec::new();
    let mut warn = |kind, message| warnings.push(Warning { kind, message });
    if let Some(expire) = key.snapshot().expire_time()
        && now < expire
        && expire - now <= KEY_EXPIRES_SOON
    {
        let message = format!("the key expires at {}", expire.format("%FT%TZ"));
        warn(WarningKind::KeyExpiresSoon, message.into());
    }
    if let Some(end) = key.grace_end() {
        let end = end.format("%FT%TZ");
        let message = format!("the token was rotated away and works until {end}; use the new one");
        warn(WarningKind::OldTokenInGrace, message.into());
    }
    if key.has_budgets() {
        warn(WarningKind::NotEnforced, "budgets are stored but not enforced by this version".into());
    }
    warnings
}

/// That limits were counted by this replica alone.
pub(super) fn local_limits() -> Warning {
    let message = "the store is away: rate limits are counted by this replica alone, each divided by the number of replicas";
    Warning { kind: WarningKind::LocalLimits, message: message.into() }
}
