//! Audit events for people.

use prost_types::value::Kind;
use prost_types::{Struct, Value};

use crate::cli::output::{Look, Tone, plain};
use crate::cli::table::{Cell, Column, columns, summary};
use crate::cli::time::format_timestamp;
use crate::grpc::pb;

/// How many changed fields are named.
const SHOWN: usize = 4;
/// How much of a text is shown; an instant to the nanosecond has 30 characters.
const TEXT_MAX: usize = 40;
/// The widths of what leads a followed line, so that lines stand below each other.
const ACTOR_WIDTH: usize = 18;
const ACTION_WIDTH: usize = 20;

/// Events, a row each.
pub fn table(events: &[pb::AuditEvent], look: Look) -> String {
    let header = [
        Column::Whole("EVENT"),
        Column::Whole("TIME"),
        Column::Cut("ACTOR"),
        Column::Whole("ACTION"),
        Column::Whole("RESOURCE"),
        Column::Cut("FROM"),
        Column::Cut("WHAT"),
    ];
    let rows = events.iter().map(|event| {
        let tone = (!event.refused_reason.is_empty()).then_some(Tone::Bad);
        vec![
            Cell::from(event.event_id.to_string()),
            time(event).into(),
            event.actor.clone().into(),
            event.action.clone().into(),
            event.resource.clone().into(),
            event.peer_address.clone().into(),
            Cell::toned(what(event), tone),
        ]
    });
    columns(look, &header, rows)
}

/// One event in a line of its own.
pub fn line(event: &pb::AuditEvent) -> String {
    let pb::AuditEvent { actor, action, resource, .. } = event;
    let (time, what) = (time(event), what(event));
    let line = format!("{time}  {actor:<ACTOR_WIDTH$}  {action:<ACTION_WIDTH$}  {resource}  {what}");
    plain(line.trim_end())
}

fn time(event: &pb::AuditEvent) -> String {
    event.event_time.as_ref().map(format_timestamp).unwrap_or_default()
}

/// Why it was refused, what a plugin did, or which fields have changed.
fn what(event: &pb::AuditEvent) -> String {
    if !event.refused_reason.is_empty() {
        let times = match attempts(event) {
            Some(attempts) if attempts > 1.0 => format!(", {attempts} times"),
            _ => String::new(),
        };
        return format!("refused: {}{times}", event.refused_reason);
    }
    if let Some(plugin) = &event.plugin_event {
        let ended = if plugin.success { "" } else { ", failed" };
        return format!("{} {} {}{ended}", plugin.plugin_id, plugin.event_type, plugin.action);
    }
    summary(&changed(event.before.as_ref(), event.after.as_ref()), SHOWN)
}

/// How many refused attempts an event stands for.
fn attempts(event: &pb::AuditEvent) -> Option<f64> {
    match event.after.as_ref()?.fields.get("attempts")?.kind.as_ref()? {
        Kind::NumberValue(attempts) => Some(*attempts),
        _ => None,
    }
}

/// The fields that differ; none for what is new or gone as a whole.
fn changed(before: Option<&Struct>, after: Option<&Struct>) -> Vec<String> {
    let (Some(before), Some(after)) = (before, after) else { return Vec::new() };
    let names =
        before.fields.keys().chain(after.fields.keys().filter(|name| !before.fields.contains_key(*name)));
    let differ = names.filter(|name| before.fields.get(*name) != after.fields.get(*name));
    differ
        .map(|name| match (scalar(before.fields.get(name)), scalar(after.fields.get(name))) {
            (Some(old), Some(new)) => format!("{name}: {old} → {new}"),
            _ => name.clone(),
        })
        .collect()
}

/// A value that fits in a line: any but lists and objects.
fn scalar(value: Option<&Value>) -> Option<String> {
    let kind = match value {
        None => return Some("none".to_owned()),
        Some(value) => value.kind.as_ref()?,
    };
    match kind {
        Kind::NullValue(_) => Some("none".to_owned()),
        Kind::BoolValue(value) => Some(value.to_string()),
        Kind::NumberValue(value) => Some(value.to_string()),
        Kind::StringValue(value) => Some(text(value)),
        Kind::ListValue(_) | Kind::StructValue(_) => None,
    }
}

