//! Which history of the database this is: system identifier and timeline.
//!
//! A database that was promoted after a failure goes on from a state that may lack the last changes, and gives their
//! revisions to others. Its timeline is another then, so that revisions of two epochs are never compared.

use std::fmt;

use crate::policy::Revision;

/// The history of the database that a revision belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    system: i64,
    timeline: i64,
}

impl Epoch {
    /// Two expressions of type `bigint` for [`Epoch::new`], to be read by the statement that reads what is of the
    /// epoch. The timeline is that of the WAL file being written: the last checkpoint's may be the one before.
    /// Fails on a standby, which nothing is to be read from.
    pub const SQL: &str = "(SELECT system_identifier FROM pg_control_system()), \
         ('x' || lpad(left(pg_walfile_name(pg_current_wal_lsn()), 8), 16, '0'))::bit(64)::bigint";

    /// The epoch with this system identifier and timeline.
    #[must_use]
    pub const fn new(system: i64, timeline: i64) -> Self {
        Self { system, timeline }
    }

    /// PostgreSQL's system identifier.
    #[must_use]
    pub const fn system(self) -> i64 {
        self.system
    }

    /// PostgreSQL's timeline.
    #[must_use]
    pub const fn timeline(self) -> i64 {
        self.timeline
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.system.cast_unsigned(), self.timeline)
    }
}

/// The state that was read: the newest revision in it, of which history. Read by the statement that read the rest.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAt {
    /// Which history.
    pub epoch: Epoch,
    /// The newest revision.
    pub revision: Revision,
}
