//! `keystile owners`: stops and restarts all keys of an owner.

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::ClientArgs;
use super::json::to_json;
use super::keys::note_propagation;
use super::output::{Format, Output, OutputArgs};
use super::table::properties;
use super::time::format_timestamp;
use crate::grpc::pb;

const EXAMPLES: &str = "\
Examples:
  keystile owners disable 4
  keystile owners enable 4";

/// Stops and restarts all keys of an owner
///
/// The caller's token needs the scope keystile.admin.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Owners {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    /// Stops all keys of an owner, present and future
    Disable(Owner),
    /// Lets them work again
    Enable(Owner),
}

#[derive(Args, Clone, Debug)]
struct Owner {
    /// The owner, at least 1
    #[arg(value_name = "OWNER")]
    user_id: i64,
    /// Change only what you have seen: the owner's etag
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
}

impl Owners {
    /// Does it.
    ///
    /// # Errors
    /// What the person needs to know.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        let client = self.client.connect(output).await?;
        let mut keys = client.keys();
        let answer = match self.command.clone() {
            Command::Disable(Owner { user_id, etag }) => {
                keys.disable_owner(pb::DisableOwnerRequest { user_id, etag }).await
            }
            Command::Enable(Owner { user_id, etag }) => {
                keys.enable_owner(pb::EnableOwnerRequest { user_id, etag }).await
            }
        };
        let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
        match output.format() {
            Format::Json => output.show_json(&to_json("OwnerMutationResponse", &answer)?)?,
            Format::Table => output.show(&answer.owner.as_ref().map(details).unwrap_or_default())?,
        }
        note_propagation(output, answer.propagation.as_ref());
        Ok(ExitCode::SUCCESS)
    }
}

fn details(owner: &pb::Owner) -> String {
    properties([
        ("owner", owner.user_id.to_string()),
        ("state", if owner.disabled { "DISABLED" } else { "ENABLED" }.to_owned()),
        ("disabled", owner.disable_time.as_ref().map(format_timestamp).unwrap_or_default()),
        ("keys", owner.key_count.to_string()),
        ("etag", owner.etag.clone()),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_owner_is_shown_with_its_state() {
        let mut owner = pb::Owner { user_id: 4, key_count: 2, etag: "e1".into(), ..Default::default() };
        assert_eq!(details(&owner), "owner  4\nstate  ENABLED\nkeys   2\netag   e1");
        owner.disabled = true;
        owner.disable_time = Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 });
        assert_eq!(
            details(&owner),
            "owner     4\nstate     DISABLED\ndisabled  2030-03-17 17:46:40Z\nkeys      2\netag      e1"
        );
    }
}
