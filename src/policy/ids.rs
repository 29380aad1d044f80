//! Numbers that mean something: identities, revisions and money, each its own type.
//!
//! All are `int64` in the contract and `bigint` in the store; a constructor refuses what is out of range.

use std::fmt;

/// One `i64` newtype with a smallest value.
macro_rules! bounded_i64 {
    ($(#[$doc:meta])* $name:ident, $min:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(i64);

        impl $name {
            #[doc = concat!("`None` below ", stringify!($min), ".")]
            #[must_use]
            pub const fn new(value: i64) -> Option<Self> {
                if value >= $min { Some(Self(value)) } else { None }
            }

            /// The number itself.
            #[must_use]
            pub const fn get(self) -> i64 {
                self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    };
}

bounded_i64!(
    /// Identity of a key, 1 or more. Never reused; an imported key keeps its own.
    KeyId,
    1
);
bounded_i64!(
    /// Owner of a key, 0 or more. Users live in another service; 0 is the [operator](UserId::OPERATOR).
    UserId,
    0
);
bounded_i64!(
    /// Identity of a budget, 1 or more.
    BudgetId,
    1
);
bounded_i64!(
    /// Position in the change log, 0 or more; 0 is before the first change.
    Revision,
    0
);
bounded_i64!(
    /// Money in 10⁻⁶ of the account currency, 0 or more.
    Micros,
    0
);

impl Revision {
    /// Before the first change.
    pub const ZERO: Self = Self(0);
}

impl UserId {
    /// The operator of the service: cannot be disabled, and only its keys may hold reserved scopes.
    pub const OPERATOR: Self = Self(0);
}

impl Revision {
    /// Before the first change.
    pub const START: Self = Self(0);
}

impl Micros {
    /// No money.
    pub const ZERO: Self = Self(0);
    /// The most that can be said.
    pub const MAX: Self = Self(i64::MAX);

    /// The sum; `None` above [`Micros::MAX`].
    #[must_use]
    pub const fn checked_add(self, other: Self) -> Option<Self> {
        match self.0.checked_add(other.0) {
            Some(sum) => Some(Self(sum)),
            None => None,
        }
    }

    /// The sum, or [`Micros::MAX`] where it would be more.
    #[must_use]
    pub const fn saturating_add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }

    /// What is left of this after `other`; nothing where that is more.
    #[must_use]
    pub const fn saturating_sub(self, other: Self) -> Self {
        match Self::new(self.0.saturating_sub(other.0)) {
            Some(rest) => rest,
            None => Self::ZERO,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::{BudgetId, KeyId, Micros, Revision, UserId};

    #[test]
    fn each_number_starts_at_its_own_minimum() {
        assert_eq!(KeyId::new(0), None);
        assert_eq!(KeyId::new(1).map(KeyId::get), Some(1));
        assert_eq!(BudgetId::new(0), None);
        assert_eq!(BudgetId::new(1).map(BudgetId::get), Some(1));
        assert_eq!(UserId::new(-1), None);
        assert_eq!(UserId::new(0), Some(UserId::OPERATOR));
        assert_eq!(Revision::new(-1), None);
        assert_eq!(Revision::new(0).map(Revision::get), Some(0));
        assert_eq!(Micros::new(i64::MIN), None);
        assert_eq!(Micros::new(i64::MAX).map(Micros::get), Some(i64::MAX));
    }

    #[test]
    fn money_adds_up_to_what_can_be_said() {
        let micros = |value| Micros::new(value).unwrap();
        assert_eq!(micros(2).checked_add(micros(3)), Some(micros(5)));
        assert_eq!(Micros::MAX.checked_add(Micros::ZERO), Some(Micros::MAX));
        assert_eq!(Micros::MAX.checked_add(micros(1)), None);
        assert_eq!(Micros::MAX.saturating_add(micros(1)), Micros::MAX);
        assert_eq!(micros(5).saturating_sub(micros(3)), micros(2));
        assert_eq!(micros(3).saturating_sub(Micros::MAX), Micros::ZERO);
    }

    #[test]
    fn an_id_reads_as_its_number() {
        assert_eq!(KeyId::new(42).unwrap().to_string(), "42");
        assert_eq!(format!("{:>4}", KeyId::new(42).unwrap()), "  42");
    }
}
