//! Revision, change log and audit log: what every change writes in its own transaction.
//!
//! [`record`] must be the last thing that a transaction does: it increments the one-row revision counter,
//! whose row lock then orders commits, so that revisions become visible in order. All of it is one statement, since all
//! other changes wait from there to the commit.

use std::time::Instant;

use chrono::{DateTime, Utc};
use diesel::sql_types::{Array, BigInt, Bool, Integer, Jsonb, Nullable, Text, Timestamptz};
use diesel::{ExpressionMethods as _, QueryableByName};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde_json::Value;

use super::prepared::Prepared;
use super::schema::{audit_events, revision_counter};
use super::{Epoch, ReadAt, StorageError, committed};
use crate::policy::{BudgetId, KeyId, Revision, UserId};

/// Where transactions that change something say so when they commit, to whoever listens: the text is the newest
/// revision. A hint, nothing more: it may be lost.
pub const CHANNEL: &str = "keystile_changes";

/// What a change was made to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Subject {
    /// A key.
    Key(KeyId),
    /// An owner.
    Owner(UserId),
}

impl Subject {
    fn columns(self) -> (&'static str, i64) {
        match self {
            Self::Key(id) => ("key", id.get()),
            Self::Owner(id) => ("owner", id.get()),
        }
    }

    /// The resource name in the audit log: `keys/17`, `owners/4`.
    #[must_use]
    pub fn resource(self) -> String {
        match self {
            Self::Key(id) => format!("keys/{id}"),
            Self::Owner(id) => format!("owners/{id}"),
        }
    }
}

/// A line of the change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// Of the change.
    pub revision: Revision,
    /// What was changed; `None` is everything.
    pub subject: Option<Subject>,
    /// A token that nobody knew may be known since (create, import, rotate).
    pub adds_tokens: bool,
}

/// Who makes a change, from where.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Actor {
    /// `key/17`, `command/import`, `anonymous`.
    pub name: String,
    /// The peer's address; empty for commands.
    pub peer_address: String,
    /// The caller's id of the request; empty where it gave none.
    pub request_id: String,
    /// When it wants its answer, done or not; `None`: it waits.
    pub answer_by: Option<Instant>,
}

impl Actor {
    /// A command of this program.
    #[must_use]
    pub fn command(name: &str) -> Self {
        let name = format!("command/{name}");
        Self { name, peer_address: String::new(), request_id: String::new(), answer_by: None }
    }
}

/// A line of the audit log. Never holds a secret.
#[derive(Clone, Debug)]
pub struct AuditLine {
    /// `keys.create`, `owners.disable`.
    pub action: &'static str,
    /// The resource before the change, where there was one.
    pub before: Option<Value>,
    /// The resource after the change.
    pub after: Option<Value>,
}

/// A change, as both logs have it.
#[derive(Clone, Debug)]
pub struct Change {
    /// To what.
    pub subject: Subject,
    /// The subject's budget that it was made to, where it was one: it gets the revision as well.
    pub budget: Option<BudgetId>,
    /// Whether a token may be known since then that was unknown before: replicas forget then which are nobody's.
    pub adds_tokens: bool,
    /// Its line of the audit log.
    pub line: AuditLine,
}

impl Change {
    /// The resource name in the audit log: that of the subject, or `budgets/3`.
    fn resource(&self) -> String {
        self.budget.map_or_else(|| self.subject.resource(), |id| format!("budgets/{id}"))
    }
}

/// What a change was stamped with by the transaction that made it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Stamp {
    /// Its revision, and the epoch that it counts in.
    pub at: ReadAt,
    /// When the revision was taken, by the database's clock: shortly before the transaction committed.
    pub time: DateTime<Utc>,
}

#[derive(QueryableByName)]
struct StampRow {
    #[diesel(sql_type = BigInt)]
    revision: i64,
    #[diesel(sql_type = BigInt)]
    system: i64,
    #[diesel(sql_type = BigInt)]
    timeline: i64,
    #[diesel(sql_type = Timestamptz)]
    time: DateTime<Utc>,
}

