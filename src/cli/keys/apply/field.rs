//! The fields of a key that a file may set, and their values in one canonical form: what a file wants and what
//! a server has compare equal exactly where nothing is to be changed.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use chrono::{DateTime, SecondsFormat, SubsecRound, Utc};
use serde_json::{Value as Json, json};

use crate::cli::time::to_timestamp;
use crate::grpc::pb;
use crate::grpc::pb::access_rule::Mode;
use crate::policy::{Check, RateLimits, RateWindows};

/// A field that can be set on a key.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Field {
    /// `name`, the contract's `display_name`.
    Name,
    /// `description`.
    Description,
    /// `tags`.
    Tags,
    /// `metadata`.
    Metadata,
    /// `permissions`.
    Permissions,
    /// `scopes`.
    Scopes,
    /// `models`.
    Models,
    /// `endpoints`.
    Endpoints,
    /// `ips`.
    Ips,
    /// `chatbots`.
    Chatbots,
    /// `rate_limits`.
    RateLimits,
    /// `observe`.
    Observe,
    /// `expire_time`.
    ExpireTime,
}

/// What a field holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Value {
    /// Text.
    Text(String),
    /// A set of names.
    Set(BTreeSet<String>),
    /// Names with values.
    Map(BTreeMap<String, String>),
    /// An access rule: only these patterns, or (`None`) any.
    Rule(Option<BTreeSet<String>>),
    /// Rate limits.
    Limits(RateLimits),
    /// When the key ends; `None`: never.
    Expiry(Option<DateTime<Utc>>),
}

/// The fields that are given, each with its value.
pub type Fields = BTreeMap<Field, Value>;

impl Field {
    /// All, in the order in which they are shown.
    pub const ALL: [Self; 13] = [
        Self::Name,
        Self::Description,
        Self::Tags,
        Self::Metadata,
        Self::Permissions,
        Self::Scopes,
        Self::Models,
        Self::Endpoints,
        Self::Ips,
        Self::Chatbots,
        Self::RateLimits,
        Self::Observe,
        Self::ExpireTime,
    ];

    /// What a file calls it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Name => "name",
            Self::Description => "description",
            Self::Tags => "tags",
            Self::Metadata => "metadata",
            Self::Permissions => "permissions",
            Self::Scopes => "scopes",
            Self::Models => "models",
            Self::Endpoints => "endpoints",
            Self::Ips => "ips",
            Self::Chatbots => "chatbots",
            Self::RateLimits => "rate_limits",
            Self::Observe => "observe",
            Self::ExpireTime => "expire_time",
        }
    }

    /// The field of this name.
    pub fn parse(name: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|field| field.name() == name)
    }

    /// What the contract calls it, in an update mask.
    pub const fn path(self) -> &'static str {
        match self {
            Self::Name => "display_name",
            other => other.name(),
        }
    }

    /// What a key of the server has in it.
    pub fn of(self, key: &pb::Key) -> Value {
        match self {
            Self::Name => Value::Text(key.display_name.clone()),
            Self::Description => Value::Text(key.description.clone()),
            Self::Tags => set(&key.tags),
            Self::Metadata => Value::Map(key.metadata.clone()),
            Self::Permissions => set(&key.permissions),
            Self::Scopes => set(&key.scopes),
            Self::Models => rule(key.models.as_ref()),
            Self::Endpoints => rule(key.endpoints.as_ref()),
            Self::Ips => rule(key.ips.as_ref()),
            Self::Chatbots => rule(key.chatbots.as_ref()),
            Self::RateLimits => Value::Limits(limits(key.rate_limits)),
            Self::Observe => Value::Set(key.observe().map(check_name).collect()),
            Self::ExpireTime => Value::Expiry(key.expire_time.as_ref().and_then(instant)),
        }
    }

    /// Puts a value that was parsed for this field into a key for the server; another kind of value stays out.
    pub fn put(self, value: &Value, key: &mut pb::Key) {
        match (self, value) {
            (Self::Name, Value::Text(text)) => key.display_name.clone_from(text),
            (Self::Description, Value::Text(text)) => key.description.clone_from(text),
            (Self::Tags, Value::Set(set)) => key.tags = set.iter().cloned().collect(),
            (Self::Metadata, Value::Map(map)) => key.metadata.clone_from(map),
            (Self::Permissions, Value::Set(set)) => key.permissions = set.iter().cloned().collect(),
            (Self::Scopes, Value::Set(set)) => key.scopes = set.iter().cloned().collect(),
            (Self::Models, Value::Rule(rule)) => key.models = Some(to_rule(rule.as_ref())),
            (Self::Endpoints, Value::Rule(rule)) => key.endpoints = Some(to_rule(rule.as_ref())),
            (Self::Ips, Value::Rule(rule)) => key.ips = Some(to_rule(rule.as_ref())),
            (Self::Chatbots, Value::Rule(rule)) => key.chatbots = Some(to_rule(rule.as_ref())),
            (Self::RateLimits, Value::Limits(limits)) => key.rate_limits = Some(to_limits(*limits)),
            (Self::Observe, Value::Set(set)) => {
                key.observe = set.iter().filter_map(|it| to_check(it)).collect()
            }
            (Self::ExpireTime, Value::Expiry(time)) => key.expire_time = time.map(to_timestamp),
            _ => {}
        }
    }
}

