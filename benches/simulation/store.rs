//! One PostgreSQL: rows with locks, cores that work in the order of coming, and a disk that makes commits last.
//!
//! A statement of a group takes one core for its time. Commits that come while the disk is at work on others are made
//! to last together, by its next turn.

use std::cmp::Reverse;
use std::collections::{BinaryHeap, VecDeque};

use keystile::limits::{Answer, Ask, Need, Row, RowTime, Terms, answer_in_turn};

use crate::options::Costs;

/// The lane of a replica; one group is under way on each.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Lane {
    /// Which replica.
    pub replica: usize,
    /// Whether it is the second one, for what the first has left.
    pub is_second: bool,
}

/// A row, who has its lock, and who waits for that.
#[derive(Debug, Default)]
struct Stored {
    row: Row,
    holder: Option<Lane>,
    waiting: VecDeque<Lane>,
}

/// See above. Times are virtual nanoseconds.
#[derive(Debug)]
pub struct Store {
    rows: Vec<Stored>,
    /// When each core is free.
    cores: BinaryHeap<Reverse<u64>>,
    flush: u64,
    /// The end of the disk's turn.
    flushed: u64,
    /// Commits wait for its next turn.
    flushes_again: bool,
}

impl Store {
    /// With a row for each key.
    pub fn new(keys: usize, costs: &Costs) -> Self {
        Self {
            rows: (0..keys).map(|_| Stored::default()).collect(),
            cores: (0..costs.cores).map(|_| Reverse(0)).collect(),
            flush: costs.flush,
            flushed: 0,
            flushes_again: false,
        }
    }

    /// A core works for so long; from when to when.
    pub fn work(&mut self, now: u64, takes: u64) -> (u64, u64) {
        let Reverse(free) = self.cores.pop().unwrap_or(Reverse(0));
        let begins = free.max(now);
        let ends = begins.saturating_add(takes);
        self.cores.push(Reverse(ends));
        (begins, ends)
    }

    /// When a commit that comes at `now` lasts. To be called in the order of time.
    pub fn commit(&mut self, now: u64) -> u64 {
        if self.flushes_again && now >= self.flushed {
            self.flushed = self.flushed.saturating_add(self.flush);
            self.flushes_again = false;
        }
        if now >= self.flushed {
            self.flushed = now.saturating_add(self.flush);
            return self.flushed;
        }
        self.flushes_again = true;
        self.flushed.saturating_add(self.flush)
    }

    /// Whether the lane has the lock of a key's row now. If it waits, it is in the row's queue otherwise.
    pub fn lock(&mut self, key: usize, lane: Lane, waits: bool) -> bool {
        let Some(stored) = self.rows.get_mut(key) else { return false };
        match stored.holder {
            None => stored.holder = Some(lane),
            Some(holder) if holder == lane => {}
            Some(_) => {
                if waits && !stored.waiting.contains(&lane) {
                    stored.waiting.push_back(lane);
                }
                return false;
            }
        }
        true
    }

    /// Lets go of a row that the lane has locked or waits for. Who has it from now on, if somebody has waited.
    pub fn unlock(&mut self, key: usize, lane: Lane) -> Option<Lane> {
        let stored = self.rows.get_mut(key)?;
        stored.waiting.retain(|it| *it != lane);
        if stored.holder != Some(lane) {
            return None;
        }
        stored.holder = stored.waiting.pop_front();
        stored.holder
    }

    /// What the row of a key, which is locked, answers. It has changed then; others see that when it is unlocked.
    pub fn debit(
        &mut self,
        key: usize,
        now: RowTime,
        terms: Terms,
        ask: &Ask,
        needs: &[Need],
    ) -> Option<Answer> {
        let stored = self.rows.get_mut(key)?;
        let answer = answer_in_turn(std::mem::take(&mut stored.row), now, terms, ask, needs);
        stored.row = answer.row.clone();
        Some(answer)
    }
}
