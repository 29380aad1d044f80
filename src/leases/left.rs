//! What the first lane leaves to the second: questions about rows that others hold, and whatever else comes about the same
//! keys and owners until those are answered.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::group::give_up;
use super::held::{self, Held};
use super::queue::{Waiter, Work};
use crate::limits::{Ask, Need, OwnTime, Subject};

/// A request that has waited for so long is not decided any more; nor is a question that nobody waits for.
pub(super) const AGE_MAX: OwnTime = 1_000_000_000;

/// Those of them that may go on waiting; the others are answered.
pub(super) fn young(waiters: Vec<Waiter>) -> Vec<Waiter> {
    let now = held::now();
    let (young, old) = waiters.into_iter().partition(|waiter| now.saturating_sub(waiter.since) < AGE_MAX);
    let old: Vec<Waiter> = old;
    old.into_iter().for_each(give_up);
    young
}

/// A question that was put and not answered.
#[derive(Debug)]
pub(super) struct Asked {
    pub(super) held: Arc<Held>,
    pub(super) ask: Ask,
    /// Which answer may be kept.
    pub(super) drops: u64,
    pub(super) since: OwnTime,
}

impl Asked {
    /// It was not put: what it was to give back is still held.
    pub(super) fn unasked(self) -> Arc<Held> {
        let Self { held, ask, drops, since: _ } = self;
        held.lock().unasked(ask, drops, held::now());
        held
    }
}

/// See above.
#[derive(Debug, Default)]
pub(super) struct Left {
    pub(super) waiters: Vec<Waiter>,
    pub(super) asks: Vec<Asked>,
    /// To be asked for.
    pub(super) due: Vec<Arc<Held>>,
}

impl Left {
    /// Takes out of the first lane's work what the second has questions about, so that requests of one key or owner are
    /// served in their order, and nothing is asked for twice.
    pub(super) fn theirs(work: &mut Work) -> Self {
        let is_theirs = |waiter: &mut Waiter| waiter.limited.both().any(|held| held.is_left());
        Self {
            waiters: work.waiters.extract_if(.., is_theirs).collect(),
            asks: Vec::new(),
            due: work.due.extract_if(.., |held| held.is_left()).collect(),
        }
    }

    /// Whether there is nothing.
    pub(super) fn is_empty(&self) -> bool {
        self.waiters.is_empty() && self.asks.is_empty() && self.due.is_empty()
    }

    /// Takes what was left later.
    pub(super) fn extend(&mut self, more: Self) {
        self.waiters.extend(more.waiters);
        self.asks.extend(more.asks);
        self.due.extend(more.due);
    }

    fn each(&self) -> impl Iterator<Item = &Arc<Held>> {
        let of_waiters = self.waiters.iter().flat_map(|waiter| waiter.limited.both());
        of_waiters.chain(self.asks.iter().map(|asked| &asked.held)).chain(&self.due)
    }

    /// Whom it is about.
    pub(super) fn subjects(&self) -> BTreeSet<Subject> {
        self.each().map(|held| held.subject()).collect()
    }

    /// Marks whom it is about, as long as the marks live.
    pub(super) fn marks(&self) -> Vec<Mark> {
        self.each().map(Mark::new).collect()
    }

    /// Without what is too old: requests are answered, and questions put aside.
    pub(super) fn young(self) -> (Self, Vec<Arc<Held>>) {
        let Self { waiters, mut asks, due } = self;
        let now = held::now();
        let old = asks.extract_if(.., |asked| now.saturating_sub(asked.since) >= AGE_MAX);
        let old = old.map(Asked::unasked).collect();
        (Self { waiters: young(waiters), asks, due }, old)
    }

    /// Puts every question aside. Requests that wait, and what is to be asked about at some time.
    pub(super) fn unasked(self) -> (Vec<Waiter>, Vec<Arc<Held>>) {
        let Self { waiters, asks, mut due } = self;
        let now = held::now();
        for held in &due {
            let mut holding = held.lock();
            let (ask, drops) = holding.ask(Need::default(), now);
            holding.unasked(ask, drops, now);
        }
        due.extend(asks.into_iter().map(Asked::unasked));
        (waiters, due)
    }

    /// Takes out so many requests, the oldest first, and everything else.
    pub(super) fn take(&mut self, most: usize) -> Self {
        self.waiters.sort_by_key(|waiter| waiter.since);
        let rest = self.waiters.split_off(self.waiters.len().min(most));
        let rest = Self { waiters: rest, ..Self::default() };
        std::mem::replace(self, rest)
    }

    /// How long its oldest request has waited.
    pub(super) fn age(&self) -> OwnTime {
        let oldest = self.waiters.iter().map(|waiter| waiter.since).min();
        oldest.map_or(0, |since| held::now().saturating_sub(since))
    }

    /// Takes out the oldest request with everything else about its key and owner.
    pub(super) fn take_oldest(&mut self) -> Self {
        let Some(oldest) = self.waiters.iter().min_by_key(|waiter| waiter.since) else {
            return Self::default();
        };
        let of: BTreeSet<Subject> = oldest.limited.both().map(|held| held.subject()).collect();
        let is_its = |held: &Arc<Held>| of.contains(&held.subject());
        self.waiters.sort_by_key(|waiter| waiter.since);
        Self {
            // Of the same subjects only: a request that needs another row as well would wait for that, too.
            waiters: (self.waiters).extract_if(.., |waiter| waiter.limited.both().all(is_its)).collect(),
            asks: self.asks.extract_if(.., |asked| is_its(&asked.held)).collect(),
            due: self.due.extract_if(.., |held| is_its(held)).collect(),
        }
    }
}

/// Says that the second lane has a question about a key or an owner, as long as it lives.
#[derive(Debug)]
pub(super) struct Mark(Arc<Held>);

impl Mark {
    fn new(held: &Arc<Held>) -> Self {
        held.note_left(true);
        Self(Arc::clone(held))
    }

    pub(super) fn subject(&self) -> Subject {
        self.0.subject()
    }
}

impl Drop for Mark {
    fn drop(&mut self) {
        self.0.note_left(false);
    }
}
