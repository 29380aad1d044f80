//! One scenario: replicas, load, and in the end the checker.

use std::sync::{Arc, LazyLock};
use std::time::Duration;

use tokio::sync::{Semaphore, SemaphorePermit, watch};
use tokio::task::JoinSet;

use super::checker::breaches;
use super::fleet::{Fleet, Pace};
use super::history::{History, Outcome};
use super::load::{Load, OWNERS};
use super::recorder::Recorder;
use super::world::{Grant, KEYS_PER_OWNER, Question};
use crate::harness::{eventually, number};

/// One at a time: each starts several processes.
static TURN: Semaphore = Semaphore::const_new(1);

/// The choices of a run.
static SEED: LazyLock<u64> = LazyLock::new(|| match std::env::var("KEYSTILE_HISTORY_SEED") {
    Ok(seed) => seed.parse().expect("KEYSTILE_HISTORY_SEED is a number"),
    Err(_) => rand::random(),
});

/// How many breaches are shown of many.
const SHOWN_MAX: usize = 5;

/// Where the database is.
#[derive(Clone, Debug)]
pub struct Place {
    pub url: String,
    pub name: String,
}

/// A scenario under way: askers ask and changers change.
pub struct Scenario {
    name: &'static str,
    pub fleet: Fleet,
    pub load: Arc<Load>,
    url: String,
    askers: JoinSet<()>,
    asking: watch::Sender<bool>,
    changers: JoinSet<()>,
    changing: watch::Sender<bool>,
    _turn: SemaphorePermit<'static>,
}

/// Waits for its turn: call before anything is started.
pub async fn turn() -> SemaphorePermit<'static> {
    TURN.acquire().await.unwrap()
}

impl Scenario {
    /// Three replicas on a database, which decide and change.
    pub async fn begin(name: &'static str, turn: SemaphorePermit<'static>, place: Place, pace: Pace) -> Self {
        println!("{name}: KEYSTILE_HISTORY_SEED={}", *SEED);
        let fleet = Fleet::start(&place.url, &place.name, pace).await;
        let owners: Vec<i64> = (1..).take(OWNERS).collect();
        let mut keys = Vec::new();
        for at in 0..OWNERS * KEYS_PER_OWNER {
            keys.push(fleet.create(owners[at / KEYS_PER_OWNER]).await);
        }
        let base = number(&place.url, "SELECT revision FROM revision_counter").await;
        let recorder = Recorder::new(base);
        let load = Load::new(Arc::clone(&fleet.directory), recorder, keys, owners, *SEED, pace);
        let mut scenario = Self {
            name,
            fleet,
            load: Arc::new(load),
            url: place.url,
            askers: JoinSet::new(),
            asking: watch::Sender::new(false),
            changers: JoinSet::new(),
            changing: watch::Sender::new(false),
            _turn: turn,
        };
        for replica in 0..3 {
            scenario.ask(replica);
        }
        scenario.start_changes();
        scenario.recorder().until_decided(&[0, 1, 2]).await;
        scenario.recorder().until_stopped().await;
        scenario
    }

    pub fn recorder(&self) -> &Recorder {
        &self.load.recorder
    }

    /// A replica at a new place, asked like the others.
    pub async fn add_replica(&mut self) -> usize {
        let replica = self.fleet.add().await;
        self.ask(replica);
        replica
    }

    fn ask(&mut self, replica: usize) {
        self.askers.spawn(Arc::clone(&self.load).ask_on(replica, self.asking.subscribe()));
    }

    pub fn start_changes(&mut self) {
        self.changing.send_replace(false);
        for owner in 0..OWNERS {
            self.changers.spawn(Arc::clone(&self.load).change_on(owner, self.changing.subscribe()));
        }
    }

    /// Returns when no change is under way any more.
    pub async fn stop_changes(&mut self) {
        self.changing.send_replace(true);
        while let Some(ended) = self.changers.join_next().await {
            ended.unwrap();
        }
    }

    /// From now on the database is elsewhere.
    pub fn moved_to(&mut self, url: String) {
        self.url = url;
    }

    /// Every replica that runs decides, and changes become certain.
    pub async fn until_well(&self) {
        self.recorder().until_decided(&self.fleet.directory.running()).await;
        self.recorder().until_stopped().await;
    }

    /// The end: every key is asked about once more, and no answer broke the invariant.
    pub async fn end(mut self) -> History {
        self.until_well().await;
        self.stop_changes().await;
        self.asking.send_replace(true);
        while let Some(ended) = self.askers.join_next().await {
            ended.unwrap();
        }
        for replica in self.fleet.directory.running() {
            for key in 0..self.load.keys.len() {
                self.load.ask(replica, Question { key, needs: Grant::ALL.into() }).await;
            }
        }
        self.recorder().resolve(&self.url).await;
        let history = self.recorder().take();
        self.tell(&history);
        let breaches = breaches(&history);
        for breach in breaches.iter().take(SHOWN_MAX) {
            let key = breach.request.question.key;
            println!("{}: {breach:#?}", self.name);
            for change in history.changes.iter().filter(|it| it.stop.keys().contains(&key)) {
                println!("    {change:?}");
            }
        }
        assert!(breaches.is_empty(), "{}: {} answers break the invariant", self.name, breaches.len());
        history
    }

    fn tell(&self, history: &History) {
        let is_decided = |it: &Outcome| matches!(it, Outcome::Decided { .. });
        let decided = history.requests.iter().filter(|it| is_decided(&it.outcome)).count();
        let promises: Vec<_> = history.changes.iter().filter_map(|change| change.promised).collect();
        let complete = history.changes.iter().filter_map(|change| {
            let promise = change.promised.filter(|it| it.is_complete)?;
            Some(promise.from - change.asked)
        });
        let mut took: Vec<Duration> = complete.collect();
        took.sort();
        println!(
            "{}: {:?}; {} requests, {decided} decided; {} changes, {} answered, {} of them complete (after {:?}, at \
             most {:?}), {} took a revision",
            self.name,
            self.recorder().now(),
            history.requests.len(),
            history.changes.len(),
            promises.len(),
            took.len(),
            took.get(took.len() / 2).copied().unwrap_or_default(),
            took.last().copied().unwrap_or_default(),
            history.changes.iter().filter(|it| it.took.is_some()).count(),
        );
    }
}

/// Waits until a replica does not decide any more.
pub async fn until_refused(scenario: &Scenario, replica: usize) {
    let recorder = scenario.recorder();
    eventually("it refuses", async || {
        let now = recorder.now();
        recorder.until_passed(Duration::from_millis(200)).await;
        recorder.decided(replica, now) == 0
    })
    .await;
}
