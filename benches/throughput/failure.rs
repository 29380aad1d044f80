//! Why there is no measurement.

use std::io;
use std::path::PathBuf;

use tonic::Status;

use crate::client::CallFailure;

/// One sentence for whoever runs the benchmark.
#[derive(Debug, thiserror::Error)]
pub enum Failure {
    /// Something of the operating system failed.
    #[error("cannot {action}: {source}")]
    Io {
        /// What was tried.
        action: &'static str,
        /// Why it failed.
        source: io::Error,
    },
    /// A file cannot be read.
    #[error("cannot read {path}: {source}")]
    Unreadable {
        /// Which.
        path: PathBuf,
        /// Why.
        source: io::Error,
    },
    /// A file of `/proc` does not look as proc(5) says.
    #[error("{0} does not look as proc(5) says; the benchmark runs on Linux only")]
    NotProc(PathBuf),
    /// A server did not start, or ended.
    #[error("the server {name} {what}; the end of its log:\n{log}")]
    Server {
        /// Which.
        name: String,
        /// What it did.
        what: &'static str,
        /// Its last lines.
        log: String,
    },
    /// A call of an administrator failed.
    #[error("an administrator's call failed: {0}")]
    Admin(#[source] Box<Status>),
    /// The database of a server, into which keys are written.
    #[error("the database: {0}")]
    Database(#[source] Box<dyn std::error::Error + Send + Sync>),
    /// The promise of freshness does not hold: there is nothing to measure then.
    #[error("{0}")]
    Broken(String),
    /// The server could not be reached to make them.
    #[error("Keystile cannot be reached: {0}")]
    Unreachable(#[from] tonic::transport::Error),
    /// A value that a program gave us is not what it must be.
    #[error("{0}")]
    Unusable(&'static str),
    /// A call went wrong.
    #[error("a call to {target} went wrong: {source}")]
    Call {
        /// Which server.
        target: String,
        /// How.
        source: CallFailure,
    },
    /// No call was answered, or those that were under way when the time was up never came back.
    #[error("calls were not answered")]
    NoAnswer,
    /// A thread of the client panicked.
    #[error("a thread of the client ended by itself: {0}")]
    Client(String),
    /// SIGINT or SIGTERM.
    #[error("interrupted")]
    Interrupted,
}

impl Failure {
    /// For `map_err`: what was tried.
    pub fn io(action: &'static str) -> impl FnOnce(io::Error) -> Self {
        move |source| Self::Io { action, source }
    }

    /// For `map_err`: something about the database.
    pub fn database(source: impl Into<Box<dyn std::error::Error + Send + Sync>>) -> Self {
        Self::Database(source.into())
    }
}
