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
    fn an_id_reads_as_its_number() {
        assert_eq!(KeyId::new(42).unwrap().to_string(), "42");
        assert_eq!(format!("{:>4}", KeyId::new(42).unwrap()), "  42");
    }
}
