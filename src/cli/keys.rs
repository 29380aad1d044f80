//! `keystile keys`: keeps keys.

mod access;
mod apply;
mod budget;
mod create;
mod get;
mod grants;
mod limits;
mod list;
mod render;
mod revoke;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub(super) use self::render::note_propagation;

use super::client::ClientArgs;
use super::output::{Output, OutputArgs};

/// Creates, lists, shows, changes and revokes keys
///
/// The caller's token needs the scope keystile.read for list and get, keystile.admin for the rest.
#[derive(Args, Clone, Debug)]
pub struct Keys {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    Create(Box<create::Create>),
    List(list::List),
    Get(get::Get),
    Revoke(revoke::Revoke),
    Grant(grants::Grant),
    Ungrant(grants::Ungrant),
    Apply(apply::Apply),
}

impl Keys {
    /// Does it.
    ///
    /// # Errors
    /// What the person needs to know.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        match &self.command {
            Command::Create(create) => create.run(&self.client, output).await,
            Command::List(list) => list.run(&self.client.connect(output).await?, output).await,
            Command::Get(get) => get.run(&self.client.connect(output).await?, output).await,
            Command::Revoke(revoke) => revoke.run(&self.client.connect(output).await?, output).await,
            Command::Grant(grant) => grant.run(&self.client.connect(output).await?, output).await,
            Command::Ungrant(ungrant) => ungrant.run(&self.client.connect(output).await?, output).await,
            Command::Apply(apply) => apply.run(&self.client, output).await,
        }
    }
}

/// Parses `name=value`.
fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text} is no pair; write name=value")),
    }
}
