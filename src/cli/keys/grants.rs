//! `keystile keys grant` and `keystile keys ungrant`

use std::process::ExitCode;

use clap::Args;

use super::{key_number, render};
use crate::cli::client::Client;
use crate::cli::output::Output;
use crate::grpc::pb;

const GRANT_EXAMPLES: &str = "\
Examples:
  keystile keys grant 17 --scope chat.completions --permission chat
  keystile keys grant 17 --endpoint 'GET,POST /v1/files/*' --ip 10.0.0.0/8";
const UNGRANT_EXAMPLES: &str = "\
Examples:
  keystile keys ungrant 17 --model 'gpt-4o*'
  keystile keys ungrant 17 --scope chat.completions --tag ci";

/// Adds to what a key may do
///
/// What is there already stays. Adding a model, endpoint, address or chatbot where the key may use any turns
/// that rule into only what is added.
#[derive(Args, Clone, Debug)]
#[command(after_help = GRANT_EXAMPLES)]
pub struct Grant {
    #[command(flatten)]
    change: Change,
}

/// Takes from what a key may do
///
/// What is not there is no error. Taking the last model, endpoint, address or chatbot leaves none; from a
/// rule that allows any, nothing can be taken.
#[derive(Args, Clone, Debug)]
#[command(after_help = UNGRANT_EXAMPLES)]
pub struct Ungrant {
    #[command(flatten)]
    change: Change,
}

#[derive(Args, Clone, Debug)]
struct Change {
    /// The key
    #[arg(value_name = "KEY", value_parser = key_number)]
    key_id: i64,
    #[command(flatten)]
    members: Members,
    /// Change only what you have seen: the key's etag from `keys get`
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
}

#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = true)]
struct Members {
    /// Scope; may be repeated, as may all below
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Permission
    #[arg(long = "permission", value_name = "NAME")]
    permissions: Vec<String>,
    /// Pattern of models
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// Pattern of endpoints
    #[arg(long = "endpoint", value_name = "PATTERN")]
    endpoints: Vec<String>,
    /// Address or network
    #[arg(long = "ip", value_name = "PATTERN")]
    ips: Vec<String>,
    /// Pattern of chatbots
    #[arg(long = "chatbot", value_name = "PATTERN")]
    chatbots: Vec<String>,
    /// Tag
    #[arg(long = "tag", value_name = "TAG")]
    tags: Vec<String>,
}

impl Grant {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let Change { key_id, members, etag } = self.change.clone();
        let request = pb::AddGrantsRequest { key_id, grants: Some(members.into()), etag };
        let answer = client.keys().add_grants(request).await;
        render::show_mutation(&answer.map_err(|status| client.failure(&status))?.into_inner(), output)
    }
}

impl Ungrant {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let Change { key_id, members, etag } = self.change.clone();
        let request = pb::RemoveGrantsRequest { key_id, grants: Some(members.into()), etag };
        let answer = client.keys().remove_grants(request).await;
        render::show_mutation(&answer.map_err(|status| client.failure(&status))?.into_inner(), output)
    }
}

impl From<Members> for pb::Grants {
    fn from(members: Members) -> Self {
        let Members { scopes, permissions, models, endpoints, ips, chatbots, tags } = members;
        Self { scopes, permissions, models, endpoints, ips, chatbots, tags }
    }
}
