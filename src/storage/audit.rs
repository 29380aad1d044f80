//! `audit_events` beyond what changes write: lists, events of plugins, refused attempts, and the end of old lines.

use chrono::{DateTime, TimeDelta, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Integer, Timestamptz};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::StorageError;
use super::changes::{self, Actor};
use super::schema::audit_events;
use super::statement::{Bind, Statement, plan_by_index};
use crate::policy::{KeyId, Revision, UserId};

/// One line of the audit log.
#[derive(Clone, Debug, PartialEq)]
pub struct AuditEvent {
    /// Increasing.
    pub event_id: i64,
    /// By the database's clock.
    pub event_time: DateTime<Utc>,
    /// `key/17`, `command/import`, `anonymous`.
    pub actor: String,
    /// `keys.create`; the method's name for a refused attempt.
    pub action: String,
    /// `keys/17`; empty where it is not known.
    pub resource: String,
    /// The resource before.
    pub before: Option<Value>,
    /// The resource after.
    pub after: Option<Value>,
    /// From where.
    pub peer_address: String,
    /// The caller's id of the request.
    pub request_id: String,
    /// Of the change; 0 where nothing changed.
    pub revision: Revision,
    /// Why it was refused; empty where it was not.
    pub refused_reason: String,
    /// What a plugin told.
    pub plugin_event: Option<PluginEvent>,
}

/// What a plugin tells of itself.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct PluginEvent {
    /// Which plugin.
    pub plugin_id: String,
    /// Which instance of it.
    pub plugin_instance: String,
    /// What kind of event.
    pub event_type: String,
    /// What was done.
    pub action: String,
    /// To what.
    pub resource: String,
    /// For whom.
    pub user_id: Option<i64>,
    /// With which key.
    pub key_id: Option<i64>,
    /// From where.
    pub client_ip: String,
    /// With which program.
    pub user_agent: String,
    /// Answered.
    pub http_status: i32,
    /// How long it took, in nanoseconds.
    pub duration_ns: Option<i64>,
    /// How it ended.
    pub success: bool,
    /// What went wrong.
    pub error_message: String,
}

impl PluginEvent {
    /// For whom and with which key.
    #[must_use]
    pub fn of(self, user_id: Option<UserId>, key_id: Option<KeyId>) -> Self {
        Self { user_id: user_id.map(UserId::get), key_id: key_id.map(KeyId::get), ..self }
    }

    /// How long it took.
    #[must_use]
    pub fn duration(&self) -> Option<TimeDelta> {
        self.duration_ns.map(TimeDelta::nanoseconds)
    }
}

/// Narrows a list of events; every given field must fit. An empty text is not given.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct AuditFilter {
    /// By this actor.
    pub actor: String,
    /// This action.
    pub action: String,
    /// On this resource.
    pub resource: String,
    /// At or after.
    pub start_time: Option<DateTime<Utc>>,
    /// Before.
    pub end_time: Option<DateTime<Utc>>,
    /// In this request.
    pub request_id: String,
    /// Only refused attempts.
    pub refused_only: bool,
    /// Only what this plugin told.
    pub plugin_id: String,
}

/// Where a page of events ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct EventPosition {
    /// Of the last event.
    pub event_time: DateTime<Utc>,
    /// Of the last event.
    pub event_id: i64,
}

/// So many events at most are looked at for one page where two filters must fit and an index serves one.
const WINDOW: i64 = 10_000;

/// A page of events.
#[derive(Clone, Debug, PartialEq)]
pub struct ListedEvents {
    /// Newest first.
    pub events: Vec<AuditEvent>,
    /// There may be more: the next page comes after this.
    pub next: Option<EventPosition>,
}

