//! Replicas, the row that they ask, and the time, moved step by step.

use super::log::{Debit, Entry, Log};
use super::replica::{Flight, Replica};
use super::terms;
use crate::limits::{
    Answer, Ask, Limit, Need, Return, Row, RowTime, Terms, answer, answer_in_turn, decode, encode,
};

/// When histories begin: not where a sub-bucket does.
pub const START: RowTime = 1_700_000_001_234_567;
/// How many earlier states of the row a failover may go back to.
const STATES_MAX: usize = 8;

/// What is done wrong on purpose, outside of what is tested.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Fault {
    #[default]
    None,
    /// The limits are those of when the question was put.
    StaleTerms,
    /// What was to be given back is given back again where the outcome is unknown.
    ReturnsAgain,
    /// A database takes questions that were put to the one before it.
    AnyEpoch,
    /// The time of sending is that of the answer.
    SentLate,
    /// A replica does not hear of changes of the limits.
    Deaf,
}

/// The row as it is stored.
#[derive(Clone, Debug, Default)]
struct State {
    time: RowTime,
    generation: i64,
    bytes: Vec<u8>,
    counting: [u32; 6],
    /// How many visits there were before.
    visits: usize,
}

#[derive(Debug)]
pub struct World {
    pub fault: Fault,
    /// Rows are told only what all waiting requests need together.
    pub is_summed: bool,
    /// True time, in nanoseconds.
    pub now: u64,
    /// What the database's clock is ahead of the true time, in microseconds.
    skew: i64,
    /// By how much it was put forward, all together.
    pub forward: i64,
    state: State,
    before: Vec<State>,
    countings: u32,
    /// Changes when another database takes the row over.
    pub epoch: u64,
    pub terms: Terms,
    limits: [Option<i64>; 6],
    pub version: u64,
    pub replicas: Vec<Replica>,
    /// Questions that nobody waits for any more and that may arrive yet.
    ghosts: Vec<Flight>,
    pub log: Log,
}

impl World {
    pub fn new(limits: [Option<i64>; 6], replicas: usize) -> Self {
        let replica = |index| Replica::new(index, 7_000_000_000 * u64::try_from(index + 1).unwrap());
        Self {
            fault: Fault::None,
            is_summed: false,
            now: 0,
            skew: 0,
            forward: 0,
            state: State::default(),
            before: Vec::new(),
            countings: 0,
            epoch: 0,
            terms: terms(limits),
            limits,
            version: 0,
            replicas: (0..replicas).map(replica).collect(),
            ghosts: Vec::new(),
            log: Log::default(),
        }
    }

    pub fn elapse(&mut self, nanos: u64) {
        self.now += nanos;
    }

    pub fn clock(&self) -> RowTime {
        START + self.skew + i64::try_from(self.now / 1_000).unwrap()
    }

    pub fn put_clock(&mut self, micros: i64) {
        self.skew += micros;
        self.forward += micros.max(0);
    }

    pub fn set_limit(&mut self, index: usize, most: Option<i64>) {
        self.limits[index] = most;
        self.terms = terms(self.limits);
        self.version += 1;
    }

    /// A replica hears of the limits that are in force.
    pub fn tell(&mut self, replica: usize) {
        let (version, now) = (self.version, self.now);
        let replica = &mut self.replicas[replica];
        if self.fault != Fault::Deaf && replica.told < version {
            let now = replica.own(now);
            replica.holding.drop_all(now);
        }
        replica.told = version;
    }

    pub fn row(&self) -> Row {
        decode(self.state.time, self.state.generation, &self.state.bytes).unwrap()
    }

    fn begin_visit(&mut self) -> [u32; 6] {
        let mut counting = self.state.counting;
        for (limit, its) in Limit::ALL.into_iter().zip(&mut counting) {
            if self.terms.get(limit).is_none() {
                *its = 0;
            } else if *its == 0 {
                self.countings += 1;
                *its = self.countings;
            }
        }
        counting
    }

    fn end_visit(&mut self, row: &Row, counting: [u32; 6], is_changed: bool) -> usize {
        self.log.debits.push(Debit {
            row_time: row.time(),
            true_time: self.now,
            terms: self.terms,
            version: self.version,
            counting,
            is_lost: false,
        });
        if is_changed {
            let visits = self.log.debits.len();
            let (time, generation) = (row.time(), row.generation());
            let state = State { time, generation, bytes: encode(row), counting, visits };
            assert_eq!(decode(time, generation, &state.bytes).as_ref(), Ok(row));
            self.before.push(std::mem::replace(&mut self.state, state));
            if self.before.len() > STATES_MAX {
                self.before.remove(0);
            }
        }
        self.log.debits.len() - 1
    }

    /// One transaction: the row is locked, the clock and the limits are read, the row is stored.
    fn visit(&mut self, ask: &Ask, needs: Option<&[Need]>, terms: Terms) -> (Answer, usize) {
        let counting = self.begin_visit();
        let mut answer = match needs {
            Some(needs) => answer_in_turn(self.row(), self.clock(), terms, ask, needs),
            None => answer(self.row(), self.clock(), terms, ask),
        };
        let visit = self.end_visit(&answer.row, counting, answer.is_changed);
        // The answer comes over the wire; what was read in the transaction is in it.
        answer.terms = terms;
        (answer, visit)
    }

    /// A question of a replica comes to the row.
    pub fn reach(&mut self, replica: usize, lane: usize) {
        let Some(at) = self.replicas[replica].lane(lane) else { return };
        let mut flight = self.replicas[replica].flights.remove(at);
        if flight.answer.is_none() {
            if flight.epoch != self.epoch && self.fault != Fault::AnyEpoch {
                return self.give_up(replica, flight, true);
            }
            let terms = if self.fault == Fault::StaleTerms { flight.terms } else { self.terms };
            flight.answer = Some(self.visit(&flight.ask, flight.needs().as_deref(), terms));
        }
        self.replicas[replica].flights.insert(at, flight);
    }

