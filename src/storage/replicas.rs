//! The replicas that decide from memory: one row each, which its owner renews and others read.
//!
//! - A replica is registered before it decides anything, under an id that is never used again.
//! - Only its owner changes a row. Others may take it away: where they have seen that it is not renewed any more
//!   ([`collect`]). Who finds its row gone registers anew.
//!
//! What does not belong here: what may be decided when (`cache`).

use std::time::Duration;

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Text, Timestamptz, Uuid as SqlUuid};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use uuid::Uuid;

use super::prepared::Prepared;
use super::schema::replicas;
use super::{Epoch, ReadAt, StorageError, changes};

/// The id of a replica from its registration on.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ReplicaId(Uuid);

impl ReplicaId {
    /// A new one, which no replica ever had.
    #[must_use]
    pub fn generate() -> Self {
        Self(Uuid::new_v4())
    }
}

impl std::fmt::Display for ReplicaId {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        self.0.fmt(f)
    }
}

/// A replica as its row has it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Replica {
    /// Its id.
    pub id: ReplicaId,
    /// Nothing older is decided from any more.
    pub applied: ReadAt,
    /// Grows with every renewal.
    pub beat: i64,
    /// For so long after a renewal it may decide.
    pub staleness: Duration,
    /// When this was read, by the database's clock.
    pub read_time: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct Row {
    #[diesel(sql_type = SqlUuid)]
    replica_id: Uuid,
    #[diesel(sql_type = BigInt)]
    system_identifier: i64,
    #[diesel(sql_type = BigInt)]
    timeline: i64,
    #[diesel(sql_type = BigInt)]
    applied: i64,
    #[diesel(sql_type = BigInt)]
    beat: i64,
    #[diesel(sql_type = BigInt)]
    staleness_ms: i64,
    #[diesel(sql_type = Timestamptz)]
    read_time: DateTime<Utc>,
}

/// A line of the list; without a replica where there is none.
#[derive(QueryableByName)]
struct ListRow {
    #[diesel(sql_type = BigInt)]
    here_system: i64,
    #[diesel(sql_type = BigInt)]
    here_timeline: i64,
    #[diesel(embed)]
    row: Option<Row>,
}

impl Row {
    fn replica(&self) -> Result<Replica, StorageError> {
        let epoch = Epoch::new(self.system_identifier, self.timeline);
        Ok(Replica {
            id: ReplicaId(self.replica_id),
            applied: ReadAt { epoch, revision: changes::parse(self.applied)? },
            beat: self.beat,
            staleness: Duration::from_millis(self.staleness_ms.unsigned_abs()),
            read_time: self.read_time,
        })
    }
}

/// Makes the row of a new replica, which has applied nothing yet. May be repeated where nobody knows what came of it.
///
/// # Errors
/// [`StorageError`].
pub async fn register(
    connection: &mut AsyncPgConnection,
    id: ReplicaId,
    address: &str,
    staleness: Duration,
) -> Result<(), StorageError> {
    let insert = diesel::sql_query(format!(
        "INSERT INTO replicas (replica_id, address, staleness_ms, applied, beat, system_identifier, timeline) \
         SELECT $1, $2, $3, 0, 1, epoch.* FROM (SELECT {}) AS epoch \
         ON CONFLICT (replica_id) DO UPDATE SET beat = replicas.beat + 1, applied = 0",
        Epoch::SQL
    ));
    let insert = insert.bind::<SqlUuid, _>(id.0).bind::<Text, _>(address);
    insert.bind::<BigInt, _>(millis(staleness)).execute(connection).await?;
    Ok(())
}