impl StampRow {
    fn stamp(&self) -> Result<Stamp, StorageError> {
        let epoch = Epoch::new(self.system, self.timeline);
        Ok(Stamp { at: ReadAt { epoch, revision: parse(self.revision)? }, time: self.time })
    }
}

/// Takes the next revision, puts it on the row of the subject and on that of its budget, where one was changed, which are
/// locked already (or are gone), and writes the lines of the change log and the audit log.
///
/// # Errors
/// [`StorageError`].
pub async fn record(
    connection: &mut AsyncPgConnection,
    actor: &Actor,
    change: Change,
) -> Result<Stamp, StorageError> {
    let (_, stamp) = record_many(connection, actor, vec![change]).await?;
    stamp.ok_or_else(|| StorageError::Defect("a change got no revision".to_owned()))
}

/// Takes one revision for each of `changes`, in their order: [`record`] for many, of different subjects. The stamp is that
/// of the last one; `None` where there is none.
///
/// # Errors
/// [`StorageError`].
pub async fn record_many(
    connection: &mut AsyncPgConnection,
    actor: &Actor,
    changes: Vec<Change>,
) -> Result<(Vec<Revision>, Option<Stamp>), StorageError> {
    if changes.is_empty() {
        return Ok((Vec::new(), None));
    }
    let count = i64::try_from(changes.len())
        .map_err(|_| StorageError::Defect("more changes than revisions".to_owned()))?;
    let last_change = changes.last().map(|change| (change.line.action, change.resource()));
    let stamp = write(connection, actor, count, changes).await?;
    let last = stamp.at.revision.get();
    let revisions = (last - count + 1..=last).map(parse).collect::<Result<Vec<_>, _>>()?;
    if let (Some(revision), Some((action, resource))) = (revisions.last(), last_change) {
        committed::note(actor, action, &resource, *revision, revisions.len());
    }
    Ok((revisions, Some(stamp)))
}

/// What [`write`] runs. It increments the revision counter and holds its row until the transaction ends, so that nothing
/// after that may wait for another lock: the rows that get a revision are locked already, and inserts wait for nobody.
/// Replicas that listen are woken by the commit.
const WRITE: &str = "\
    WITH taken AS (UPDATE revision_counter SET revision = revision + $1 WHERE only_row RETURNING revision), \
    given AS (SELECT taken.revision - $1 + change.place AS revision, change.* FROM taken, \
        unnest($2, $3, $4, $5, $6, $7, $8, $9) WITH ORDINALITY \
        AS change (subject, subject_id, budget_id, adds_tokens, action, resource, before, after, place)), \
    key AS (UPDATE api_keys SET revision = given.revision FROM given \
        WHERE given.subject = 'key' AND api_keys.key_id = given.subject_id), \
    owner AS (UPDATE owners SET revision = given.revision FROM given \
        WHERE given.subject = 'owner' AND owners.user_id = given.subject_id), ";

/// What [`write`] runs where a budget is changed. Not among many changes: they would be joined by reading all budgets.
const WRITE_BUDGET: &str = "\
    budget AS (UPDATE budgets SET revision = given.revision FROM given \
        WHERE budgets.budget_id = given.budget_id), ";

/// What [`write`] runs behind that.
const WRITE_LINES: &str = "\
    line AS (INSERT INTO change_log (revision, subject, subject_id, adds_tokens) \
        SELECT revision, subject, subject_id, adds_tokens FROM given), \
    event AS (INSERT INTO audit_events \
            (actor, action, resource, before, after, peer_address, request_id, revision) \
        SELECT $10, action, resource, before, after, $11, $12, revision FROM given ORDER BY place) \
    SELECT taken.revision, epoch.system, epoch.timeline, clock_timestamp() AS time, \
        pg_notify($13, taken.revision::text) ";

