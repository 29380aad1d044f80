//! `limit_counters`: what counts of limited keys and owners. How a row is read and changed is the rule's affair
//! ([`crate::limits`]); here is how rows are locked, read with the limits that are in force, and written.
//!
//! A [`CounterLink`] is a connection of its own: debits must not wait for the pool's other users, nor they for debits. A
//! group of rows takes two ways to the database and back: statements are sent one behind the other without waiting for
//! their answers. The server runs them in that order, so that the clock and the limits are read **after** the locks.

use std::collections::HashMap;
use std::time::{Duration, Instant};

use diesel::prelude::*;
use diesel::sql_types::{Array, BigInt, Binary, Nullable, SmallInt};
use diesel_async::{AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection as _};
use tokio::task::coop::unconstrained;
use tokio::time::timeout;

use super::prepared::Prepared;
use super::{Epoch, StorageError, Store};
use crate::clock;
use crate::limits::{LimitStatus, Row, RowTime, Subject, Terms, Whose, decode, encode};
use crate::metrics::Kind;
use crate::policy::{Key, KeyId, RateLimits, RateWindows, UserId};

/// Making a connection ready takes a dozen ways to the database and back.
const CONNECT_PATIENCE: Duration = Duration::from_secs(5);
/// A debit that has taken longer is given up: its outcome is unknown then.
const PATIENCE: Duration = Duration::from_millis(800);

/// The server gives up before we do, and lets go of the rows of a replica that stands still. Nobody waits for a row for long:
/// others wait for this group meanwhile. Plans are made once, on a table that may be empty then: they are to go by the index.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; SET LOCAL statement_timeout = '700ms'; \
     SET LOCAL lock_timeout = '20ms'; SET LOCAL idle_in_transaction_session_timeout = '1s'; SET LOCAL jit = off; \
     SET LOCAL enable_seqscan = off; SET LOCAL enable_hashjoin = off; SET LOCAL enable_mergejoin = off";
/// Of rows that are there nothing is inserted, so that whoever holds one is not waited for.
const MAKE: &str = "INSERT INTO limit_counters (kind, subject_id) \
     SELECT * FROM unnest($1, $2) AS made (kind, subject_id) WHERE NOT EXISTS ( \
         SELECT 1 FROM limit_counters AS there \
         WHERE there.kind = made.kind AND there.subject_id = made.subject_id) \
     ORDER BY kind, subject_id ON CONFLICT DO NOTHING";
/// In order of subject, so that no two groups wait for each other in a circle.
const LOCK: &str = "SELECT kind, subject_id, row_time, generation, counters FROM limit_counters \
     JOIN unnest($1, $2) AS asked (kind, subject_id) USING (kind, subject_id) \
     ORDER BY kind, subject_id FOR UPDATE OF limit_counters";
/// A group that does not wait leaves out what others hold.
const LOCK_FREE: &str = "SELECT kind, subject_id, row_time, generation, counters FROM limit_counters \
     JOIN unnest($1, $2) AS asked (kind, subject_id) USING (kind, subject_id) \
     ORDER BY kind, subject_id FOR UPDATE OF limit_counters SKIP LOCKED";
/// Of kind 2 is the clock, beside how many replicas there are and which history of the database it is.
const TERMS: &str = "SELECT 2::smallint AS kind, (extract(epoch FROM clock_timestamp()) * 1000000)::bigint AS subject_id, \
         (SELECT count(*) FROM replicas) AS requests_per_minute, \
         (SELECT system_identifier FROM pg_control_system()) AS requests_per_hour, \
         ('x' || lpad(left(pg_walfile_name(pg_current_wal_lsn()), 8), 16, '0'))::bit(64)::bigint AS requests_per_day, \
         NULL::bigint AS tokens_per_minute, NULL::bigint AS tokens_per_hour, NULL::bigint AS tokens_per_day \
     UNION ALL SELECT 0::smallint, key_id, requests_per_minute, requests_per_hour, requests_per_day, \
         tokens_per_minute, tokens_per_hour, tokens_per_day FROM api_keys WHERE key_id = ANY ($1) \
     UNION ALL SELECT 1::smallint, user_id, requests_per_minute, requests_per_hour, requests_per_day, \
         tokens_per_minute, tokens_per_hour, tokens_per_day FROM owners WHERE user_id = ANY ($2)";
