//! Revision, change log and audit log: what every change writes in its own transaction.
//!
//! [`record`] must be the last thing that a transaction does: it increments the one-row revision counter,
//! whose row lock then orders commits, so that revisions become visible in order.

use diesel::ExpressionMethods as _;
use diesel::sql_types::{BigInt, Integer};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _};
use serde_json::Value;

use super::schema::{audit_events, change_log, revision_counter};
use super::{StorageError, committed};
use crate::policy::{KeyId, Revision, UserId};

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
}

impl Actor {
    /// A command of this program.
    #[must_use]
    pub fn command(name: &str) -> Self {
        Self { name: format!("command/{name}"), peer_address: String::new(), request_id: String::new() }
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

/// Takes the next revision and writes the lines of the change log and the audit log.
///
/// # Errors
/// [`StorageError`].
pub async fn record(
    connection: &mut AsyncPgConnection,
    actor: &Actor,
    subject: Subject,
    line: AuditLine,
) -> Result<Revision, StorageError> {
    let revision = next_revision(connection).await?;
    log(connection, revision, actor, subject, line).await?;
    Ok(revision)
}

/// Takes one revision for each of `changes`, in their order, and writes their lines: [`record`] for many.
///
/// # Errors
/// [`StorageError`].
pub async fn record_many(
    connection: &mut AsyncPgConnection,
    actor: &Actor,
    changes: Vec<(Subject, AuditLine)>,
) -> Result<Vec<Revision>, StorageError> {
    if changes.is_empty() {
        return Ok(Vec::new());
    }
    let count = i64::try_from(changes.len())
        .map_err(|_| StorageError::Defect("more changes than revisions".to_owned()))?;
    let last: i64 = diesel::update(revision_counter::table)
        .set(revision_counter::revision.eq(revision_counter::revision + count))
        .returning(revision_counter::revision)
        .get_result(connection)
        .await?;
    let revisions = (last - count + 1..=last).map(parse).collect::<Result<Vec<_>, _>>()?;
    let last_change = changes.last().map(|(subject, line)| (line.action, subject.resource()));
    let mut lines = Vec::with_capacity(changes.len());
    let mut events = Vec::with_capacity(changes.len());
    for (revision, (subject, line)) in revisions.iter().zip(changes) {
        let (subject_name, subject_id) = subject.columns();
        lines.push((
            change_log::revision.eq(revision.get()),
            change_log::subject.eq(subject_name),
            change_log::subject_id.eq(subject_id),
        ));
        events.push((
            audit_events::actor.eq(&actor.name),
            audit_events::action.eq(line.action),
            audit_events::resource.eq(subject.resource()),
            audit_events::before.eq(line.before),
            audit_events::after.eq(line.after),
            audit_events::peer_address.eq(&actor.peer_address),
            audit_events::request_id.eq(&actor.request_id),
            audit_events::revision.eq(revision.get()),
        ));
    }
    diesel::insert_into(change_log::table).values(lines).execute(connection).await?;
    diesel::insert_into(audit_events::table).values(events).execute(connection).await?;
    if let (Some(revision), Some((action, resource))) = (revisions.last(), last_change) {
        committed::note(actor, action, &resource, *revision, revisions.len());
    }
    Ok(revisions)
}

/// Increments the revision counter and holds its row until the transaction ends. Do nothing after it that
/// may wait for another lock.
///
/// # Errors
/// [`StorageError`].
pub async fn next_revision(connection: &mut AsyncPgConnection) -> Result<Revision, StorageError> {
    let revision: i64 = diesel::update(revision_counter::table)
        .set(revision_counter::revision.eq(revision_counter::revision + 1))
        .returning(revision_counter::revision)
        .get_result(connection)
        .await?;
    parse(revision)
}

/// Writes the lines of a change whose revision was taken by [`next_revision`].
///
/// # Errors
/// [`StorageError`].
pub async fn log(
    connection: &mut AsyncPgConnection,
    revision: Revision,
    actor: &Actor,
    subject: Subject,
    line: AuditLine,
) -> Result<(), StorageError> {
    let (subject_name, subject_id) = subject.columns();
    diesel::insert_into(change_log::table)
        .values((
            change_log::revision.eq(revision.get()),
            change_log::subject.eq(subject_name),
            change_log::subject_id.eq(subject_id),
        ))
        .execute(connection)
        .await?;
    audit(connection, revision, actor, &subject.resource(), line).await
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
