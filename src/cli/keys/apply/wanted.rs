//! What files want of keys, parsed and checked without a look at the server.

use std::collections::{BTreeMap, BTreeSet};

use chrono::{DateTime, Utc};

use super::fault::{Fault, Place};
use super::field::{Field, Fields, Value, truncated};
use super::reading::{Node, Reading};
use super::source::Source;
use crate::admin::GRANTS_MAX;
use crate::policy::{
    AddressPattern, Check, Description, DisplayName, EndpointPattern, Metadata, NamePattern, PATTERNS_MAX,
    Permission, RATE_LIMIT_MAX, RateLimits, RateWindows, Scope, TAGS_MAX, Tag,
};

/// What one entry of a file wants of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Wanted {
    /// Where the entry stands.
    pub place: Place,
    /// The key that is meant; `None`: the one with this owner and name, or a new one.
    pub key_id: Option<i64>,
    /// Its owner; always there without a `key_id`.
    pub user_id: Option<i64>,
    /// What is set; the name too, always without a `key_id`.
    pub fields: Fields,
    /// Where a new key takes the fields from that are not given.
    pub template: Option<Template>,
    /// Where the key is to stand.
    pub state: Option<State>,
    /// Why it is revoked.
    pub revoke_reason: String,
}

/// Where a new key takes the fields from that are not given.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Template {
    /// The usual key.
    Default,
    /// A narrow one.
    Restricted,
    /// One for a chatbot.
    Chatbot {
        /// The chatbot's id.
        id: String,
        /// Its name, for the description.
        name: String,
    },
}

/// Where a key is to stand.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum State {
    /// There, and not revoked.
    Active,
    /// Revoked, or not there.
    Revoked,
    /// Deleted, or not there.
    Absent,
}

impl Wanted {
    /// The name that is given, or nothing.
    pub fn name(&self) -> &str {
        match self.fields.get(&Field::Name) {
            Some(Value::Text(name)) => name,
            _ => "",
        }
    }
}

const ENTRY: [&str; 18] = [
    "key_id",
    "user_id",
    "name",
    "description",
    "tags",
    "metadata",
    "permissions",
    "scopes",
    "models",
    "endpoints",
    "ips",
    "chatbots",
    "rate_limits",
    "observe",
    "expire_time",
    "template",
    "state",
    "revoke_reason",
];

/// Reads all entries of all files.
///
/// # Errors
/// Every fault of every file, where there are some.
pub fn read(sources: &[Source]) -> Result<Vec<Wanted>, Vec<Fault>> {
    let (mut wanted, mut faults) = (Vec::new(), Vec::new());
    for source in sources {
        let (mut reading, documents) = Reading::documents(source);
        for document in &documents {
            let root = reading.mapping(document, "the file", &["keys"]);
            for (_, list) in root.into_iter().flatten() {
                for entry in reading.list(list, "keys").unwrap_or_default() {
                    wanted.extend(read_entry(&mut reading, entry));
                }
            }
        }
        faults.extend(reading.into_faults());
    }
    faults.extend(repeated(&wanted));
    if faults.is_empty() { Ok(wanted) } else { Err(faults) }
}

