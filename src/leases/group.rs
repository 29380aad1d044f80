//! A group: questions of many subjects and the requests that wait for them, answered in one transaction.
//!
//! 1. [`Group::of`] sums up what is needed, by subject and in the order in which rows are locked.
//! 2. Whoever has the rows' locks gives each row its question ([`Group::debit`]).
//! 3. When the debits are on disk, [`Group::answer`] serves requests in the order of coming, from what was debited for
//!    them; what is left is kept. Subjects whose row another held, and their requests, are [`Left`] to the second lane.

use std::collections::BTreeMap;
use std::collections::btree_map::Entry as MapEntry;
use std::sync::{Arc, MutexGuard};

use super::charging::{BothLocked, Charged, NotCharged, Verdict};
use super::held::{self, Held};
use super::left::{AGE_MAX, Asked, Left};
use super::queue::{Waiter, Work};
use super::status::{self, Refused};
use crate::limits::{
    Answer, Ask, Holding, LimitStatus, Need, OwnTime, Row, Stock, Subject, Taken, answer_in_turn,
};
use crate::storage::counters::Locked;

/// A subject's question, and what came of it.
#[derive(Debug)]
struct Entry {
    held: Arc<Held>,
    ask: Ask,
    /// Of the waiting requests, in their order.
    needs: Vec<Need>,
    /// Which answer may be kept.
    drops: u64,
    since: OwnTime,
    answer: Option<Answer>,
    /// The row does not parse.
    is_corrupt: bool,
    stocks: [Option<Stock>; 2],
}

impl Entry {
    /// Asks for what is due; what waiting requests need comes to it.
    fn of_due(held: Arc<Held>, needed: Need, since: OwnTime) -> Self {
        let (ask, drops) = held.lock().ask(needed, since);
        Self::of(Asked { held, ask, drops, since })
    }

    /// Asks again.
    fn of(asked: Asked) -> Self {
        let Asked { held, ask, drops, since } = asked;
        let ask = Ask { needed: Need::default(), ..ask };
        Self {
            held,
            ask,
            needs: Vec::new(),
            drops,
            since,
            answer: None,
            is_corrupt: false,
            stocks: [None, None],
        }
    }

    /// Takes up another question about the same.
    fn joins(&mut self, more: Ask, drops: u64) {
        self.ask.ahead = self.ask.ahead.plus(more.ahead);
        self.ask.returns.extend(more.returns);
        // The older: what either asked for is kept only if nothing was dropped since.
        self.drops = self.drops.min(drops);
    }

    fn into_asked(self) -> Asked {
        let Self { held, ask, drops, since, .. } = self;
        Asked { held, ask, drops, since }
    }
}

/// See above.
#[derive(Debug, Default)]
pub(super) struct Group {
    entries: BTreeMap<Subject, Entry>,
    waiters: Vec<Waiter>,
}

/// What a group has done.
#[derive(Debug, Default)]
pub(super) struct Served {
    /// For the lane that waits for rows.
    pub(super) left: Left,
    /// To be put in the queue again.
    pub(super) again: Vec<Waiter>,
    /// Something is held of these now.
    pub(super) active: Vec<Arc<Held>>,
    pub(super) charged: u64,
    pub(super) refused: u64,
}

impl Group {
    /// The group of this work, and of what another lane has left.
    pub(super) fn of(work: Work, left: Left) -> Self {
        let mut group = Self::default();
        for waiter in left.waiters.into_iter().chain(work.waiters) {
            if waiter.answer.is_closed() {
                // Nobody waits any more: nothing is debited for it.
                waiter.limited.stops_waiting();
            } else {
                group.waiters.push(waiter);
            }
        }
        for asked in left.asks {
            match group.entries.entry(asked.held.subject()) {
                MapEntry::Occupied(mut entry) => entry.get_mut().joins(asked.ask, asked.drops),
                MapEntry::Vacant(place) => drop(place.insert(Entry::of(asked))),
            }
        }
        let now = held::now();
        for held in left.due.into_iter().chain(work.due) {
            match group.entries.entry(held.subject()) {
                MapEntry::Occupied(mut entry) => {
                    let (more, drops) = held.lock().ask(Need::default(), now);
                    entry.get_mut().joins(more, drops);
                }
                MapEntry::Vacant(place) => drop(place.insert(Entry::of_due(held, Need::default(), now))),
            }
        }
        group.asks_for_waiters(now);
        group
    }

