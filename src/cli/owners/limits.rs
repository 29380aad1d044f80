//! `keystile owners limits`
//!
//! The contract replaces an owner's limits as a whole; a person changes one. So the owner is read first, and
//! changed only if it is still what was read.

use std::process::ExitCode;

use clap::Args;
use tonic::Code;

use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::keys::LimitChanges;
use crate::cli::output::Output;
use crate::grpc::pb;

const EXAMPLES: &str = "\
Examples:
  keystile owners limits 4 --requests-per-minute 600 --tokens-per-day none
  keystile owners limits 4 --no-rate-limits";

/// Sets the limits over all keys of an owner together
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Limits {
    /// The owner, at least 1
    #[arg(value_name = "OWNER")]
    user_id: i64,
    #[command(flatten)]
    limits: LimitChanges,
    /// Change only what you have seen: the owner's etag from `owners get`
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
}

impl Limits {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        if !self.limits.is_given() {
            let failure = Failure::new("No limit is given.");
            return Err(failure.next("`keystile owners get` shows those that there are.").into());
        }
        let read = if self.limits.keeps_the_rest() { self.read(client).await? } else { pb::Owner::default() };
        let request = pb::SetOwnerLimitsRequest {
            user_id: self.user_id,
            rate_limits: Some(self.limits.applied_to(read.rate_limits)),
            etag: if self.etag.is_empty() { read.etag } else { self.etag.clone() },
        };
        let answer = client.keys().set_owner_limits(request).await;
        super::show_mutation(answer, client, output)
    }

    /// The owner as it is; one that nobody has seen yet has no limits.
    async fn read(&self, client: &Client) -> anyhow::Result<pb::Owner> {
        match client.keys().get_owner(pb::GetOwnerRequest { user_id: self.user_id }).await {
            Ok(answer) => Ok(answer.into_inner().owner.unwrap_or_default()),
            Err(status) if status.code() == Code::NotFound => Ok(pb::Owner::default()),
            Err(status) => Err(client.failure(&status).into()),
        }
    }
}
