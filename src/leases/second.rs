//! The second lane: what the first has left, since others held the rows.
//!
//! Rows are held for milliseconds, by other replicas that debit them. So what is free by now is tried again and again, with
//! short pauses of random length: whoever waits for one row holds others meanwhile, for which more wait. Only a request
//! that has had no luck for a while waits in the row's own queue, for its own rows alone. What cannot be had within a second
//! is given up.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry;
use std::time::Duration;

use tokio::sync::mpsc::UnboundedReceiver;
use tokio::sync::watch;
use tokio::time::sleep;

use super::Leases;
use super::granting::{Failed, GROUP_MAX, Rest};
use super::group::{Group, give_up};
use super::held;
use super::left::{Left, Mark, young};
use super::queue::Work;
use crate::limits::{OwnTime, Subject};
use crate::storage::Store;
use crate::storage::counters::{CounterLink, Taking};

/// The pause between two rounds, at most, while rounds are few …
const PAUSE: Duration = Duration::from_millis(2);
/// … and when somebody holds a row for long.
const LONG_PAUSE: Duration = Duration::from_millis(32);
/// So many rounds without success are few.
const FEW: u32 = 32;
/// A request that has waited for so long waits for its rows in every second round. Not sooner: a row that others wait for is
/// never free.
const ALONE_AFTER: OwnTime = 500_000_000;

/// What the lane works on.
#[derive(Default)]
struct Lane {
    link: Option<CounterLink>,
    left: Left,
    marks: BTreeMap<Subject, Mark>,
    /// Rounds since something came or was answered.
    tries: u32,
    /// The last round waited for rows.
    has_waited: bool,
}

impl Lane {
    fn takes(&mut self, (left, marks): (Left, Vec<Mark>)) {
        self.left.extend(left);
        for mark in marks {
            if let Entry::Vacant(place) = self.marks.entry(mark.subject()) {
                place.insert(mark);
                // Nobody has tried its row for long.
                self.tries = 0;
            }
        }
    }

    fn pause(&self) -> Duration {
        let most = if self.tries < FEW { PAUSE } else { LONG_PAUSE };
        // Nothing of what replicas do goes by nanoseconds of their clocks.
        Duration::from_nanos(held::now() % OwnTime::try_from(most.as_nanos()).unwrap_or(OwnTime::MAX))
    }

    /// What comes next: everything, of which what is free is taken; or what has waited for long, which is waited for.
    fn next(&mut self) -> (Taking, Left) {
        self.has_waited = !self.has_waited && self.left.age() > ALONE_AFTER;
        if self.has_waited {
            return (Taking::Everything, self.left.take_oldest());
        }
        (Taking::WhatIsFree, self.left.take(GROUP_MAX))
    }

    /// The first lane may work again on those about whom nothing is left.
    fn forget_marks(&mut self) {
        let subjects = self.left.subjects();
        self.marks.retain(|subject, _| subjects.contains(subject));
    }
}

impl Leases {
    /// Works on what is left to it, until the end.
    pub(super) async fn second_lane(
        &self,
        store: &Store,
        mut left: UnboundedReceiver<(Left, Vec<Mark>)>,
        mut stopped: watch::Receiver<bool>,
    ) {
        let mut lane = Lane::default();
        loop {
            let is_idle = lane.left.is_empty();
            let pause = lane.pause();
            tokio::select! {
                biased;
                _ = stopped.wait_for(|stopped| *stopped) => break,
                more = left.recv(), if is_idle => match more {
                    Some(more) => lane.takes(more),
                    None => break,
                },
                () = sleep(pause), if !is_idle => {}
            }
            while let Ok(more) = left.try_recv() {
                lane.takes(more);
            }
            let (young, old) = std::mem::take(&mut lane.left).young();
            lane.left = young;
            self.0.active.add(old);
            self.round(store, &mut lane).await;
            lane.forget_marks();
        }
        while let Ok(more) = left.try_recv() {
            lane.takes(more);
        }
        self.unasked(lane.left).into_iter().for_each(give_up);
    }

    async fn round(&self, store: &Store, lane: &mut Lane) {
        let (taking, left) = lane.next();
        if left.is_empty() {
            return;
        }
        let asked = left.subjects().len();
        let connected = match lane.link.take() {
            Some(link) => Ok(link),
            None => CounterLink::connect(store).await,
        };
        let mut link = match connected {
            Ok(link) => link,
            Err(error) => {
                tracing::debug!(error = %error, "the second lane has no connection");
                // The first lane says what becomes of requests while the store is away.
                let waiters = self.unasked(left);
                self.0.queue.push_again(young(waiters));
                return sleep(LONG_PAUSE).await;
            }
        };
        match self.debit(&mut link, Group::of(Work::default(), left), taking, true).await {
            Ok(Rest { left, again }) => {
                lane.link = Some(link);
                lane.tries = if left.subjects().len() < asked { 0 } else { lane.tries.saturating_add(1) };
                lane.left.extend(left);
                lane.left.waiters.extend(again);
            }
            Err(Failed { error, left }) => {
                tracing::info!(error = %error, "a group of rate limits failed; its requests come again");
                lane.tries = lane.tries.saturating_add(1);
                lane.left.extend(left);
            }
        }
    }
}
