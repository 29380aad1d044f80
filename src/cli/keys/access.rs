//! Flags of the access rules of a key.
//!
//! Any pattern given makes its rule ONLY what is given, `--no-…` makes it ONLY nothing, `--any-…` makes it ANY.
//! None of the three leaves the rule to the template of a new key, or as it is.

use clap::Args;

use crate::grpc::pb;
use crate::grpc::pb::access_rule::Mode;

/// What a key may name.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What the key may do")]
pub struct Access {
    /// Model that it may call: exact, or a prefix that ends in *; may be repeated
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// It may call any model
    #[arg(long, conflicts_with = "models")]
    any_model: bool,
    /// It may call no model
    #[arg(long, conflicts_with_all = ["models", "any_model"])]
    no_models: bool,

    /// Endpoint that it may use: '/v1/models', 'GET,POST /v1/files/*'; may be repeated
    #[arg(long = "endpoint", value_name = "PATTERN")]
    endpoints: Vec<String>,
    /// It may use any endpoint
    #[arg(long, conflicts_with = "endpoints")]
    any_endpoint: bool,
    /// It may use no endpoint
    #[arg(long, conflicts_with_all = ["endpoints", "any_endpoint"])]
    no_endpoints: bool,

    /// Address or network that it may be used from: 10.0.0.0/8, 2001:db8::1; may be repeated
    #[arg(long = "ip", value_name = "PATTERN")]
    ips: Vec<String>,
    /// It may be used from anywhere
    #[arg(long, conflicts_with = "ips")]
    any_ip: bool,
    /// It may be used from nowhere
    #[arg(long, conflicts_with_all = ["ips", "any_ip"])]
    no_ips: bool,

    /// Chatbot that it may call: exact, or a prefix that ends in *; may be repeated
    #[arg(long = "chatbot", value_name = "PATTERN")]
    chatbots: Vec<String>,
    /// It may call any chatbot
    #[arg(long, conflicts_with = "chatbots")]
    any_chatbot: bool,
    /// It may call no chatbot
    #[arg(long, conflicts_with_all = ["chatbots", "any_chatbot"])]
    no_chatbots: bool,
}

impl Access {
    /// Sets the rules that are given on `key`.
    pub fn set_on(&self, key: &mut pb::Key) {
        key.models = rule(&self.models, self.any_model, self.no_models);
        key.endpoints = rule(&self.endpoints, self.any_endpoint, self.no_endpoints);
        key.ips = rule(&self.ips, self.any_ip, self.no_ips);
        key.chatbots = rule(&self.chatbots, self.any_chatbot, self.no_chatbots);
    }
}

fn rule(patterns: &[String], any: bool, none: bool) -> Option<pb::AccessRule> {
    if any {
        return Some(pb::AccessRule { mode: Mode::Any.into(), patterns: Vec::new() });
    }
    let only = none || !patterns.is_empty();
    only.then(|| pb::AccessRule { mode: Mode::Only.into(), patterns: patterns.to_vec() })
}
