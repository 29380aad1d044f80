//! A replica as far as one subject goes: how what it holds is to be used.

use std::collections::HashMap;

use super::log::{Entry, Log};
use super::world::{Fault, World};
use crate::limits::{
    Answer, Ask, Holding, LEASE_MAX, Metric, Need, OwnTime, Return, RowTime, Stock, Taken, Terms, Want,
};

/// A request that waits for the row, and which limits were known when it came.
#[derive(Clone, Copy, Debug)]
struct Waiting {
    need: Need,
    told: u64,
    since: OwnTime,
}

/// A question that is under way.
#[derive(Debug)]
pub struct Flight {
    pub ask: Ask,
    pub epoch: u64,
    /// What was in force when it was sent.
    pub terms: Terms,
    pub answer: Option<(Answer, usize)>,
    /// The row is told only what all need together.
    is_summed: bool,
    drops: u64,
    batch: Vec<Waiting>,
    sent: OwnTime,
}

impl Flight {
    /// What each waiting request needs.
    pub fn needs(&self) -> Option<Vec<Need>> {
        (!self.is_summed).then(|| self.batch.iter().map(|waiting| waiting.need).collect())
    }
}

/// What tells stocks apart, and the visit that they come from.
type Origin = ((OwnTime, RowTime, i64), usize);

/// So many questions of a replica are under way at most.
const LANES: usize = 2;
/// A request that has waited for so long is not put in the queue again.
const AGE_MAX: OwnTime = 1_000_000_000;

/// What became of units that were debited at one place in one generation.
#[derive(Clone, Copy, Debug, Default)]
struct Account {
    granted: Need,
    used: Need,
    returned: Need,
    /// They limit what was granted.
    terms: Terms,
}

/// What came of a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Admitted,
    /// When to ask again, on the replica's own clock; `None` where that is never.
    Refused(Option<OwnTime>),
    Waits,
}

#[derive(Debug)]
pub struct Replica {
    pub holding: Holding,
    pub offset: u64,
    /// The limits that it has heard of.
    pub told: u64,
    pub epoch: u64,
    /// One of each lane at most.
    pub flights: Vec<Flight>,
    /// What a fault makes it give back once more.
    pub again: Vec<Return>,
    index: usize,
    queue: Vec<Waiting>,
    origins: Vec<Origin>,
    accounts: HashMap<(i64, RowTime), Account>,
    /// The limits of the last answer.
    heard: u64,
    /// Refused by an answer; in the order in which they came.
    pub refused: Vec<Option<OwnTime>>,
}

impl Replica {
    pub fn new(index: usize, offset: u64) -> Self {
        Self {
            holding: Holding::default(),
            offset,
            told: 0,
            epoch: 0,
            flights: Vec::new(),
            again: Vec::new(),
            index,
            queue: Vec::new(),
            origins: Vec::new(),
            accounts: HashMap::new(),
            heard: 0,
            refused: Vec::new(),
        }
    }

    /// Another one after every crash.
    pub fn owner(&self) -> (usize, u64) {
        (self.index, self.offset)
    }

    pub fn own(&self, now: u64) -> OwnTime {
        now + self.offset
    }

    /// Which of its flights is meant, if there is any.
    pub fn lane(&self, lane: usize) -> Option<usize> {
        lane.checked_rem(self.flights.len())
    }

    /// Nobody answers.
    pub fn fail(&mut self, flight: &Flight) {
        flight.batch.iter().for_each(|_| self.holding.count_waiting(false));
    }

    pub fn is_idle(&self, now: u64) -> bool {
        self.flights.is_empty() && self.queue.is_empty() && self.holding.is_idle(self.own(now))
    }

    fn origin(&self, stock: &Stock) -> usize {
        let marks = (stock.until(), stock.at(), stock.generation());
        self.origins.iter().rev().find(|(it, _)| *it == marks).unwrap().1
    }

    /// Notes a use, and checks that it is where and when it may be.
    fn admit(&mut self, stock: &Stock, taken: &Taken, told: u64, log: &mut Log, now: u64) {
        let debit = self.origin(stock);
        let entry = Entry {
            owner: self.owner(),
            debit,
            generation: taken.generation,
            at: taken.at,
            true_time: now,
            units: taken.units,
            is_charge: false,
            surplus: None,
            is_undone: false,
        };
        let visit = &log.debits[debit];
        assert!(visit.version >= told, "units of limits that had been given up were used");
        assert!(now - visit.true_time < u64::try_from(LEASE_MAX.as_nanos()).unwrap(), "used too late");
        if let Some(window) = visit.terms.shortest() {
            let bucket = window.bucket(taken.at);
            let place = log.place(&entry);
            assert!(place >= visit.row_time * 1_000, "used before it was debited");
            assert!(place < window.end(bucket) * 1_000, "used after its sub-bucket");
        }
        let account = self.accounts.entry((taken.generation, taken.at)).or_default();
        account.used = account.used.plus(taken.units);
        account.check();
        log.entries.push(entry);
    }
}

impl Account {
    /// Each unit is used once, or given back once.
    fn check(&self) {
        for metric in [Metric::Requests, Metric::Tokens] {
            let gone = self.used.plus(self.returned).of(metric);
            assert!(!self.terms.limits(metric) || gone <= self.granted.of(metric), "{metric:?}: {self:?}");
        }
    }
}

