//! Virtual time: requests, and what is under way between replicas and the store, in order.

use std::cmp::Reverse;
use std::collections::BinaryHeap;

use keystile::limits::{RowTime, Terms, Window};
use keystile::policy::{RateLimits, RateWindows};

use crate::group::{Group, Locking, Waiter};
use crate::log::Log;
use crate::options::{Costs, Limits, Plan};
use crate::outcome::Outcome;
use crate::random::Random;
use crate::replica::{Decision, GATHER, Next, Replica, SWEEP_EVERY};
use crate::second::{LOCK_MAX, Then};
use crate::store::{Lane, Store};
use crate::traffic::{Arrival, Traffic, float, nanos_of};

/// Virtual time begins here: a machine that is up for a while.
const BEGAN: u64 = 1_000_000_000_000;
const MILLI: u64 = 1_000_000;
/// A statement, or the commit, is waited for so long.
const PATIENCE: u64 = 800 * MILLI;
/// How long it takes to connect anew.
const CONNECTING: u64 = 20 * MILLI;

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Event {
    /// The first lane of a replica has gathered for long enough.
    Gathered(usize),
    /// The lane's question has come to the store.
    Asked(Lane),
    /// A core has turned to it.
    Locks(Lane, u64),
    /// It has waited for a row for long enough: the group's number, and the row.
    LockOver(Lane, u64, usize),
    /// Rows are locked and read.
    Reads(Lane),
    /// The debits have come to the store.
    Writes(Lane),
    /// They are to be made to last.
    Commits(Lane),
    /// They do.
    Lasts(Lane),
    /// The replica knows.
    Answered(Lane),
    /// The second lane of a replica has paused.
    Paused(usize),
    /// The first lane of a replica has a connection again.
    Connected(usize),
    /// A replica looks for what is over.
    Sweep(usize),
}

#[derive(Debug)]
struct Key {
    most: usize,
    central: Log,
    admitted: Log,
}

/// Everything.
#[derive(Debug)]
pub struct World {
    now: u64,
    ends: u64,
    measured_from: u64,
    events: BinaryHeap<Reverse<(u64, u64, Event)>>,
    serial: u64,
    traffic: Traffic,
    keys: Vec<Key>,
    replicas: Vec<Replica>,
    store: Store,
    costs: Costs,
    window: Window,
    outcome: Outcome,
}

impl World {
    /// Before the first request.
    pub fn new(plan: &Plan) -> Self {
        let window = plan.window.window();
        let length = u64::try_from(window.length()).unwrap_or(u64::MAX).saturating_mul(1_000);
        let expected = Traffic::expected(plan, std::time::Duration::from_nanos(length));
        let keys: Vec<Key> = expected
            .into_iter()
            .map(|requests| {
                let most = limit(requests, plan.limits);
                Key { most, central: Log::new(most, length), admitted: Log::new(most, length) }
            })
            .collect();
        let mut seeds = Random::new(plan.seed.wrapping_add(1));
        let measured_from = BEGAN.saturating_add(nanos_of(plan.warm_up));
        let mut world = Self {
            now: BEGAN,
            ends: measured_from.saturating_add(nanos_of(plan.measured)),
            measured_from,
            events: BinaryHeap::new(),
            serial: 0,
            traffic: Traffic::new(plan, BEGAN),
            store: Store::new(keys.len(), &plan.costs),
            replicas: (0..plan.replicas).map(|_| Replica::new(keys.len(), seeds.bits())).collect(),
            keys,
            costs: plan.costs,
            window,
            outcome: Outcome::default(),
        };
        let step = SWEEP_EVERY / u64::try_from(plan.replicas).unwrap_or(u64::MAX).max(1);
        for (replica, turn) in (0..plan.replicas).zip(1_u64..) {
            world.after(turn.saturating_mul(step), Event::Sweep(replica));
        }
        world
    }

    /// To the end.
    pub fn run(mut self) -> Outcome {
        while let Some(arrival) = self.traffic.next().filter(|arrival| arrival.at < self.ends) {
            while let Some(Reverse((at, ..))) = self.events.peek()
                && *at <= arrival.at
                && let Some(Reverse((at, _, event))) = self.events.pop()
            {
                self.now = at;
                self.happens(event);
            }
            self.now = arrival.at;
            self.arrives(arrival);
        }
        self.outcome
    }

    fn after(&mut self, time: u64, event: Event) {
        self.serial += 1;
        self.events.push(Reverse((self.now.saturating_add(time), self.serial, event)));
    }

    fn at(&mut self, time: u64, event: Event) {
        self.after(time.saturating_sub(self.now), event);
    }

    fn is_measured(&self, time: u64) -> bool {
        time >= self.measured_from
    }

    fn arrives(&mut self, arrival: Arrival) {
        let (now, is_measured) = (self.now, self.is_measured(arrival.at));
        let Some(key) = self.keys.get_mut(arrival.key) else { return };
        let is_central = key.central.admit(now);
        self.outcome.asked += u64::from(is_measured);
        self.outcome.central += u64::from(is_measured && is_central);
        let Some(replica) = self.replicas.get_mut(arrival.replica) else { return };
        let waiter = Waiter { key: arrival.key, since: now, is_central };
        let decision = replica.charge(waiter, now);
        if decision != Decision::Waits {
            self.decided(waiter, decision);
        }
        self.first_lane(arrival.replica);
    }

