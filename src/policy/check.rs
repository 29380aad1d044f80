//! The checks of the decision that can be observed instead of enforced, and sets of them.

use std::fmt;

/// Checks 5 to 12 of the decision. Those before them say whether the key works at all and are always enforced.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Check {
    /// Check 5: the client's address.
    Ips,
    /// Check 6: endpoint and method.
    Endpoints,
    /// Check 7: every scope asked for.
    Scopes,
    /// Check 8: every permission asked for.
    Permissions,
    /// Check 9: the model.
    Models,
    /// Check 10: the chatbot.
    Chatbots,
    /// Check 11: rate limits of the key and its owner. Not decided in this module.
    RateLimits,
    /// Check 12: budgets of the key and its owner. Not decided in this module.
    Budgets,
}

impl Check {
    /// All of them, in the order in which they are made.
    pub const ALL: [Self; 8] = [
        Self::Ips,
        Self::Endpoints,
        Self::Scopes,
        Self::Permissions,
        Self::Models,
        Self::Chatbots,
        Self::RateLimits,
        Self::Budgets,
    ];

    /// Its name in configuration and in the contract.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Ips => "ips",
            Self::Endpoints => "endpoints",
            Self::Scopes => "scopes",
            Self::Permissions => "permissions",
            Self::Models => "models",
            Self::Chatbots => "chatbots",
            Self::RateLimits => "rate_limits",
            Self::Budgets => "budgets",
        }
    }

    /// The check of this name, exactly as [`Check::as_str`] writes it.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|check| check.as_str() == name)
    }

    const fn bit(self) -> u8 {
        match self {
            Self::Ips => 1 << 0,
            Self::Endpoints => 1 << 1,
            Self::Scopes => 1 << 2,
            Self::Permissions => 1 << 3,
            Self::Models => 1 << 4,
            Self::Chatbots => 1 << 5,
            Self::RateLimits => 1 << 6,
            Self::Budgets => 1 << 7,
        }
    }
}

impl fmt::Display for Check {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(out)
    }
}

/// Which checks are observed.
#[derive(Clone, Copy, Default, PartialEq, Eq, Hash)]
pub struct CheckSet(u8);

impl CheckSet {
    /// None: everything is enforced.
    pub const EMPTY: Self = Self(0);

    /// This set and `check`.
    #[must_use]
    pub const fn with(self, check: Check) -> Self {
        Self(self.0 | check.bit())
    }

    /// Both sets together.
    #[must_use]
    pub const fn union(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// Whether `check` is in it.
    #[must_use]
    pub const fn contains(self, check: Check) -> bool {
        self.0 & check.bit() != 0
    }

    /// Its checks, in the order in which they are made.
    pub fn iter(self) -> impl Iterator<Item = Check> {
        Check::ALL.into_iter().filter(move |check| self.contains(*check))
    }
}

impl FromIterator<Check> for CheckSet {
    fn from_iter<I: IntoIterator<Item = Check>>(checks: I) -> Self {
        checks.into_iter().fold(Self::EMPTY, Self::with)
    }
}

impl fmt::Debug for CheckSet {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.debug_set().entries(self.iter()).finish()
    }
}

#[cfg(test)]
mod tests {
    use super::{Check, CheckSet};

    #[test]
    fn every_check_has_a_name_of_its_own() {
        for check in Check::ALL {
            assert_eq!(Check::parse(check.as_str()), Some(check));
        }
        for unknown in ["", "ip", "IPS", "ips ", "key", "rate-limits"] {
            assert_eq!(Check::parse(unknown), None, "{unknown}");
        }
    }

    #[test]
    fn a_set_holds_exactly_what_was_put_in() {
        let mut set = CheckSet::EMPTY;
        for (index, check) in Check::ALL.into_iter().enumerate() {
            assert!(!set.contains(check));
            set = set.with(check);
            assert!(set.iter().eq(Check::ALL.into_iter().take(index + 1)));
        }
        let odd: CheckSet = Check::ALL.into_iter().step_by(2).collect();
        let even: CheckSet = Check::ALL.into_iter().skip(1).step_by(2).collect();
        assert_eq!(odd.iter().count(), 4);
        assert_eq!(odd.union(even), set);
        assert_eq!(format!("{:?}", CheckSet::EMPTY.with(Check::Budgets).with(Check::Ips)), "{Ips, Budgets}");
    }
}
