//! GetOwner, ListOwners, SetOwnerLimits, ListAuditEvents, RecordPluginEvent.

use keystile::grpc::pb;
use pb::list_audit_events_request::Filter;
use prost_types::{Duration, Timestamp};
use tonic::Code;

use super::{ETAG_MISMATCH, Row};

pub fn rows() -> Vec<Row> {
    let mut rows = owner_rows();
    rows.extend(list_rows());
    rows.extend(plugin_rows());
    rows
}

fn owner_rows() -> Vec<Row> {
    const NOT_FOUND: (Code, &str) = (Code::NotFound, "OWNER_NOT_FOUND");
    const GET: &str = "KeyService/GetOwner";
    const SET: &str = "KeyService/SetOwnerLimits";
    let get = |user_id| pb::GetOwnerRequest { user_id };
    let set = |user_id, per_day, etag: &str| {
        let tokens = Some(pb::RateLimitWindows { per_day: Some(per_day), ..Default::default() });
        let rate_limits = Some(pb::RateLimits { tokens, requests: None });
        pb::SetOwnerLimitsRequest { user_id, rate_limits, etag: etag.into() }
    };
    let per_day = "rate_limits.tokens.per_day";
    let long = "r".repeat(65);
    vec![
        Row::invalid("negative user", GET, &get(-1), &["user_id"]),
        Row::refused("nobody", GET, &get(i64::MAX), NOT_FOUND),
        Row::invalid("the operator", SET, &set(0, 1, ""), &["user_id"]),
        Row::invalid("negative limit", SET, &set(7, -1, ""), &[per_day]),
        Row::invalid("limit too large", SET, &set(7, 1_000_000_000_001, ""), &[per_day]),
        Row::invalid("all of it", SET, &set(i64::MIN, -1, &long), &["user_id", per_day, "etag"]),
        Row::refused("another etag", SET, &set(7, 1, "r999999"), ETAG_MISMATCH),
    ]
}

fn list_rows() -> Vec<Row> {
    const OWNERS: &str = "KeyService/ListOwners";
    const EVENTS: &str = "AuditService/ListAuditEvents";
    let owners = |page_size, page_token: &str| pb::ListOwnersRequest {
        page_size,
        page_token: page_token.into(),
        ..Default::default()
    };
    let events = |page_size, page_token: &str, filter| pb::ListAuditEventsRequest {
        page_size,
        page_token: page_token.into(),
        filter: Some(filter),
    };
    let long = "x".repeat(257);
    let text = |text: &str| Filter {
        actor: text.into(),
        action: text.into(),
        resource: text.into(),
        request_id: text.into(),
        plugin_id: text.into(),
        start_time: Some(Timestamp { seconds: i64::MAX, nanos: 0 }),
        end_time: Some(Timestamp { seconds: 0, nanos: -1 }),
        ..Default::default()
    };
    let all = [
        "filter.actor",
        "filter.action",
        "filter.resource",
        "filter.request_id",
        "filter.plugin_id",
        "filter.start_time",
        "filter.end_time",
    ];
    let none = Filter::default;
    vec![
        Row::invalid("negative page_size", OWNERS, &owners(-1, ""), &["page_size"]),
        Row::invalid("garbage", OWNERS, &owners(0, "%%%"), &["page_token"]),
        Row::invalid("both", OWNERS, &owners(i32::MIN, &long), &["page_token", "page_size"]),
        Row::invalid("negative page_size", EVENTS, &events(-1, "", none()), &["page_size"]),
        Row::invalid("garbage", EVENTS, &events(0, "AAAAAAAAAAAAAAAAAAAAAA", none()), &["page_token"]),
        Row::invalid("control characters", EVENTS, &events(0, "", text("a\0")), &all),
        Row::invalid("long texts", EVENTS, &events(0, "", text(&long)), &all),
    ]
}

fn plugin_rows() -> Vec<Row> {
    const METHOD: &str = "AuditService/RecordPluginEvent";
    let good =
        || pb::PluginEvent { plugin_id: "cache".into(), event_type: "request".into(), ..Default::default() };
    let row = |what: &str, fields: &[&'static str], event| {
        let request = pb::RecordPluginEventRequest { event: Some(event), request_id: String::new() };
        Row::invalid(what, METHOD, &request, fields)
    };
    let long = "x".repeat(101);
    let nothing = pb::RecordPluginEventRequest { event: None, request_id: "\n".into() };
    let names = ["event.plugin_id", "event.plugin_instance", "event.event_type", "event.action"];
    let named = |name: &str| pb::PluginEvent {
        plugin_id: name.into(),
        plugin_instance: name.into(),
        event_type: name.into(),
        action: name.into(),
        ..Default::default()
    };
    let duration = |seconds, nanos| pb::PluginEvent { duration: Some(Duration { seconds, nanos }), ..good() };
    vec![
        Row::invalid("nothing", METHOD, &nothing, &["request_id", "event"]),
        row("empty", &["event.plugin_id", "event.event_type"], pb::PluginEvent::default()),
        row("long names", &names, named(&long)),
        row("control characters", &names, named("a\u{7f}")),
        row("negative user", &["event.user_id"], pb::PluginEvent { user_id: Some(-1), ..good() }),
        row("no key", &["event.key_id"], pb::PluginEvent { key_id: Some(0), ..good() }),
        row("status", &["event.http_status"], pb::PluginEvent { http_status: 600, ..good() }),
        row("negative status", &["event.http_status"], pb::PluginEvent { http_status: -1, ..good() }),
        row("negative duration", &["event.duration"], duration(0, -1)),
        row("a year and a day", &["event.duration"], duration(366 * 86_400, 0)),
        row("no duration", &["event.duration"], duration(i64::MAX, 1)),
    ]
}