/// Renews a replica's own row and says how far it is; `false` where the row is gone.
///
/// # Errors
/// [`StorageError`].
pub async fn beat(
    connection: &mut AsyncPgConnection,
    id: ReplicaId,
    applied: ReadAt,
    staleness: Duration,
) -> Result<bool, StorageError> {
    let update = diesel::sql_query(
        "UPDATE replicas SET system_identifier = $2, timeline = $3, applied = $4, staleness_ms = $5, \
             beat = beat + 1, beat_at = clock_timestamp() WHERE replica_id = $1",
    );
    let update = update.bind::<SqlUuid, _>(id.0).bind::<BigInt, _>(applied.epoch.system());
    let update = update.bind::<BigInt, _>(applied.epoch.timeline()).bind::<BigInt, _>(applied.revision.get());
    Ok(Prepared(update.bind::<BigInt, _>(millis(staleness))).execute(connection).await? > 0)
}

/// Says in a replica's own row how far it is, and nothing else: no sign of life; `false` where the row is gone.
///
/// By itself, outside a transaction, and not waiting for the disk (ADR 0025): a database that crashes may forget it, and
/// then others wait for longer. The setting is the statement's, so that it ends with it also behind a pooler.
///
/// # Errors
/// [`StorageError`].
pub async fn publish(
    connection: &mut AsyncPgConnection,
    id: ReplicaId,
    applied: ReadAt,
) -> Result<bool, StorageError> {
    let update = diesel::sql_query(
        "UPDATE replicas SET system_identifier = $2, timeline = $3, applied = $4 WHERE replica_id = $1 \
         RETURNING set_config('synchronous_commit', 'off', true)",
    );
    let update = update.bind::<SqlUuid, _>(id.0).bind::<BigInt, _>(applied.epoch.system());
    let update = update.bind::<BigInt, _>(applied.epoch.timeline()).bind::<BigInt, _>(applied.revision.get());
    Ok(Prepared(update).execute(connection).await? > 0)
}

/// Every replica, and the epoch that they were read in: a connection may lead to a database that another one has taken the
/// place of, where those that are new are missing.
///
/// # Errors
/// [`StorageError`]; also on a standby.
pub async fn list(connection: &mut AsyncPgConnection) -> Result<(Epoch, Vec<Replica>), StorageError> {
    // The clock runs on after the state was taken: who adds to this time adds to one that is not too early.
    let list = diesel::sql_query(format!(
        "SELECT here.system AS here_system, here.timeline AS here_timeline, replica_id, system_identifier, \
             replicas.timeline, applied, beat, staleness_ms, clock_timestamp() AS read_time \
         FROM (SELECT {}) AS here (system, timeline) LEFT JOIN replicas ON true ORDER BY replica_id",
        Epoch::SQL
    ));
    let rows: Vec<ListRow> = Prepared(list).load(connection).await?;
    let first =
        rows.as_slice().first().ok_or_else(|| StorageError::Defect("no epoch was read".to_owned()))?;
    let here = Epoch::new(first.here_system, first.here_timeline);
    let replicas = rows.iter().filter_map(|row| Some(row.row.as_ref()?.replica()));
    Ok((here, replicas.collect::<Result<_, _>>()?))
}

/// Takes away a replica's own row, after its last answer.
///
/// # Errors
/// [`StorageError`].
pub async fn leave(connection: &mut AsyncPgConnection, id: ReplicaId) -> Result<(), StorageError> {
    diesel::delete(replicas::table.find(id.0)).execute(connection).await?;
    Ok(())
}

/// Takes away the row of a replica that has not renewed it since it showed `beat`; `false` where it has, or just does.
///
/// # Errors
/// [`StorageError`].
pub async fn collect(
    connection: &mut AsyncPgConnection,
    id: ReplicaId,
    beat: i64,
) -> Result<bool, StorageError> {
    let delete = diesel::sql_query(
        "DELETE FROM replicas WHERE replica_id = (SELECT replica_id FROM replicas \
             WHERE replica_id = $1 AND beat = $2 FOR UPDATE SKIP LOCKED)",
    );
    Ok(delete.bind::<SqlUuid, _>(id.0).bind::<BigInt, _>(beat).execute(connection).await? > 0)
}

fn millis(length: Duration) -> i64 {
    i64::try_from(length.as_millis()).unwrap_or(i64::MAX)
}
