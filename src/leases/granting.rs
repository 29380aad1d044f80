//! The two lanes on which this replica asks the store.
//!
//! - The **first lane** takes the queue, group by group. What another holds, be it a replica or somebody's transaction by
//!   hand, it leaves to the second.
//! - The **second lane** ([`super::second`]) tries it again. What it has a question about, the first leaves to it.
//!
//! Each has a connection of its own and one group under way. A group that fails while it commits counts as debited: nothing of
//! it is used.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::group::{Group, Served, give_up};
use super::left::{Left, Mark, young};
use super::queue::{Waiter, Work};
use super::{Leases, held};
use crate::clock;
use crate::limits::Window;
use crate::storage::counters::{CounterLink, Taking};
use crate::storage::{StorageError, Store};

/// So many requests, and as many renewals, make a group at most.
pub(super) const GROUP_MAX: usize = 1_024;
/// A store that is away is tried again so often.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// What is over is looked for so often.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// Giving everything back at the end may take so long.
const LAST_MAX: Duration = Duration::from_secs(3);
const LAST_PAUSE: Duration = Duration::from_millis(5);

/// The connection of the first lane.
enum Link {
    Ready(Box<CounterLink>),
    /// It is being made, again and again; until then nothing can be had.
    Away(JoinHandle<CounterLink>),
}

/// What a group has not decided.
#[derive(Debug)]
pub(super) struct Rest {
    /// Others hold the rows.
    pub(super) left: Left,
    /// What was debited for them cannot be used any more.
    pub(super) again: Vec<Waiter>,
}

/// A group that was not answered.
#[derive(Debug)]
pub(super) struct Failed {
    pub(super) error: StorageError,
    /// Who waits; and what was asked, unless that may have been done.
    pub(super) left: Left,
}

impl Leases {
    /// Asks for what is needed until `stop` comes, then gives everything back.
    pub async fn run(self, store: Store, stop: impl Future<Output = ()>) {
        if Window::is_shortened() {
            tracing::warn!(
                "this program was built to measure, with a shorter minute: limits per minute are not kept"
            );
        }
        let (stopping, stopped) = watch::channel(false);
        let (leave, left) = unbounded_channel();
        let first = self.first_lane(&store, leave, stopped.clone());
        let second = self.second_lane(&store, left, stopped.clone());
        let stop = async {
            stop.await;
            stopping.send_replace(true);
        };
        tokio::join!(first, second, self.sweep(stopped), stop);
        if timeout(LAST_MAX, self.give_everything_back(&store)).await.is_err() {
            tracing::warn!("units of rate limits could not be given back in time; they count as used");
        }
    }