const WRITE: &str = "UPDATE limit_counters AS held \
     SET row_time = new.row_time, generation = new.generation, counters = new.counters \
     FROM unnest($1, $2, $3, $4, $5) AS new (kind, subject_id, row_time, generation, counters) \
     WHERE held.kind = new.kind AND held.subject_id = new.subject_id";
const READ: &str = "SELECT kind, subject_id, row_time, generation, counters FROM limit_counters \
     JOIN unnest($1, $2) AS asked (kind, subject_id) USING (kind, subject_id)";

#[derive(QueryableByName)]
struct CounterRow {
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = BigInt)]
    subject_id: i64,
    #[diesel(sql_type = BigInt)]
    row_time: i64,
    #[diesel(sql_type = BigInt)]
    generation: i64,
    #[diesel(sql_type = Binary)]
    counters: Vec<u8>,
}

#[derive(QueryableByName)]
struct TermsRow {
    #[diesel(sql_type = SmallInt)]
    kind: i16,
    #[diesel(sql_type = BigInt)]
    subject_id: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    requests_per_minute: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    requests_per_hour: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    requests_per_day: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    tokens_per_minute: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    tokens_per_hour: Option<i64>,
    #[diesel(sql_type = Nullable<BigInt>)]
    tokens_per_day: Option<i64>,
}

/// What is done about rows that others hold.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Taking {
    /// They are left out.
    WhatIsFree,
    /// They are waited for, at most 20 ms; then none is taken.
    Everything,
}

/// A row under its lock, or why it cannot be used.
#[derive(Debug)]
pub struct Locked {
    /// Whose it is.
    pub subject: Subject,
    /// [`StorageError::Corrupt`] where it does not parse.
    pub row: Result<Row, StorageError>,
    /// The limits in force.
    pub terms: Terms,
}

/// Rows under their locks.
#[derive(Debug)]
pub struct Group {
    /// The database's clock, read after they were locked.
    pub now: RowTime,
    /// Which history of the database it is.
    pub epoch: Epoch,
    /// How many replicas there are.
    pub replicas: i64,
    /// Those that were found and not left out, in order.
    pub rows: Vec<Locked>,
}

/// A connection that debits. Not to be used any more after an error: whether the group that failed was written is
/// unknown.
pub struct CounterLink {
    session: AsyncPgConnection,
    store: Store,
    began: Instant,
}

impl std::fmt::Debug for CounterLink {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("CounterLink").finish_non_exhaustive()
    }
}

impl CounterLink {
    /// Connects, and has every statement prepared: else those that are sent one behind the other could come in another
    /// order.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn connect(store: &Store) -> Result<Self, StorageError> {
        let session = store.connect().await?;
        let link = Self { session, store: store.clone(), began: clock::monotonic_now() };
        let mut session = &link.session;
        let prepare = async {
            // In a transaction, whose local limits end what waits for a table that somebody has locked.
            session.batch_execute(BEGIN).await?;
            make(&link.session, &[]).await?;
            lock(&link.session, LOCK, &[]).await?;
            lock(&link.session, LOCK_FREE, &[]).await?;
            terms(&link.session, &[]).await?;
            write(&link.session, &[]).await?;
            Ok(session.batch_execute("COMMIT").await?)
        };
        bounded(CONNECT_PATIENCE, prepare).await?;
        Ok(link)
    }

    /// Begins a group: makes rows for those of `new` that have none, locks those of `subjects`, then reads the clock and
    /// the limits. `subjects` are in order, and `new` are some of them. `None` where rows were waited for in vain: nothing has
    /// begun.
    ///
    /// # Errors
    /// [`StorageError`]. Nothing was debited.
    pub async fn lock(
        &mut self,
        new: &[Subject],
        subjects: &[Subject],
        taking: Taking,
    ) -> Result<Option<Group>, StorageError> {
        self.began = clock::monotonic_now();
        let session = &self.session;
        let mut begin = session;
        let text = match taking {
            Taking::WhatIsFree => LOCK_FREE,
            Taking::Everything => LOCK,
        };
        let work = async {
            let making = async { if new.is_empty() { Ok(()) } else { make(session, new).await } };
            let begins = async { Ok::<_, StorageError>(begin.batch_execute(BEGIN).await?) };
            // Sent in this order.
            let all = async {
                tokio::join!(biased; begins, making, lock(session, text, subjects), terms(session, subjects))
            };
            let (begun, made, rows, terms) = unconstrained(all).await;
            let all = begun.and(made).and(rows).map(|rows| (rows, terms));
            if all.as_ref().is_err_and(StorageError::is_lock_timeout) {
                begin.batch_execute("ROLLBACK").await?;
                return Ok(None);
            }
            let (rows, terms) = all?;
            group(rows, &terms?).map(Some)
        };
        bounded(PATIENCE, work).await
    }

    /// Ends the group: writes rows and commits. They are on disk when this returns.
    ///
    /// # Errors
    /// [`StorageError`]; they may be written all the same.
    pub async fn commit(&mut self, rows: &[(Subject, &Row)]) -> Result<(), StorageError> {
        let session = &self.session;
        let mut commit = session;
        let work = async {
            let writing = async { if rows.is_empty() { Ok(()) } else { write(session, rows).await } };
            let committing = async { Ok(commit.batch_execute("COMMIT").await?) };
            // Without the runtime's turns in between, which could send the second before the first.
            unconstrained(async { tokio::try_join!(biased; writing, committing) }).await
        };
        bounded(PATIENCE, work).await?;
        self.store.took("limits.debit", Kind::Write, clock::since(self.began));
        Ok(())
    }
}

