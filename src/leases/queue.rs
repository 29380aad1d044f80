//! What waits for the store: requests, in their order, and holdings to be renewed or given back from.

use std::collections::VecDeque;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use tokio::sync::{Notify, oneshot};
use tokio::time::sleep;

use super::charging::{Limited, NotCharged, Verdict};
use super::held::Held;
use super::place::Place;
use crate::limits::{Need, OwnTime};

/// What nobody waits for is gathered for so long, so that it takes fewer transactions: units are asked for long before
/// they run out.
const GATHER: Duration = Duration::from_millis(20);

/// A request that waits for units.
#[derive(Debug)]
pub(super) struct Waiter {
    pub(super) limited: Limited,
    pub(super) need: Need,
    /// Nothing is used.
    pub(super) is_dry: bool,
    pub(super) since: OwnTime,
    pub(super) answer: oneshot::Sender<Result<Verdict, NotCharged>>,
    pub(super) _place: Place,
}

/// What a lane works on next.
#[derive(Debug, Default)]
pub(super) struct Work {
    pub(super) waiters: Vec<Waiter>,
    /// To be asked for without a request that waits.
    pub(super) due: Vec<Arc<Held>>,
}

impl Work {
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty() && self.due.is_empty()
    }
}

#[derive(Debug, Default)]
struct Waiting {
    waiters: VecDeque<Waiter>,
    due: VecDeque<Arc<Held>>,
}

/// The queue before the first lane.
#[derive(Debug, Default)]
pub(super) struct Queue {
    waiting: Mutex<Waiting>,
    /// Somebody waits.
    hurry: Notify,
    /// Something is due.
    due: Notify,
}

impl Queue {
    fn waiting(&self) -> MutexGuard<'_, Waiting> {
        self.waiting.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Puts a request at the end.
    pub(super) fn push(&self, waiter: Waiter) {
        self.waiting().waiters.push_back(waiter);
        self.hurry.notify_one();
    }

    /// Puts requests that have waited already before all others.
    pub(super) fn push_again(&self, waiters: Vec<Waiter>) {
        if waiters.is_empty() {
            return;
        }
        let mut waiting = self.waiting();
        waiters.into_iter().rev().for_each(|waiter| waiting.waiters.push_front(waiter));
        drop(waiting);
        self.hurry.notify_one();
    }

    /// These are to be asked for.
    pub(super) fn push_due(&self, all: impl IntoIterator<Item = Arc<Held>>) {
        // Before the queue's lock: a holding's comes first.
        let mut all = all.into_iter().peekable();
        if all.peek().is_none() {
            return;
        }
        let all: Vec<_> = all.collect();
        self.waiting().due.extend(all);
        self.due.notify_one();
    }

    /// The next work of at most so many requests and as many holdings.
    pub(super) fn take(&self, most: usize) -> Work {
        let mut waiting = self.waiting();
        let (waiters, due) = (waiting.waiters.len().min(most), waiting.due.len().min(most));
        let work = Work {
            waiters: waiting.waiters.drain(..waiters).collect(),
            due: waiting.due.drain(..due).collect(),
        };
        if !waiting.waiters.is_empty() || !waiting.due.is_empty() {
            self.hurry.notify_one();
        }
        work
    }

    /// Returns when there is work, or has been since the last time. What nobody waits for is gathered for a while.
    pub(super) async fn news(&self) {
        tokio::select! {
            biased;
            () = self.hurry.notified() => {}
            () = self.due.notified() => {
                tokio::select! {
                    biased;
                    () = self.hurry.notified() => {}
                    () = sleep(GATHER) => {}
                }
            }
        }
    }
}
