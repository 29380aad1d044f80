//! `keystile keys watch`

use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use tokio::time::sleep;
use tonic::{Code, Status, Streaming};

use crate::cli::client::Client;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output, plain};
use crate::cli::watch::Interrupt;
use crate::grpc::pb;
use crate::grpc::pb::watch_keys_response::Change;

/// Before a broken stream is opened anew: at first, and at most.
const PAUSE: Duration = Duration::from_millis(500);
const PAUSE_MAX: Duration = Duration::from_secs(10);

const EXAMPLES: &str = "\
Examples:
  keystile keys watch
  keystile keys watch --after-revision 4711 -o json | jq -c '[.revision, .change, .key.key_id]'";

/// Shows changes of keys and owners as they come, a line each, until Ctrl-C; JSON is an object a line
///
/// When the connection breaks it is made anew, and the watch goes on after the last revision that was shown: nothing
/// is left out.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Watch {
    /// Begin with the changes after this revision [default: from now on]
    #[arg(long, value_name = "REVISION", value_parser = clap::value_parser!(i64).range(0..))]
    after_revision: Option<i64>,
}

impl Watch {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let mut interrupt = Interrupt::listen()?;
        let watched = interrupt.or(self.follow(client, output)).await;
        watched.transpose()?;
        Ok(ExitCode::SUCCESS)
    }

    /// Shows changes until nobody reads them any more.
    async fn follow(&self, client: &Client, output: &mut Output) -> anyhow::Result<()> {
        let mut after = match self.after_revision.filter(|revision| *revision > 0) {
            Some(revision) => revision,
            None => head(client).await.map_err(|status| client.failure(&status))?,
        };
        let mut changes = open(client, after).await.map_err(|status| client.failure(&status))?;
        if output.format() == Format::Table {
            output.show(HEADER)?;
        }
        while !output.is_closed() {
            let broke = match changes.message().await {
                Ok(Some(change)) => {
                    after = change.revision;
                    show(&change, output)?;
                    continue;
                }
                Ok(None) => "it ended".to_owned(),
                Err(status) if passes(&status) => plain(status.message()),
                Err(status) => return Err(client.failure(&status).into()),
            };
            output.note(&format!(
                "The watch broke off ({broke}); it goes on after revision {after} when it can."
            ));
            changes = reopen(client, after).await.map_err(|status| client.failure(&status))?;
            output.note("The watch goes on.");
        }
        Ok(())
    }
}

/// The newest revision, so that even a watch that breaks off before the first change knows where to go on.
async fn head(client: &Client) -> Result<i64, Status> {
    let request = pb::ListKeysRequest { page_size: 1, ..Default::default() };
    Ok(client.keys().list_keys(request).await?.into_inner().revision)
}

async fn open(client: &Client, after_revision: i64) -> Result<Streaming<pb::WatchKeysResponse>, Status> {
    Ok(client.watching().watch_keys(pb::WatchKeysRequest { after_revision }).await?.into_inner())
}

/// Opens a watch that broke off, as soon as somebody answers.
async fn reopen(client: &Client, after: i64) -> Result<Streaming<pb::WatchKeysResponse>, Status> {
    let mut pause = PAUSE;
    loop {
        sleep(pause).await;
        match open(client, after).await {
            Err(status) if passes(&status) => pause = pause.saturating_mul(2).min(PAUSE_MAX),
            opened => return opened,
        }
    }
}

/// Whether a server that restarts, or a network that fails, may be all there is to it.
fn passes(status: &Status) -> bool {
    match status.code() {
        Code::Unavailable | Code::ResourceExhausted | Code::DeadlineExceeded | Code::Cancelled => true,
        // A connection that broke; what the server calls a defect has no source.
        Code::Unknown | Code::Internal => std::error::Error::source(status).is_some(),
        _ => false,
    }
}

const HEADER: &str = "REVISION    CHANGE         KEY         OWNER       STATE           NAME";

fn show(change: &pb::WatchKeysResponse, output: &mut Output) -> anyhow::Result<()> {
    match output.format() {
        Format::Json => output.show(&to_json("WatchKeysResponse", change)?.to_string())?,
        Format::Table => output.show(&line(change))?,
    }
    Ok(())
}

/// A line of the table, below [`HEADER`].
fn line(change: &pb::WatchKeysResponse) -> String {
    let what = match change.change() {
        Change::Unspecified => "",
        Change::KeyChanged => "key changed",
        Change::KeyPurged => "key purged",
        Change::OwnerChanged => "owner changed",
        Change::AllChanged => "all changed",
    };
    let (mut key_id, mut user_id, mut state, mut name) = (change.key_id, None, String::new(), String::new());
    if let Some(key) = &change.key {
        (key_id, user_id) = (key.key_id, Some(key.user_id));
        (state, name) = (key.state().as_str_name().to_owned(), plain(&key.display_name));
    }
    if let Some(owner) = &change.owner {
        user_id = Some(owner.user_id);
        state = if owner.disabled { "DISABLED" } else { "ENABLED" }.to_owned();
    }
    let key_id = if key_id == 0 { String::new() } else { key_id.to_string() };
    let user_id = user_id.map(|id| id.to_string()).unwrap_or_default();
    let revision = change.revision;
    let line = format!("{revision:<12}{what:<15}{key_id:<12}{user_id:<12}{state:<16}{name}");
    line.trim_end().to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_stands_below_the_header() {
        let key = pb::Key {
            key_id: 17,
            user_id: 4,
            display_name: "ci\u{1b}[2J".into(),
            state: pb::key::State::OwnerDisabled.into(),
            ..Default::default()
        };
        let changed = pb::WatchKeysResponse { revision: 99, change: 1, key: Some(key), ..Default::default() };
        let shown = line(&changed);
        let at = |column: &str| shown.get(HEADER.find(column).unwrap()..).unwrap();
        for (column, text) in [("REVISION", "99"), ("CHANGE", "key changed"), ("KEY", "17"), ("OWNER", "4")] {
            assert!(at(column).starts_with(text), "{column}: {shown}");
        }
        assert!(at("STATE").starts_with("OWNER_DISABLED"), "{shown}");
        assert!(at("NAME").starts_with("ci") && !shown.contains('\u{1b}'), "{shown}");
        let purged = pb::WatchKeysResponse { revision: 100, change: 2, key_id: 17, ..Default::default() };
        assert_eq!(line(&purged), "100         key purged     17");
        let owner = Some(pb::Owner { user_id: 4, disabled: true, ..Default::default() });
        let disabled = pb::WatchKeysResponse { revision: 101, change: 3, owner, ..Default::default() };
        assert_eq!(line(&disabled), "101         owner changed              4           DISABLED");
    }

    #[test]
    fn what_passes_is_waited_for_and_what_does_not_ends_the_watch() {
        for code in [Code::Unavailable, Code::ResourceExhausted] {
            assert!(passes(&Status::new(code, "")), "{code:?}");
        }
        for code in [Code::Unauthenticated, Code::PermissionDenied, Code::OutOfRange, Code::Internal] {
            assert!(!passes(&Status::new(code, "")), "{code:?}");
        }
    }
}
