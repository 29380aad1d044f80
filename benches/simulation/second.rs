//! The second lane of a replica: what the first has left, since others held the rows. As `src/leases/second.rs` and
//! `src/leases/left.rs`, whose constants it has.
//!
//! It takes what is free, again and again, with pauses of random length in between. Only a request that has waited for long
//! waits in its row's own queue, in every second round, for that row alone.

use std::collections::HashSet;

use keystile::limits::Ask;

use crate::group::Waiter;
use crate::random::Random;
use crate::replica::WAIT_MAX;

const MILLI: u64 = 1_000_000;

/// The pause between two rounds, at most, while rounds are few …
const PAUSE: u64 = 2 * MILLI;
/// … and when somebody holds a row for long.
const LONG_PAUSE: u64 = 32 * MILLI;
/// So many rounds without success are few.
const FEW: u32 = 32;
/// A request that has waited for so long waits for its row in every second round. Not sooner: a row that others wait for is
/// never free.
const ALONE_AFTER: u64 = 500 * MILLI;
/// A row is waited for so long.
pub const LOCK_MAX: u64 = 20 * MILLI;

/// A question that was put and not answered.
#[derive(Debug)]
pub struct Asked {
    /// About this key.
    pub key: usize,
    /// What is asked for.
    pub ask: Ask,
    /// Which answer may be kept.
    pub drops: u64,
    /// When it was put first.
    pub since: u64,
}

/// What a group could not answer, and what came about the same keys since.
#[derive(Debug, Default)]
pub struct Left {
    /// Requests.
    pub waiters: Vec<Waiter>,
    /// Questions.
    pub asks: Vec<Asked>,
    /// Keys to be asked about.
    pub due: Vec<usize>,
}

impl Left {
    /// Whether there is nothing.
    pub fn is_empty(&self) -> bool {
        self.waiters.is_empty() && self.asks.is_empty() && self.due.is_empty()
    }

    /// Takes what was left later.
    pub fn extend(&mut self, more: Self) {
        self.waiters.extend(more.waiters);
        self.asks.extend(more.asks);
        self.due.extend(more.due);
    }

    /// What it is about.
    fn keys(&self) -> impl Iterator<Item = usize> {
        let of_waiters = self.waiters.iter().map(|waiter| waiter.key);
        of_waiters.chain(self.asks.iter().map(|asked| asked.key)).chain(self.due.iter().copied())
    }

    /// Takes out the oldest request with everything else about its key, if it has waited for long.
    fn take_oldest(&mut self, now: u64) -> Option<Self> {
        let oldest = self.waiters.iter().min_by_key(|waiter| waiter.since)?;
        if now.saturating_sub(oldest.since) <= ALONE_AFTER {
            return None;
        }
        let its = oldest.key;
        Some(Self {
            waiters: self.waiters.extract_if(.., |waiter| waiter.key == its).collect(),
            asks: self.asks.extract_if(.., |asked| asked.key == its).collect(),
            due: self.due.extract_if(.., |key| *key == its).collect(),
        })
    }
}

/// What the lane does when a round is over.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Then {
    /// There is nothing to do.
    Rests,
    /// Another round, at once.
    GoesOn,
    /// Another one, after so many nanoseconds.
    Pauses(u64),
}

/// A round.
#[derive(Debug)]
pub struct Round {
    /// What it asks.
    pub left: Left,
    /// It waits for the row.
    pub is_alone: bool,
}

/// See above.
#[derive(Debug)]
pub struct Second {
    /// Came since the last round.
    new: Left,
    left: Left,
    /// About which something is left or under way.
    keys: HashSet<usize>,
    /// Rounds since something came or was answered.
    tries: u32,
    was_alone: bool,
    /// A round is under way, or the pause before one.
    is_busy: bool,
    random: Random,
}

impl Second {
    /// Each seed has its own pauses.
    pub fn new(seed: u64) -> Self {
        Self {
            new: Left::default(),
            left: Left::default(),
            keys: HashSet::new(),
            tries: 0,
            was_alone: false,
            is_busy: false,
            random: Random::new(seed),
        }
    }

    /// Takes out of the first lane's work what this one has something of, so that a key's requests are served in their order
    /// and nothing is asked for twice.
    pub fn takes_its(&mut self, waiters: &mut Vec<Waiter>, due: &mut Vec<usize>) {
        let Self { new, keys, .. } = self;
        if !keys.is_empty() {
            new.waiters.extend(waiters.extract_if(.., |waiter| keys.contains(&waiter.key)));
            new.due.extend(due.extract_if(.., |key| keys.contains(key)));
        }
    }

    /// The first lane leaves it something. Whether to begin with a round now.
    pub fn comes(&mut self, left: Left) -> bool {
        self.keys.extend(left.keys());
        self.new.extend(left);
        !self.is_busy && !self.new.is_empty()
    }

    /// The next round, with what is not too old; gives back who has waited for too long.
    pub fn next(&mut self, now: u64) -> (Round, Vec<Waiter>) {
        self.is_busy = true;
        if !self.new.is_empty() {
            self.tries = 0;
        }
        self.left.extend(std::mem::take(&mut self.new));
        let is_old = |since: u64| now.saturating_sub(since) >= WAIT_MAX;
        let old = self.left.waiters.extract_if(.., |waiter| is_old(waiter.since)).collect();
        self.left.asks.retain(|asked| !is_old(asked.since));
        let alone = if self.was_alone { None } else { self.left.take_oldest(now) };
        self.was_alone = alone.is_some();
        let left = alone.unwrap_or_else(|| std::mem::take(&mut self.left));
        (Round { left, is_alone: self.was_alone }, old)
    }

    /// A round is over, of which this is left. Whether it has answered anything.
    pub fn over(&mut self, left: Left, is_success: bool) -> Then {
        self.left.extend(left);
        self.keys.clear();
        self.keys.extend(self.left.keys().chain(self.new.keys()));
        self.tries = if is_success { 0 } else { self.tries.saturating_add(1) };
        if !self.left.is_empty() {
            return Then::Pauses(self.pause());
        }
        self.is_busy = !self.new.is_empty();
        if self.is_busy { Then::GoesOn } else { Then::Rests }
    }

    fn pause(&mut self) -> u64 {
        let most = if self.tries < FEW { PAUSE } else { LONG_PAUSE };
        self.random.bits() % (most + 1)
    }
}
