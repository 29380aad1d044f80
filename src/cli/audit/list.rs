//! `keystile audit list`

use std::collections::BTreeSet;
use std::process::ExitCode;

use chrono::{DateTime, TimeDelta, Utc};
use clap::Args;
use tokio::time;

use super::render;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::cli::pages::{LimitArgs, Pages};
use crate::cli::time::{Expiry, to_timestamp};
use crate::cli::watch::{EveryArgs, Interrupt};
use crate::clock::Clock;
use crate::grpc::pb;
use crate::grpc::pb::list_audit_events_request::Filter;

/// How many old events are shown before new ones are followed.
const FOLLOWED_FROM: i32 = 10;
/// So long ago the log is looked at for new events, where there were none: clocks differ, and changes take time.
const FOLLOWED_SINCE: TimeDelta = TimeDelta::minutes(10);
/// A page of new events while following.
const FOLLOWED_PAGE: i32 = 200;
/// Events that are remembered, since one may appear after another with a higher number.
const REMEMBERED: usize = 10_000;

const EXAMPLES: &str = "\
Examples:
  keystile audit list --resource keys/17
  keystile audit list --refused --since 24h
  keystile audit list --actor key/1 --action keys.revoke -o json | jq '.events[].before'
  keystile audit list --follow";

/// Lists events, newest first
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct List {
    /// Who: key/17, command/import
    #[arg(long, value_name = "ACTOR", default_value = "", hide_default_value = true)]
    actor: String,
    /// What: keys.create, owners.disable
    #[arg(long, value_name = "ACTION", default_value = "", hide_default_value = true)]
    action: String,
    /// To what: keys/17, owners/4
    #[arg(long, value_name = "RESOURCE", default_value = "", hide_default_value = true)]
    resource: String,
    /// At or after this instant, or so long ago at most: 24h, 2030-01-31T00:00:00Z
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse_when)]
    since: Option<Expiry>,
    /// Before this instant, or longer ago
    #[arg(long, value_name = "WHEN", value_parser = Expiry::parse_when)]
    until: Option<Expiry>,
    /// Of the request that its caller gave this id
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    request_id: String,
    /// Refused attempts alone
    #[arg(long)]
    refused: bool,
    /// Events of this plugin
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    plugin_id: String,
    #[command(flatten)]
    limit: LimitArgs,
    /// Show the last events, oldest first, then new ones as they come, until Ctrl-C; JSON is a line an event
    #[arg(long, short, conflicts_with_all = ["until", "limit", "all"], help_heading = "Output")]
    follow: bool,
    #[command(flatten)]
    every: EveryArgs,
}

/// Which events have been shown.
#[derive(Debug, Default)]
struct Seen {
    ids: BTreeSet<i64>,
    /// Older ones than this are not asked for.
    floor: i64,
}

impl List {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        if self.follow {
            return self.follow(client, output).await;
        }
        let filter = self.filter(Clock::System.now())?;
        let (answer, pages) = self.ask(&filter, client).await?;
        let text = match output.format() {
            Format::Json => format!("{:#}", to_json("ListAuditEventsResponse", &answer)?),
            Format::Table if answer.events.is_empty() => String::new(),
            Format::Table => render::table(&answer.events, output.look()),
        };
        let shown = pages.shown(text, answer.events.len(), "events");
        output.show(&shown.text)?;
        if !shown.note.is_empty() {
            output.note(&shown.note);
        }
        Ok(ExitCode::SUCCESS)
    }

    async fn ask(
        &self,
        filter: &Filter,
        client: &Client,
    ) -> anyhow::Result<(pb::ListAuditEventsResponse, Pages)> {
        let mut pages = self.limit.pages();
        let mut answer = pb::ListAuditEventsResponse::default();
        while let Some((page_size, page_token)) = pages.next_page() {
            let page = page(filter, page_size, page_token, client).await?;
            pages.turn(page.events.len(), &page.next_page_token);
            answer.events.extend(page.events);
            answer.next_page_token = page.next_page_token;
        }
        Ok((answer, pages))
    }

    async fn follow(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let now = Clock::System.now();
        let mut filter = self.filter(now)?;
        let mut interrupt = Interrupt::listen()?;
        let mut seen = Seen::default();
        let first = interrupt.or(last_events(&filter, client)).await;
        let Some(first) = first.transpose()? else { return Ok(ExitCode::SUCCESS) };
        // Without one that has been shown, a look for new ones would go back to the beginning of the log each time.
        if first.is_empty() && filter.start_time.is_none() {
            filter.start_time = now.checked_sub_signed(FOLLOWED_SINCE).map(to_timestamp);
        }
        let mut new = seen.start(first);
        while !output.is_closed() {
            for event in &new {
                match output.format() {
                    Format::Json => output.show(&to_json("AuditEvent", event)?.to_string())?,
                    Format::Table => output.show(&render::line(event))?,
                }
            }
            if interrupt.or(time::sleep(self.every.watch_every)).await.is_none() {
                break;
            }
            let Some(answer) = interrupt.or(new_events(&filter, &mut seen, client)).await else { break };
            new = answer.unwrap_or_else(|error| {
                output.note(&crate::cli::worded(&error));
                Vec::new()
            });
        }
        Ok(ExitCode::SUCCESS)
    }

    fn filter(&self, now: DateTime<Utc>) -> Result<Filter, Failure> {
        let at = |when: Option<Expiry>| match when.map(|when| when.before(now)) {
            None => Ok(None),
            Some(Some(instant)) => Ok(Some(to_timestamp(instant))),
            Some(None) => Err(Failure::new("A time is beyond the calendar.")),
        };
        Ok(Filter {
            actor: self.actor.clone(),
            action: self.action.clone(),
            resource: self.resource.clone(),
            start_time: at(self.since)?,
            end_time: at(self.until)?,
            request_id: self.request_id.clone(),
            refused_only: self.refused,
            plugin_id: self.plugin_id.clone(),
        })
    }
}

