//! `keystile owners`: shows owners, stops and restarts all keys of one, and sets its limits.

mod limits;
mod list;
mod render;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tonic::{Code, Response, Status};

use super::DENIED;
use super::bar::standings;
use super::client::{Client, ClientArgs};
use super::confirm::ConfirmArgs;
use super::json::to_json;
use super::output::{Format, Output, OutputArgs};
use super::watch::{Shown, WatchArgs};
use crate::grpc::pb;
use crate::grpc::pb::rate_limit_status::Subject;

const GET_EXAMPLES: &str = "\
Examples:
  keystile owners get 4
  keystile owners get 4 --watch";
const DISABLE_EXAMPLES: &str = "\
Examples:
  keystile owners disable 4
  keystile owners disable 4 --yes";
const ENABLE_EXAMPLES: &str = "\
Examples:
  keystile owners enable 4";

/// Shows owners, stops and restarts all keys of one, sets its limits
///
/// Owners are numbers that another service gives. The caller's token needs the scope keystile.read for get and
/// list, keystile.admin for the rest.
#[derive(Args, Clone, Debug)]
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
    Get(Get),
    List(list::List),
    Disable(Disable),
    Enable(Enable),
    Limits(limits::Limits),
}

/// Shows an owner that has keys or was changed, and how its rate limits stand
///
/// What replicas hold of a limit at this moment, to answer from, counts as used.
#[derive(Args, Clone, Debug)]
#[command(after_help = GET_EXAMPLES)]
struct Get {
    /// The owner
    #[arg(value_name = "OWNER")]
    user_id: i64,
    #[command(flatten)]
    watch: WatchArgs,
}

/// Stops all keys of an owner, present and future
///
/// On a terminal it asks first, and says how many keys there are.
#[derive(Args, Clone, Debug)]
#[command(after_help = DISABLE_EXAMPLES)]
struct Disable {
    #[command(flatten)]
    owner: Owner,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Lets all keys of an owner work again
#[derive(Args, Clone, Debug)]
#[command(after_help = ENABLE_EXAMPLES)]
struct Enable {
    #[command(flatten)]
    owner: Owner,
}

#[derive(Args, Clone, Debug)]
struct Owner {
    /// The owner, at least 1
    #[arg(value_name = "OWNER")]
    user_id: i64,
    /// Change only what you have seen: the owner's etag from `owners get`
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
        let client = &self.client.connect(output).await?;
        match &self.command {
            Command::Get(get) => get.run(client, output).await,
            Command::List(list) => list.run(client, output).await,
            Command::Disable(disable) => disable.run(client, output).await,
            Command::Enable(Enable { owner: Owner { user_id, etag } }) => {
                let request = pb::EnableOwnerRequest { user_id: *user_id, etag: etag.clone() };
                let answer = client.keys().enable_owner(request).await;
                show_mutation(answer, client, output)
            }
            Command::Limits(limits) => limits.run(client, output).await,
        }
    }
}

impl Get {
    async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let (format, look) = (output.format(), output.look());
        let ask = async || {
            let answer = client.keys().get_owner(pb::GetOwnerRequest { user_id: self.user_id }).await;
            let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
            let text = match format {
                Format::Json => format!("{:#}", to_json("GetOwnerResponse", &answer)?),
                Format::Table => {
                    let owner = answer.owner.as_ref().map(|owner| render::details(owner, look));
                    owner.unwrap_or_default() + &standings(&answer.rate_limits, Subject::Owner, look)
                }
            };
            Ok(Shown { text, note: String::new() })
        };
        self.watch.show(output, ask).await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Disable {
    async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let Owner { user_id, etag } = self.owner.clone();
        if self.confirm.would_ask() {
            let question = question(user_id, key_count(user_id, client).await?);
            if !self.confirm.agreed(&question, output)? {
                return Ok(ExitCode::from(DENIED));
            }
        }
        let answer = client.keys().disable_owner(pb::DisableOwnerRequest { user_id, etag }).await;
        let count =
            answer.as_ref().ok().and_then(|answer| answer.get_ref().owner.as_ref()).map(|it| it.key_count);
        let code = show_mutation(answer, client, output)?;
        if count == Some(0) {
            output.note(&format!(
                "Owner {user_id} has no keys: none was stopped. Keys made for it later are. Was that number meant?"
            ));
        }
        Ok(code)
    }
}

/// How many keys the owner has; `None` where the server does not say.
async fn key_count(user_id: i64, client: &Client) -> anyhow::Result<Option<i64>> {
    match client.keys().get_owner(pb::GetOwnerRequest { user_id }).await {
        Ok(answer) => Ok(answer.into_inner().owner.map(|owner| owner.key_count)),
        Err(status) if status.code() == Code::NotFound => Ok(Some(0)),
        Err(status) if status.code() == Code::Unimplemented => Ok(None),
        Err(status) => Err(client.failure(&status).into()),
    }
}

fn question(user_id: i64, keys: Option<i64>) -> String {
    match keys {
        Some(0) => format!("Owner {user_id} has no keys yet. Disable it all the same?"),
        Some(1) => format!("Disable owner {user_id} and stop its key?"),
        Some(keys) => format!("Disable owner {user_id} and stop its {keys} keys?"),
        None => format!("Disable owner {user_id} and stop all its keys?"),
    }
}

fn show_mutation(
    answer: Result<Response<pb::OwnerMutationResponse>, Status>,
    client: &Client,
    output: &mut Output,
) -> anyhow::Result<ExitCode> {
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    let look = output.look();
    match output.format() {
        Format::Json => output.show_json(&to_json("OwnerMutationResponse", &answer)?)?,
        Format::Table => {
            let owner = answer.owner.as_ref().map(|owner| render::details(owner, look));
            output.show(&owner.unwrap_or_default())?;
        }
    }
    super::keys::note_propagation(output, answer.propagation.as_ref());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_says_how_much_it_is_about() {
        assert_eq!(question(4, Some(0)), "Owner 4 has no keys yet. Disable it all the same?");
        assert_eq!(question(4, Some(1)), "Disable owner 4 and stop its key?");
        assert_eq!(question(4, Some(12)), "Disable owner 4 and stop its 12 keys?");
        assert_eq!(question(4, None), "Disable owner 4 and stop all its keys?");
    }
}
