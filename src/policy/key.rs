//! What a key may do, in the form in which administrators write it, and the state that it is in.

use std::collections::BTreeSet;

use chrono::{DateTime, Utc};

use super::address::AddressPattern;
use super::check::CheckSet;
use super::endpoint::EndpointPattern;
use super::name_pattern::NamePattern;
use super::rule::AccessRule;
use super::scope::Scope;
use super::text::Permission;

/// Everything about one key that a decision depends on.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyPolicy {
    /// Revoked by an administrator.
    pub revoked: bool,
    /// Deleted, but not purged yet. To a caller it does not exist.
    pub deleted: bool,
    /// Its owner is disabled.
    pub owner_disabled: bool,
    /// Exclusive: at that instant the key is expired. `None`: never.
    pub expire_time: Option<DateTime<Utc>>,
    /// From which addresses it may be used.
    pub ips: AccessRule<AddressPattern>,
    /// For which endpoints.
    pub endpoints: AccessRule<EndpointPattern>,
    /// For which models.
    pub models: AccessRule<NamePattern>,
    /// For which chatbots.
    pub chatbots: AccessRule<NamePattern>,
    /// Scopes granted. None granted means that a request may ask for none.
    pub scopes: BTreeSet<Scope>,
    /// Permissions granted; likewise.
    pub permissions: BTreeSet<Permission>,
    /// Checks that are reported, but do not deny: the key's own and the configuration's.
    pub observe: CheckSet,
}

/// The state of a key at one instant. Where several are true, the first named here counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum KeyState {
    /// Soft-deleted, restorable until it is purged.
    Deleted,
    /// Revoked by an administrator.
    Revoked,
    /// Derived: its owner is disabled.
    OwnerDisabled,
    /// Derived: its expiry has come.
    Expired,
    /// None of these.
    Active,
}

impl KeyPolicy {
    /// The state at `now`.
    #[must_use]
    pub fn state(&self, now: DateTime<Utc>) -> KeyState {
        Standing::of(self).state(now)
    }
}

/// The part of a key that its state depends on, so that policy and snapshot cannot disagree about it.
#[derive(Clone, Copy, Debug)]
pub(super) struct Standing {
    revoked: bool,
    deleted: bool,
    owner_disabled: bool,
    expire_time: Option<DateTime<Utc>>,
}

impl Standing {
    pub(super) fn of(key: &KeyPolicy) -> Self {
        Self {
            revoked: key.revoked,
            deleted: key.deleted,
            owner_disabled: key.owner_disabled,
            expire_time: key.expire_time,
        }
    }

    pub(super) fn expire_time(&self) -> Option<DateTime<Utc>> {
        self.expire_time
    }

    pub(super) fn state(&self, now: DateTime<Utc>) -> KeyState {
        if self.deleted {
            KeyState::Deleted
        } else if self.revoked {
            KeyState::Revoked
        } else if self.owner_disabled {
            KeyState::OwnerDisabled
        } else if self.expire_time.is_some_and(|expire_time| expire_time <= now) {
            KeyState::Expired
        } else {
            KeyState::Active
        }
    }
}

/// A key that nothing restricts and nothing is granted to, for tests to change.
#[cfg(test)]
pub(super) fn unrestricted_key() -> KeyPolicy {
    KeyPolicy {
        revoked: false,
        deleted: false,
        owner_disabled: false,
        expire_time: None,
        ips: AccessRule::Any,
        endpoints: AccessRule::Any,
        models: AccessRule::Any,
        chatbots: AccessRule::Any,
        scopes: BTreeSet::new(),
        permissions: BTreeSet::new(),
        observe: CheckSet::EMPTY,
    }
}

#[cfg(test)]
mod tests {
    use chrono::{DateTime, TimeDelta, Utc};
    use proptest::prelude::proptest;
    use proptest::prop_assert_eq;

    use super::{KeyPolicy, KeyState, unrestricted_key};

    #[test]
    fn the_gravest_state_counts() {
        let now = DateTime::UNIX_EPOCH;
        let mut key = KeyPolicy {
            revoked: true,
            deleted: true,
            owner_disabled: true,
            expire_time: Some(now),
            ..unrestricted_key()
        };
        assert_eq!(key.state(now), KeyState::Deleted);
        key.deleted = false;
        assert_eq!(key.state(now), KeyState::Revoked);
        key.revoked = false;
        assert_eq!(key.state(now), KeyState::OwnerDisabled);
        key.owner_disabled = false;
        assert_eq!(key.state(now), KeyState::Expired);
        key.expire_time = None;
        assert_eq!(key.state(now), KeyState::Active);
    }

    proptest! {
        /// Expiry is exclusive, to the nanosecond.
        #[test]
        fn a_key_is_expired_at_its_very_instant_and_not_before(seconds in -4_000_000_000..8_000_000_000i64, nanos in 0..1_000_000_000u32) {
            let instant = DateTime::<Utc>::from_timestamp(seconds, nanos).unwrap();
            let key = KeyPolicy { expire_time: Some(instant), ..unrestricted_key() };
            let nanosecond = TimeDelta::nanoseconds(1);
            prop_assert_eq!(key.state(instant - nanosecond), KeyState::Active);
            prop_assert_eq!(key.state(instant), KeyState::Expired);
            prop_assert_eq!(key.state(instant + nanosecond), KeyState::Expired);
        }
    }
}
