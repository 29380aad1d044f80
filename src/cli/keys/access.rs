//! Flags of the access rules of a new key.
//!
//! Any pattern given makes its rule ONLY what is given; `--no-…` makes it ONLY nothing; neither leaves the
//! rule to the template, or ANY.

use clap::Args;

use crate::grpc::pb;
use crate::grpc::pb::access_rule::Mode;

/// What a new key may name.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "What the key may do")]
pub struct Access {
    /// Model that it may call: exact, or a prefix that ends in *; may be repeated [default: any]
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// It may call no model
    #[arg(long, conflicts_with = "models")]
    no_models: bool,

    /// Endpoint that it may use: '/v1/models', 'GET,POST /v1/files/*'; may be repeated [default: any]
    #[arg(long = "endpoint", value_name = "PATTERN")]
    endpoints: Vec<String>,
    /// It may use no endpoint
    #[arg(long, conflicts_with = "endpoints")]
    no_endpoints: bool,

    /// Address or network that it may be used from: 10.0.0.0/8, 2001:db8::1; may be repeated [default: any]
    #[arg(long = "ip", value_name = "PATTERN")]
    ips: Vec<String>,
    /// It may be used from nowhere
    #[arg(long, conflicts_with = "ips")]
    no_ips: bool,

    /// Chatbot that it may call: exact, or a prefix that ends in *; may be repeated [default: any]
    #[arg(long = "chatbot", value_name = "PATTERN")]
    chatbots: Vec<String>,
    /// It may call no chatbot
    #[arg(long, conflicts_with = "chatbots")]
    no_chatbots: bool,
}

impl Access {
    /// Sets the rules that are given on `key`.
    pub fn set_on(&self, key: &mut pb::Key) {
        key.models = rule(&self.models, self.no_models);
        key.endpoints = rule(&self.endpoints, self.no_endpoints);
        key.ips = rule(&self.ips, self.no_ips);
        key.chatbots = rule(&self.chatbots, self.no_chatbots);
    }
}

fn rule(patterns: &[String], none: bool) -> Option<pb::AccessRule> {
    let only = none || !patterns.is_empty();
    only.then(|| pb::AccessRule { mode: Mode::Only.into(), patterns: patterns.to_vec() })
}
