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
    /// The key that is asked about could not be made.
    #[error("the key and the service token could not be made: {0}")]
    Setup(#[source] Box<Status>),
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
    /// Calls that were under way when the time was up never came back.
    #[error("calls to {0} were not answered")]
    NoAnswer(String),
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
}
