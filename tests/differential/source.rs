//! Keys and requests as source text: what the reference reads, and what the crate is given to parse.

use chrono::{DateTime, Utc};
use keystile::policy::{
    AccessRequest, AccessRule, AddressPattern, Check, Dimension, DimensionSet, EndpointPattern, KeyPolicy,
    NamePattern, Permission, Scope,
};

/// A rule: `None` is ANY.
pub type Rule = Option<Vec<String>>;

#[derive(Debug, Default)]
pub struct SourceKey {
    pub revoked: bool,
    pub deleted: bool,
    pub owner_disabled: bool,
    pub expire_ns: Option<i64>,
    pub ips: Rule,
    pub endpoints: Rule,
    pub models: Rule,
    pub chatbots: Rule,
    pub scopes: Vec<String>,
    pub permissions: Vec<String>,
    pub observe: Vec<Check>,
}

impl SourceKey {
    pub fn parse(&self) -> KeyPolicy {
        KeyPolicy {
            revoked: self.revoked,
            deleted: self.deleted,
            owner_disabled: self.owner_disabled,
            expire_time: self.expire_ns.map(DateTime::from_timestamp_nanos),
            ips: parse_rule(&self.ips, |text| AddressPattern::parse(text).unwrap()),
            endpoints: parse_rule(&self.endpoints, |text| EndpointPattern::parse(text).unwrap()),
            models: parse_rule(&self.models, |text| NamePattern::parse(text).unwrap()),
            chatbots: parse_rule(&self.chatbots, |text| NamePattern::parse(text).unwrap()),
            scopes: self.scopes.iter().map(|text| Scope::parse(text).unwrap()).collect(),
            permissions: self
                .permissions
                .iter()
                .map(|text| Permission::parse(text.as_str()).unwrap())
                .collect(),
            observe: self.observe.iter().copied().collect(),
        }
    }
}

fn parse_rule<P: Ord + Clone>(rule: &Rule, parse: impl Fn(&str) -> P) -> AccessRule<P> {
    let Some(patterns) = rule else { return AccessRule::Any };
    let parsed: Vec<P> = patterns.iter().map(|text| parse(text)).collect();
    AccessRule::only(parsed).unwrap()
}

#[derive(Debug, Default)]
pub struct SourceRequest {
    pub now_ns: i64,
    pub model: Option<Vec<u8>>,
    pub endpoint: Option<Vec<u8>>,
    pub method: Option<Vec<u8>>,
    pub chatbot: Option<Vec<u8>>,
    pub ip: Option<Vec<u8>>,
    pub scopes: Vec<String>,
    pub permissions: Vec<String>,
    pub model_not_applicable: bool,
    pub endpoint_not_applicable: bool,
    pub chatbot_not_applicable: bool,
}

impl SourceRequest {
    pub fn now(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_nanos(self.now_ns)
    }

    pub fn borrow(&self) -> AccessRequest<'_> {
        let declared = [
            (Dimension::Model, self.model_not_applicable),
            (Dimension::Endpoint, self.endpoint_not_applicable),
            (Dimension::Chatbot, self.chatbot_not_applicable),
        ];
        AccessRequest {
            model: self.model.as_deref(),
            endpoint: self.endpoint.as_deref(),
            method: self.method.as_deref(),
            chatbot_id: self.chatbot.as_deref(),
            client_ip: self.ip.as_deref(),
            scopes: &self.scopes,
            permissions: &self.permissions,
            not_applicable: declared
                .into_iter()
                .filter(|(_, declared)| *declared)
                .fold(DimensionSet::EMPTY, |set, (dimension, _)| set.with(dimension)),
        }
    }
}
