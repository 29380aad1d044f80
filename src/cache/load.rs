//! What is loaded, and what comes of it.

use std::sync::Arc;

use super::{CachedKey, Lookup};
use crate::policy::KeyId;
use crate::storage::StorageError;
use crate::storage::secrets::Candidate;
use crate::token::{Digest, Peppers, Presented};

/// What is to be loaded.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wanted {
    /// The key of a token.
    Token {
        /// The token's digest under the current pepper.
        current: Digest,
        /// Its digests under the others that are accepted.
        accepted: Vec<Digest>,
        /// The part of it that an administrator may see.
        prefix: String,
    },
    /// A key.
    Key(KeyId),
}

impl Wanted {
    /// The key of this token.
    #[must_use]
    pub fn token(presented: Presented<'_>, peppers: &Peppers) -> Self {
        let mut digests = peppers.digests(presented.bytes()).into_iter().map(|(_, digest)| digest);
        let (_, current) = peppers.digest_current(presented.bytes());
        digests.next();
        Self::Token { current, accepted: digests.collect(), prefix: presented.prefix().to_owned() }
    }

    /// Where it is kept.
    #[must_use]
    pub const fn lookup(&self) -> Lookup {
        match self {
            Self::Token { current, .. } => Lookup::Token(*current),
            Self::Key(key_id) => Lookup::Key(*key_id),
        }
    }
}

/// What came of a load; it passed the fill rule.
#[derive(Clone, Debug)]
pub enum Loaded {
    /// The key.
    Key(Arc<CachedKey>),
    /// It is nobody's.
    Unknown,
    /// No digest leads to a key, but these secrets have none yet: bcrypt has to look at them. Never empty.
    Open(Arc<[Candidate]>),
}

/// Why a load came to nothing.
#[derive(Clone, Debug, thiserror::Error)]
pub enum LoadError {
    /// Too many loads wait: try again later.
    #[error("too many keys wait to be loaded")]
    Overloaded,
    /// Too many of the caller's tokens were nobody's: try again later.
    #[error("too many of this caller's tokens were nobody's; what is not in memory is refused for now")]
    InVain,
    /// The store failed, took too long, or was changed faster than it was read.
    #[error(transparent)]
    Store(Arc<StorageError>),
}

impl LoadError {
    /// The store may answer if it is asked again.
    pub(super) fn unavailable(words: &str) -> Self {
        Self::Store(Arc::new(StorageError::Unavailable(words.to_owned())))
    }
}

impl From<StorageError> for LoadError {
    fn from(error: StorageError) -> Self {
        Self::Store(Arc::new(error))
    }
}
