//! Keys and requests in words, so that what a row shows is what was evaluated.
//!
//! Statements are joined by `; `. A key: `revoked`, `deleted`, `owner disabled`, `expires at now`, `expires 1ns
//! after now`, `expires 1ns before now`, `ips|endpoints|models|chatbots ONLY [pattern] [pattern]` or `ONLY nothing`,
//! `scopes [..]`, `permissions [..]`, `observe check,check` or `everything`. A request: `ip|endpoint|method|model|chatbot value`,
//! `scopes [..]`, `permissions [..]`, `not applicable model,endpoint,chatbot`. `-` is nothing.

use chrono::{DateTime, TimeDelta, Utc};
use keystile::policy::{
    AccessRequest, AccessRule, AddressPattern, Check, CheckSet, Dimension, DimensionSet, EndpointPattern,
    KeyPolicy, KeySnapshot, NamePattern, Permission, Scope,
};

/// The instant of every decision.
pub fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_800_000_000, 500_000_000).unwrap()
}

fn statements(text: &str) -> impl Iterator<Item = &str> {
    text.split("; ").filter(|statement| *statement != "-")
}

pub fn parse_key(text: &str) -> KeySnapshot {
    let mut key = KeyPolicy {
        revoked: false,
        deleted: false,
        owner_disabled: false,
        expire_time: None,
        ips: AccessRule::Any,
        endpoints: AccessRule::Any,
        models: AccessRule::Any,
        chatbots: AccessRule::Any,
        scopes: [].into(),
        permissions: [].into(),
        observe: CheckSet::EMPTY,
    };
    for statement in statements(text) {
        let (word, rest) = statement.split_once(' ').unwrap_or((statement, ""));
        match word {
            "revoked" => key.revoked = true,
            "deleted" => key.deleted = true,
            "owner" => key.owner_disabled = rest == "disabled",
            "expires" => key.expire_time = Some(parse_time(rest)),
            "ips" => key.ips = parse_rule(rest, |item| AddressPattern::parse(item).unwrap()),
            "endpoints" => key.endpoints = parse_rule(rest, |item| EndpointPattern::parse(item).unwrap()),
            "models" => key.models = parse_rule(rest, |item| NamePattern::parse(item).unwrap()),
            "chatbots" => key.chatbots = parse_rule(rest, |item| NamePattern::parse(item).unwrap()),
            "scopes" => key.scopes = items(rest).map(|item| Scope::parse(item).unwrap()).collect(),
            "permissions" => {
                key.permissions = items(rest).map(|item| Permission::parse(item).unwrap()).collect();
            }
            "observe" if rest == "everything" => key.observe = Check::ALL.into_iter().collect(),
            "observe" => key.observe = rest.split(',').map(|name| Check::parse(name).unwrap()).collect(),
            _ => panic!("no statement about a key: {statement}"),
        }
    }
    KeySnapshot::compile(&key)
}

fn parse_time(text: &str) -> DateTime<Utc> {
    let nanosecond = TimeDelta::nanoseconds(1);
    match text {
        "at now" => now(),
        "1ns after now" => now() + nanosecond,
        "1ns before now" => now() - nanosecond,
        _ => panic!("no time: {text}"),
    }
}

fn parse_rule<P: Ord + Clone>(text: &str, parse: impl Fn(&str) -> P) -> AccessRule<P> {
    match text {
        "ANY" => AccessRule::Any,
        "ONLY nothing" => AccessRule::only([]).unwrap(),
        _ => AccessRule::only(items(text.strip_prefix("ONLY ").unwrap()).map(parse)).unwrap(),
    }
}

/// The texts in brackets. They hold no brackets themselves.
fn items(text: &str) -> impl Iterator<Item = &str> {
    let inner = text.strip_prefix('[').and_then(|text| text.strip_suffix(']')).expect("[item] [item]");
    inner.split("] [")
}

/// A request that owns its values.
#[derive(Default)]
pub struct OwnedRequest {
    model: Option<Vec<u8>>,
    endpoint: Option<Vec<u8>>,
    method: Option<Vec<u8>>,
    chatbot: Option<Vec<u8>>,
    ip: Option<Vec<u8>>,
    scopes: Vec<String>,
    permissions: Vec<String>,
    not_applicable: DimensionSet,
}

impl OwnedRequest {
    pub fn borrow(&self) -> AccessRequest<'_> {
        AccessRequest {
            model: self.model.as_deref(),
            endpoint: self.endpoint.as_deref(),
            method: self.method.as_deref(),
            chatbot_id: self.chatbot.as_deref(),
            client_ip: self.ip.as_deref(),
            scopes: &self.scopes,
            permissions: &self.permissions,
            not_applicable: self.not_applicable,
        }
    }
}

pub fn parse_request(text: &str) -> OwnedRequest {
    let mut request = OwnedRequest::default();
    for statement in statements(text) {
        let (word, rest) = statement.split_once(' ').expect("a word and a value");
        match word {
            "model" => request.model = Some(parse_value(rest)),
            "endpoint" => request.endpoint = Some(parse_value(rest)),
            "method" => request.method = Some(parse_value(rest)),
            "chatbot" => request.chatbot = Some(parse_value(rest)),
            "ip" => request.ip = Some(parse_value(rest)),
            "scopes" => request.scopes = items(rest).map(str::to_owned).collect(),
            "permissions" => request.permissions = items(rest).map(str::to_owned).collect(),
            "not" => {
                request.not_applicable = rest
                    .strip_prefix("applicable ")
                    .unwrap()
                    .split(',')
                    .fold(DimensionSet::EMPTY, |set, name| set.with(parse_dimension(name)));
            }
            _ => panic!("no statement about a request: {statement}"),
        }
    }
    request
}

fn parse_dimension(name: &str) -> Dimension {
    match name {
        "model" => Dimension::Model,
        "endpoint" => Dimension::Endpoint,
        "chatbot" => Dimension::Chatbot,
        _ => panic!("no dimension: {name}"),
    }
}

/// `\xNN` is one byte, `{x*257}` is 257 times `x`, `""` is the empty value; the rest is itself.
fn parse_value(text: &str) -> Vec<u8> {
    let mut value = Vec::new();
    let mut rest = if text == "\"\"" { "" } else { text };
    while let Some(first) = rest.chars().next() {
        if let Some(escape) = rest.strip_prefix("\\x") {
            value.push(u8::from_str_radix(&escape[..2], 16).unwrap());
            rest = &escape[2..];
        } else if let Some(repeat) = rest.strip_prefix('{') {
            let (inner, after) = repeat.split_once('}').unwrap();
            let (unit, times) = inner.split_once('*').unwrap();
            value.extend(unit.repeat(times.parse().unwrap()).bytes());
            rest = after;
        } else {
            value.extend(first.to_string().bytes());
            rest = &rest[first.len_utf8()..];
        }
    }
    value
}
