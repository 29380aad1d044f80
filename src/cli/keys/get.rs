//! `keystile keys get`

use std::process::ExitCode;

use clap::Args;

use super::render;
use crate::cli::client::Client;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::grpc::pb;
use crate::grpc::pb::key::View;

const EXAMPLES: &str = "\
Examples:
  keystile keys get 17
  keystile keys get 17 -o json | jq .key.etag";

/// Shows a key with its budgets
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Get {
    /// The key
    #[arg(value_name = "KEY")]
    key_id: i64,
    /// Show its bcrypt hash too, for moving the key elsewhere; needs keystile.admin, and is audited
    #[arg(long)]
    full: bool,
}

impl Get {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let view = if self.full { View::Full } else { View::Basic };
        let answer =
            client.keys().get_key(pb::GetKeyRequest { key_id: self.key_id, view: view.into() }).await;
        let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
        match output.format() {
            Format::Json => output.show_json(&to_json("GetKeyResponse", &answer)?)?,
            Format::Table => output.show(&answer.key.as_ref().map(render::details).unwrap_or_default())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
