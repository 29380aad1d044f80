//! A replica: what it holds, its queue and its lanes, as `src/leases` has them. Constants are those of
//! `src/leases/{queue,granting,charging,left}.rs`.
//!
//! A replica's own clock is virtual time; work in its memory takes none.

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use keystile::limits::{Ask, Holding, Need, Taken, Want};

use crate::group::{Entry, Group, NEED, Waiter};
use crate::second::{Asked, Left, Round, Second};

const MILLI: u64 = 1_000_000;
/// What nobody waits for is gathered for so long.
pub const GATHER: u64 = 20 * MILLI;
/// What is over is looked for so often.
pub const SWEEP_EVERY: u64 = 250 * MILLI;
const GROUP_MAX: usize = 1_024;
const WAITING_MAX: usize = 16_384;
/// A request waits for so long at most, and is not tried again after that; nor is a question that nobody waits for.
pub const WAIT_MAX: u64 = 1_000 * MILLI;
/// A holding that was not used for so long, and of which nothing is held, is as good as a new one: its demand is nothing.
const FORGOTTEN_AFTER: u64 = 10_000 * MILLI;

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Decision {
    /// It was charged.
    Admitted,
    /// The limit was in its way.
    Refused,
    /// Nobody knows: the store was too slow, or too many waited.
    Undecided,
    /// It waits.
    Waits,
}

#[derive(Debug, Default)]
struct Held {
    holding: Holding,
    used: u64,
    is_active: bool,
}

/// What is held, by key.
#[derive(Debug, Default)]
struct Holdings(Vec<Option<Box<Held>>>);

impl Holdings {
    fn find(&mut self, key: usize) -> Option<&mut Held> {
        Some(self.0.get_mut(key)?.get_or_insert_default())
    }

    fn get(&mut self, key: usize) -> Option<&mut Held> {
        self.0.get_mut(key)?.as_deref_mut()
    }

    fn forget(&mut self, key: usize) {
        if let Some(held) = self.0.get_mut(key) {
            *held = None;
        }
    }
}

/// See above.
#[derive(Debug)]
pub struct Replica {
    held: Holdings,
    active: Vec<usize>,
    idle: VecDeque<(u64, usize)>,
    waiters: VecDeque<Waiter>,
    due: VecDeque<usize>,
    /// Something is left that the last group had no room for.
    hurries: bool,
    /// What the first lane has left.
    pub second: Second,
    /// Requests that have waited for too long: nobody decides them.
    pub given_up: Vec<Waiter>,
    /// The groups under way, on the first lane and on the second.
    pub groups: [Option<Group>; 2],
    /// When the first lane stops gathering.
    pub gathers_to: Option<u64>,
    /// The first lane connects anew.
    pub connects: bool,
}

/// When the first lane begins with its next group.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Next {
    /// Nothing is to be done, or a group is under way.
    Nothing,
    /// At once.
    Now,
    /// When what is due was gathered.
    Gathers,
}

impl Replica {
    /// Holds nothing of so many keys. The seed is that of its pauses.
    pub fn new(keys: usize, seed: u64) -> Self {
        Self {
            held: Holdings((0..keys).map(|_| None).collect()),
            active: Vec::new(),
            idle: VecDeque::new(),
            waiters: VecDeque::new(),
            due: VecDeque::new(),
            hurries: false,
            second: Second::new(seed),
            given_up: Vec::new(),
            groups: [None, None],
            gathers_to: None,
            connects: false,
        }
    }

    /// Charges a request with what is in hand, or puts it in the queue.
    pub fn charge(&mut self, waiter: Waiter, now: u64) -> Decision {
        let Some(held) = self.held.find(waiter.key) else { return Decision::Undecided };
        held.used = now;
        let decision = match held.holding.want(NEED, now) {
            Want::Here(position) => match held.holding.take(position, NEED, now) {
                Some(_) => Decision::Admitted,
                None => Decision::Undecided,
            },
            Want::Refused(_) => Decision::Refused,
            Want::Ask if self.waiters.len() >= WAITING_MAX => return Decision::Undecided,
            Want::Ask => {
                held.holding.count_waiting(true);
                self.waiters.push_back(waiter);
                return Decision::Waits;
            }
        };
        if held.holding.claims_renewal(now) {
            self.due.push_back(waiter.key);
        }
        decision
    }