/// One page of events, newest first.
///
/// # Errors
/// [`StorageError`].
pub async fn list(
    connection: &mut AsyncPgConnection,
    filter: &AuditFilter,
    after: Option<EventPosition>,
    limit: usize,
) -> Result<ListedEvents, StorageError> {
    plan_by_index(connection).await?;
    let conditions = Conditions::of(filter);
    let horizon = match &conditions.rest[..] {
        [] => None,
        _ => horizon(connection, filter, &conditions, after).await?,
    };
    let mut statement = Statement::default();
    statement.add("SELECT * FROM audit_events WHERE true", []);
    for (text, bind) in conditions.first.iter().chain(&conditions.rest) {
        add_condition(&mut statement, text, bind.clone());
    }
    add_span(&mut statement, filter, after);
    if let Some(horizon) = horizon {
        let binds = [Bind::Time(horizon.event_time), Bind::Number(horizon.event_id)];
        statement.add(" AND (event_at, event_id) >= (?, ?)", binds);
    }
    // One more than asked for tells whether there is a next page.
    let one_more = i64::try_from(limit.saturating_add(1)).unwrap_or(i64::MAX);
    statement.add(" ORDER BY event_at DESC, event_id DESC LIMIT ?", [Bind::Number(one_more)]);
    let rows: Vec<EventRow> = statement.into_query().load(connection).await?;
    let has_more = rows.len() > limit;
    let events = rows.into_iter().take(limit).map(EventRow::into_event).collect::<Result<Vec<_>, _>>()?;
    let last = events.last().map(AuditEvent::position);
    Ok(ListedEvents { next: if has_more { last } else { horizon }, events })
}

/// What must hold of every event: what an index is made for, then the others.
struct Conditions {
    first: Option<(&'static str, Option<Bind>)>,
    rest: Vec<(&'static str, Option<Bind>)>,
}

impl Conditions {
    /// The narrowest come first.
    fn of(filter: &AuditFilter) -> Self {
        let text = |condition, value: &String| {
            (!value.is_empty()).then(|| (condition, Some(Bind::Text(value.clone()))))
        };
        let plugin = "plugin_event IS NOT NULL AND plugin_event ->> 'plugin_id' = ?";
        let mut given = [
            text("request_id <> '' AND request_id = ?", &filter.request_id),
            text("resource = ?", &filter.resource),
            text(plugin, &filter.plugin_id),
            filter.refused_only.then_some(("refused_reason <> ''", None)),
            text("actor = ?", &filter.actor),
            text("action = ?", &filter.action),
        ]
        .into_iter()
        .flatten();
        Self { first: given.next(), rest: given.collect() }
    }
}

fn add_condition(statement: &mut Statement, text: &str, bind: Option<Bind>) {
    statement.add(&format!(" AND {text}"), bind);
}

fn add_span(statement: &mut Statement, filter: &AuditFilter, after: Option<EventPosition>) {
    if let Some(start) = filter.start_time {
        statement.add(" AND event_at >= ?", [Bind::Time(start)]);
    }
    if let Some(end) = filter.end_time {
        statement.add(" AND event_at < ?", [Bind::Time(end)]);
    }
    if let Some(after) = after {
        let binds = [Bind::Time(after.event_time), Bind::Number(after.event_id)];
        statement.add(" AND (event_at, event_id) < (?, ?)", binds);
    }
}

/// The last event that a page looks at; `None` where the log ends before.
async fn horizon(
    connection: &mut AsyncPgConnection,
    filter: &AuditFilter,
    conditions: &Conditions,
    after: Option<EventPosition>,
) -> Result<Option<EventPosition>, StorageError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        event_at: DateTime<Utc>,
        #[diesel(sql_type = BigInt)]
        event_id: i64,
    }
    let mut statement = Statement::default();
    statement.add("SELECT event_at, event_id FROM audit_events WHERE true", []);
    if let Some((text, bind)) = &conditions.first {
        add_condition(&mut statement, text, bind.clone());
    }
    add_span(&mut statement, filter, after);
    let offset = [Bind::Number(WINDOW - 1)];
    statement.add(" ORDER BY event_at DESC, event_id DESC OFFSET ? LIMIT 1", offset);
    let rows: Vec<Row> = statement.into_query().load(connection).await?;
    Ok(rows
        .into_iter()
        .next()
        .map(|Row { event_at, event_id }| EventPosition { event_time: event_at, event_id }))
}

#[derive(QueryableByName)]
#[diesel(table_name = audit_events)]
struct EventRow {
    event_id: i64,
    event_at: DateTime<Utc>,
    actor: String,
    action: String,
    resource: String,
    before: Option<Value>,
    after: Option<Value>,
    peer_address: String,
    request_id: String,
    revision: i64,
    refused_reason: String,
    plugin_event: Option<Value>,
}

