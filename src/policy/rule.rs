//! An access rule: anything, or only these patterns.
//!
//! The two never turn into each other by accident: removing the last pattern leaves *nothing* allowed, never
//! *anything*; and to name no pattern at all changes nothing.

use std::collections::BTreeSet;
use std::fmt;

/// A rule holds at most this many patterns.
pub const PATTERNS_MAX: usize = 1000;

/// What a key may name in one dimension.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum AccessRule<P> {
    /// Anything, and requests that name nothing.
    Any,
    /// What matches one of these; nothing when there are none. At most [`PATTERNS_MAX`].
    Only(BTreeSet<P>),
}

/// Why a rule could not be changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RuleError {
    /// It would hold more than [`PATTERNS_MAX`] patterns.
    TooMany,
    /// A pattern cannot be taken from [`AccessRule::Any`]: what would remain cannot be said with patterns.
    RemoveFromAny,
}

impl fmt::Display for RuleError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::TooMany => "must hold at most 1000 patterns",
            Self::RemoveFromAny => "allows any: there is no pattern to remove",
        })
    }
}

impl std::error::Error for RuleError {}

impl<P: Ord + Clone> AccessRule<P> {
    /// Only these patterns; none means that nothing is allowed.
    ///
    /// # Errors
    /// [`RuleError::TooMany`].
    pub fn only(patterns: impl IntoIterator<Item = P>) -> Result<Self, RuleError> {
        Ok(Self::Only(extend(BTreeSet::new(), patterns)?))
    }

    /// The rule with these patterns too. Adding to [`AccessRule::Any`] makes it only them; adding none changes
    /// nothing.
    ///
    /// # Errors
    /// [`RuleError::TooMany`].
    pub fn add(&self, patterns: impl IntoIterator<Item = P>) -> Result<Self, RuleError> {
        let mut patterns = patterns.into_iter().peekable();
        match self {
            _ if patterns.peek().is_none() => Ok(self.clone()),
            Self::Any => Self::only(patterns),
            Self::Only(held) => Ok(Self::Only(extend(held.clone(), patterns)?)),
        }
    }

    /// The rule without these patterns, whether it held them or not. Removing the last leaves nothing allowed;
    /// removing none changes nothing.
    ///
    /// # Errors
    /// [`RuleError::RemoveFromAny`].
    pub fn remove(&self, patterns: impl IntoIterator<Item = P>) -> Result<Self, RuleError> {
        let mut patterns = patterns.into_iter().peekable();
        match self {
            _ if patterns.peek().is_none() => Ok(self.clone()),
            Self::Any => Err(RuleError::RemoveFromAny),
            Self::Only(held) => {
                let mut held = held.clone();
                for pattern in patterns {
                    held.remove(&pattern);
                }
                Ok(Self::Only(held))
            }
        }
    }
}

/// Stops at the first pattern too many, so that an endless iterator costs no more than the maximum.
fn extend<P: Ord>(
    mut held: BTreeSet<P>,
    patterns: impl IntoIterator<Item = P>,
) -> Result<BTreeSet<P>, RuleError> {
    for pattern in patterns {
        held.insert(pattern);
        if held.len() > PATTERNS_MAX {
            return Err(RuleError::TooMany);
        }
    }
    Ok(held)
}

#[cfg(test)]
mod tests {
    use proptest::collection::btree_set;
    use proptest::prelude::proptest;
    use proptest::prop_assert_eq;

    use super::{AccessRule, PATTERNS_MAX, RuleError};

    fn only(patterns: impl IntoIterator<Item = u32>) -> AccessRule<u32> {
        AccessRule::only(patterns).unwrap()
    }

    #[test]
    fn adding_to_any_makes_it_only_that() {
        assert_eq!(AccessRule::Any.add([1, 2]), Ok(only([1, 2])));
        assert_eq!(only([]).add([1]), Ok(only([1])));
        assert_eq!(only([1]).add([2, 1]), Ok(only([1, 2])));
    }

    #[test]
    fn removing_the_last_pattern_leaves_nothing_never_any() {
        let emptied = only([1]).remove([1]).unwrap();
        assert_eq!(emptied, only([]));
        assert_ne!(emptied, AccessRule::Any);
        assert_eq!(emptied.remove([1]), Ok(only([])));
        assert_eq!(only([1, 2]).remove([2, 3]), Ok(only([1])));
    }

    #[test]
    fn removing_from_any_is_refused() {
        assert_eq!(AccessRule::Any.remove([1]), Err(RuleError::RemoveFromAny));
    }

    #[test]
    fn naming_no_pattern_changes_nothing() {
        for rule in [AccessRule::Any, only([]), only([1])] {
            assert_eq!(rule.add([]), Ok(rule.clone()));
            assert_eq!(rule.remove([]), Ok(rule.clone()));
        }
    }

    #[test]
    fn a_rule_holds_a_bounded_number_of_different_patterns() {
        let full = only(0..1000);
        assert_eq!(PATTERNS_MAX, 1000);
        assert_eq!(AccessRule::only(0..1001), Err(RuleError::TooMany));
        assert_eq!(AccessRule::only((0..3000).map(|n| n % 1000)), Ok(full.clone()));
        assert_eq!(full.add([999]), Ok(full.clone()));
        assert_eq!(full.add([1000]), Err(RuleError::TooMany));
        assert_eq!(AccessRule::Any.add(0..), Err(RuleError::TooMany), "an endless iterator ends");
    }

    proptest! {
        #[test]
        fn what_was_added_can_be_removed_again_and_never_becomes_any(
            held in btree_set(0..20u32, 0..10),
            added in btree_set(20..40u32, 1..10),
        ) {
            let before = only(held);
            let after = before.add(added.clone()).unwrap().remove(added.clone()).unwrap();
            prop_assert_eq!(&after, &before);
            let AccessRule::Only(all) = &after else { panic!("never any") };
            prop_assert_eq!(after.remove(all.clone()), Ok(only([])));
            let from_any = AccessRule::Any.add(added.clone()).unwrap().remove(added).unwrap();
            prop_assert_eq!(from_any, only([]));
        }
    }
}