/// How the limits of a key and its owner stand, by what is stored: what replicas hold counts as used.
///
/// # Errors
/// [`StorageError`].
pub async fn statuses(
    session: &mut AsyncPgConnection,
    key: &Key,
    owner_limits: RateLimits,
) -> Result<Vec<LimitStatus>, StorageError> {
    let of_key = (Whose::Keys, Subject::Key(key.key_id), Terms::from(key.rate_limits));
    let of_owner = (Whose::Owners, Subject::Owner(key.user_id), Terms::from(owner_limits));
    statuses_of(session, &[of_key, of_owner]).await
}

/// How the limits of an owner stand; as [`statuses`].
///
/// # Errors
/// [`StorageError`].
pub async fn owner_statuses(
    session: &mut AsyncPgConnection,
    user_id: UserId,
    limits: RateLimits,
) -> Result<Vec<LimitStatus>, StorageError> {
    statuses_of(session, &[(Whose::Owners, Subject::Owner(user_id), Terms::from(limits))]).await
}

async fn statuses_of(
    session: &mut AsyncPgConnection,
    all: &[(Whose, Subject, Terms)],
) -> Result<Vec<LimitStatus>, StorageError> {
    let limited: Vec<_> = all.iter().filter(|(.., terms)| !terms.is_empty()).collect();
    if limited.is_empty() {
        return Ok(Vec::new());
    }
    let subjects: Vec<Subject> = limited.iter().map(|(_, subject, _)| *subject).collect();
    let rows: Vec<CounterRow> = of_subjects(READ, &subjects).load(session).await?;
    let clock: Vec<TermsRow> = on_subjects(TERMS, &[]).load(session).await?;
    let now = group(Vec::new(), &clock)?.now;
    let mut by_subject = HashMap::new();
    for row in rows {
        if let Some(subject) = subject(row.kind, row.subject_id) {
            by_subject.insert(subject, parse(row)?);
        }
    }
    let of = |(whose, subject, terms): &(Whose, Subject, Terms)| {
        LimitStatus::of_row(*whose, by_subject.remove(subject), now, terms)
    };
    Ok(limited.into_iter().flat_map(of).collect())
}

async fn bounded<R>(
    patience: Duration,
    work: impl Future<Output = Result<R, StorageError>>,
) -> Result<R, StorageError> {
    let gave_up = |_| Err(StorageError::Unavailable("limits.debit took too long".to_owned()));
    timeout(patience, work).await.unwrap_or_else(gave_up)
}

fn group(rows: Vec<CounterRow>, all: &[TermsRow]) -> Result<Group, StorageError> {
    let clock = all.iter().find(|row| row.kind == 2);
    let clock = clock.ok_or_else(|| StorageError::Defect("the clock was not read".to_owned()))?;
    let all: HashMap<_, _> = all.iter().map(|row| ((row.kind, row.subject_id), row.terms())).collect();
    // A key or owner without a row has no limits.
    let terms_of = |row: &CounterRow| all.get(&(row.kind, row.subject_id)).copied().unwrap_or_default();
    let by_subject = |row: CounterRow| {
        let (subject, terms) = (subject(row.kind, row.subject_id)?, terms_of(&row));
        Some(Locked { subject, row: parse(row), terms })
    };
    Ok(Group {
        now: clock.subject_id,
        epoch: Epoch::new(
            clock.requests_per_hour.unwrap_or_default(),
            clock.requests_per_day.unwrap_or_default(),
        ),
        replicas: clock.requests_per_minute.unwrap_or(1).max(1),
        rows: rows.into_iter().filter_map(by_subject).collect(),
    })
}