/// A text as it is, cut; in quotes where it would be taken for something else: nothing, several fields, no value.
fn text(value: &str) -> String {
    let shown = match value.char_indices().nth(TEXT_MAX) {
        Some((end, _)) => format!("{}…", value.get(..end).unwrap_or_default()),
        None => value.to_owned(),
    };
    let is_plain =
        !shown.is_empty() && shown == shown.trim() && shown != "none" && !shown.contains([',', '"', '→']);
    if is_plain { shown } else { format!("\"{}\"", shown.replace('"', "\\\"")) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn object(fields: &[(&str, Kind)]) -> Option<Struct> {
        let fields =
            fields.iter().map(|(name, kind)| ((*name).to_owned(), Value { kind: Some(kind.clone()) }));
        Some(Struct { fields: fields.collect() })
    }

    fn event() -> pb::AuditEvent {
        let text = |text: &str| Kind::StringValue(text.to_owned());
        pb::AuditEvent {
            event_id: 7,
            event_time: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 }),
            actor: "key/1".into(),
            action: "keys.revoke".into(),
            resource: "keys/17".into(),
            peer_address: "10.0.0.7".into(),
            before: object(&[("a", text("x")), ("same", text("s"))]),
            after: object(&[("a", text("y")), ("same", text("s")), ("new", Kind::BoolValue(true))]),
            ..Default::default()
        }
    }

    #[test]
    fn an_event_says_what_has_changed() {
        assert_eq!(
            table(&[event()], Look::default()),
            "\
EVENT  TIME                  ACTOR  ACTION       RESOURCE  FROM      WHAT
7      2030-03-17 17:46:40Z  key/1  keys.revoke  keys/17   10.0.0.7  a: x → y, new: none → true"
        );
        assert_eq!(
            line(&event()),
            "2030-03-17 17:46:40Z  key/1               keys.revoke           keys/17  a: x → y, new: none → true"
        );
    }

    #[test]
    fn what_would_be_misread_is_quoted_and_what_is_long_is_cut() {
        for (value, shown) in [
            ("ci", "ci"),
            ("", "\"\""),
            ("a, b", "\"a, b\""),
            ("none", "\"none\""),
            (" x", "\" x\""),
            ("2030-01-31T00:00:00.123456789Z", "2030-01-31T00:00:00.123456789Z"),
        ] {
            assert_eq!(text(value), shown);
        }
        assert_eq!(text(&"é".repeat(41)), format!("{}…", "é".repeat(40)));
        let number = Value { kind: Some(Kind::NumberValue(1_000_006.0)) };
        assert_eq!(scalar(Some(&number)).as_deref(), Some("1000006"));
    }

    #[test]
    fn a_refused_attempt_and_a_plugins_event_say_so() {
        let refused = pb::AuditEvent { refused_reason: "CALLER_SCOPE_MISSING".into(), ..event() };
        assert_eq!(what(&refused), "refused: CALLER_SCOPE_MISSING");
        let often = pb::AuditEvent { after: object(&[("attempts", Kind::NumberValue(3.0))]), ..refused };
        assert_eq!(what(&often), "refused: CALLER_SCOPE_MISSING, 3 times");
        let plugin = pb::PluginEvent {
            plugin_id: "billing".into(),
            event_type: "sync".into(),
            action: "write".into(),
            ..Default::default()
        };
        let event = pb::AuditEvent { plugin_event: Some(plugin), ..event() };
        assert_eq!(what(&event), "billing sync write, failed");
    }

    #[test]
    fn an_event_cannot_steer_the_terminal() {
        let event = pb::AuditEvent { actor: "a\u{1b}[2J".into(), ..event() };
        assert!(!line(&event).contains('\u{1b}'));
    }
}