impl Value {
    /// For programs; a rule and an expiry as a file writes them.
    pub fn to_json(&self) -> Json {
        match self {
            Self::Text(text) => json!(text),
            Self::Set(set) => json!(set),
            Self::Map(map) => json!(map),
            Self::Rule(None) => json!("any"),
            Self::Rule(Some(patterns)) => json!(patterns),
            Self::Limits(limits) => {
                let windows = |windows: RateWindows| -> serde_json::Map<String, Json> {
                    windows.iter().map(|(name, _, limit)| (name.to_owned(), json!(limit))).collect()
                };
                json!({ "requests": windows(limits.requests), "tokens": windows(limits.tokens) })
            }
            Self::Expiry(_) => json!(self.to_string()),
        }
    }
}

/// On one line, for people.
impl fmt::Display for Value {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Text(text) => write!(f, "{text:?}"),
            Self::Rule(None) => f.write_str("any"),
            Self::Set(set) | Self::Rule(Some(set)) if set.is_empty() => f.write_str("none"),
            Self::Set(set) | Self::Rule(Some(set)) => {
                f.write_str(&set.iter().map(String::as_str).collect::<Vec<_>>().join(", "))
            }
            Self::Map(_) | Self::Limits(_) => {
                let pairs: Vec<_> =
                    self.pairs().into_iter().map(|(name, value)| format!("{name}={value}")).collect();
                f.write_str(if pairs.is_empty() { "none".to_owned() } else { pairs.join(", ") }.as_str())
            }
            Self::Expiry(None) => f.write_str("never"),
            Self::Expiry(Some(time)) => f.write_str(&time.to_rfc3339_opts(SecondsFormat::AutoSi, true)),
        }
    }
}

impl Value {
    /// A map, or limits as `requests.per_minute`, as names with values; of anything else, nothing.
    pub fn pairs(&self) -> BTreeMap<String, String> {
        match self {
            Self::Map(map) => map.clone(),
            Self::Limits(limits) => {
                let named = |metric: &'static str, windows: RateWindows| {
                    windows
                        .iter()
                        .map(move |(name, _, limit)| (format!("{metric}.{name}"), limit.to_string()))
                };
                named("requests", limits.requests).chain(named("tokens", limits.tokens)).collect()
            }
            _ => BTreeMap::new(),
        }
    }
}

/// The instant as the store keeps it, in microseconds.
pub fn truncated(time: DateTime<Utc>) -> DateTime<Utc> {
    time.trunc_subsecs(6)
}

fn set(values: &[String]) -> Value {
    Value::Set(values.iter().cloned().collect())
}

fn rule(rule: Option<&pb::AccessRule>) -> Value {
    Value::Rule(match rule {
        Some(rule) if rule.mode() == Mode::Only => Some(rule.patterns.iter().cloned().collect()),
        _ => None,
    })
}

fn to_rule(patterns: Option<&BTreeSet<String>>) -> pb::AccessRule {
    match patterns {
        None => pb::AccessRule { mode: Mode::Any.into(), patterns: Vec::new() },
        Some(patterns) => {
            pb::AccessRule { mode: Mode::Only.into(), patterns: patterns.iter().cloned().collect() }
        }
    }
}

