//! What can go wrong in the store, by what the caller can do about it.

use deadpool::managed::TimeoutType;
use diesel::ConnectionError;
use diesel::result::{DatabaseErrorKind, Error as DieselError};
use diesel_async::pooled_connection::PoolError as ConnectError;
use diesel_async::pooled_connection::deadpool::PoolError;

use super::committed;
use crate::metrics::ErrorKind;

/// A failed call of the store. `Display` may hold text of PostgreSQL: it is for the log, never for an
/// answer.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StorageError {
    /// The database is out of reach, overloaded, read-only or too slow: nothing is known to be wrong
    /// with the request; try again later. A write may or may not have happened.
    #[error("the database is out of reach: {0}")]
    Unavailable(String),
    /// All connections are in use: the service has more to do than it can; try again later.
    #[error("all connections to the database are in use")]
    Overloaded,
    /// A unique, check or exclusion constraint refused the change.
    #[error("constraint {constraint} refused the change: {message}")]
    Constraint {
        /// The constraint's name.
        constraint: String,
        /// PostgreSQL's words.
        message: String,
    },
    /// A row does not parse into its domain type: someone changed it by hand, or a defect wrote it.
    /// Nothing can be decided from it.
    #[error("{table} row {id} is corrupt: {what}")]
    Corrupt {
        /// The row's table.
        table: &'static str,
        /// The row's id.
        id: i64,
        /// What does not parse.
        what: String,
    },
    /// Anything else: a defect.
    #[error("the database refused a statement: {0}")]
    Defect(String),
}

impl StorageError {
    /// What it counts as.
    pub(super) fn kind(&self) -> ErrorKind {
        match self {
            Self::Unavailable(_) => ErrorKind::Unavailable,
            Self::Overloaded => ErrorKind::Overloaded,
            Self::Constraint { .. } => ErrorKind::Constraint,
            Self::Corrupt { .. } => ErrorKind::Corrupt,
            Self::Defect(_) => ErrorKind::Defect,
        }
    }

    /// The name of the constraint that refused, if that is what happened.
    #[must_use]
    pub fn constraint(&self) -> Option<&str> {
        match self {
            Self::Constraint { constraint, .. } => Some(constraint),
            _ => None,
        }
    }

    /// Whether somebody else's lock was waited for in vain.
    #[must_use]
    pub fn is_lock_timeout(&self) -> bool {
        matches!(self, Self::Unavailable(words) if words.contains(LOCK_TIMEOUT_WORDS))
    }

    /// Whether the database may answer if it is asked again.
    #[must_use]
    pub const fn is_outage(&self) -> bool {
        matches!(self, Self::Unavailable(_) | Self::Overloaded)
    }

    /// Whether the database answered, and does not let us in: asking again is of no use.
    #[must_use]
    pub fn is_refusal(&self) -> bool {
        matches!(self, Self::Unavailable(words) if REFUSAL_WORDS.iter().any(|refusal| words.contains(refusal)))
    }
}

/// What PostgreSQL (in English) and its driver say where a login is refused for good.
const REFUSAL_WORDS: [&str; 6] = [
    "authentication failed",
    "no pg_hba.conf entry",
    "does not exist",
    "is not permitted to log in",
    "permission denied for database",
    "password missing",
];

/// A lock was waited for in vain; see [`UNAVAILABLE_WORDS`].
const LOCK_TIMEOUT_WORDS: &str = "due to lock timeout";
/// Only eight SQLSTATEs are typed by diesel; the others are told apart by PostgreSQL's (English) words.
/// They all mean that the server is stopping, starting, overloaded or gave up waiting.
const UNAVAILABLE_WORDS: [&str; 10] = [
    "terminating connection",
    "canceling statement due to",
    "the database system is",
    "too many clients",
    "remaining connection slots",
    "too many connections",
    "deadlock detected",
    "could not write",
    "could not extend",
    "recovery is in progress",
];

impl From<DieselError> for StorageError {
    fn from(error: DieselError) -> Self {
        let error = Self::of_statement(error);
        committed::note_failure(error.kind());
        error
    }
}

impl StorageError {
    fn of_statement(error: DieselError) -> Self {
        use DatabaseErrorKind as Kind;
        match error {
            DieselError::DatabaseError(kind, info) => {
                let message = info.message().to_owned();
                match kind {
                    Kind::UniqueViolation
                    | Kind::ForeignKeyViolation
                    | Kind::CheckViolation
                    | Kind::ExclusionViolation
                    | Kind::RestrictViolation => Self::Constraint {
                        constraint: info.constraint_name().unwrap_or_default().to_owned(),
                        message,
                    },
                    Kind::UnableToSendCommand
                    | Kind::ClosedConnection
                    | Kind::ReadOnlyTransaction
                    | Kind::SerializationFailure => Self::Unavailable(message),
                    _ if UNAVAILABLE_WORDS.iter().any(|words| message.contains(words)) => {
                        Self::Unavailable(message)
                    }
                    _ => Self::Defect(message),
                }
            }
            DieselError::BrokenTransactionManager => {
                Self::Unavailable("a connection broke in mid-transaction".to_owned())
            }
            other => Self::Defect(other.to_string()),
        }
    }
}

impl From<ConnectionError> for StorageError {
    fn from(error: ConnectionError) -> Self {
        // The driver's own words ("error connecting to server") leave the cause to its sources.
        let mut words = error.to_string();
        let mut source = std::error::Error::source(&error);
        while let Some(cause) = source {
            let cause_words = cause.to_string();
            if !words.contains(&cause_words) {
                words = format!("{words}: {cause_words}");
            }
            source = cause.source();
        }
        Self::Unavailable(words)
    }
}

impl From<PoolError> for StorageError {
    fn from(error: PoolError) -> Self {
        match error {
            PoolError::Backend(ConnectError::QueryError(query)) => query.into(),
            PoolError::Backend(ConnectError::ConnectionError(connect)) => connect.into(),
            PoolError::Timeout(TimeoutType::Wait) => Self::Overloaded,
            other => Self::Unavailable(other.to_string()),
        }
    }
}