    /// What the first lane has to do.
    pub fn next(&self) -> Next {
        match (&self.groups, self.due.is_empty()) {
            ([Some(_), _], _) => Next::Nothing,
            _ if self.connects => Next::Nothing,
            _ if !self.waiters.is_empty() || self.hurries => Next::Now,
            (_, true) => Next::Nothing,
            (_, false) => Next::Gathers,
        }
    }

    /// The next group of the first lane; `None` where there is nothing to ask.
    pub fn first(&mut self, now: u64, number: u64) -> Option<Group> {
        let (waiters, due) = (self.waiters.len().min(GROUP_MAX), self.due.len().min(GROUP_MAX));
        let waiters: Vec<Waiter> = self.waiters.drain(..waiters).collect();
        let mut due: Vec<usize> = self.due.drain(..due).collect();
        self.hurries = !self.due.is_empty();
        self.gathers_to = None;
        let mut waiters = self.young(waiters, now);
        self.second.takes_its(&mut waiters, &mut due);
        let is_empty = waiters.is_empty() && due.is_empty();
        (!is_empty).then(|| {
            let entries = self.questions(&waiters, due, BTreeMap::new(), now);
            Group::new(now, number, false, entries, waiters)
        })
    }

    /// The next group of the second lane; `None` where nothing is left to it.
    pub fn second(&mut self, now: u64, number: u64) -> Option<Group> {
        let (Round { left, is_alone }, old) = self.second.next(now);
        self.gives_up(old);
        if left.is_empty() {
            self.second.over(Left::default(), false);
            return None;
        }
        let Left { waiters, asks, due } = left;
        let mut entries = BTreeMap::new();
        asks.into_iter().for_each(|asked| put(&mut entries, asked));
        let entries = self.questions(&waiters, due, entries, now);
        Some(Group::new(now, number, is_alone, entries, waiters))
    }

    fn questions(
        &mut self,
        waiters: &[Waiter],
        due: Vec<usize>,
        mut entries: BTreeMap<usize, Entry>,
        now: u64,
    ) -> BTreeMap<usize, Entry> {
        let mut needed: BTreeMap<usize, Vec<Need>> = BTreeMap::new();
        for waiter in waiters {
            needed.entry(waiter.key).or_default().push(NEED);
        }
        // What is due is asked for beside what was asked for and not answered; what waits needs no other question.
        let mut new: BTreeSet<usize> = due.into_iter().collect();
        new.extend(needed.keys().copied().filter(|key| !entries.contains_key(key)));
        for key in new {
            let needs = needed.get(&key).map_or(&[][..], Vec::as_slice);
            let sum = needs.iter().fold(Need::default(), |sum, need| sum.plus(*need));
            let Some(held) = self.held.find(key) else { continue };
            let (ask, drops) = held.holding.ask(sum, now);
            put(&mut entries, Asked { key, ask, drops, since: now });
        }
        for (key, needs) in needed {
            let Some(entry) = entries.get_mut(&key) else { continue };
            entry.ask.needed = needs.iter().fold(Need::default(), |sum, need| sum.plus(*need));
            entry.needs = needs;
        }
        entries
    }

    /// A group's answer has come: serves who has waited, in the order of coming. Says of whom it has decided, and what was
    /// left since others have held the rows.
    pub fn answered(&mut self, mut group: Group, now: u64) -> (Vec<(Waiter, Decision)>, Left) {
        for (key, entry) in &mut group.entries {
            let (Some(answer), Some(held)) = (&entry.answer, self.held.get(*key)) else { continue };
            entry.stocks = held.holding.answered(answer, group.sent, now, entry.ask.needed, entry.drops);
        }
        let mut left = Left::default();
        let mut decided = Vec::new();
        let mut again = Vec::new();
        for waiter in std::mem::take(&mut group.waiters) {
            let Some(entry) = group.entries.get_mut(&waiter.key) else { continue };
            let Some(held) = self.held.get(waiter.key) else { continue };
            if entry.answer.is_none() {
                left.waiters.push(waiter);
                continue;
            }
            match serve(&mut held.holding, entry, now) {
                Some(served) => decided.push((waiter, served)),
                None if now.saturating_sub(waiter.since) < WAIT_MAX => again.push(waiter),
                None => decided.push((waiter, (Decision::Undecided, None))),
            }
        }
        self.keep(group, &mut left, now);
        let late = |waiter: &Waiter| now.saturating_sub(waiter.since) > WAIT_MAX;
        let mut told = Vec::with_capacity(decided.len());
        for (waiter, (decision, taken)) in decided {
            let Some(held) = self.held.get(waiter.key) else { continue };
            held.holding.count_waiting(false);
            // Nobody waits any more.
            if let Some(taken) = taken.filter(|_| late(&waiter)) {
                held.holding.put_back(&taken, now);
            }
            told.push((waiter, if late(&waiter) { Decision::Undecided } else { decision }));
        }
        self.push_again(again);
        (told, left)
    }

