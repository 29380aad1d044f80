//! `keystile budgets list`

use std::process::ExitCode;

use clap::Args;

use super::render;
use crate::cli::client::Client;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::cli::pages::{LimitArgs, Pages};
use crate::cli::watch::WatchArgs;
use crate::grpc::pb;
use crate::grpc::pb::list_budgets_request::Subject;

const EXAMPLES: &str = "\
Examples:
  keystile budgets list --key-id 17
  keystile budgets list --user-id 4 --watch
  keystile budgets list --all -o json | jq '.budgets[].budget_id'";

/// Lists budgets with what is spent of them, by their number
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct List {
    /// Those of a key alone, without its owner's
    #[arg(long, value_name = "KEY", conflicts_with = "user_id")]
    key_id: Option<i64>,
    /// Those of an owner alone, without its keys'
    #[arg(long, value_name = "OWNER")]
    user_id: Option<i64>,
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
                Format::Json => format!("{:#}", to_json("ListBudgetsResponse", &answer)?),
                Format::Table if answer.budgets.is_empty() => String::new(),
                Format::Table => render::table(&answer.budgets, look),
            };
            Ok(pages.shown(text, answer.budgets.len(), "budgets"))
        };
        self.watch.show(output, ask).await?;
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(&self, client: &Client) -> anyhow::Result<(pb::ListBudgetsResponse, Pages)> {
        let subject = self.key_id.map(Subject::KeyId).or(self.user_id.map(Subject::UserId));
        let mut pages = self.limit.pages();
        let mut answer = pb::ListBudgetsResponse::default();
        let mut budgets = client.budgets();
        while let Some((page_size, page_token)) = pages.next_page() {
            let request = pb::ListBudgetsRequest { subject, page_size, page_token };
            let page =
                budgets.list_budgets(request).await.map_err(|status| client.failure(&status))?.into_inner();
            pages.turn(page.budgets.len(), &page.next_page_token);
            answer.budgets.extend(page.budgets);
            answer.next_page_token = page.next_page_token;
        }
        Ok((answer, pages))
    }
}
