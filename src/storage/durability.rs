//! What all guarantees rest on: one writable PostgreSQL that keeps what it acknowledges.

use diesel::sql_types::{Bool, Integer, Text};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;

/// The oldest PostgreSQL that is supported, as in `server_version_num`.
pub const SERVER_VERSION_MIN: i32 = 140_000;

#[derive(QueryableByName)]
struct SettingsRow {
    #[diesel(sql_type = Integer)]
    version: i32,
    #[diesel(sql_type = Bool)]
    is_standby: bool,
    #[diesel(sql_type = Text)]
    fsync: String,
    #[diesel(sql_type = Text)]
    full_page_writes: String,
}

/// What is wrong with a server.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ServerFault {
    /// Older than [`SERVER_VERSION_MIN`].
    TooOld,
    /// A standby: it cannot be written to.
    Standby,
    /// `fsync` is off: a crash may lose what was acknowledged.
    FsyncOff,
    /// `full_page_writes` is off: a crash may tear pages.
    FullPageWritesOff,
}

impl ServerFault {
    /// Whether it loses data in a crash, rather than being of no use at all.
    #[must_use]
    pub const fn loses_data(self) -> bool {
        matches!(self, Self::FsyncOff | Self::FullPageWritesOff)
    }

    /// One sentence that says what to do.
    #[must_use]
    pub const fn sentence(self) -> &'static str {
        match self {
            Self::TooOld => "the PostgreSQL server is older than version 14: upgrade it",
            Self::Standby => "the PostgreSQL server is a standby: name the primary",
            Self::FsyncOff => "the PostgreSQL server runs with fsync=off: a crash may lose keys; turn it on",
            Self::FullPageWritesOff => {
                "the PostgreSQL server runs with full_page_writes=off: a crash may tear pages; turn it on"
            }
        }
    }
}

/// What is wrong with the server, first of all what is worst. `synchronous_commit` is not looked at: every
/// transaction sets it for itself.
///
/// # Errors
/// [`StorageError`].
pub async fn faults(connection: &mut AsyncPgConnection) -> Result<Vec<ServerFault>, StorageError> {
    let row: SettingsRow = sql_query(
        "SELECT current_setting('server_version_num')::int AS version, pg_is_in_recovery() AS is_standby, \
         current_setting('fsync') AS fsync, current_setting('full_page_writes') AS full_page_writes",
    )
    .get_result(connection)
    .await?;
    let found = [
        (row.version < SERVER_VERSION_MIN, ServerFault::TooOld),
        (row.is_standby, ServerFault::Standby),
        (row.fsync != "on", ServerFault::FsyncOff),
        (row.full_page_writes != "on", ServerFault::FullPageWritesOff),
    ];
    Ok(found.into_iter().filter(|(is_wrong, _)| *is_wrong).map(|(_, fault)| fault).collect())
}

/// Asks the server for nothing, to see that it answers.
///
/// # Errors
/// [`StorageError`].
pub async fn ping(connection: &mut AsyncPgConnection) -> Result<(), StorageError> {
    sql_query("SELECT 1").execute(connection).await?;
    Ok(())
}