    fn asks_for_waiters(&mut self, now: OwnTime) {
        let mut needed: BTreeMap<Subject, (Arc<Held>, Vec<Need>)> = BTreeMap::new();
        for waiter in &self.waiters {
            for held in waiter.limited.both() {
                let (_, needs) =
                    needed.entry(held.subject()).or_insert_with(|| (Arc::clone(held), Vec::new()));
                if !waiter.is_dry {
                    needs.push(waiter.need);
                }
            }
        }
        for (subject, (held, needs)) in needed {
            let sum = needs.iter().fold(Need::default(), |sum, need| sum.plus(*need));
            let entry = self.entries.entry(subject).or_insert_with(|| Entry::of_due(held, sum, now));
            entry.ask.needed = sum;
            entry.needs = needs;
        }
    }

    /// Whose rows it needs, in order.
    pub(super) fn subjects(&self) -> Vec<Subject> {
        self.entries.keys().copied().collect()
    }

    /// Those of them that may have no row.
    pub(super) fn new_subjects(&self) -> Vec<Subject> {
        let new = self.entries.iter().filter(|(_, entry)| !entry.held.has_row());
        new.map(|(subject, _)| *subject).collect()
    }

    /// Gives rows their questions, under their locks and at the time that was read then; answers of those that are to be
    /// written.
    pub(super) fn debit(&mut self, now: i64, rows: Vec<Locked>) {
        for Locked { subject, row, terms } in rows {
            let Some(entry) = self.entries.get_mut(&subject) else { continue };
            if !entry.held.lock().remembers(entry.drops) {
                // They were debited from another database.
                entry.ask.returns.clear();
            }
            match row {
                Ok(row) => entry.answer = Some(answer_in_turn(row, now, terms, &entry.ask, &entry.needs)),
                Err(error) => {
                    tracing::error!(error = %error, "counters of rate limits cannot be read");
                    entry.is_corrupt = true;
                }
            }
        }
    }

    /// The rows that the debits have changed, or all of them.
    pub(super) fn changed(&self, all: bool) -> Vec<(Subject, &Row)> {
        let answers =
            self.entries.iter().filter_map(|(subject, entry)| Some((*subject, entry.answer.as_ref()?)));
        answers
            .filter(|(_, answer)| all || answer.is_changed)
            .map(|(subject, answer)| (subject, &answer.row))
            .collect()
    }

    /// Serves who waits, when the debits are on disk.
    pub(super) fn answer(mut self, sent: OwnTime, received: OwnTime) -> Served {
        for entry in self.entries.values_mut() {
            if let Some(answer) = &entry.answer {
                entry.stocks =
                    entry.held.lock().answered(answer, sent, received, entry.ask.needed, entry.drops);
            }
        }
        let mut served = Served::default();
        let mut verdicts = Vec::new();
        for waiter in std::mem::take(&mut self.waiters) {
            if let Some(verdict) = self.serve(waiter, &mut served) {
                verdicts.push(verdict);
            }
        }
        let now = held::now();
        for entry in self.entries.into_values() {
            if entry.answer.is_none() {
                if !entry.is_corrupt {
                    served.left.asks.push(entry.into_asked());
                }
                continue;
            }
            let Entry { held, drops, stocks, .. } = entry;
            held.note_row(true);
            held.lock().keep(stocks, drops, now);
            served.active.push(held);
        }
        // Whoever comes after them finds what is left in hand.
        for (waiter, verdict) in verdicts {
            waiter.limited.stops_waiting();
            if let Err(Ok(Verdict::Charged(charged))) = waiter.answer.send(Ok(verdict)) {
                // Nobody waits any more.
                waiter.limited.put_back(&charged);
            }
        }
        served
    }

