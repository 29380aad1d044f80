//! `keystile keys revoke`, `reactivate`, `delete` and `undelete`: the state of one key or of several.
//!
//! Every key is tried, also after one that fails; the failed ones are told, and the exit code is 2 then.

use std::cell::RefCell;
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value, json};
use tonic::{Response, Status};
use tonic_types::StatusExt;

use super::{key_number, render};
use crate::cli::client::Client;
use crate::cli::confirm::ConfirmArgs;
use crate::cli::failure::Failure;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::cli::{DENIED, FAILED};
use crate::grpc::pb;

const REVOKE_EXAMPLES: &str = "\
Examples:
  keystile keys revoke 17 --reason 'leaked in a log'
  keystile keys list --tag ci -o json | jq '.keys[].key_id' | xargs keystile keys revoke";
const REACTIVATE_EXAMPLES: &str = "\
Examples:
  keystile keys reactivate 17 18";
const DELETE_EXAMPLES: &str = "\
Examples:
  keystile keys delete 17
  keystile keys list --state revoked -o json | jq '.keys[].key_id' | xargs keystile keys delete --yes";
const UNDELETE_EXAMPLES: &str = "\
Examples:
  keystile keys list --state deleted
  keystile keys undelete 17";

/// Stops keys; one that is revoked already keeps its first reason
///
/// Every key is tried, also after one that fails; then the exit code is 2.
#[derive(Args, Clone, Debug)]
#[command(after_help = REVOKE_EXAMPLES)]
pub struct Revoke {
    #[command(flatten)]
    which: Which,
    /// Why, at most 500 characters
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    reason: String,
}

/// Lets revoked keys work again
///
/// Every key is tried, also after one that fails; then the exit code is 2.
#[derive(Args, Clone, Debug)]
#[command(after_help = REACTIVATE_EXAMPLES)]
pub struct Reactivate {
    #[command(flatten)]
    which: Which,
}

/// Deletes keys; for 30 days they can be restored by `keys undelete`
///
/// On a terminal it asks first. Every key is tried, also after one that fails; then the exit code is 2.
#[derive(Args, Clone, Debug)]
#[command(after_help = DELETE_EXAMPLES)]
pub struct Delete {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Restores deleted keys, to the state that they were deleted in
///
/// Every key is tried, also after one that fails; then the exit code is 2.
#[derive(Args, Clone, Debug)]
#[command(after_help = UNDELETE_EXAMPLES)]
pub struct Undelete {
    #[command(flatten)]
    which: Which,
}

/// Which keys.
#[derive(Args, Clone, Debug)]
pub struct Which {
    /// The keys
    #[arg(value_name = "KEY", value_parser = key_number, required = true)]
    key_ids: Vec<i64>,
    /// Change only what you have seen: the etag from `keys get`, of a single key
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
}

impl Revoke {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let already = RefCell::new(Vec::new());
        let ask = async |key_id: i64, etag: String| {
            // Only for the note; whatever keeps it from being read, the key is to be stopped.
            let before = client.keys().get_key(pb::GetKeyRequest { key_id, ..Default::default() }).await;
            let reason = self.reason.clone();
            let answer = client.keys().revoke_key(pb::RevokeKeyRequest { key_id, reason, etag }).await?;
            let before = before.ok().and_then(|before| before.into_inner().key);
            already.borrow_mut().extend(before.filter(|key| key.revoke_time.is_some()));
            Ok(answer)
        };
        let code = self.which.each(client, output, ask).await?;
        for pb::Key { key_id, revoke_reason, .. } in already.take() {
            let stays = if revoke_reason.is_empty() { "without a reason" } else { &revoke_reason };
            output.note(&format!("key {key_id} was revoked already; its reason stays: {stays}"));
        }
        Ok(code)
    }
}

impl Reactivate {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let ask = async |key_id: i64, etag: String| {
            client.keys().reactivate_key(pb::ReactivateKeyRequest { key_id, etag }).await
        };
        self.which.each(client, output, ask).await
    }
}

impl Delete {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let ids: Vec<_> = self.which.key_ids.iter().map(i64::to_string).collect();
        let question = match ids.as_slice() {
            [id] => format!("Delete key {id}?"),
            ids => format!("Delete {} keys ({})?", ids.len(), ids.join(", ")),
        };
        if !self.confirm.agreed(&question, output)? {
            return Ok(ExitCode::from(DENIED));
        }
        let ask = async |key_id: i64, etag: String| {
            client.keys().delete_key(pb::DeleteKeyRequest { key_id, etag }).await
        };
        self.which.each(client, output, ask).await
    }
}

impl Undelete {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let ask = async |key_id: i64, etag: String| {
            client.keys().undelete_key(pb::UndeleteKeyRequest { key_id, etag }).await
        };
        self.which.each(client, output, ask).await
    }
}

impl Which {
    /// Does it to each key; a single one is shown whole.
    ///
    /// # Errors
    /// What the person needs to know.
    pub async fn each_or_whole(
        &self,
        client: &Client,
        output: &mut Output,
        ask: impl AsyncFn(i64, String) -> Result<Response<pb::KeyMutationResponse>, Status>,
    ) -> anyhow::Result<ExitCode> {
        let [key_id] = self.key_ids.as_slice() else { return self.each(client, output, ask).await };
        let answer = ask(*key_id, self.etag.clone()).await.map_err(|status| client.failure(&status))?;
        render::show_mutation(&answer.into_inner(), output)
    }

    /// Does it to each key, and shows what they have become.
    async fn each(
        &self,
        client: &Client,
        output: &mut Output,
        ask: impl AsyncFn(i64, String) -> Result<Response<pb::KeyMutationResponse>, Status>,
    ) -> anyhow::Result<ExitCode> {
        if !self.etag.is_empty() && self.key_ids.len() > 1 {
            let failure = Failure::new("--etag is of one key, and several are named.");
            return Err(failure.next("Name one key, or leave the etag out.").into());
        }
        let (mut changed, mut results, mut failed) = (Vec::new(), Vec::new(), Vec::new());
        for key_id in &self.key_ids {
            match ask(*key_id, self.etag.clone()).await.map(Response::into_inner) {
                Ok(answer) => {
                    results.push(to_json("KeyMutationResponse", &answer)?);
                    render::note_propagation(output, answer.propagation.as_ref());
                    changed.extend(answer.key);
                }
                Err(status) if self.key_ids.len() == 1 && output.format() == Format::Table => {
                    return Err(client.failure(&status).into());
                }
                Err(status) => {
                    failed.push(failed_json(*key_id, &status));
                    let (key, failure) = (format!("key {key_id}"), client.failure(&status).to_string());
                    let says_which = failure.starts_with(&format!("{key} "));
                    output.note(&if says_which { failure } else { format!("{key}: {failure}") });
                }
            }
        }
        let look = output.look();
        match output.format() {
            Format::Json if failed.is_empty() => output.show_json(&json!({ "results": results }))?,
            Format::Json => output.show_json(&json!({ "results": results, "failed": failed }))?,
            Format::Table if changed.is_empty() => {}
            Format::Table => output.show(&render::table(&changed, false, look))?,
        }
        Ok(if failed.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
    }
}

/// A failed key for programs: `code` as gRPC names it, `reason` as docs/errors.md does.
fn failed_json(key_id: i64, status: &Status) -> Value {
    let reason = status.get_details_error_info().map(|info| info.reason).unwrap_or_default();
    json!({
        "key_id": key_id,
        "code": format!("{:?}", status.code()),
        "reason": reason,
        "message": status.message(),
    })
}
