//! What PostgreSQL has done so far, by its own account; and limits as they are without Keystile: each request one upsert
//! into a table of counters.

use std::ops::Sub;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Duration;

use keystile::clock::monotonic_now;
use serde::Serialize;
use tokio::task::{self, JoinSet};
use tokio_postgres::{Client, NoTls, connect};

use crate::failure::Failure;
use crate::statistics::{float, rounded};

/// Counters by key and minute. As tables that are updated often should be: with room for the next versions of a row, which
/// then need no new entries in the index.
const TABLE: &str = "
    CREATE TABLE IF NOT EXISTS request_counters (
        key_id bigint NOT NULL,
        minute timestamptz NOT NULL,
        requests bigint NOT NULL,
        PRIMARY KEY (key_id, minute)
    ) WITH (fillfactor = 50)";

const UPSERT: &str = "
    INSERT INTO request_counters AS counter (key_id, minute, requests)
    VALUES ($1, date_trunc('minute', now()), 1)
    ON CONFLICT (key_id, minute) DO UPDATE SET requests = counter.requests + 1
    RETURNING requests";

const DONE: &str = "
    SELECT xact_commit + xact_rollback, tup_inserted + tup_updated + tup_deleted,
           pg_wal_lsn_diff(pg_current_wal_lsn(), '0/0')::bigint
    FROM pg_stat_database WHERE datname = current_database()";

/// What a database has done, or (the difference of two readings) what it did in between.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Work {
    /// Those that were rolled back, too.
    pub transactions: f64,
    /// Inserted, updated and deleted.
    pub rows_changed: f64,
    /// Written to the log of the whole cluster.
    pub wal_bytes: f64,
}

impl Work {
    /// Multiplied.
    pub fn times(&self, factor: f64) -> Self {
        let times = |number: f64| rounded(number * factor);
        Self {
            transactions: times(self.transactions),
            rows_changed: times(self.rows_changed),
            wal_bytes: times(self.wal_bytes),
        }
    }
}

impl Sub for Work {
    type Output = Self;

    fn sub(self, other: Self) -> Self {
        Self {
            transactions: self.transactions - other.transactions,
            rows_changed: self.rows_changed - other.rows_changed,
            wal_bytes: self.wal_bytes - other.wal_bytes,
        }
    }
}

/// A connection to the database of a Keystile.
pub struct Sql(Client);

impl Sql {
    /// Connects. To be called in a runtime that outlives it.
    ///
    /// # Errors
    /// The database's.
    pub async fn open(url: &str) -> Result<Self, Failure> {
        let (client, connection) = connect(url, NoTls).await.map_err(Failure::database)?;
        // Its errors are also those of the statements on it.
        task::spawn(async move { connection.await.is_ok() });
        Ok(Self(client))
    }

    /// What was done so far. Sessions tell of it some seconds later.
    ///
    /// # Errors
    /// The database's.
    pub async fn work(&self) -> Result<Work, Failure> {
        let row = self.0.query_one(DONE, &[]).await.map_err(Failure::database)?;
        let number = |column: usize| {
            let number: i64 = row.try_get(column).map_err(Failure::database)?;
            // In megabytes and what is left, so that it is exact.
            let (high, low) = (number >> 20, number & 0xf_ffff);
            let float = |part: i64| u32::try_from(part).map_or(0.0, f64::from);
            Ok::<f64, Failure>(float(high) * f64::from(1 << 20) + float(low))
        };
        Ok(Work { transactions: number(0)?, rows_changed: number(1)?, wal_bytes: number(2)? })
    }

    /// Has all pages written, so that what follows begins as whatever else does after this.
    ///
    /// # Errors
    /// The database's.
    pub async fn checkpoint(&self) -> Result<(), Failure> {
        self.0.batch_execute("CHECKPOINT").await.map_err(Failure::database)
    }

    /// Makes the table of counters, if it is not there.
    ///
    /// # Errors
    /// The database's.
    pub async fn make_counters(&self) -> Result<(), Failure> {
        self.0.batch_execute(TABLE).await.map_err(Failure::database)
    }
}

/// Counts so many requests, in turns on so many keys, each by an upsert that is committed before the next one on its
/// connection; how long that took.
///
/// # Errors
/// The database's.
pub async fn upserts(
    url: &str,
    connections: usize,
    keys: usize,
    requests: usize,
) -> Result<Duration, Failure> {
    let mut sessions = Vec::new();
    for _ in 0..connections {
        let session = Sql::open(url).await?.0;
        let upsert = session.prepare(UPSERT).await.map_err(Failure::database)?;
        sessions.push((session, upsert));
    }
    let next = Arc::new(AtomicUsize::new(0));
    let mut running: JoinSet<Result<(), Failure>> = JoinSet::new();
    let began = monotonic_now();
    for (session, upsert) in sessions {
        let next = Arc::clone(&next);
        running.spawn(async move {
            loop {
                let number = next.fetch_add(1, Ordering::Relaxed);
                let Some(key) = number.checked_rem(keys).filter(|_| number < requests) else { return Ok(()) };
                let key = i64::try_from(key).unwrap_or(i64::MAX);
                session.query_one(&upsert, &[&key]).await.map_err(Failure::database)?;
            }
        });
    }
    while let Some(ended) = running.join_next().await {
        ended.map_err(|error| Failure::Client(error.to_string()))??;
    }
    Ok(monotonic_now() - began)
}

/// Requests a second.
pub fn per_second(requests: usize, took: Duration) -> f64 {
    rounded(float(requests) / took.as_secs_f64())
}
