//! Why the service could not start, or ended.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::time::Duration;

use super::EndSignal;
use crate::admin::AdminError;
use crate::config::Faults;
use crate::embedded::EmbeddedError;
use crate::storage::StorageError;
use crate::tls::TlsFileError;
use crate::token::{DuplicatePepperId, InvalidPepperId, PepperFileError, PepperTooShort};

/// One sentence for whoever started it, with what to do about it.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum ServerError {
    /// The configuration is faulty.
    #[error(transparent)]
    Config(#[from] Faults),
    /// The embedded PostgreSQL did not start.
    #[error(transparent)]
    Embedded(#[from] EmbeddedError),
    /// The database failed.
    #[error(transparent)]
    Storage(#[from] StorageError),
    /// The database did not answer for as long as it was waited for.
    #[error(
        "the database {database} does not answer ({}): {why}; see that it runs and can be reached, or correct \
         KEYSTILE_DATABASE_URL",
        how_long(*waited)
    )]
    Unreachable {
        /// Its URL, without secrets.
        database: String,
        /// How long it was tried.
        waited: Duration,
        /// The last answer.
        why: String,
    },
    /// The database answers and does not let us in.
    #[error(
        "the database {database} refuses the login: {why}; correct KEYSTILE_DATABASE_URL, or make the role"
    )]
    Refused {
        /// Its URL, without secrets.
        database: String,
        /// Its words.
        why: String,
    },
    /// The role may not do what has to be done.
    #[error("the database role {0}")]
    MissingRights(String),
    /// What the database records of migrations is not what there is.
    #[error("the database's schema is not whole: {0}")]
    SchemaTorn(String),
    /// A migration failed. It left nothing behind.
    #[error("the database's schema could not be brought up to date, and was left as it is: {0}")]
    Migration(String),
    /// The schema is behind this program.
    #[error(
        "the database's schema is behind this program by {0} migration(s): run `keystile migrate`, or set \
         KEYSTILE_AUTO_MIGRATE=true"
    )]
    SchemaBehind(usize),
    /// A newer program has taken away from the schema what this one may need.
    #[error(
        "the database's schema is ahead of this program by {0} migration(s): run the newer program that made \
         them, or one after it"
    )]
    SchemaAhead(usize),
    /// The database server would not keep what it acknowledges, or cannot be written to.
    #[error("{0}")]
    Unfit(&'static str),
    /// The peppers file cannot be read.
    #[error("the peppers file {path} cannot be read: {source}")]
    PeppersUnreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// The peppers file is faulty.
    #[error("the peppers file is faulty: {0}")]
    Peppers(#[from] PepperFileError),
    /// The pepper in the database is faulty.
    #[error("the pepper in the database is faulty: {0}")]
    StoredPepper(String),
    /// The first administrator could not be made.
    #[error("the first administrator could not be made: {0}")]
    Bootstrap(#[from] AdminError),
    /// A token file cannot be read or written.
    #[error("the token file {path} cannot be {action}: {source}")]
    TokenFile {
        /// Which.
        path: PathBuf,
        /// `read` or `written`.
        action: &'static str,
        /// Why.
        source: io::Error,
    },
    /// A token file holds no token.
    #[error("the token file {0} must hold one token of 16 to 72 printable ASCII characters")]
    TokenFileContent(PathBuf),
    /// The address is taken, or not ours.
    #[error("{address} cannot be listened on: {}", why_not_listen(why, setting))]
    Listen {
        /// Which.
        address: SocketAddr,
        /// The variable that named it.
        setting: &'static str,
        /// What the system says.
        why: io::Error,
    },
    /// A file of TLS cannot be used.
    #[error("TLS: {0}")]
    Tls(#[from] TlsFileError),
    /// What is served cannot be put together.
    #[error("serving failed: {0}")]
    Serving(String),
    /// A part of the service ended that must not.
    #[error("a part of the service died: {part}: {why}")]
    PartDied {
        /// What it did.
        part: &'static str,
        /// How it ended.
        why: String,
    },
    /// A second signal came before the service had stopped in order.
    #[error("{0} came twice: ended at once, without finishing calls or writing counts")]
    Hurried(EndSignal),
    /// Signals cannot be waited for.
    #[error("signals cannot be waited for: {0}")]
    Signals(io::Error),
}

fn how_long(waited: Duration) -> String {
    if waited.is_zero() { "asked once".to_owned() } else { format!("asked for {} s", waited.as_secs_f64()) }
}

fn why_not_listen(error: &io::Error, setting: &str) -> String {
    match error.kind() {
        io::ErrorKind::AddrInUse => {
            format!("another program listens there already: stop it, or choose another address by {setting}")
        }
        io::ErrorKind::AddrNotAvailable => {
            format!("this machine has no such address: choose another by {setting}")
        }
        io::ErrorKind::PermissionDenied => {
            format!("this user may not take that port: choose one above 1023 by {setting}")
        }
        _ => error.to_string(),
    }
}

impl From<InvalidPepperId> for ServerError {
    fn from(error: InvalidPepperId) -> Self {
        Self::StoredPepper(error.to_string())
    }
}

impl From<PepperTooShort> for ServerError {
    fn from(error: PepperTooShort) -> Self {
        Self::StoredPepper(error.to_string())
    }
}

impl From<DuplicatePepperId> for ServerError {
    fn from(error: DuplicatePepperId) -> Self {
        Self::StoredPepper(error.to_string())
    }
}