    fn decided(&mut self, waiter: Waiter, decision: Decision) {
        let (now, is_measured) = (self.now, self.is_measured(waiter.since));
        let Some(key) = self.keys.get_mut(waiter.key) else { return };
        let mut has_room = false;
        match decision {
            Decision::Admitted => {
                self.outcome.broken += u64::from(!key.admitted.note(now));
                let (admitted, most) = key.admitted.fullness();
                let [admitted, most] =
                    [admitted, most].map(|it| float(u64::try_from(it).unwrap_or(u64::MAX)));
                self.outcome.fullest = self.outcome.fullest.max(admitted / most);
            }
            Decision::Refused => has_room = key.admitted.has_room(now),
            Decision::Undecided | Decision::Waits => {}
        }
        if is_measured {
            self.outcome.note(decision, waiter.is_central, has_room);
        }
    }

    /// Looks whether the first lane has something to begin with.
    fn first_lane(&mut self, number: usize) {
        let now = self.now;
        let Some(replica) = self.replicas.get_mut(number) else { return };
        match replica.next() {
            Next::Nothing => {}
            Next::Gathers if replica.gathers_to.is_some() => {}
            Next::Gathers => {
                replica.gathers_to = Some(now.saturating_add(GATHER));
                self.after(GATHER, Event::Gathered(number));
            }
            Next::Now => self.begins(Lane { replica: number, is_second: false }),
        }
    }

    /// Begins with a lane's next group, if there is one.
    fn begins(&mut self, lane: Lane) {
        self.serial += 1;
        let (now, number) = (self.now, self.serial);
        let Some(replica) = self.replicas.get_mut(lane.replica) else { return };
        let group = if lane.is_second { replica.second(now, number) } else { replica.first(now, number) };
        let given_up = std::mem::take(&mut replica.given_up);
        if let Some(place) = replica.groups.get_mut(usize::from(lane.is_second)) {
            *place = group;
            if place.is_some() {
                self.after(self.costs.network, Event::Asked(lane));
            }
        }
        given_up.into_iter().for_each(|waiter| self.decided(waiter, Decision::Undecided));
    }

    /// A lane's group and the store.
    fn under_way(&mut self, lane: Lane) -> Option<(&mut Group, &mut Store)> {
        let group = self.replicas.get_mut(lane.replica)?.groups.get_mut(usize::from(lane.is_second))?;
        Some((group.as_mut()?, &mut self.store))
    }

    fn works(&mut self, takes: u64) -> (u64, u64) {
        self.outcome.busy += if self.is_measured(self.now) { takes } else { 0 };
        self.store.work(self.now, takes)
    }

    fn cost(&self, rows: usize) -> u64 {
        let rows = u64::try_from(rows).unwrap_or(u64::MAX);
        // Half of it to lock and to read, half of it to write and to commit.
        (self.costs.group / 2).saturating_add((self.costs.row / 2).saturating_mul(rows))
    }

    fn happens(&mut self, event: Event) {
        match event {
            Event::Gathered(number) => {
                let replica = self.replicas.get(number);
                let is_its = replica.is_some_and(|it| it.gathers_to == Some(self.now));
                if is_its && replica.is_some_and(|it| it.next() == Next::Gathers) {
                    self.begins(Lane { replica: number, is_second: false });
                }
            }
            Event::Asked(lane) => {
                let Some((group, _)) = self.under_way(lane) else { return };
                let rows = group.entries.len();
                let (begins, ends) = self.works(self.cost(rows));
                self.at(begins, Event::Locks(lane, ends));
            }
            Event::Locks(lane, ends) => self.locks(lane, ends),
            Event::LockOver(lane, number, key) => self.lock_over(lane, number, key),
            Event::Reads(lane) => self.reads(lane),
            Event::Writes(lane) => {
                let Some((group, _)) = self.under_way(lane) else { return };
                let is_changed =
                    |entry: &&crate::group::Entry| entry.answer.as_ref().is_some_and(|it| it.is_changed);
                let rows = group.entries.values().filter(is_changed).count();
                let (_, ends) = self.works(self.cost(rows));
                self.at(ends, Event::Commits(lane));
            }
            Event::Commits(lane) => {
                let lasts = self.store.commit(self.now);
                self.at(lasts, Event::Lasts(lane));
            }
            Event::Lasts(lane) => {
                self.unlocks(lane);
                self.after(self.costs.network, Event::Answered(lane));
            }
            Event::Answered(lane) => self.answered(lane),
            Event::Paused(number) => self.begins(Lane { replica: number, is_second: true }),
            Event::Connected(number) => {
                if let Some(replica) = self.replicas.get_mut(number) {
                    replica.connects = false;
                }
                self.first_lane(number);
            }
            Event::Sweep(number) => {
                let now = self.now;
                if let Some(replica) = self.replicas.get_mut(number) {
                    replica.sweep(now);
                }
                self.first_lane(number);
                self.after(SWEEP_EVERY, Event::Sweep(number));
            }
        }
    }

