//! Which database, on which of its timelines, a revision is of.
//!
//! A failover, or a restore to an earlier moment, may lose revisions and give the same numbers to other changes. Both
//! begin a new timeline, so that a revision says something only together with its epoch.

use std::fmt;

use crate::policy::Revision;

/// A system identifier of PostgreSQL, and the timeline of its current WAL file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub struct Epoch {
    system: i64,
    timeline: i64,
}

impl Epoch {
    /// Two expressions: the system identifier and the timeline, both `bigint`. They fail on a standby, which is right.
    ///
    /// The timeline of the last checkpoint would be that of the time before a promotion for a while.
    pub const SQL: &str = "(SELECT system_identifier FROM pg_control_system()), \
         ('x' || substr(pg_walfile_name(pg_current_wal_lsn()), 1, 8))::bit(32)::bigint";

    /// Of its parts.
    #[must_use]
    pub const fn new(system: i64, timeline: i64) -> Self {
        Self { system, timeline }
    }

    /// PostgreSQL's `system_identifier`, as a signed number.
    #[must_use]
    pub const fn system(self) -> i64 {
        self.system
    }

    /// The timeline, at least 1.
    #[must_use]
    pub const fn timeline(self) -> i64 {
        self.timeline
    }
}

impl fmt::Display for Epoch {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}/{}", self.system, self.timeline)
    }
}

/// A revision of an epoch.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ReadAt {
    /// Where the revision counts.
    pub epoch: Epoch,
    /// The newest change that was visible.
    pub revision: Revision,
}
