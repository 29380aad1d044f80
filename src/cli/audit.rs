//! `keystile audit`: reads the audit log, and records events of plugins.

mod list;
mod record;
mod render;

use std::process::ExitCode;

use clap::{Args, Subcommand};

use super::client::ClientArgs;
use super::output::{Output, OutputArgs};

/// Shows who did what, and records events of plugins
///
/// The caller's token needs the scope keystile.read for list, keystile.authorize for record.
#[derive(Args, Clone, Debug)]
pub struct Audit {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    List(Box<list::List>),
    Record(Box<record::Record>),
}

impl Audit {
    /// Does it.
    ///
    /// # Errors
    /// What the person needs to know.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        let client = &self.client.connect(output).await?;
        match &self.command {
            Command::List(list) => list.run(client, output).await,
            Command::Record(record) => record.run(client, output).await,
        }
    }
}