impl EventRow {
    fn into_event(self) -> Result<AuditEvent, StorageError> {
        let id = self.event_id;
        let corrupt = |what: String| StorageError::Corrupt { table: "audit_events", id, what };
        let plugin_event = self.plugin_event.map(serde_json::from_value).transpose();
        Ok(AuditEvent {
            event_id: id,
            event_time: self.event_at,
            actor: self.actor,
            action: self.action,
            resource: self.resource,
            before: self.before,
            after: self.after,
            peer_address: self.peer_address,
            request_id: self.request_id,
            revision: changes::parse(self.revision)?,
            refused_reason: self.refused_reason,
            plugin_event: plugin_event.map_err(|error| corrupt(format!("plugin_event: {error}")))?,
        })
    }
}

impl AuditEvent {
    /// Where it stands in a list.
    #[must_use]
    pub fn position(&self) -> EventPosition {
        EventPosition { event_time: self.event_time, event_id: self.event_id }
    }
}

/// Writes what a plugin told, and returns the event's id.
///
/// # Errors
/// [`StorageError`].
pub async fn insert_plugin_event(
    connection: &mut AsyncPgConnection,
    actor: &Actor,
    action: &str,
    event: &PluginEvent,
) -> Result<i64, StorageError> {
    let plugin_event =
        serde_json::to_value(event).map_err(|error| StorageError::Defect(error.to_string()))?;
    let id = diesel::insert_into(audit_events::table)
        .values((
            audit_events::actor.eq(&actor.name),
            audit_events::action.eq(action),
            audit_events::resource.eq(format!("plugins/{}", event.plugin_id)),
            audit_events::peer_address.eq(&actor.peer_address),
            audit_events::request_id.eq(&actor.request_id),
            audit_events::revision.eq(Revision::ZERO.get()),
            audit_events::plugin_event.eq(plugin_event),
        ))
        .returning(audit_events::event_id)
        .get_result(connection)
        .await?;
    Ok(id)
}

/// Attempts that were refused: the same ones of a short time together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RefusedAttempts {
    /// Who, from where, and the id of the first request.
    pub actor: Actor,
    /// The method that was called.
    pub action: String,
    /// Which resource, where that is known.
    pub resource: String,
    /// The reason of the error that was answered.
    pub reason: String,
    /// How many.
    pub count: u64,
}

/// Writes refused attempts.
///
/// # Errors
/// [`StorageError`].
pub async fn insert_refused(
    connection: &mut AsyncPgConnection,
    attempts: &[RefusedAttempts],
) -> Result<(), StorageError> {
    let rows: Vec<_> = attempts
        .iter()
        .map(|attempt| {
            (
                audit_events::actor.eq(&attempt.actor.name),
                audit_events::action.eq(&attempt.action),
                audit_events::resource.eq(&attempt.resource),
                audit_events::after.eq(serde_json::json!({ "attempts": attempt.count })),
                audit_events::peer_address.eq(&attempt.actor.peer_address),
                audit_events::request_id.eq(&attempt.actor.request_id),
                audit_events::revision.eq(Revision::ZERO.get()),
                audit_events::refused_reason.eq(&attempt.reason),
            )
        })
        .collect();
    diesel::insert_into(audit_events::table).values(rows).execute(connection).await?;
    Ok(())
}

/// Removes at most `limit` events that are older than so many days, oldest first; returns how many. Replicas
/// that do so at once pass over each other's rows.
///
/// # Errors
/// [`StorageError`].
pub async fn remove_old(
    connection: &mut AsyncPgConnection,
    days: i32,
    limit: i64,
) -> Result<usize, StorageError> {
    let delete = diesel::sql_query(
        "DELETE FROM audit_events WHERE event_id = ANY (ARRAY(SELECT event_id FROM audit_events \
             WHERE event_at < now() - make_interval(days => $1) \
             ORDER BY event_at, event_id LIMIT $2 FOR UPDATE SKIP LOCKED))",
    );
    Ok(delete.bind::<Integer, _>(days).bind::<BigInt, _>(limit).execute(connection).await?)
}
