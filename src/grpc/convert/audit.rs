//! The audit log: events, and requests for lists of them; what plugins tell.

use std::collections::BTreeMap;

use prost_types::{Struct, Value, value::Kind};
use serde_json::Value as Json;

use super::key_request::{read_key_id_at, read_user_id};
use super::list_request::read_micros;
use super::time::{read_duration, read_timestamp, timestamp};
use crate::admin::ListAuditEvents;
use crate::grpc::page::read_page_size;
use crate::grpc::page_token::{self, ListName, number};
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::storage::audit::{AuditEvent, AuditFilter, EventPosition, PluginEvent};

/// What a filter compares with is at most so long, in bytes.
const FILTER_BYTES_MAX: usize = 256;
/// Names that a plugin gives are at most so long, in characters.
const NAME_CHARS_MAX: usize = 100;
/// Texts that an end user may have made are cut to so many characters.
const TEXT_CHARS_MAX: usize = 1_000;
const REQUEST_ID_BYTES_MAX: usize = 128;
/// 366 days.
const DURATION_SECONDS_MAX: i64 = 366 * 86_400;
/// Larger whole numbers are not exact in a `Struct`, whose numbers are doubles: they become texts.
const EXACT_MAX: u64 = 1 << 53;

/// A request for a page, with the name of its list; `None` with faults.
pub fn read_list_events(
    violations: &mut Violations,
    request: pb::ListAuditEventsRequest,
) -> (ListName, Option<ListAuditEvents>) {
    let pb::ListAuditEventsRequest { filter, page_size, page_token } = request;
    let filter = filter.unwrap_or_default();
    let list = ListName::of(&filter, "audit events");
    let filter = read_filter(violations, filter);
    let after = page_token::read_place(violations, list, &page_token, read_position);
    let limit = read_page_size(violations, page_size);
    (list, limit.map(|limit| ListAuditEvents { filter, after, limit }))
}

fn read_filter(violations: &mut Violations, filter: pb::list_audit_events_request::Filter) -> AuditFilter {
    let pb::list_audit_events_request::Filter {
        actor,
        action,
        resource,
        start_time,
        end_time,
        request_id,
        refused_only,
        plugin_id,
    } = filter;
    let texts = [
        ("filter.actor", &actor),
        ("filter.action", &action),
        ("filter.resource", &resource),
        ("filter.request_id", &request_id),
        ("filter.plugin_id", &plugin_id),
    ];
    for (field, text) in texts {
        if text.len() > FILTER_BYTES_MAX || text.chars().any(char::is_control) {
            violations
                .add(field, format!("must be at most {FILTER_BYTES_MAX} bytes without control characters"));
        }
    }
    AuditFilter {
        start_time: read_timestamp(violations, "filter.start_time", start_time),
        end_time: read_timestamp(violations, "filter.end_time", end_time),
        actor,
        action,
        resource,
        request_id,
        refused_only,
        plugin_id,
    }
}

/// A place for a page token.
#[must_use]
pub fn position_bytes(position: EventPosition) -> Vec<u8> {
    [position.event_time.timestamp_micros().to_be_bytes(), position.event_id.to_be_bytes()].concat()
}

fn read_position(bytes: &[u8]) -> Option<EventPosition> {
    let (time, id) = bytes.split_at_checked(8)?;
    Some(EventPosition { event_time: read_micros(time)?, event_id: number(id)? })
}

/// An event for a message.
#[must_use]
pub fn audit_event(event: &AuditEvent) -> pb::AuditEvent {
    pb::AuditEvent {
        event_id: event.event_id,
        event_time: Some(timestamp(event.event_time)),
        actor: event.actor.clone(),
        action: event.action.clone(),
        resource: event.resource.clone(),
        before: event.before.as_ref().and_then(structure),
        after: event.after.as_ref().and_then(structure),
        peer_address: event.peer_address.clone(),
        request_id: event.request_id.clone(),
        revision: event.revision.get(),
        refused_reason: event.refused_reason.clone(),
        plugin_event: event.plugin_event.as_ref().map(plugin_event),
    }
}

fn plugin_event(event: &PluginEvent) -> pb::PluginEvent {
    let duration = event.duration().map(|duration| prost_types::Duration {
        seconds: duration.num_seconds(),
        nanos: duration.subsec_nanos(),
    });
    pb::PluginEvent {
        plugin_id: event.plugin_id.clone(),
        plugin_instance: event.plugin_instance.clone(),
        event_type: event.event_type.clone(),
        action: event.action.clone(),
        resource: event.resource.clone(),
        user_id: event.user_id,
        key_id: event.key_id,
        client_ip: event.client_ip.clone(),
        user_agent: event.user_agent.clone(),
        http_status: event.http_status,
        duration,
        success: event.success,
        error_message: event.error_message.clone(),
    }
}

/// `None` for what is no object; what is logged always is one.
fn structure(json: &Json) -> Option<Struct> {
    let fields = json.as_object()?.iter().map(|(name, value)| (name.clone(), message(value)));
    Some(Struct { fields: fields.collect::<BTreeMap<_, _>>() })
}