impl World {
    /// A request comes.
    pub fn request(&mut self, index: usize, need: Need) -> Outcome {
        let now = self.now;
        let replica = &mut self.replicas[index];
        let own = replica.own(now);
        let told = replica.told;
        match replica.holding.want(need, own) {
            Want::Here(position) => {
                let stock = replica.holding.stocks()[position];
                let taken = replica.holding.take(position, need, own).unwrap();
                replica.admit(&stock, &taken, told, &mut self.log, now);
                Outcome::Admitted
            }
            Want::Refused(refusal) => {
                assert!(replica.heard >= told, "a refusal was remembered beyond its limits");
                Outcome::Refused(refusal.retry_after(need, own).map(|after| own + duration(after)))
            }
            Want::Ask => {
                replica.holding.count_waiting(true);
                replica.queue.push(Waiting { need, told, since: own });
                Outcome::Waits
            }
        }
    }

    /// Puts a question if there is one, or puts it again where the row was held by another; two at a time are under way.
    pub fn send(&mut self, index: usize) {
        // So that no two stocks are alike.
        self.elapse(1);
        let (now, terms) = (self.now, self.terms);
        let replica = &mut self.replicas[index];
        let own = replica.own(now);
        if replica.flights.len() == LANES {
            let held = replica.flights.iter_mut().find(|flight| flight.answer.is_none());
            return held.into_iter().for_each(|flight| flight.sent = own);
        }
        let is_due = !replica.queue.is_empty()
            || replica.holding.claims_return(own)
            || replica.holding.claims_renewal(own);
        if !is_due {
            return;
        }
        let batch = std::mem::take(&mut replica.queue);
        let needed = batch.iter().fold(Need::default(), |sum, waiting| sum.plus(waiting.need));
        let (mut ask, drops) = replica.holding.ask(needed, own);
        for back in &ask.returns {
            if let Some(account) = replica.accounts.get_mut(&(back.generation, back.at)) {
                account.returned = account.returned.plus(back.units);
                account.check();
            }
        }
        ask.returns.append(&mut replica.again);
        let (epoch, is_summed) = (replica.epoch, self.is_summed);
        let flight = Flight { ask, epoch, terms, answer: None, is_summed, drops, batch, sent: own };
        replica.flights.push(flight);
    }

    /// An answer comes to the replica, if there is one.
    pub fn receive(&mut self, index: usize, lane: usize) {
        let (now, fault) = (self.now, self.fault);
        let replica = &mut self.replicas[index];
        let own = replica.own(now);
        let Some(at) = replica.lane(lane).filter(|at| replica.flights[*at].answer.is_some()) else { return };
        let Flight { ask, answer, drops, batch, sent, .. } = replica.flights.remove(at);
        let (answer, visit) = answer.unwrap();
        let sent = if fault == Fault::SentLate { own } else { sent };
        replica.heard = self.log.debits[visit].version;
        let mut stocks = replica.holding.answered(&answer, sent, own, ask.needed, drops);
        for stock in stocks.iter().flatten() {
            let marks = (stock.until(), stock.at(), stock.generation());
            replica.origins.push((marks, visit));
            let account = replica.accounts.entry((stock.generation(), stock.at())).or_default();
            account.granted = account.granted.plus(stock.left());
            account.terms = answer.terms;
        }
        let (mut answered, mut again) = (0, Vec::new());
        for waiting in batch {
            let Waiting { need, told, since } = waiting;
            let both = stocks.iter().flatten().chain(replica.holding.stocks());
            if let Some(stock) = both.copied().find(|stock| stock.has(need, own)) {
                assert!(replica.holding.has(&stocks, need, own));
                let taken = replica.holding.take_late(&mut stocks, need, own).unwrap();
                replica.admit(&stock, &taken, told, &mut self.log, now);
            } else if let Some(refusal) = replica.holding.refusal(need, &answer)
                && !replica.holding.gives_up_pieces(&refusal, own)
            {
                let after = refusal.retry_after(need, own);
                replica.refused.push(after.map(|after| own + duration(after)));
            } else if own - since < AGE_MAX {
                again.push(waiting);
                continue;
            }
            answered += 1;
        }
        replica.holding.keep(stocks, drops, own);
        // Whoever comes after them finds what is left in hand.
        (0..answered).for_each(|_| replica.holding.count_waiting(false));
        again.append(&mut replica.queue);
        replica.queue = again;
    }

    /// A request that was admitted last is not, since something else refuses it.
    pub fn put_back(&mut self, index: usize, pick: usize) {
        let now = self.now;
        let replica = &mut self.replicas[index];
        let owner = replica.owner();
        let is_its = |entry: &&mut Entry| {
            entry.owner == owner && !entry.is_undone && !entry.is_charge && entry.surplus.is_none()
        };
        let Some(entry) = self.log.entries.iter_mut().filter(is_its).rev().nth(pick) else { return };
        let key = (entry.generation, entry.at);
        let Some(account) = replica.accounts.get_mut(&key) else { return };
        entry.is_undone = true;
        account.used = account.used.minus(entry.units);
        let taken = Taken { generation: entry.generation, at: entry.at, units: entry.units };
        let (debit, own) = (entry.debit, replica.own(now));
        let before = replica.holding.stocks().to_vec();
        replica.holding.put_back(&taken, own);
        let mut both = replica.holding.stocks().iter().zip(&before);
        let grown = both.find(|(stock, before)| stock.left() != before.left());
        let origin = grown.map(|(stock, _)| replica.origin(stock));
        self.log.alike.extend(origin.filter(|origin| *origin != debit).map(|origin| (origin, debit)));
    }

    /// To the row and back.
    pub fn exchange(&mut self, index: usize, there: u64, back: u64) {
        self.send(index);
        self.elapse(there);
        (0..LANES).for_each(|lane| self.reach(index, lane));
        self.elapse(back);
        (0..LANES).rev().for_each(|lane| self.receive(index, lane));
    }
}

fn duration(duration: std::time::Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap()
}
