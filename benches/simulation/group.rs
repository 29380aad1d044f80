//! A group of a replica's lane: as `src/leases/group.rs`, for requests that need one unit of one key's limit.

use std::collections::BTreeMap;

use keystile::limits::{Answer, Ask, Need, RowTime, Stock, Terms};

use crate::store::{Lane, Store};

/// What each request needs.
pub const NEED: Need = Need::request(0);

/// A request that waits for units.
#[derive(Clone, Copy, Debug)]
pub struct Waiter {
    /// Its key.
    pub key: usize,
    /// When it came.
    pub since: u64,
    /// Whether the central limiter has admitted it.
    pub is_central: bool,
}

/// A key's question, and what came of it.
#[derive(Debug)]
pub struct Entry {
    /// What is asked for.
    pub ask: Ask,
    /// One for each waiting request.
    pub needs: Vec<Need>,
    /// Which answer may be kept.
    pub drops: u64,
    /// When it was put first.
    pub since: u64,
    /// What the row has answered.
    pub answer: Option<Answer>,
    /// What was debited.
    pub stocks: [Option<Stock>; 2],
}

impl Entry {
    /// A question without an answer.
    pub fn new(ask: Ask, drops: u64, since: u64) -> Self {
        Self { ask, needs: Vec::new(), drops, since, answer: None, stocks: [None, None] }
    }
}

/// See above.
#[derive(Debug)]
pub struct Group {
    /// When its question was sent.
    pub sent: u64,
    /// Tells it from others of the same lane.
    pub number: u64,
    /// Whether it waits for rows that others hold, or leaves them out.
    pub takes_all: bool,
    /// By key, in the order in which rows are locked.
    pub entries: BTreeMap<usize, Entry>,
    /// In the order of coming.
    pub waiters: Vec<Waiter>,
    /// Keys whose rows are locked.
    pub locked: Vec<usize>,
    /// Keys whose rows are not locked yet, the last first.
    to_lock: Vec<usize>,
}

/// What came of the attempt to lock rows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Locking {
    /// Every row that can be had is locked.
    Done,
    /// It waits for this row.
    Waits(usize),
}

impl Group {
    /// With its questions, before anything is locked.
    pub fn new(
        sent: u64,
        number: u64,
        takes_all: bool,
        entries: BTreeMap<usize, Entry>,
        waiters: Vec<Waiter>,
    ) -> Self {
        let to_lock = entries.keys().rev().copied().collect();
        Self { sent, number, takes_all, entries, waiters, locked: Vec::new(), to_lock }
    }

    /// Locks rows in order, and waits for those that others hold, or leaves them out.
    pub fn lock(&mut self, lane: Lane, store: &mut Store) -> Locking {
        while let Some(key) = self.to_lock.pop() {
            if store.lock(key, lane, self.takes_all) {
                self.locked.push(key);
            } else if self.takes_all {
                self.to_lock.push(key);
                return Locking::Waits(key);
            }
        }
        Locking::Done
    }

    /// The row that it waits for, if it waits.
    pub fn next_to_lock(&self) -> Option<usize> {
        self.to_lock.last().copied()
    }

    /// Gives the locked rows their questions; how many have changed.
    pub fn debit(&mut self, now: RowTime, terms: impl Fn(usize) -> Terms, store: &mut Store) -> usize {
        let mut changed = 0;
        for key in &self.locked {
            let Some(entry) = self.entries.get_mut(key) else { continue };
            entry.answer = store.debit(*key, now, terms(*key), &entry.ask, &entry.needs);
            changed += usize::from(entry.answer.as_ref().is_some_and(|answer| answer.is_changed));
        }
        changed
    }
}
