//! Why an embedded cluster can't be had: one sentence each, which says what to do about it.

use std::io;
use std::path::{Path, PathBuf};

use super::programs::MAJOR_MIN;

/// Why the embedded PostgreSQL can't be started, stopped or found.
#[derive(Debug, thiserror::Error)]
pub enum EmbeddedError {
    /// The machine has no server programs that we can use.
    #[error(
        "PostgreSQL's server programs (initdb and postgres, version {min} or newer) were not found{found}: \
         run `make setup`, or install the package `postgresql` (apt), `postgresql-server` (dnf) or \
         `postgresql@17` (brew), or give the URL of a database", min = MAJOR_MIN
    )]
    ProgramsMissing {
        /// Empty, or the too old ones that were found, as ` (only …)`.
        found: String,
    },
    /// The cluster was made by another major version, and a data directory can't change its version.
    #[error(
        "the cluster in {} was made by PostgreSQL {major}, whose server programs were not found: install \
         version {major}, or dump it there and restore it into a new data directory", cluster_dir.display()
    )]
    OtherMajor {
        /// The major version that the cluster needs.
        major: u32,
        /// The cluster.
        cluster_dir: PathBuf,
    },
    /// Another process owns the data directory.
    #[error("{} is in use by another Keystile ({}): stop that one, or use another data directory",
        data_dir.display(), describe_pid(*pid))]
    AlreadyOwned {
        /// The owner's process id, where it could be read.
        pid: Option<u32>,
        /// The data directory.
        data_dir: PathBuf,
    },
    /// Started as root, and the user that runs PostgreSQL instead can't reach the data directory.
    #[error(
        "started as root, Keystile runs PostgreSQL as {user}, who may not enter {}: use a data directory \
         that this user can reach, such as /var/lib/keystile", dir.display()
    )]
    Unreachable {
        /// The first directory on the way that is closed.
        dir: PathBuf,
        /// Who should have entered it.
        user: String,
    },
    /// Started as root, and there is no other user to run PostgreSQL as.
    #[error(
        "PostgreSQL refuses to run as root, and this machine has neither a user `postgres` nor a user \
         `nobody`: start Keystile as another user, or give the URL of a database"
    )]
    NoUnprivilegedUser,
    /// No directory was found whose path is short enough for a unix socket.
    #[error(
        "the path of {} is too long for a unix socket, and no shorter directory is usable ({tried}): use a \
         data directory with a shorter path", run_dir.display()
    )]
    NoSocketDir {
        /// Where the socket would belong.
        run_dir: PathBuf,
        /// What else was tried.
        tried: String,
    },
    /// The directory for the socket exists and is someone else's.
    #[error("{} exists, but isn't a directory of Keystile's own: remove it, or use another data directory",
        dir.display())]
    ForeignSocketDir {
        /// The directory.
        dir: PathBuf,
    },
    /// `pg/` holds something, but no cluster.
    #[error("{} isn't empty and isn't a PostgreSQL cluster: move it away, or use another data directory",
        dir.display())]
    NotACluster {
        /// The directory.
        dir: PathBuf,
    },
    /// There is no place for a default data directory.
    #[error("no default data directory, because HOME isn't set: set KEYSTILE_DATA_DIR")]
    NoHome,
    /// One of PostgreSQL's programs failed while the cluster was being made.
    #[error("{} failed ({status}): {output}", program.display())]
    ProgramFailed {
        /// The program.
        program: PathBuf,
        /// How it ended.
        status: String,
        /// The end of what it printed.
        output: String,
    },
    /// The server ended instead of becoming ready.
    #[error("PostgreSQL didn't start ({status}); the end of {}:\n{tail}", log_file.display())]
    StartFailed {
        /// How it ended, or that it took too long.
        status: String,
        /// The log.
        log_file: PathBuf,
        /// The last lines that this start wrote.
        tail: String,
    },
    /// The server ended although nobody told it to.
    #[error(
        "the embedded PostgreSQL ended by itself ({status}): start again, which recovers what was committed; \
         {} may say why", log_file.display()
    )]
    EndedByItself {
        /// How it ended.
        status: String,
        /// The log.
        log_file: PathBuf,
    },
    /// A server didn't end, not even when killed.
    #[error("PostgreSQL (process {pid}) can't be stopped, not even by SIGKILL: end it by hand")]
    StillRunning {
        /// Its process id.
        pid: u32,
    },
    /// The operating system refused something.
    #[error("can't {action} {}: {source}", path.display())]
    Io {
        /// What was being done, as a verb: `create`, `read`.
        action: &'static str,
        /// To what.
        path: PathBuf,
        /// Why not.
        source: io::Error,
    },
}

impl EmbeddedError {
    /// For `map_err`: what was being done, and to what.
    pub(super) fn io(action: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Self {
        let path = path.to_owned();
        move |source| Self::Io { action, path, source }
    }
}

fn describe_pid(pid: Option<u32>) -> String {
    pid.map_or_else(|| "which is just starting".to_owned(), |pid| format!("process {pid}"))
}