fn read_entry(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<Wanted> {
    let mut wanted = Wanted {
        place: reading.place(node),
        key_id: None,
        user_id: None,
        fields: Fields::new(),
        template: None,
        state: None,
        revoke_reason: String::new(),
    };
    let fields = reading.mapping(node, "a key", &ENTRY)?;
    let given: BTreeSet<&str> = fields.iter().map(|(name, _)| *name).collect();
    let mut scopes = None;
    for (name, value) in fields {
        match name {
            "key_id" => wanted.key_id = reading.integer(value, name, 1, i64::MAX),
            "user_id" => wanted.user_id = reading.integer(value, name, 0, i64::MAX),
            "template" => wanted.template = read_template(reading, value),
            "state" => wanted.state = read_state(reading, value),
            "revoke_reason" => {
                let text = reading.text(value, name).map(Description::parse);
                let reason = text.and_then(|text| reading.take(value, name, text));
                wanted.revoke_reason = reason.map(|it| it.as_str().to_owned()).unwrap_or_default();
            }
            _ => {
                scopes = scopes.or_else(|| (name == "scopes").then_some(value));
                let field = Field::parse(name);
                let read = field.and_then(|field| Some((field, read_value(reading, field, value)?)));
                wanted.fields.extend(read);
            }
        }
    }
    check_entry(reading, node, &wanted, &given);
    if let Some(scopes) = scopes.filter(|_| wanted.user_id.is_some_and(|user| user != 0)) {
        refuse_reserved(reading, scopes);
    }
    Some(wanted)
}

/// What takes more than one field.
fn check_entry(reading: &mut Reading<'_>, node: &Node<'_>, wanted: &Wanted, given: &BTreeSet<&str>) {
    if !given.contains("key_id") {
        for (field, what) in [("user_id", "its owner"), ("name", "its name")] {
            if !given.contains(field) {
                reading.fault(node, format!("a key without key_id needs {field}, {what}"));
            }
        }
    } else if given.contains("template") {
        reading.fault(node, "template is for new keys; one with a key_id is there already");
    }
    if given.contains("revoke_reason") && wanted.state != Some(State::Revoked) {
        reading.fault(node, "revoke_reason belongs to state: revoked");
    }
}

fn refuse_reserved(reading: &mut Reading<'_>, scopes: &Node<'_>) {
    for scope in scopes.data.as_sequence().into_iter().flatten() {
        let parsed = Reading::word(scope).and_then(|text| Scope::parse(text).ok());
        if parsed.is_some_and(|scope| scope.is_reserved()) {
            reading.fault(scope, "a scope keystile.* is reserved for keys of user 0");
        }
    }
}

fn read_value(reading: &mut Reading<'_>, field: Field, node: &Node<'_>) -> Option<Value> {
    let name = field.name();
    Some(match field {
        Field::Name => {
            let text = DisplayName::parse(reading.text(node, name)?);
            Value::Text(reading.take(node, name, text)?.as_str().to_owned())
        }
        Field::Description => {
            let text = Description::parse(reading.text(node, name)?);
            Value::Text(reading.take(node, name, text)?.as_str().to_owned())
        }
        Field::Tags => Value::Set(reading.set(node, name, TAGS_MAX, |text| Tag::parse(text))?),
        Field::Metadata => {
            let metadata = Metadata::parse(reading.texts(node, name)?);
            Value::Map(reading.take(node, name, metadata)?.as_map().clone())
        }
        Field::Permissions => Value::Set(reading.set(node, name, GRANTS_MAX, |it| Permission::parse(it))?),
        Field::Scopes => Value::Set(reading.set(node, name, GRANTS_MAX, Scope::parse)?),
        Field::Models | Field::Chatbots => read_rule(reading, node, name, NamePattern::parse)?,
        Field::Endpoints => read_rule(reading, node, name, EndpointPattern::parse)?,
        Field::Ips => read_rule(reading, node, name, AddressPattern::parse)?,
        Field::RateLimits => Value::Limits(read_limits(reading, node)?),
        Field::Observe => {
            let known = || Check::ALL.map(Check::as_str).join(", ");
            let check = |text: &str| Check::parse(text).ok_or_else(|| format!("must be one of {}", known()));
            Value::Set(reading.set(node, name, Check::ALL.len(), check)?)
        }
        Field::ExpireTime => Value::Expiry(read_expiry(reading, node)?),
    })
}

fn read_rule<T: ToString, E: std::fmt::Display>(
    reading: &mut Reading<'_>,
    node: &Node<'_>,
    field: &str,
    parse: impl Fn(&str) -> Result<T, E>,
) -> Option<Value> {
    match Reading::word(node) {
        Some("any") => Some(Value::Rule(None)),
        Some(_) => {
            reading.fault(node, format!("{field} must be a list of patterns, or any"));
            None
        }
        None => Some(Value::Rule(Some(reading.set(node, field, PATTERNS_MAX, parse)?))),
    }
}

fn read_limits(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<RateLimits> {
    let mut limits = RateLimits::default();
    if Reading::word(node) == Some("none") {
        return Some(limits);
    }
    for (metric, windows) in reading.mapping(node, "rate_limits", &["requests", "tokens"])? {
        let read = read_windows(reading, windows, metric).unwrap_or_default();
        if metric == "requests" {
            limits.requests = read;
        } else {
            limits.tokens = read;
        }
    }
    Some(limits)
}

fn read_windows(reading: &mut Reading<'_>, node: &Node<'_>, metric: &str) -> Option<RateWindows> {
    let mut windows = RateWindows::default();
    for (name, value) in reading.mapping(node, metric, &["per_minute", "per_hour", "per_day"])? {
        let limit = reading.integer(value, &format!("{metric}.{name}"), 0, RATE_LIMIT_MAX);
        match name {
            "per_minute" => windows.per_minute = limit,
            "per_hour" => windows.per_hour = limit,
            _ => windows.per_day = limit,
        }
    }
    Some(windows)
}

fn read_expiry(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<Option<DateTime<Utc>>> {
    let text = reading.text(node, "expire_time")?;
    if text == "never" {
        return Some(None);
    }
    // A length of time would mean another instant with every run.
    let time = DateTime::parse_from_rfc3339(text)
        .map_err(|_| "must be an instant as in 2030-01-31T00:00:00Z, or never");
    reading.take(node, "expire_time", time).map(|time| Some(truncated(time.to_utc())))
}

fn read_state(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<State> {
    match Reading::word(node) {
        Some("active") => Some(State::Active),
        Some("revoked") => Some(State::Revoked),
        Some("absent") => Some(State::Absent),
        _ => {
            reading.fault(node, "state must be active, revoked or absent");
            None
        }
    }
}

fn read_template(reading: &mut Reading<'_>, node: &Node<'_>) -> Option<Template> {
    match Reading::word(node) {
        Some("default") => return Some(Template::Default),
        Some("restricted") => return Some(Template::Restricted),
        Some(_) => {
            reading.fault(node, "template must be default, restricted, or chatbot: {id: …, name: …}");
            return None;
        }
        None => {}
    }
    let (mut id, mut name) = (None, None);
    for (_, chatbot) in reading.mapping(node, "template", &["chatbot"])? {
        for (field, value) in reading.mapping(chatbot, "chatbot", &["id", "name"])? {
            let text = reading.text(value, field).map(str::to_owned);
            if field == "id" { id = text } else { name = text }
        }
    }
    let chatbot = id.zip(name);
    if chatbot.is_none() {
        reading.fault(node, "the template chatbot needs id and name, both text");
    }
    chatbot.map(|(id, name)| Template::Chatbot { id, name })
}

/// Two entries that name one key by the same id, or by the same owner and name.
fn repeated(wanted: &[Wanted]) -> Vec<Fault> {
    let (mut by_id, mut by_name) = (BTreeMap::new(), BTreeMap::new());
    let mut faults = Vec::new();
    for entry in wanted {
        let earlier = match (entry.key_id, entry.user_id) {
            (Some(key_id), _) => by_id.insert(key_id, &entry.place),
            (None, Some(user_id)) if !entry.name().is_empty() => {
                by_name.insert((user_id, entry.name()), &entry.place)
            }
            _ => None,
        };
        if let Some(earlier) = earlier {
            let what = format!("this key stands at {earlier} already: one entry a key");
            faults.push(Fault { place: entry.place.clone(), what });
        }
    }
    faults
}

#[cfg(test)]
mod tests;