    async fn first_lane(
        &self,
        store: &Store,
        leave: UnboundedSender<(Left, Vec<Mark>)>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let queue = &self.0.queue;
        let mut link = match CounterLink::connect(store).await {
            Ok(link) => Link::Ready(Box::new(link)),
            Err(error) => {
                self.0.is_away.store(true, Ordering::Relaxed);
                away(store, &error)
            }
        };
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = queue.news() => {}
            }
            let mut work = queue.take(GROUP_MAX);
            leaves(Left::theirs(&mut work), &leave);
            if !work.is_empty() {
                link = self.work(store, link, work, &leave).await;
            }
        }
    }

    /// One turn of the first lane.
    async fn work(
        &self,
        store: &Store,
        link: Link,
        work: Work,
        leave: &UnboundedSender<(Left, Vec<Mark>)>,
    ) -> Link {
        let mut link = match link {
            Link::Ready(link) => link,
            Link::Away(connecting) if connecting.is_finished() => match connecting.await {
                Ok(link) => {
                    tracing::info!("there is a connection to debit rate limits by again");
                    Box::new(link)
                }
                Err(error) => {
                    let error = StorageError::Defect(error.to_string());
                    self.give_up(Group::of(work, Left::default()).into_left());
                    return away(store, &error);
                }
            },
            away @ Link::Away(_) => {
                self.give_up(Group::of(work, Left::default()).into_left());
                return away;
            }
        };
        match self.debit(&mut link, Group::of(work, Left::default()), Taking::WhatIsFree, false).await {
            Ok(Rest { left, again }) => {
                self.0.metrics.left.add(u64::try_from(left.asks.len()).unwrap_or_default());
                self.0.queue.push_again(again);
                leaves(left, leave);
                Link::Ready(link)
            }
            Err(Failed { error, left }) => match CounterLink::connect(store).await {
                // The connection was lost, or one group took too long.
                Ok(link) => {
                    tracing::info!(error = %error, "a group of rate limits failed; its requests come again");
                    let waiters = self.unasked(left);
                    self.0.queue.push_again(young(waiters));
                    Link::Ready(Box::new(link))
                }
                Err(error) => {
                    self.0.is_away.store(true, Ordering::Relaxed);
                    self.give_up(left);
                    away(store, &error)
                }
            },
        }
    }

    /// One transaction. Rows are made for those that may have none, or for all that have none.
    pub(super) async fn debit(
        &self,
        link: &mut CounterLink,
        mut group: Group,
        taking: Taking,
        makes_all: bool,
    ) -> Result<Rest, Failed> {
        let metrics = &self.0.metrics;
        let subjects = group.subjects();
        let began = clock::monotonic_now();
        let sent = held::now();
        let new = if makes_all { subjects.clone() } else { group.new_subjects() };
        let locked = match link.lock(&new, &subjects, taking).await {
            Ok(Some(locked)) => locked,
            Ok(None) => return Ok(Rest { left: group.into_left(), again: Vec::new() }),
            Err(error) => return Err(self.failed(error, group.into_left())),
        };
        if !self.is_still(locked.epoch) {
            let error = StorageError::Unavailable("the database has another history".to_owned());
            return Err(self.failed(error, group.into_left()));
        }
        self.0.replicas.store(locked.replicas, Ordering::Relaxed);
        group.debit(locked.now, locked.rows);
        // Where the store is taken for away, only what had to be written says that it is not.
        let is_away = self.0.is_away.load(Ordering::Relaxed);
        let changed = group.changed(is_away);
        let rows = changed.len();
        if let Err(error) = link.commit(&changed).await {
            // Who cannot commit may not be able to for long, although there is somebody to talk to.
            self.0.is_away.store(true, Ordering::Relaxed);
            // What may have been debited counts as used, and what may have been given back is not given back again.
            let left = Left { waiters: group.into_waiters(), ..Left::default() };
            return Err(self.failed(error, left));
        }
        if is_away && rows > 0 {
            tracing::info!("rate limits are debited from the store again");
            self.0.is_away.store(false, Ordering::Relaxed);
        }
        let Served { left, again, active, charged, refused } = group.answer(sent, held::now());
        self.0.active.add(active);
        metrics.rows.add(u64::try_from(rows).unwrap_or_default());
        metrics.charged.add(charged);
        metrics.refused.add(refused);
        metrics.members.observe_members(subjects.len());
        metrics.durations.observe(clock::since(began));
        Ok(Rest { left, again })
    }

    fn failed(&self, error: StorageError, left: Left) -> Failed {
        self.0.metrics.failed_groups.increment();
        Failed { error, left }
    }

    /// Puts questions aside, which are put again some time, and gives back who waits.
    pub(super) fn unasked(&self, left: Left) -> Vec<Waiter> {
        let (waiters, held) = left.unasked();
        self.0.active.add(held);
        waiters
    }

    fn give_up(&self, left: Left) {
        self.unasked(left).into_iter().for_each(give_up);
    }

    /// Looks for what is over, and what nobody needs any more.
    async fn sweep(&self, mut stopped: watch::Receiver<bool>) {
        let mut tick = interval(SWEEP_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let inner = &self.0;
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                _ = tick.tick() => {}
            }
            let due = inner.active.due();
            if !due.is_empty() {
                inner.queue.push_due(due);
            }
            inner.registry.sweep_next();
            inner.metrics.look(inner.waiting.load(Ordering::Relaxed), inner.active.len());
        }
    }

    async fn give_everything_back(&self, store: &Store) {
        self.dropped_all();
        let mut link = match CounterLink::connect(store).await {
            Ok(link) => link,
            Err(error) => {
                tracing::warn!(error = %error, "units of rate limits are not given back; they count as used");
                return;
            }
        };
        let mut rest = Left::default();
        loop {
            let work = self.0.queue.take(GROUP_MAX);
            if work.is_empty() && rest.is_empty() {
                return;
            }
            let group = Group::of(work, std::mem::take(&mut rest));
            match self.debit(&mut link, group, Taking::WhatIsFree, false).await {
                Ok(Rest { left, again }) => {
                    again.into_iter().for_each(give_up);
                    rest = left;
                }
                Err(Failed { error, left }) => {
                    tracing::warn!(error = %error, "units of rate limits are not given back; they count as used");
                    return self.give_up(left);
                }
            }
            if !rest.is_empty() {
                // Others have them for some milliseconds.
                sleep(LAST_PAUSE).await;
            }
        }
    }
}

/// Leaves it to the second lane. Nobody listens when that has stopped: then all is over.
fn leaves(left: Left, leave: &UnboundedSender<(Left, Vec<Mark>)>) {
    if !left.is_empty() {
        let marks = left.marks();
        let _over = leave.send((left, marks));
    }
}

/// Says that the store is away, and connects in the background until it is back.
fn away(store: &Store, error: &StorageError) -> Link {
    tracing::warn!(error = %error, "rate limits cannot be debited: what is in hand is used up");
    let store = store.clone();
    Link::Away(tokio::spawn(async move {
        loop {
            match CounterLink::connect(&store).await {
                Ok(link) => return link,
                Err(error) => tracing::debug!(error = %error, "the store is still away"),
            }
            sleep(TRY_AGAIN).await;
        }
    }))
}
