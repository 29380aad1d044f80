//! Where requests and changes are recorded while they happen, and what can be waited for.

use std::collections::BTreeMap;
use std::mem;
use std::sync::{Mutex, MutexGuard};
use std::time::Instant;

use keystile::clock;

use super::history::{Change, History, Outcome, Promise, Request, Revision, Time, Timeline};
use super::world::{Stop, World};
use crate::harness::{eventually, lines};

/// What a call that changes something is recognised by in the audit log.
pub fn request_id(change: usize) -> String {
    format!("change-{change}")
}

/// A run's record.
#[derive(Debug)]
pub struct Recorder {
    began: Instant,
    history: Mutex<History>,
    /// What is stopped, as far as answers tell.
    believed: Mutex<World>,
}

impl Recorder {
    /// From this revision of the database on.
    pub fn new(base: Revision) -> Self {
        let timelines = vec![Timeline { from: Time::ZERO, base }];
        let history = History { timelines, requests: Vec::new(), changes: Vec::new() };
        Self { began: clock::monotonic_now(), history: Mutex::new(history), believed: Mutex::default() }
    }

    pub fn now(&self) -> Time {
        clock::since(self.began)
    }

    fn history(&self) -> MutexGuard<'_, History> {
        self.history.lock().unwrap()
    }

    pub fn believed(&self) -> World {
        self.believed.lock().unwrap().clone()
    }

    /// Records a request that is over.
    pub fn request(&self, request: Request) {
        self.history().requests.push(request);
    }

    /// Records a change that is about to be asked for, and returns its place.
    pub fn asks(&self, stop: Stop, is_on: bool) -> usize {
        let asked = self.now();
        let mut history = self.history();
        let timeline = history.timelines.len() - 1;
        let change = Change { timeline, stop, is_on, asked, took: None, promised: None, is_refused: false };
        history.changes.push(change);
        history.changes.len() - 1
    }

    /// What came of a change: what was promised, or (`Err`) nothing, as it was refused. Without an answer it may have
    /// happened, or happen yet.
    pub fn answered(&self, change: usize, answer: Option<Result<Promise, String>>) {
        let mut history = self.history();
        let change = &mut history.changes[change];
        match answer {
            Some(Ok(promise)) => change.promised = Some(promise),
            Some(Err(_)) => change.is_refused = true,
            None => {}
        }
        if !change.is_refused {
            self.believed.lock().unwrap().set(change.stop, change.is_on);
        }
    }

    /// Fills in the revisions that the changes of the newest timeline took, from the audit log: only this knows about
    /// those that got no answer.
    pub async fn resolve(&self, url: &str) {
        let query = "SELECT request_id || ' ' || revision AS line FROM audit_events WHERE revision > 0";
        let taken: BTreeMap<String, Revision> = lines(url, query)
            .await
            .iter()
            .filter_map(|line| line.rsplit_once(' '))
            .map(|(id, revision)| (id.to_owned(), revision.parse().unwrap()))
            .collect();
        let mut history = self.history();
        let newest = history.timelines.len() - 1;
        for (at, change) in history.changes.iter_mut().enumerate() {
            if change.timeline != newest {
                continue;
            }
            change.took = taken.get(&request_id(at)).copied();
            if let (Some(took), Some(promised)) = (change.took, change.promised) {
                assert_eq!(promised.revision, took, "the answer tells another revision: {change:?}");
            }
        }
    }

    /// The database has gone over to another timeline: not before `from`, with all up to `base`.
    pub fn failed_over(&self, from: Time, base: Revision) {
        self.history().timelines.push(Timeline { from, base });
    }

    /// Takes the record away.
    pub fn take(&self) -> History {
        let empty = History { timelines: Vec::new(), requests: Vec::new(), changes: Vec::new() };
        mem::replace(&mut *self.history(), empty)
    }

    /// How many requests were decided by a replica that were sent after a time.
    pub fn decided(&self, replica: usize, after: Time) -> usize {
        let is_one = |request: &&Request| {
            request.replica == replica
                && request.sent > after
                && matches!(request.outcome, Outcome::Decided { .. })
        };
        self.history().requests.iter().filter(is_one).count()
    }

    /// Waits until each of these replicas has decided some requests that were sent from now on.
    pub async fn until_decided(&self, replicas: &[usize]) {
        let now = self.now();
        let what = format!("replicas {replicas:?} decide");
        eventually(&what, async || replicas.iter().all(|it| self.decided(*it, now) >= DECIDED_MIN)).await;
    }

    /// Waits until a key was revoked, an owner disabled and a grant removed, each from now on and certainly.
    pub async fn until_stopped(&self) {
        let (began, mut at) = (self.now(), 0);
        let mut missing = vec!["revoked", "disabled", "removed"];
        eventually("a key is revoked, an owner disabled, a grant removed", async || {
            let (now, history) = (self.now(), self.history());
            // Those before are certain by now, or too old.
            at = history.changes.iter().position(|it| it.asked > began).unwrap_or(at);
            let certain = history.changes[at..].iter().filter(|change| {
                change.is_on && change.asked > began && change.promised.is_some_and(|it| it.from < now)
            });
            for change in certain {
                let kind = match change.stop {
                    Stop::Revoked(_) => "revoked",
                    Stop::Disabled(_) => "disabled",
                    Stop::Without(..) => "removed",
                    Stop::Deleted(_) => continue,
                };
                missing.retain(|it| *it != kind);
            }
            missing.is_empty()
        })
        .await;
    }

    /// Waits until every replica has a change that is asked for from now on.
    pub async fn until_complete(&self) {
        let began = self.now();
        eventually("a change is complete", async || {
            let is_one =
                |it: &Change| it.asked > began && it.promised.is_some_and(|promise| promise.is_complete);
            self.history().changes.iter().any(is_one)
        })
        .await;
    }

    /// Waits until this long has passed.
    pub async fn until_passed(&self, time: Time) {
        let end = self.now() + time;
        eventually("time passes", async || self.now() > end).await;
    }
}

/// How many decisions show that a replica decides.
const DECIDED_MIN: usize = 10;