async fn write(
    connection: &mut AsyncPgConnection,
    actor: &Actor,
    count: i64,
    changes: Vec<Change>,
) -> Result<Stamp, StorageError> {
    let (subjects, ids): (Vec<_>, Vec<_>) = changes.iter().map(|change| change.subject.columns()).unzip();
    let resources: Vec<_> = changes.iter().map(Change::resource).collect();
    let budgets: Vec<_> = changes.iter().map(|change| change.budget.map(BudgetId::get)).collect();
    let adds_tokens: Vec<_> = changes.iter().map(|change| change.adds_tokens).collect();
    let actions: Vec<_> = changes.iter().map(|change| change.line.action).collect();
    let (before, after): (Vec<_>, Vec<_>) =
        changes.into_iter().map(|change| (change.line.before, change.line.after)).unzip();
    let budget = if budgets.iter().any(Option::is_some) { WRITE_BUDGET } else { "" };
    let epoch = Epoch::SQL;
    let text = format!(
        "{WRITE}{budget}{WRITE_LINES} FROM taken CROSS JOIN (SELECT {epoch}) AS epoch (system, timeline)"
    );
    let query = diesel::sql_query(text).bind::<BigInt, _>(count);
    let query = query.bind::<Array<Text>, _>(subjects).bind::<Array<BigInt>, _>(ids);
    let query = query.bind::<Array<Nullable<BigInt>>, _>(budgets);
    let query = query.bind::<Array<Bool>, _>(adds_tokens).bind::<Array<Text>, _>(actions);
    let query = query.bind::<Array<Text>, _>(resources).bind::<Array<Nullable<Jsonb>>, _>(before);
    let query = query.bind::<Array<Nullable<Jsonb>>, _>(after).bind::<Text, _>(&actor.name);
    let query = query.bind::<Text, _>(&actor.peer_address).bind::<Text, _>(&actor.request_id);
    Prepared(query.bind::<Text, _>(CHANNEL)).get_result::<StampRow>(connection).await?.stamp()
}

/// The stamp of a state that a transaction has read and not changed: `revision` is that of what it read.
///
/// # Errors
/// [`StorageError`].
pub async fn seen(mut connection: &AsyncPgConnection, revision: Revision) -> Result<Stamp, StorageError> {
    let here = diesel::sql_query(format!(
        "SELECT $1 AS revision, epoch.system, epoch.timeline, clock_timestamp() AS time \
         FROM (SELECT {}) AS epoch (system, timeline)",
        Epoch::SQL
    ));
    let here = Prepared(here.bind::<BigInt, _>(revision.get()));
    here.get_result::<StampRow>(&mut connection).await?.stamp()
}

/// Writes a line of the audit log alone, for what changes nothing (a look at a hash).
///
/// # Errors
/// [`StorageError`].
pub async fn audit(
    connection: &mut AsyncPgConnection,
    revision: Revision,
    actor: &Actor,
    resource: &str,
    line: AuditLine,
) -> Result<(), StorageError> {
    diesel::insert_into(audit_events::table)
        .values((
            audit_events::actor.eq(&actor.name),
            audit_events::action.eq(line.action),
            audit_events::resource.eq(resource),
            audit_events::before.eq(line.before),
            audit_events::after.eq(line.after),
            audit_events::peer_address.eq(&actor.peer_address),
            audit_events::request_id.eq(&actor.request_id),
            audit_events::revision.eq(revision.get()),
        ))
        .execute(connection)
        .await?;
    committed::note(actor, line.action, resource, revision, 1);
    Ok(())
}

/// The revision of the newest change that is visible.
///
/// # Errors
/// [`StorageError`].
pub async fn head(connection: &mut AsyncPgConnection) -> Result<Revision, StorageError> {
    use diesel::QueryDsl as _;
    let revision: i64 =
        revision_counter::table.select(revision_counter::revision).get_result(connection).await?;
    parse(revision)
}

