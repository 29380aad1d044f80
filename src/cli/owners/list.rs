//! `keystile owners list`

use std::process::ExitCode;

use clap::Args;

use super::render;
use crate::cli::client::Client;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::cli::pages::{LimitArgs, Pages};
use crate::cli::watch::WatchArgs;
use crate::grpc::pb;

const EXAMPLES: &str = "\
Examples:
  keystile owners list
  keystile owners list --disabled -o json | jq '.owners[].user_id'";

/// Lists owners that have keys or were changed, by their number
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct List {
    /// Disabled owners alone
    #[arg(long, conflicts_with = "enabled")]
    disabled: bool,
    /// Enabled owners alone
    #[arg(long)]
    enabled: bool,
    #[command(flatten)]
    limit: LimitArgs,
    #[command(flatten)]
    watch: WatchArgs,
}

impl List {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let (format, look) = (output.format(), output.look());
        let ask = async || {
            let (answer, pages) = self.ask(client).await?;
            let text = match format {
                Format::Json => format!("{:#}", to_json("ListOwnersResponse", &answer)?),
                Format::Table if answer.owners.is_empty() => String::new(),
                Format::Table => render::table(&answer.owners, look),
            };
            Ok(pages.shown(text, answer.owners.len(), "owners"))
        };
        self.watch.show(output, ask).await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(&self, client: &Client) -> anyhow::Result<(pb::ListOwnersResponse, Pages)> {
        let disabled = (self.disabled || self.enabled).then_some(self.disabled);
        let mut pages = self.limit.pages();
        let mut answer = pb::ListOwnersResponse::default();
        let mut keys = client.keys();
        while let Some((page_size, page_token)) = pages.next_page() {
            let request = pb::ListOwnersRequest { disabled, page_size, page_token };
            let page =
                keys.list_owners(request).await.map_err(|status| client.failure(&status))?.into_inner();
            pages.turn(page.owners.len(), &page.next_page_token);
            answer.owners.extend(page.owners);
            answer.next_page_token = page.next_page_token;
        }
        Ok((answer, pages))
    }
}