async fn page(
    filter: &Filter,
    page_size: i32,
    page_token: String,
    client: &Client,
) -> anyhow::Result<pb::ListAuditEventsResponse> {
    let request = pb::ListAuditEventsRequest { filter: Some(filter.clone()), page_size, page_token };
    let page = client.audit().list_audit_events(request).await;
    Ok(page.map_err(|status| client.failure(&status))?.into_inner())
}

/// The last events, newest first. A page may be empty though it is not the last.
async fn last_events(filter: &Filter, client: &Client) -> anyhow::Result<Vec<pb::AuditEvent>> {
    let mut page_token = String::new();
    loop {
        let answer = page(filter, FOLLOWED_FROM, page_token, client).await?;
        page_token = answer.next_page_token;
        if !answer.events.is_empty() || page_token.is_empty() {
            return Ok(answer.events);
        }
    }
}

/// Events that have not been shown, oldest first: pages back to one that holds an event that has been.
async fn new_events(
    filter: &Filter,
    seen: &mut Seen,
    client: &Client,
) -> anyhow::Result<Vec<pb::AuditEvent>> {
    let (mut found, mut page_token) = (Vec::new(), String::new());
    loop {
        let answer = page(filter, FOLLOWED_PAGE, page_token, client).await?;
        let reached = answer.events.iter().any(|event| seen.has(event.event_id));
        found.extend(answer.events);
        page_token = answer.next_page_token;
        if reached || page_token.is_empty() {
            return Ok(seen.take(found));
        }
    }
}

impl Seen {
    /// The first events, newest first, in the order that they are shown in.
    fn start(&mut self, events: Vec<pb::AuditEvent>) -> Vec<pb::AuditEvent> {
        self.floor = events.last().map_or(0, |event| event.event_id);
        self.take(events)
    }

    fn has(&self, event_id: i64) -> bool {
        event_id < self.floor || self.ids.contains(&event_id)
    }

    /// Those of `events`, newest first, that have not been shown, oldest first.
    fn take(&mut self, mut events: Vec<pb::AuditEvent>) -> Vec<pb::AuditEvent> {
        events.retain(|event| !self.has(event.event_id));
        events.reverse();
        self.ids.extend(events.iter().map(|event| event.event_id));
        while self.ids.len() > REMEMBERED {
            // What is forgotten is below the floor from now on.
            self.floor = self.ids.pop_first().map_or(self.floor, |id| id.saturating_add(1));
        }
        events
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        list: List,
    }

    fn filter(args: &[&str]) -> Filter {
        let program = Program::try_parse_from(["list"].iter().chain(args)).unwrap();
        program.list.filter(DateTime::from_timestamp(1_900_000_000, 0).unwrap()).unwrap()
    }

    fn events(ids: &[i64]) -> Vec<pb::AuditEvent> {
        ids.iter().map(|id| pb::AuditEvent { event_id: *id, ..Default::default() }).collect()
    }

    fn ids(events: &[pb::AuditEvent]) -> Vec<i64> {
        events.iter().map(|event| event.event_id).collect()
    }

    #[test]
    fn every_flag_reaches_the_filter() {
        let given = filter(&[
            "--actor=key/1",
            "--action=keys.revoke",
            "--resource=keys/17",
            "--since=1h",
            "--until=2030-03-17T17:46:40Z",
            "--request-id=r",
            "--refused",
            "--plugin-id=p",
        ]);
        let expected = Filter {
            actor: "key/1".into(),
            action: "keys.revoke".into(),
            resource: "keys/17".into(),
            start_time: Some(prost_types::Timestamp { seconds: 1_900_000_000 - 3600, nanos: 0 }),
            end_time: Some(prost_types::Timestamp { seconds: 1_900_000_000, nanos: 0 }),
            request_id: "r".into(),
            refused_only: true,
            plugin_id: "p".into(),
        };
        assert_eq!(given, expected);
        assert_eq!(filter(&[]), Filter::default());
    }

    #[test]
    fn each_event_is_shown_once_oldest_first_however_late_it_appears() {
        let mut seen = Seen::default();
        assert_eq!(ids(&seen.start(events(&[9, 7, 5]))), [5, 7, 9]);
        // 8 was committed after 9 had been seen; 4 is older than all that was asked for.
        assert_eq!(ids(&seen.take(events(&[10, 9, 8, 7, 5, 4]))), [8, 10]);
        assert_eq!(ids(&seen.take(events(&[10, 9, 8]))), Vec::<i64>::new());
    }

    #[test]
    fn an_empty_log_is_followed_from_its_first_event() {
        let mut seen = Seen::default();
        assert!(seen.start(Vec::new()).is_empty());
        assert_eq!(ids(&seen.take(events(&[2, 1]))), [1, 2]);
    }

    #[test]
    fn what_is_remembered_is_bounded_and_never_shown_twice() {
        let mut seen = Seen::default();
        let many: Vec<i64> = (1..=20_000).rev().collect();
        seen.start(events(&[1]));
        assert_eq!(seen.take(events(&many)).len(), 19_999);
        assert_eq!(seen.ids.len(), REMEMBERED);
        assert!(seen.take(events(&many)).is_empty());
    }
}