#[derive(QueryableByName)]
struct LineRow {
    #[diesel(sql_type = BigInt)]
    head: i64,
    #[diesel(sql_type = BigInt)]
    system: i64,
    #[diesel(sql_type = BigInt)]
    timeline: i64,
    #[diesel(sql_type = Nullable<BigInt>)]
    revision: Option<i64>,
    #[diesel(sql_type = Nullable<Text>)]
    subject: Option<String>,
    #[diesel(sql_type = Nullable<BigInt>)]
    subject_id: Option<i64>,
    #[diesel(sql_type = Nullable<Bool>)]
    adds_tokens: Option<bool>,
}

impl LineRow {
    fn line(&self) -> Result<Option<Line>, StorageError> {
        let Some(revision) = self.revision else { return Ok(None) };
        let subject = match (self.subject.as_deref(), self.subject_id) {
            (Some("key"), Some(id)) => KeyId::new(id).map(Subject::Key),
            (Some("owner"), Some(id)) => UserId::new(id).map(Subject::Owner),
            // What is not understood may be about anything.
            _ => None,
        };
        Ok(Some(Line { revision: parse(revision)?, subject, adds_tokens: self.adds_tokens != Some(false) }))
    }
}

/// Where the log stands, and its lines of the `limit` revisions after `after`, in their order; all of one state. Lines of
/// revisions that were never given out say nothing.
///
/// The range has two ends, although a limit would do: of a range with one end PostgreSQL expects a third of a table that
/// it has no statistics of, and reads all of it. For the same reason the counter is found by its key.
///
/// # Errors
/// [`StorageError`]; also on a standby.
pub async fn since(
    connection: &mut AsyncPgConnection,
    after: Revision,
    limit: i64,
) -> Result<(ReadAt, Vec<Line>), StorageError> {
    let query = diesel::sql_query(format!(
        "SELECT counter.revision AS head, epoch.system, epoch.timeline, \
             line.revision, line.subject, line.subject_id, line.adds_tokens \
         FROM revision_counter AS counter CROSS JOIN (SELECT {}) AS epoch (system, timeline) \
         LEFT JOIN change_log AS line \
             ON line.revision > $1 AND line.revision <= least($2, counter.revision) \
         WHERE counter.only_row ORDER BY line.revision",
        Epoch::SQL
    ));
    let last = after.get().saturating_add(limit);
    let query = Prepared(query.bind::<BigInt, _>(after.get()).bind::<BigInt, _>(last));
    let rows: Vec<LineRow> = query.load(connection).await?;
    let first = rows.as_slice().first();
    let first = first.ok_or_else(|| StorageError::Defect("there is no revision counter".to_owned()))?;
    let head = ReadAt { epoch: Epoch::new(first.system, first.timeline), revision: parse(first.head)? };
    let lines = rows.iter().filter_map(|row| row.line().transpose()).collect::<Result<Vec<_>, _>>()?;
    Ok((head, lines))
}

/// Removes at most `limit` lines of the change log that are older than so many days, oldest first; returns how
/// many. Replicas that do so at once pass over each other's rows.
///
/// # Errors
/// [`StorageError`].
pub async fn remove_old(
    connection: &mut AsyncPgConnection,
    days: i32,
    limit: i64,
) -> Result<usize, StorageError> {
    let delete = diesel::sql_query(
        "DELETE FROM change_log WHERE revision = ANY (ARRAY(SELECT revision FROM change_log \
             WHERE committed_at < now() - make_interval(days => $1) \
             ORDER BY committed_at LIMIT $2 FOR UPDATE SKIP LOCKED))",
    );
    Ok(delete.bind::<Integer, _>(days).bind::<BigInt, _>(limit).execute(connection).await?)
}

pub(super) fn parse(revision: i64) -> Result<Revision, StorageError> {
    Revision::new(revision).ok_or_else(|| StorageError::Corrupt {
        table: "revision_counter",
        id: revision,
        what: "the revision is negative".to_owned(),
    })
}