    fn locks(&mut self, lane: Lane, ends: u64) {
        let Some((group, store)) = self.under_way(lane) else { return };
        let number = group.number;
        match group.lock(lane, store) {
            Locking::Done => self.at(ends, Event::Reads(lane)),
            Locking::Waits(key) => self.after(LOCK_MAX, Event::LockOver(lane, number, key)),
        }
    }

    fn lock_over(&mut self, lane: Lane, number: u64, key: usize) {
        let Some((group, _)) = self.under_way(lane) else { return };
        if group.number == number && group.next_to_lock() == Some(key) {
            // It has debited nothing: all of it is left.
            self.unlocks(lane);
            self.after(self.costs.network, Event::Answered(lane));
        }
    }

    fn reads(&mut self, lane: Lane) {
        let (now, window) = (self.now, self.window);
        let heard = now.saturating_add(self.costs.network);
        let keys = std::mem::take(&mut self.keys);
        let Some((group, store)) = self.under_way(lane) else {
            self.keys = keys;
            return;
        };
        let is_late = heard.saturating_sub(group.sent) > PATIENCE;
        let terms = |key: usize| keys.get(key).map_or_else(Terms::default, |key| terms(key.most, window));
        let row_time = RowTime::try_from(now / 1_000).unwrap_or(RowTime::MAX);
        let rows = if is_late { 0 } else { group.debit(row_time, terms, store) };
        self.keys = keys;
        if is_late {
            self.unlocks(lane);
            self.failed(lane);
            return;
        }
        if self.is_measured(now) {
            self.outcome.groups += 1;
            self.outcome.rows += u64::try_from(rows).unwrap_or_default();
        }
        self.after(self.costs.network.saturating_mul(2), Event::Writes(lane));
    }

    /// Lets go of all rows of a lane's group. Who has waited for one goes on.
    fn unlocks(&mut self, lane: Lane) {
        let Some((group, store)) = self.under_way(lane) else { return };
        let waited = group.next_to_lock();
        let all = group.locked.iter().copied().chain(waited);
        let next: Vec<Lane> = all.filter_map(|key| store.unlock(key, lane)).collect();
        let now = self.now;
        next.into_iter().for_each(|lane| self.locks(lane, now));
    }

    /// Nothing of a group may be used, and nobody knows what was debited.
    fn failed(&mut self, lane: Lane) {
        if lane.is_second {
            // It has debited nothing: all of it is left.
            return self.answered(lane);
        }
        let now = self.now;
        let Some(replica) = self.replicas.get_mut(lane.replica) else { return };
        let Some(group) = replica.groups.first_mut().and_then(Option::take) else { return };
        replica.failed(group, now);
        replica.connects = true;
        self.after(CONNECTING, Event::Connected(lane.replica));
        self.first_lane(lane.replica);
    }

    fn answered(&mut self, lane: Lane) {
        let now = self.now;
        let Some(replica) = self.replicas.get_mut(lane.replica) else { return };
        let Some(group) = replica.groups.get_mut(usize::from(lane.is_second)).and_then(Option::take) else {
            return;
        };
        let asked = group.entries.len();
        let (told, left) = replica.answered(group, now);
        let held = left.asks.len();
        let then = match lane.is_second {
            true => replica.second.over(left, held < asked),
            false if replica.second.comes(left) => Then::GoesOn,
            false => Then::Rests,
        };
        for (waiter, decision) in told {
            if self.is_measured(waiter.since) {
                let micros = now.saturating_sub(waiter.since) / 1_000;
                self.outcome.waits.push(u32::try_from(micros).unwrap_or(u32::MAX));
            }
            self.decided(waiter, decision);
        }
        if self.is_measured(now) {
            self.outcome.held += u64::try_from(held).unwrap_or_default();
        }
        match then {
            Then::Rests => {}
            Then::GoesOn => self.begins(Lane { replica: lane.replica, is_second: true }),
            Then::Pauses(time) => self.after(time, Event::Paused(lane.replica)),
        }
        self.first_lane(lane.replica);
    }
}

/// A limit by what is expected to be asked for; at least 1.
fn limit(requests: f64, limits: Limits) -> usize {
    let most = (requests * limits.factor()).round().max(1.0);
    // In milliseconds, so that no cast is needed.
    let most = std::time::Duration::try_from_secs_f64(most).map_or(u64::MAX, |most| most.as_secs());
    usize::try_from(most).unwrap_or(usize::MAX)
}

fn terms(most: usize, window: Window) -> Terms {
    let most = i64::try_from(most).ok();
    let requests = match window {
        Window::Minute => RateWindows { per_minute: most, ..RateWindows::default() },
        Window::Hour => RateWindows { per_hour: most, ..RateWindows::default() },
        Window::Day => RateWindows { per_day: most, ..RateWindows::default() },
    };
    Terms::from(RateLimits { requests, ..RateLimits::default() })
}
