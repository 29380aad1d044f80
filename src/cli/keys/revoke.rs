//! `keystile keys revoke`

use std::process::ExitCode;

use clap::Args;

use super::render;
use crate::cli::FAILED;
use crate::cli::client::Client;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::grpc::pb;

const EXAMPLES: &str = "\
Examples:
  keystile keys revoke 17 --reason 'leaked in a log'
  keystile keys list --tag ci -o json | jq '.keys[].key_id' | xargs keystile keys revoke";

/// Stops keys; one that is revoked already keeps its first reason
///
/// Every key is tried, also after one that fails; then the exit code is 2.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Revoke {
    /// The keys
    #[arg(value_name = "KEY", required = true)]
    key_ids: Vec<i64>,
    /// Why, at most 500 characters
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

impl Revoke {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let mut keys = client.keys();
        let (mut revoked, mut answers) = (Vec::new(), Vec::new());
        for key_id in &self.key_ids {
            let request =
                pb::RevokeKeyRequest { key_id: *key_id, reason: self.reason.clone(), etag: String::new() };
            match keys.revoke_key(request).await.map(tonic::Response::into_inner) {
                Ok(answer) => {
                    answers.push(to_json("KeyMutationResponse", &answer)?);
                    render::note_propagation(output, answer.propagation.as_ref());
                    revoked.extend(answer.key);
                }
                Err(status) => output.note(&format!("key {key_id}: {}", client.failure(&status))),
            }
        }
        match output.format() {
            Format::Json => output.show_json(&serde_json::json!({ "results": answers }))?,
            Format::Table if revoked.is_empty() => {}
            Format::Table => output.show(&render::table(&revoked))?,
        }
        let all = answers.len() == self.key_ids.len();
        Ok(if all { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}