impl TermsRow {
    fn terms(&self) -> Terms {
        Terms::from(RateLimits {
            requests: RateWindows {
                per_minute: self.requests_per_minute,
                per_hour: self.requests_per_hour,
                per_day: self.requests_per_day,
            },
            tokens: RateWindows {
                per_minute: self.tokens_per_minute,
                per_hour: self.tokens_per_hour,
                per_day: self.tokens_per_day,
            },
        })
    }
}

fn parse(row: CounterRow) -> Result<Row, StorageError> {
    let CounterRow { subject_id, row_time, generation, counters, .. } = row;
    let corrupt = |what: crate::limits::CorruptRow| StorageError::Corrupt {
        table: "limit_counters",
        id: subject_id,
        what: what.to_string(),
    };
    decode(row_time, generation, &counters).map_err(corrupt)
}

const fn columns(subject: Subject) -> (i16, i64) {
    match subject {
        Subject::Key(key_id) => (0, key_id.get()),
        Subject::Owner(user_id) => (1, user_id.get()),
    }
}

fn subject(kind: i16, id: i64) -> Option<Subject> {
    match kind {
        0 => KeyId::new(id).map(Subject::Key),
        1 => UserId::new(id).map(Subject::Owner),
        _ => None,
    }
}

type OfSubjects =
    diesel::query_builder::BoxedSqlQuery<'static, diesel::pg::Pg, diesel::query_builder::SqlQuery>;

/// A statement on `(kind, subject_id)`.
fn of_subjects(text: &'static str, subjects: &[Subject]) -> Prepared<OfSubjects> {
    let (kinds, ids): (Vec<i16>, Vec<i64>) = subjects.iter().map(|it| columns(*it)).unzip();
    Prepared(
        diesel::sql_query(text).into_boxed().bind::<Array<SmallInt>, _>(kinds).bind::<Array<BigInt>, _>(ids),
    )
}

/// A statement on ids of keys and of owners.
fn on_subjects(text: &'static str, subjects: &[Subject]) -> Prepared<OfSubjects> {
    let of = |kind: i16| -> Vec<i64> {
        let its = subjects.iter().map(|subject| columns(*subject)).filter(move |(it, _)| *it == kind);
        its.map(|(_, id)| id).collect()
    };
    Prepared(
        diesel::sql_query(text).into_boxed().bind::<Array<BigInt>, _>(of(0)).bind::<Array<BigInt>, _>(of(1)),
    )
}

async fn make(mut session: &AsyncPgConnection, subjects: &[Subject]) -> Result<(), StorageError> {
    of_subjects(MAKE, subjects).execute(&mut session).await?;
    Ok(())
}

async fn lock(
    mut session: &AsyncPgConnection,
    text: &'static str,
    subjects: &[Subject],
) -> Result<Vec<CounterRow>, StorageError> {
    Ok(of_subjects(text, subjects).load(&mut session).await?)
}

async fn terms(mut session: &AsyncPgConnection, subjects: &[Subject]) -> Result<Vec<TermsRow>, StorageError> {
    Ok(on_subjects(TERMS, subjects).load(&mut session).await?)
}

async fn write(mut session: &AsyncPgConnection, rows: &[(Subject, &Row)]) -> Result<(), StorageError> {
    let (kinds, ids): (Vec<i16>, Vec<i64>) = rows.iter().map(|(subject, _)| columns(*subject)).unzip();
    let (times, generations): (Vec<i64>, Vec<i64>) =
        rows.iter().map(|(_, row)| (row.time(), row.generation())).unzip();
    let counters: Vec<Vec<u8>> = rows.iter().map(|(_, row)| encode(row)).collect();
    let write = diesel::sql_query(WRITE)
        .bind::<Array<SmallInt>, _>(kinds)
        .bind::<Array<BigInt>, _>(ids)
        .bind::<Array<BigInt>, _>(times)
        .bind::<Array<BigInt>, _>(generations)
        .bind::<Array<Binary>, _>(counters);
    Prepared(write).execute(&mut session).await?;
    Ok(())
}