fn message(json: &Json) -> Value {
    let kind = match json {
        Json::Null => Kind::NullValue(0),
        Json::Bool(value) => Kind::BoolValue(*value),
        Json::String(text) => Kind::StringValue(text.clone()),
        Json::Number(number) => match number.as_f64() {
            Some(double) if is_exact(number) => Kind::NumberValue(double),
            _ => Kind::StringValue(number.to_string()),
        },
        Json::Array(values) => {
            Kind::ListValue(prost_types::ListValue { values: values.iter().map(message).collect() })
        }
        Json::Object(_) => Kind::StructValue(structure(json).unwrap_or_default()),
    };
    Value { kind: Some(kind) }
}

fn is_exact(number: &serde_json::Number) -> bool {
    number.as_i64().is_none_or(|whole| whole.unsigned_abs() <= EXACT_MAX)
}

/// What a plugin tells, with the id of the request; `None` with faults.
pub fn read_plugin_event(
    violations: &mut Violations,
    request: pb::RecordPluginEventRequest,
) -> Option<(PluginEvent, String)> {
    let pb::RecordPluginEventRequest { event, request_id } = request;
    if request_id.len() > REQUEST_ID_BYTES_MAX || request_id.chars().any(char::is_control) {
        violations.add("request_id", "must be at most 128 bytes without control characters");
    }
    let event = violations.require("event", event, "must be given")?;
    let pb::PluginEvent {
        plugin_id,
        plugin_instance,
        event_type,
        action,
        resource,
        user_id,
        key_id,
        client_ip,
        user_agent,
        http_status,
        duration,
        success,
        error_message,
    } = event;
    let names = [
        ("event.plugin_id", &plugin_id, 1),
        ("event.plugin_instance", &plugin_instance, 0),
        ("event.event_type", &event_type, 1),
        ("event.action", &action, 0),
    ];
    for (field, name, min) in names {
        let is_long = !(min..=NAME_CHARS_MAX).contains(&name.chars().count());
        if is_long || name.chars().any(char::is_control) {
            let bound = format!("must be {min} to {NAME_CHARS_MAX} characters, no control characters");
            violations.add(field, bound);
        }
    }
    let user_id = user_id.and_then(|user| read_user_id(violations, "event.user_id", user));
    let key_id = key_id.and_then(|key| read_key_id_at(violations, "event.key_id", key));
    if http_status != 0 && !(100..=599).contains(&http_status) {
        violations.add("event.http_status", "must be 100 to 599, or 0 where there is none");
    }
    let duration = read_duration(violations, "event.duration", duration);
    if duration.is_some_and(|it| it < chrono::TimeDelta::zero() || it.num_seconds() >= DURATION_SECONDS_MAX) {
        violations.add("event.duration", "must be at least 0 and less than 366 days");
    }
    let event = PluginEvent {
        plugin_id,
        plugin_instance,
        event_type,
        action,
        resource: shown(&resource),
        client_ip: shown(&client_ip),
        user_agent: shown(&user_agent),
        http_status,
        duration_ns: duration.and_then(|duration| duration.num_nanoseconds()),
        success,
        error_message: shown(&error_message),
        ..PluginEvent::default()
    };
    Some((event.of(user_id, key_id), request_id))
}

/// What an end user may have made does not keep an event from being recorded: it is cut, and its control
/// characters are replaced.
fn shown(text: &str) -> String {
    let shown = text.chars().take(TEXT_CHARS_MAX);
    shown.map(|c| if c.is_control() { char::REPLACEMENT_CHARACTER } else { c }).collect()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn json_becomes_a_struct_and_large_numbers_texts() {
        let json = json!({ "a": null, "b": [true, 1, 9_007_199_254_740_993_i64, "x"], "c": { "d": -2 } });
        let message = structure(&json).unwrap();
        let number = |number| Value { kind: Some(Kind::NumberValue(number)) };
        let text = |text: &str| Value { kind: Some(Kind::StringValue(text.to_owned())) };
        assert_eq!(message.fields["a"].kind, Some(Kind::NullValue(0)));
        let Some(Kind::ListValue(list)) = &message.fields["b"].kind else { panic!("a list") };
        let yes = Value { kind: Some(Kind::BoolValue(true)) };
        assert_eq!(list.values, [yes, number(1.0), text("9007199254740993"), text("x")]);
        let Some(Kind::StructValue(inner)) = &message.fields["c"].kind else { panic!("an object") };
        assert_eq!(inner.fields["d"], number(-2.0));
        assert_eq!(structure(&json!(1)), None);
    }

    #[test]
    fn what_an_end_user_made_is_cut_and_shown() {
        assert_eq!(shown("a\0b\u{1b}"), "a\u{fffd}b\u{fffd}");
        assert_eq!(shown(&"é".repeat(2_000)).chars().count(), TEXT_CHARS_MAX);
    }
}
