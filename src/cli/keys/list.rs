//! `keystile keys list`

use std::process::ExitCode;

use clap::Args;

use super::filter::{Order, Which};
use super::render;
use crate::cli::client::Client;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::cli::pages::{LimitArgs, Pages};
use crate::cli::watch::WatchArgs;
use crate::clock::Clock;
use crate::grpc::pb;

const EXAMPLES: &str = "\
Examples:
  keystile keys list --user-id 4 --wide
  keystile keys list --state revoked --state expired --tag ci
  keystile keys list --expires-before 7d --order-by expire_time
  keystile keys list --last-used-before 90d --all
  keystile keys list --model gpt-4o --watch
  keystile keys list --metadata team=search -o json | jq '.keys[].key_id'";

/// Lists keys; deleted ones only where --state asks for them
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct List {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    order: Order,
    #[command(flatten)]
    limit: LimitArgs,
    /// Show what the keys may do, too
    #[arg(long, help_heading = "Output")]
    wide: bool,
    #[command(flatten)]
    watch: WatchArgs,
}

impl List {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let (format, look) = (output.format(), output.look());
        let ask = async || {
            let (answer, pages) = self.ask(client).await?;
            let text = match format {
                Format::Json => format!("{:#}", to_json("ListKeysResponse", &answer)?),
                Format::Table if answer.keys.is_empty() => String::new(),
                Format::Table => render::table(&answer.keys, self.wide, look),
            };
            Ok(pages.shown(text, answer.keys.len(), "keys"))
        };
        self.watch.show(output, ask).await?;
        Ok(ExitCode::SUCCESS)
    }

    /// The keys of all pages, as one answer; a page token in it says that there are more.
    async fn ask(&self, client: &Client) -> anyhow::Result<(pb::ListKeysResponse, Pages)> {
        let filter = self.which.filter(Clock::System.now())?;
        let mut pages = self.limit.pages();
        let mut collected: Option<pb::ListKeysResponse> = None;
        let mut keys = client.keys();
        while let Some((page_size, page_token)) = pages.next_page() {
            let filter = Some(filter.clone());
            let order_by = self.order.to_order_by();
            let request = pb::ListKeysRequest { filter, order_by, page_size, page_token };
            let page = keys.list_keys(request).await.map_err(|status| client.failure(&status))?.into_inner();
            pages.turn(page.keys.len(), &page.next_page_token);
            collected = Some(joined(collected, page));
        }
        Ok((collected.unwrap_or_default(), pages))
    }
}

/// A list as a whole is only as new as its oldest page.
fn joined(list: Option<pb::ListKeysResponse>, page: pb::ListKeysResponse) -> pb::ListKeysResponse {
    let Some(mut list) = list else { return page };
    list.revision = list.revision.min(page.revision);
    list.keys.extend(page.keys);
    list.next_page_token = page.next_page_token;
    list
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pages_become_one_list_that_is_as_new_as_the_oldest() {
        let page = |keys: usize, revision: i64, next: &str| pb::ListKeysResponse {
            keys: vec![pb::Key::default(); keys],
            next_page_token: next.into(),
            revision,
        };
        let list = joined(Some(joined(None, page(2, 7, "a"))), page(1, 5, ""));
        assert_eq!((list.keys.len(), list.revision, list.next_page_token.as_str()), (3, 5, ""));
        assert_eq!(joined(Some(page(1, 5, "a")), page(1, 9, "b")).revision, 5);
    }
}