fn limits(limits: Option<pb::RateLimits>) -> RateLimits {
    let windows = |windows: Option<pb::RateLimitWindows>| {
        let pb::RateLimitWindows { per_minute, per_hour, per_day } = windows.unwrap_or_default();
        RateWindows { per_minute, per_hour, per_day }
    };
    let pb::RateLimits { requests, tokens } = limits.unwrap_or_default();
    RateLimits { requests: windows(requests), tokens: windows(tokens) }
}

fn to_limits(limits: RateLimits) -> pb::RateLimits {
    let windows = |windows: RateWindows| {
        let RateWindows { per_minute, per_hour, per_day } = windows;
        Some(pb::RateLimitWindows { per_minute, per_hour, per_day })
    };
    pb::RateLimits { requests: windows(limits.requests), tokens: windows(limits.tokens) }
}

/// The contract's `RATE_LIMITS` is `rate_limits` in files and in configuration.
fn check_name(check: pb::key::Check) -> String {
    check.as_str_name().to_lowercase()
}

fn to_check(name: &str) -> Option<i32> {
    Check::parse(name)?;
    pb::key::Check::from_str_name(&name.to_uppercase()).map(i32::from)
}

fn instant(time: &prost_types::Timestamp) -> Option<DateTime<Utc>> {
    DateTime::from_timestamp(time.seconds, u32::try_from(time.nanos).ok()?).map(truncated)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn names(names: &[&str]) -> BTreeSet<String> {
        names.iter().map(|&name| name.to_owned()).collect()
    }

    #[test]
    fn what_is_put_into_a_key_is_what_is_read_from_it() {
        let values = [
            (Field::Name, Value::Text("ci".into())),
            (Field::Description, Value::Text("for CI".into())),
            (Field::Tags, Value::Set(names(&["a", "b"]))),
            (Field::Metadata, Value::Map([("team".to_owned(), "x".to_owned())].into())),
            (Field::Permissions, Value::Set(names(&["read"]))),
            (Field::Scopes, Value::Set(names(&["chat.*"]))),
            (Field::Models, Value::Rule(Some(names(&["gpt-4o*"])))),
            (Field::Endpoints, Value::Rule(Some(names(&[])))),
            (Field::Ips, Value::Rule(None)),
            (Field::Chatbots, Value::Rule(Some(names(&["7"])))),
            (Field::RateLimits, Value::Limits(RateLimits::requests(0, 1, 2))),
            (Field::Observe, Value::Set(Check::ALL.iter().map(|check| check.as_str().to_owned()).collect())),
            (Field::ExpireTime, Value::Expiry(DateTime::from_timestamp(1_900_000_000, 1_000))),
        ];
        assert_eq!(values.clone().map(|(field, _)| field), Field::ALL);
        let mut key = pb::Key::default();
        for (field, value) in &values {
            field.put(value, &mut key);
        }
        for (field, value) in values {
            assert_eq!(field.of(&key), value, "{}", field.name());
            assert_eq!(Field::parse(field.name()), Some(field));
        }
    }

    #[test]
    fn a_key_without_anything_is_in_canonical_form_too() {
        let key = pb::Key::default();
        assert_eq!(Field::Models.of(&key), Value::Rule(None));
        assert_eq!(Field::RateLimits.of(&key), Value::Limits(RateLimits::default()));
        assert_eq!(Field::ExpireTime.of(&key), Value::Expiry(None));
    }

    #[test]
    fn values_are_shown_on_one_line() {
        for (value, shown) in [
            (Value::Text("a\nb".into()), r#""a\nb""#),
            (Value::Set(names(&[])), "none"),
            (Value::Rule(None), "any"),
            (Value::Rule(Some(names(&[]))), "none"),
            (Value::Rule(Some(names(&["b", "a"]))), "a, b"),
            (Value::Limits(RateLimits::default()), "none"),
            (
                Value::Limits(RateLimits::requests(1, 2, 3)),
                "requests.per_day=3, requests.per_hour=2, requests.per_minute=1",
            ),
            (Value::Expiry(None), "never"),
            (Value::Expiry(DateTime::from_timestamp(0, 0)), "1970-01-01T00:00:00Z"),
        ] {
            assert_eq!(value.to_string(), shown);
        }
    }
}
