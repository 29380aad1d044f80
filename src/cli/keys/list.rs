//! `keystile keys list`

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::{name_and_value, render};
use crate::cli::client::Client;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::grpc::pb;
use crate::grpc::pb::list_keys_request::Filter;

const LIMIT: u32 = 1000;
const PAGE_SIZE: usize = 200;
const EXAMPLES: &str = "\
Examples:
  keystile keys list --user-id 4
  keystile keys list --state revoked --state expired --tag ci
  keystile keys list --metadata team=search -o json | jq '.keys[].key_id'";

/// Lists keys; deleted ones only where --state asks for them
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct List {
    /// Keys of this owner
    #[arg(long, value_name = "ID")]
    user_id: Option<i64>,
    /// Keys in this state; may be repeated [default: all but deleted]
    #[arg(long = "state", value_name = "STATE", value_enum)]
    states: Vec<State>,
    /// Keys with this tag
    #[arg(long, value_name = "TAG", default_value = "", hide_default_value = true)]
    tag: String,
    /// Keys whose prefix starts so
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    prefix: String,
    /// Keys whose name holds this, whatever the case
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    name: String,
    /// Keys with this metadata; may be repeated
    #[arg(long, value_name = "NAME=VALUE", value_parser = name_and_value)]
    metadata: Vec<(String, String)>,
    /// Most keys to list
    #[arg(long, value_name = "N", default_value_t = LIMIT, value_parser = clap::value_parser!(u32).range(1..))]
    limit: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum State {
    Active,
    Revoked,
    Deleted,
    Expired,
    OwnerDisabled,
}

/// The keys of all pages, as one answer; a page token in it says that there are more.
#[derive(Debug)]
struct Collected {
    answer: pb::ListKeysResponse,
    limit: usize,
    started: bool,
}

impl List {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let mut collected = Collected::new(usize::try_from(self.limit).unwrap_or(usize::MAX));
        let mut keys = client.keys();
        while let Some((page_size, page_token)) = collected.next_page() {
            let request = pb::ListKeysRequest {
                filter: Some(self.filter()),
                page_size,
                page_token,
                ..Default::default()
            };
            let page = keys.list_keys(request).await.map_err(|status| client.failure(&status))?;
            collected.add(page.into_inner());
        }
        let Collected { answer, .. } = collected;
        match output.format() {
            Format::Json => output.show_json(&to_json("ListKeysResponse", &answer)?)?,
            Format::Table if answer.keys.is_empty() => {}
            Format::Table => output.show(&render::table(&answer.keys))?,
        }
        if answer.keys.is_empty() {
            output.note("No keys fit.");
        } else if !answer.next_page_token.is_empty() {
            output.note(&format!("These are the first {}; there are more: --limit.", answer.keys.len()));
        }
        Ok(ExitCode::SUCCESS)
    }

    fn filter(&self) -> Filter {
        Filter {
            user_id: self.user_id,
            states: self.states.iter().map(|state| pb::key::State::from(*state).into()).collect(),
            tag: self.tag.clone(),
            key_prefix: self.prefix.clone(),
            name_contains: self.name.clone(),
            metadata: self.metadata.iter().cloned().collect(),
            ..Default::default()
        }
    }
}

impl Collected {
    fn new(limit: usize) -> Self {
        Self { answer: pb::ListKeysResponse::default(), limit, started: false }
    }

    /// Size and token of the page to ask for next; `None` when the limit is reached or there are no more.
    fn next_page(&self) -> Option<(i32, String)> {
        let missing = self.limit.saturating_sub(self.answer.keys.len());
        let more = !self.started || !self.answer.next_page_token.is_empty();
        let page_size = i32::try_from(missing.min(PAGE_SIZE)).ok().filter(|size| *size > 0 && more)?;
        Some((page_size, self.answer.next_page_token.clone()))
    }

    fn add(&mut self, page: pb::ListKeysResponse) {
        // The list as a whole is only as new as its oldest page.
        let revision = if self.started { self.answer.revision.min(page.revision) } else { page.revision };
        self.started = true;
        self.answer.revision = revision;
        self.answer.keys.extend(page.keys);
        self.answer.next_page_token = page.next_page_token;
    }
}

impl From<State> for pb::key::State {
    fn from(state: State) -> Self {
        match state {
            State::Active => Self::Active,
            State::Revoked => Self::Revoked,
            State::Deleted => Self::Deleted,
            State::Expired => Self::Expired,
            State::OwnerDisabled => Self::OwnerDisabled,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn page(keys: usize, revision: i64, next: &str) -> pb::ListKeysResponse {
        pb::ListKeysResponse { keys: vec![pb::Key::default(); keys], next_page_token: next.into(), revision }
    }

    #[test]
    fn pages_are_asked_for_until_there_are_no_more() {
        let mut collected = Collected::new(1000);
        assert_eq!(collected.next_page(), Some((200, String::new())));
        collected.add(page(200, 7, "a"));
        assert_eq!(collected.next_page(), Some((200, "a".into())));
        collected.add(page(0, 5, "b"));
        assert_eq!(collected.next_page(), Some((200, "b".into())));
        collected.add(page(3, 9, ""));
        assert_eq!(collected.next_page(), None);
        assert_eq!((collected.answer.keys.len(), collected.answer.revision), (203, 5));
    }

    #[test]
    fn no_more_than_the_limit_is_asked_for() {
        let mut collected = Collected::new(201);
        collected.add(page(200, 1, "a"));
        assert_eq!(collected.next_page(), Some((1, "a".into())));
        collected.add(page(1, 1, "b"));
        assert_eq!(collected.next_page(), None);
        assert_eq!(collected.answer.next_page_token, "b");
    }

    #[test]
    fn an_empty_service_is_asked_once() {
        for revision in [0, 1] {
            let mut collected = Collected::new(10);
            collected.add(page(0, revision, ""));
            assert_eq!(collected.next_page(), None, "{revision}");
        }
    }
}