    /// A replica gets no answer. What it has asked may arrive yet.
    pub fn lose(&mut self, replica: usize, lane: usize) {
        if let Some(at) = self.replicas[replica].lane(lane) {
            let flight = self.replicas[replica].flights.remove(at);
            self.give_up(replica, flight, false);
        }
    }

    fn give_up(&mut self, index: usize, flight: Flight, is_other_epoch: bool) {
        let replica = &mut self.replicas[index];
        replica.fail(&flight);
        if is_other_epoch {
            return self.learn(index);
        }
        if self.fault == Fault::ReturnsAgain {
            for back in &flight.ask.returns {
                replica.again.push(*back);
            }
        }
        if flight.answer.is_none() {
            self.ghosts.push(flight);
        }
    }

    /// A question arrives that nobody waits for.
    pub fn haunt(&mut self) {
        let Some(flight) = self.ghosts.pop() else { return };
        if flight.epoch == self.epoch || self.fault == Fault::AnyEpoch {
            let terms = if self.fault == Fault::StaleTerms { flight.terms } else { self.terms };
            self.visit(&flight.ask, flight.needs().as_deref(), terms);
        }
    }

    pub fn crash(&mut self, replica: usize) {
        let it = &mut self.replicas[replica];
        let flights = std::mem::take(&mut it.flights);
        *it = Replica::new(replica, it.offset + 1);
        (it.told, it.epoch) = (self.version, self.epoch);
        self.ghosts.extend(flights.into_iter().filter(|flight| flight.answer.is_none()));
    }

    /// Another database takes over, which lacks the newest states of the row. The replicas do not know yet.
    pub fn fail_over(&mut self, states: usize) {
        for _ in 0..states {
            let Some(state) = self.before.pop() else { break };
            self.state = state;
        }
        self.before.clear();
        self.epoch += 1;
        let kept = self.state.visits;
        self.log.debits.iter_mut().skip(kept).for_each(|debit| debit.is_lost = true);
        // Which of their uses are lost nobody can tell.
        for (one, other) in &self.log.alike {
            let is_lost = self.log.debits[*one].is_lost || self.log.debits[*other].is_lost;
            self.log.debits[*one].is_lost = is_lost;
            self.log.debits[*other].is_lost = is_lost;
        }
    }

    /// A replica hears that another database has taken over.
    pub fn learn(&mut self, replica: usize) {
        let it = &mut self.replicas[replica];
        if it.epoch != self.epoch {
            it.epoch = self.epoch;
            it.holding.forget();
        }
    }

    /// The estimate of an admitted request is put right: below 0, so many tokens were not used.
    pub fn report(&mut self, pick: usize, tokens: i64) {
        let is_open = |entry: &&mut Entry| !entry.is_undone && !entry.is_charge && entry.surplus.is_none();
        let visit = self.log.debits.len();
        let open = self.log.entries.iter_mut().filter(is_open).rev().nth(pick);
        let Some(entry) = open.filter(|entry| entry.units.tokens + tokens.min(0) >= 0) else { return };
        if self.log.debits[entry.debit].is_lost {
            return;
        }
        let Entry { owner, generation, at, debit, .. } = *entry;
        if tokens < 0 {
            entry.surplus = Some((visit, -tokens));
        }
        let mut row = self.row();
        if tokens < 0 {
            let units = Need { requests: 0, tokens: -tokens };
            let counting = self.begin_visit();
            row.advance(self.clock(), &self.terms);
            let is_taken = row.give_back(&Return { generation, at, units });
            self.end_visit(&row, counting, true);
            if !is_taken {
                self.undo_surplus(visit);
            }
        } else {
            let counting = self.begin_visit();
            row.advance(self.clock(), &self.terms);
            row.charge(tokens);
            let debit_of_charge = self.end_visit(&row, counting, true);
            assert!(debit_of_charge > debit);
            self.log.entries.push(Entry {
                owner,
                debit: debit_of_charge,
                generation: row.generation(),
                at: row.time(),
                true_time: self.now,
                units: Need { requests: 0, tokens },
                is_charge: true,
                surplus: None,
                is_undone: false,
            });
        }
    }

    fn undo_surplus(&mut self, visit: usize) {
        let is_its = |entry: &&mut Entry| entry.surplus.is_some_and(|(it, _)| it == visit);
        if let Some(entry) = self.log.entries.iter_mut().find(is_its) {
            entry.surplus = None;
        }
    }

    /// What the row should count in each limit, from the log.
    pub fn check_counters(&mut self) {
        let (Answer { row, .. }, _) = self.visit(&Ask::default(), None, self.terms);
        for ring in &row.rings {
            let mut counts = std::collections::BTreeMap::new();
            let window = ring.limit.window;
            for entry in self.log.entries.iter().filter(|entry| !entry.is_undone) {
                let units = entry.units.of(ring.limit.metric);
                let bucket = window.bucket(entry.at);
                if units > 0 && window.leaves(bucket) > row.time() {
                    *counts.entry(bucket).or_insert(0) += units;
                }
            }
            let counts: Vec<(i64, i64)> = counts.into_iter().collect();
            assert_eq!(ring.counts, counts, "{:?}", ring.limit);
        }
    }

    pub fn check(&self) {
        if let Err(breach) = self.log.check(self.forward) {
            panic!("{breach}");
        }
    }

    /// Where on the true time line the row's clock shows `time`, if nobody touches it.
    pub fn true_time_of(&self, time: RowTime) -> u64 {
        self.now + u64::try_from((time - self.clock()).max(0)).unwrap() * 1_000
    }
}
