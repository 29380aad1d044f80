//! `keystile keys get`

use std::process::ExitCode;

use clap::Args;

use super::{key_number, render};
use crate::cli::bar::standings;
use crate::cli::client::Client;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::cli::watch::{Shown, WatchArgs};
use crate::grpc::pb;
use crate::grpc::pb::key::View;
use crate::grpc::pb::rate_limit_status::Subject;

const EXAMPLES: &str = "\
Examples:
  keystile keys get 17
  keystile keys get 17 --watch
  keystile keys get 17 -o json | jq .key.etag";

/// Shows a key with its budgets, and how the rate limits of it and of its owner stand
///
/// What replicas hold of a limit at this moment, to answer from, counts as used.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Get {
    /// The key
    #[arg(value_name = "KEY", value_parser = key_number)]
    key_id: i64,
    /// Show its bcrypt hash too, for moving the key elsewhere; needs keystile.admin, and is audited
    #[arg(long, conflicts_with = "watch")]
    full: bool,
    #[command(flatten)]
    watch: WatchArgs,
}

impl Get {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let (format, look) = (output.format(), output.look());
        let ask = async || {
            let view = if self.full { View::Full } else { View::Basic };
            let request = pb::GetKeyRequest { key_id: self.key_id, view: view.into() };
            let answer = client.keys().get_key(request).await.map_err(|status| client.failure(&status))?;
            let answer = answer.into_inner();
            let text = match format {
                Format::Json => format!("{:#}", to_json("GetKeyResponse", &answer)?),
                Format::Table => {
                    let key = answer.key.as_ref().map(|key| render::details(key, look)).unwrap_or_default();
                    key + &standings(&answer.rate_limits, Subject::Key, look)
                }
            };
            Ok(Shown { text, note: String::new() })
        };
        self.watch.show(output, ask).await?;
        Ok(ExitCode::SUCCESS)
    }
}
