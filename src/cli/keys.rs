//! `keystile keys`: keeps keys.

mod access;
mod apply;
mod budget;
mod create;
mod expiry;
mod filter;
mod get;
mod grants;
mod limits;
mod list;
mod lookup;
mod new_token;
mod render;
mod rotate;
mod settings;
mod states;
mod update;
mod watch;

use std::process::ExitCode;

use clap::{Args, Subcommand};

pub(super) use self::limits::LimitChanges;
pub(super) use self::render::{details, note_propagation, rate_limits};

use super::client::ClientArgs;
use super::output::{Output, OutputArgs};

/// Creates, finds, changes, rotates, stops and deletes keys
///
/// The caller's token needs the scope keystile.read for list, get, lookup and watch, keystile.admin for the rest.
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
    List(Box<list::List>),
    Get(get::Get),
    Update(Box<update::Update>),
    Rotate(rotate::Rotate),
    Revoke(states::Revoke),
    Reactivate(states::Reactivate),
    Delete(states::Delete),
    Undelete(states::Undelete),
    Expire(expiry::Expire),
    Extend(expiry::Extend),
    Grant(grants::Grant),
    Ungrant(grants::Ungrant),
    Apply(apply::Apply),
    Lookup(lookup::Lookup),
    Watch(watch::Watch),
}

impl Keys {
    /// Does it.
    ///
    /// # Errors
    /// What the person needs to know.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        let client = &self.client.connect(output).await?;
        match &self.command {
            Command::Create(create) => create.run(client, output).await,
            Command::List(list) => list.run(client, output).await,
            Command::Get(get) => get.run(client, output).await,
            Command::Update(update) => update.run(client, output).await,
            Command::Rotate(rotate) => rotate.run(client, output).await,
            Command::Revoke(revoke) => revoke.run(client, output).await,
            Command::Reactivate(reactivate) => reactivate.run(client, output).await,
            Command::Delete(delete) => delete.run(client, output).await,
            Command::Undelete(undelete) => undelete.run(client, output).await,
            Command::Expire(expire) => expire.run(client, output).await,
            Command::Extend(extend) => extend.run(client, output).await,
            Command::Grant(grant) => grant.run(client, output).await,
            Command::Ungrant(ungrant) => ungrant.run(client, output).await,
            Command::Apply(apply) => apply.run(client, output).await,
            Command::Lookup(lookup) => lookup.run(client, output).await,
            Command::Watch(watch) => watch.run(client, output).await,
        }
    }
}

/// Parses a key's number.
fn key_number(text: &str) -> Result<i64, String> {
    text.parse().map_err(|_| {
        let is_word = text.chars().all(|letter| letter.is_alphanumeric() || "-_.".contains(letter));
        let name = if is_word { text.to_owned() } else { format!("'{}'", text.replace('\'', r"'\''")) };
        format!("must be a key's number; `keystile keys list --name {name}` finds it")
    })
}

/// Parses `name=value`.
fn name_and_value(text: &str) -> Result<(String, String), String> {
    match text.split_once('=') {
        Some((name, value)) if !name.is_empty() => Ok((name.to_owned(), value.to_owned())),
        _ => Err(format!("{text} is no pair; write name=value")),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_in_the_place_of_a_number_is_told_how_to_find_it() {
        assert_eq!(key_number("17"), Ok(17));
        for (text, name) in [("alice", "alice"), ("it's mine", r"'it'\''s mine'")] {
            let told = format!("must be a key's number; `keystile keys list --name {name}` finds it");
            assert_eq!(key_number(text), Err(told));
        }
    }
}
