//! Etags: change only what you have seen.

use super::AdminError;
use crate::policy::Revision;

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

    pub(super) fn check(given: Option<&Self>, revision: Revision) -> Result<(), AdminError> {
        match given {
            Some(given) if *given != Self::of(revision) => Err(AdminError::EtagMismatch),
            _ => Ok(()),
        }
    }
}