    /// Keeps what is left of the debits, and leaves what was not answered to the other lane.
    fn keep(&mut self, group: Group, left: &mut Left, now: u64) {
        for (key, entry) in group.entries {
            let Entry { ask, drops, since, answer, stocks, needs: _ } = entry;
            if answer.is_none() {
                left.asks.push(Asked { key, ask, drops, since });
                continue;
            }
            let Some(held) = self.held.get(key) else { continue };
            held.holding.keep(stocks, drops, now);
            if !std::mem::replace(&mut held.is_active, true) {
                self.active.push(key);
            }
        }
    }

    /// Puts requests that have waited already before all others.
    fn push_again(&mut self, waiters: Vec<Waiter>) {
        waiters.into_iter().rev().for_each(|waiter| self.waiters.push_front(waiter));
    }

    /// A group has failed: its requests go back to the queue.
    pub fn failed(&mut self, group: Group, now: u64) {
        let young = self.young(group.waiters, now);
        self.push_again(young);
    }

    /// Those that still wait.
    fn young(&mut self, waiters: Vec<Waiter>, now: u64) -> Vec<Waiter> {
        let is_young = |waiter: &Waiter| now.saturating_sub(waiter.since) < WAIT_MAX;
        let (young, old): (Vec<Waiter>, Vec<Waiter>) = waiters.into_iter().partition(is_young);
        self.gives_up(old);
        young
    }

    fn gives_up(&mut self, old: Vec<Waiter>) {
        for waiter in &old {
            if let Some(held) = self.held.get(waiter.key) {
                held.holding.count_waiting(false);
            }
        }
        self.given_up.extend(old);
    }

    /// Looks for what is to be given back, and forgets what nothing is held of.
    pub fn sweep(&mut self, now: u64) {
        let Self { held, active, due, idle, .. } = self;
        active.retain(|key| {
            let Some(held) = held.get(*key) else { return false };
            if held.holding.claims_return(now) {
                due.push_back(*key);
            }
            held.is_active = !held.holding.is_idle(now);
            if !held.is_active {
                idle.push_back((now.saturating_add(FORGOTTEN_AFTER), *key));
            }
            held.is_active
        });
        while let Some((_, key)) = idle.front().copied().filter(|(at, _)| *at <= now) {
            idle.pop_front();
            let Some(it) = held.get(key).filter(|it| !it.is_active) else { continue };
            if it.holding.is_idle(now) && it.used.saturating_add(FORGOTTEN_AFTER) <= now {
                held.forget(key);
            } else {
                idle.push_back((now.saturating_add(FORGOTTEN_AFTER), key));
            }
        }
    }
}

/// Puts a question; beside one about the same key that was not answered, what is held ahead is by the newer one.
fn put(entries: &mut BTreeMap<usize, Entry>, asked: Asked) {
    let Asked { key, ask, drops, since } = asked;
    let ask = Ask { needed: Need::default(), ..ask };
    match entries.get_mut(&key) {
        Some(entry) => {
            if !ask.ahead.is_zero() {
                entry.ask.ahead = ask.ahead;
            }
            entry.ask.returns.extend(ask.returns);
            entry.drops = entry.drops.min(drops);
        }
        None => drop(entries.insert(key, Entry::new(ask, drops, since))),
    }
}

fn serve(holding: &mut Holding, entry: &mut Entry, now: u64) -> Option<(Decision, Option<Taken>)> {
    if holding.has(&entry.stocks, NEED, now) {
        let taken = holding.take_late(&mut entry.stocks, NEED, now)?;
        return Some((Decision::Admitted, Some(taken)));
    }
    let refusal = holding.refusal(NEED, entry.answer.as_ref()?)?;
    let has_left = entry.stocks.iter().flatten().any(|stock| !stock.left().is_zero());
    (!holding.gives_up_pieces(&refusal, now) && !has_left).then_some((Decision::Refused, None))
}
