//! The two lanes on which this replica asks the store.
//!
//! - The **first lane** takes the queue, group by group. It never waits for a row: what another holds, be it a replica or
//!   somebody's transaction by hand, it leaves to the second.
//! - The **second lane** waits for rows, at most half a second. What still cannot be had goes back to the queue until its
//!   request has waited for a second.
//!
//! Each has a connection of its own and one group under way. A group that fails counts as debited: nothing of it is used.

use std::sync::atomic::Ordering;
use std::time::Duration;

use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::sync::watch;
use tokio::task::JoinHandle;
use tokio::time::{MissedTickBehavior, interval, sleep, timeout};

use super::group::{Group, Left, Served, give_up};
use super::queue::Work;
use super::{Leases, held};
use crate::clock;
use crate::storage::counters::{CounterLink, Taking};
use crate::storage::{StorageError, Store};

/// So many requests, and as many renewals, make a group at most.
const GROUP_MAX: usize = 1_024;
/// A store that is away is tried again so often.
const TRY_AGAIN: Duration = Duration::from_millis(250);
/// What is over is looked for so often.
const SWEEP_EVERY: Duration = Duration::from_millis(250);
/// Giving everything back at the end may take so long.
const LAST_MAX: Duration = Duration::from_secs(3);

/// The connection of the first lane.
enum Link {
    Ready(Box<CounterLink>),
    /// It is being made, again and again; until then nothing can be had.
    Away(JoinHandle<CounterLink>),
}

impl Leases {
    /// Asks for what is needed until `stop` comes, then gives everything back.
    pub async fn run(self, store: Store, stop: impl Future<Output = ()>) {
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
        leave: UnboundedSender<Left>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let queue = &self.0.queue;
        let mut link = match CounterLink::connect(store).await {
            Ok(link) => Link::Ready(Box::new(link)),
            Err(error) => away(store, &error),
        };
        loop {
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                () = queue.news() => {}
            }
            let work = queue.take(GROUP_MAX);
            if work.is_empty() {
                continue;
            }
            link = self.work(store, link, work, &leave).await;
        }
    }

    /// One turn of the first lane.
    async fn work(&self, store: &Store, link: Link, work: Work, leave: &UnboundedSender<Left>) -> Link {
        let mut link = match link {
            Link::Ready(link) => link,
            Link::Away(connecting) if connecting.is_finished() => match connecting.await {
                Ok(link) => {
                    tracing::info!("rate limits are debited from the store again");
                    Box::new(link)
                }
                Err(error) => {
                    let error = StorageError::Defect(error.to_string());
                    self.give_up(Group::of(work, Left::default()));
                    return away(store, &error);
                }
            },
            away @ Link::Away(_) => {
                self.give_up(Group::of(work, Left::default()));
                return away;
            }
        };
        match self.debit(&mut link, Group::of(work, Left::default()), Taking::WhatIsFree).await {
            Ok(left) => {
                // Nobody listens when the second lane has stopped: then all is over.
                let _over = if left.is_empty() { Ok(()) } else { leave.send(left) };
                Link::Ready(link)
            }
            Err((error, group)) => {
                self.give_up(group);
                away(store, &error)
            }
        }
    }

    async fn second_lane(
        &self,
        store: &Store,
        mut left: UnboundedReceiver<Left>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut link = None;
        loop {
            let first = tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => return,
                first = left.recv() => first,
            };
            let Some(mut all) = first else { return };
            while let Ok(more) = left.try_recv() {
                all.extend(more);
            }
            let group = Group::of(Work::default(), all);
            let connected = match link.take() {
                Some(link) => Ok(link),
                None => CounterLink::connect(store).await,
            };
            let outcome = match connected {
                Ok(mut connected) => {
                    let outcome = self.debit(&mut connected, group, Taking::Everything).await;
                    link = outcome.is_ok().then_some(connected);
                    outcome
                }
                Err(error) => Err((error, group)),
            };
            match outcome {
                Ok(left) => left.into_waiters().into_iter().for_each(give_up),
                Err((error, group)) => {
                    tracing::debug!(error = %error, "rows of rate limits are held by others");
                    self.0.queue.push_again(group.failed());
                }
            }
        }
    }

    /// One transaction.
    async fn debit(
        &self,
        link: &mut CounterLink,
        mut group: Group,
        taking: Taking,
    ) -> Result<Left, (StorageError, Group)> {
        let metrics = &self.0.metrics;
        let subjects = group.subjects();
        let began = clock::monotonic_now();
        let sent = held::now();
        let locked = match link.lock(&group.new_subjects(), &subjects, taking).await {
            Ok(locked) => locked,
            Err(error) => return Err((self.failed(error), group)),
        };
        self.0.replicas.store(locked.replicas, Ordering::Relaxed);
        group.debit(locked.now, locked.rows);
        let changed = group.changed();
        let rows = changed.len();
        if let Err(error) = link.commit(&changed).await {
            return Err((self.failed(error), group));
        }
        let Served { left, again, active, charged, refused } = group.answer(sent, held::now());
        self.0.active.add(active);
        self.0.queue.push_again(again);
        metrics.rows.add(u64::try_from(rows).unwrap_or_default());
        metrics.left.add(u64::try_from(left.len()).unwrap_or_default());
        metrics.charged.add(charged);
        metrics.refused.add(refused);
        metrics.members.observe_members(subjects.len());
        metrics.durations.observe(clock::since(began));
        Ok(left)
    }

    fn failed(&self, error: StorageError) -> StorageError {
        self.0.metrics.failed_groups.increment();
        error
    }

    fn give_up(&self, group: Group) {
        group.failed().into_iter().for_each(give_up);
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
            inner.metrics.look(inner.queue.len(), inner.active.len());
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
        loop {
            let work = self.0.queue.take(GROUP_MAX);
            if work.is_empty() {
                return;
            }
            if let Err((error, group)) =
                self.debit(&mut link, Group::of(work, Left::default()), Taking::Everything).await
            {
                tracing::warn!(error = %error, "units of rate limits are not given back; they count as used");
                return self.give_up(group);
            }
        }
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
