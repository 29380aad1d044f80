//! Etags: change only what you have seen.

use std::fmt;

use super::AdminError;
use crate::policy::{BudgetId, KeyId, Revision, UserId};

/// Whose etag it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EtagOf {
    /// A key's.
    Key(KeyId),
    /// An owner's.
    Owner(UserId),
    /// A budget's.
    Budget(BudgetId),
}

impl fmt::Display for EtagOf {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Key(key) => write!(f, "key {key}"),
            Self::Owner(user) => write!(f, "owner {user}"),
            Self::Budget(budget) => write!(f, "budget {budget}"),
        }
    }
}

/// What a caller has seen of a resource. Opaque to him.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Etag(String);

impl Etag {
    /// The etag of a resource whose last change had this revision.
    #[must_use]
    pub fn of(revision: Revision) -> Self {
        Self(format!("r{revision}"))
    }

    /// What a caller gave back; anything else than what [`Etag::of`] makes fits nothing.
    #[must_use]
    pub fn given(text: String) -> Option<Self> {
        (!text.is_empty()).then_some(Self(text))
    }

    /// Its text.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    pub(super) fn check(given: Option<&Self>, of: EtagOf, revision: Revision) -> Result<(), AdminError> {
        match given {
            Some(given) if *given != Self::of(revision) => Err(AdminError::EtagMismatch(of)),
            _ => Ok(()),
        }
    }
}
