//! The four access rules. Nothing was anything: NULL, JSON null and an empty list are ANY. But a list of which
//! nothing can be kept is ONLY nothing, or dropping a pattern would open the key.

use serde_json::Value;

use super::finding::{Notes, quoted};
use super::{Options, Rejection, RejectionKind, SourceRow, WarningKind};
use crate::policy::{AccessRule, AddressPattern, EndpointPattern, NamePattern, RuleError};

/// Where the older system's chatbots answered: `/api/v1/chatbot/external/{id}/chat`.
const CHATBOT_PREFIX: &str = "/api/v1/chatbot/external/";
const CHATBOT_SUFFIX: &str = "/chat";
const CHATBOT_ID_BYTES_MAX: usize = 64;

/// Why a value is not kept.
struct Dropped {
    kind: WarningKind,
    why: String,
}

impl Dropped {
    fn wildcard() -> Self {
        let why = "the older system compared it literally, so that as a wildcard it would allow more";
        Self { kind: WarningKind::WildcardDropped, why: why.to_owned() }
    }

    fn cidr() -> Self {
        let why = "the older system compared it literally, so that as a network it would allow more";
        Self { kind: WarningKind::CidrDropped, why: why.to_owned() }
    }

    fn invalid(why: impl ToString) -> Self {
        Self { kind: WarningKind::PatternInvalid, why: why.to_string() }
    }
}

/// The rule on models.
pub(super) fn models(
    row: &SourceRow,
    options: &Options,
    notes: &mut Notes,
) -> Result<AccessRule<NamePattern>, Rejection> {
    read_rule(row.allowed_models.as_ref(), "allowed_models", notes, |value| name(value, options))
}

/// The rule on chatbots.
pub(super) fn chatbots(
    row: &SourceRow,
    options: &Options,
    notes: &mut Notes,
) -> Result<AccessRule<NamePattern>, Rejection> {
    read_rule(row.allowed_chatbots.as_ref(), "allowed_chatbots", notes, |value| name(value, options))
}

/// The rule on endpoints.
pub(super) fn endpoints(
    row: &SourceRow,
    options: &Options,
    notes: &mut Notes,
) -> Result<AccessRule<EndpointPattern>, Rejection> {
    read_rule(row.allowed_endpoints.as_ref(), "allowed_endpoints", notes, |value| endpoint(value, options))
}

/// The rule on client addresses.
pub(super) fn ips(
    row: &SourceRow,
    options: &Options,
    notes: &mut Notes,
) -> Result<AccessRule<AddressPattern>, Rejection> {
    read_rule(row.allowed_ips.as_ref(), "allowed_ips", notes, |value| address(value, options))
}

fn read_rule<P: Ord + Clone>(
    column: Option<&Value>,
    field: &'static str,
    notes: &mut Notes,
    read: impl Fn(&str) -> Result<P, Dropped>,
) -> Result<AccessRule<P>, Rejection> {
    let values = match column {
        None | Some(Value::Null) => return Ok(AccessRule::Any),
        Some(Value::Array(values)) if values.is_empty() => return Ok(AccessRule::Any),
        Some(Value::Array(values)) => values,
        Some(_) => {
            let what = "not a list, so what it allowed cannot be told";
            return Err(notes.reject(RejectionKind::ShapeUnknown, field, what));
        }
    };
    let mut patterns = Vec::new();
    for value in values {
        let Some(text) = value.as_str() else {
            notes.warn(WarningKind::PatternInvalid, field, "a value that is not a text is dropped");
            continue;
        };
        match read(text) {
            Ok(pattern) => patterns.push(pattern),
            Err(Dropped { kind, why }) => {
                notes.warn(kind, field, format_args!("{} is dropped: {why}", quoted(text)));
            }
        }
    }
    if patterns.is_empty() {
        let what = "every value was dropped, so the key is now allowed nothing here; add what it needs";
        notes.warn(WarningKind::NothingAllowed, field, what);
    }
    AccessRule::only(patterns)
        .map_err(|error: RuleError| notes.reject(RejectionKind::TooManyPatterns, field, error))
}

fn name(value: &str, options: &Options) -> Result<NamePattern, Dropped> {
    if value.contains('*') && !options.keep_wildcards {
        return Err(Dropped::wildcard());
    }
    NamePattern::parse(value).map_err(Dropped::invalid)
}

fn endpoint(value: &str, options: &Options) -> Result<EndpointPattern, Dropped> {
    // Method lists are ours alone, and no path there held a query: such values matched nothing, and must not
    // begin to.
    if !value.starts_with('/') || value.contains(['?', '#']) {
        return Err(Dropped::invalid("must be a plain path that starts with /"));
    }
    if value.contains('*') && !options.keep_wildcards {
        return Err(Dropped::wildcard());
    }
    let live = chatbot_id(value).map(|id| format!("{CHATBOT_PREFIX}{id}/*"));
    EndpointPattern::parse(live.as_deref().unwrap_or(value)).map_err(Dropped::invalid)
}

/// The chatbot whose one older endpoint this is, if it is one.
fn chatbot_id(path: &str) -> Option<&str> {
    let id = path.strip_prefix(CHATBOT_PREFIX)?.strip_suffix(CHATBOT_SUFFIX)?;
    let valid = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
    (!id.is_empty() && id.len() <= CHATBOT_ID_BYTES_MAX && id.bytes().all(valid)).then_some(id)
}

fn address(value: &str, options: &Options) -> Result<AddressPattern, Dropped> {
    if value.contains('*') {
        return Err(Dropped::wildcard());
    }
    if value.contains('/') && !options.keep_wildcards {
        return Err(Dropped::cidr());
    }
    AddressPattern::parse(value).map_err(Dropped::invalid)
}