    fn serve(&mut self, waiter: Waiter, served: &mut Served) -> Option<(Waiter, Verdict)> {
        let entries = || waiter.limited.both().filter_map(|held| self.entries.get(&held.subject()));
        if entries().any(|entry| entry.is_corrupt) {
            give_up(waiter);
            return None;
        }
        if entries().any(|entry| entry.answer.is_none()) {
            served.left.waiters.push(waiter);
            return None;
        }
        let now = held::now();
        let Some(verdict) = self.charge(&waiter, now) else {
            if now.saturating_sub(waiter.since) < AGE_MAX {
                served.again.push(waiter);
            } else {
                give_up(waiter);
            }
            return None;
        };
        match &verdict {
            Verdict::Charged(_) => served.charged += 1,
            Verdict::Refused(..) => served.refused += 1,
        }
        Some((waiter, verdict))
    }

    /// All of it or nothing; `None` where the request has to come again: what was debited cannot be used any more, or
    /// what was in hand in pieces is given back first.
    fn charge(&mut self, waiter: &Waiter, now: OwnTime) -> Option<Verdict> {
        let Waiter { limited, need, is_dry, .. } = waiter;
        // Both locks from the first look to the last unit.
        let mut locked = limited.lock();
        let mut refused: Option<Refused> = None;
        let (mut is_there, mut has_pieces) = (true, false);
        for (held, holding) in locked.each() {
            let entry = self.entries.get(&held.subject())?;
            let answer = entry.answer.as_ref()?;
            // Nothing was debited for a request that uses nothing: what the row has left tells.
            let has = holding.has(&entry.stocks, *need, now)
                || *is_dry && answer.row.shortage(*need, &answer.terms).is_none();
            if has {
                continue;
            }
            is_there = false;
            if let Some(refusal) = holding.refusal(*need, answer) {
                // What was debited too late to be used, say: it goes back, too.
                let metric = refusal.shortage.limit.metric;
                has_pieces |= entry.stocks.iter().flatten().any(|stock| stock.left().of(metric) > 0);
                has_pieces |= holding.gives_up_pieces(&refusal, now);
                refused = Some(Refused::by(held, &refusal, *need, now).longer(refused));
            }
        }
        if let Some(refused) = refused.filter(|_| !has_pieces) {
            return Some(Verdict::Refused(refused, self.statuses(&mut locked, now)));
        }
        if !is_there {
            return None;
        }
        let mut charged = Charged::default();
        if !is_dry {
            charged.of_key = self.take(&mut locked.key, *need, now);
            charged.of_owner = self.take(&mut locked.owner, *need, now);
        }
        charged.statuses = self.statuses(&mut locked, now);
        Some(Verdict::Charged(charged))
    }

    fn take(
        &mut self,
        locked: &mut Option<(&Held, MutexGuard<'_, Holding>)>,
        need: Need,
        now: OwnTime,
    ) -> Option<Taken> {
        let (held, holding) = locked.as_mut()?;
        let stocks = &mut self.entries.get_mut(&held.subject())?.stocks;
        holding.take_late(stocks, need, now)
    }

    fn statuses(&self, locked: &mut BothLocked<'_>, now: OwnTime) -> Vec<LimitStatus> {
        let mut statuses = Vec::new();
        for (held, holding) in locked.each() {
            let stocks = self.entries.get(&held.subject()).map_or(&[][..], |entry| &entry.stocks);
            let more = stocks.iter().flatten().fold(Need::default(), |sum, stock| sum.plus(stock.left()));
            status::add(&mut statuses, held, holding, more, now);
        }
        statuses
    }

    /// Nobody knows whether anything was debited. Gives back who waited.
    pub(super) fn into_waiters(self) -> Vec<Waiter> {
        self.waiters
    }

    /// Nothing was debited: everything is to be asked again.
    pub(super) fn into_left(self) -> Left {
        let asks = self.entries.into_values().map(Entry::into_asked).collect();
        Left { waiters: self.waiters, asks, due: Vec::new() }
    }
}

/// Answers a request that cannot be charged by the store.
pub(super) fn give_up(waiter: Waiter) {
    waiter.limited.stops_waiting();
    if waiter.answer.is_closed() {
        return;
    }
    let answer = waiter.limited.without_store(waiter.need, waiter.is_dry);
    // Whoever does not wait any more needs no answer, and nothing of the store's was charged.
    let _unheard: Result<(), Result<Verdict, NotCharged>> = waiter.answer.send(answer);
}
