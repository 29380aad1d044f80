//! Generated histories: what happens to the replicas and the row, and how often.

use std::fmt;

use proptest::collection::vec;
use proptest::prelude::*;

use super::world::{Fault, START, World};
use crate::limits::{Limit, Need, Window};

/// One step.
#[derive(Clone, Debug)]
pub enum Step {
    /// Nanoseconds.
    Elapse(u64),
    /// Until so many nanoseconds around the time when the oldest sub-bucket that counts leaves the shortest window.
    Edge(i64),
    /// So many requests of so many tokens.
    Request(usize, u8, i64),
    /// Everything to the row and back, in so many nanoseconds each.
    Exchange(usize, u64, u64),
    Send(usize),
    Reach(usize, usize),
    Receive(usize, usize),
    Lose(usize, usize),
    Haunt,
    Crash(usize),
    PutBack(usize, usize),
    Report(usize, i64),
    PutClock(i64),
    SetLimit(usize, Option<i64>),
    Tell(usize),
    FailOver(usize),
    Learn(usize),
}

/// What happens besides requests, and how often.
#[derive(Clone, Copy, Debug, Default)]
pub struct Weights {
    pub losses: u32,
    pub clocks: u32,
    pub limits: u32,
    pub reports: u32,
    pub failovers: u32,
}

#[derive(Clone)]
pub struct History {
    pub limits: [Option<i64>; 6],
    pub replicas: usize,
    /// Rows are told only what all waiting requests need together.
    pub is_summed: bool,
    pub steps: Vec<Step>,
}

impl fmt::Debug for History {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limits, replicas, is_summed, .. } = self;
        write!(
            out,
            "limits {limits:?}, {replicas} replicas, {}summed",
            if *is_summed { "" } else { "not " }
        )?;
        let mut steps = self.steps.iter().filter(|step| !matches!(step, Step::Elapse(0)));
        steps.try_for_each(|step| write!(out, "\n    {step:?}"))
    }
}

/// Three numbers that say what happens in a step: cheap to make many of, and they shrink.
type Raw = [u32; 3];

/// One of these, each as often as its weight says.
fn one_of<T: Clone>(pick: u32, of: &[(u32, T)]) -> T {
    let all: u32 = of.iter().map(|(weight, _)| weight).sum();
    let mut rest = pick % all;
    let found = of.iter().find(|(weight, _)| match rest.checked_sub(*weight) {
        Some(less) => {
            rest = less;
            false
        }
        None => true,
    });
    found.unwrap().1.clone()
}

fn below(pick: u32, most: i64) -> i64 {
    i64::try_from(i128::from(pick) * i128::from(most) / (1 << 32)).unwrap()
}

/// A limit: mostly so small that it is reached.
fn most(pick: u32, value: u32) -> i64 {
    one_of(pick, &[(1, 0), (3, 1), (8, 2 + below(value, 10)), (6, 12 + below(value, 188)), (1, 1 << 31)])
}

fn tokens(pick: u32, value: u32) -> i64 {
    one_of(pick, &[(4, 1), (4, below(value, 12)), (2, below(value, 120)), (1, 1 << 31)])
}

/// In nanoseconds.
fn delay(pick: u32) -> u64 {
    let (kind, value) = (pick % 16, pick / 16 * 16);
    let most = one_of(kind, &[(3, 0), (8, 3_000_000), (3, 900_000_000), (2, 2_500_000_000)]);
    u64::try_from(below(value, most)).unwrap()
}

fn elapse(window: Window, [pick, kind, value]: Raw) -> Step {
    let width = window.width() * 1_000;
    if pick % 6 == 5 {
        return Step::Edge(below(value, 4_000_000_000) - 1_500_000_000);
    }
    let of = [(6, 20_000_000), (4, 400_000_000), (2, 1_300_000_000), (2, 2 * width), (1, 40 * width)];
    Step::Elapse(u64::try_from(below(value, one_of(kind, &of))).unwrap())
}

fn limits(shortest: Window, raw: &[Raw]) -> [Option<i64>; 6] {
    let mut raw = raw.iter();
    Limit::ALL.map(|limit| {
        let [is_there, pick, value] = *raw.next().unwrap();
        (limit.window >= shortest && is_there % 5 < 3).then(|| most(pick, value))
    })
}

#[derive(Clone, Copy)]
enum Kind {
    Request,
    Exchange,
    Elapse,
    Send,
    Reach,
    Receive,
    PutBack,
    Lose,
    Haunt,
    Crash,
    PutClock,
    SetLimit,
    Tell,
    Report,
    FailOver,
    Learn,
}

fn step(shortest: Window, replicas: usize, weights: Weights, [kind, a, b]: Raw) -> Step {
    let Weights { losses, clocks, limits, reports, failovers } = weights;
    let kinds = [
        (12, Kind::Elapse),
        (20, Kind::Request),
        (12, Kind::Exchange),
        (10, Kind::Send),
        (10, Kind::Reach),
        (10, Kind::Receive),
        (2, Kind::PutBack),
        (losses, Kind::Lose),
        (losses / 2, Kind::Haunt),
        (losses / 3, Kind::Crash),
        (clocks, Kind::PutClock),
        (limits, Kind::SetLimit),
        (limits * 2, Kind::Tell),
        (reports, Kind::Report),
        (failovers, Kind::FailOver),
        (failovers * 2, Kind::Learn),
    ];
    let small = |pick: u32, most: usize| usize::try_from(pick).unwrap() % most;
    let one = small(a, replicas);
    // Where a choice takes its bits from is of no matter, as long as no two choices of a step take the same.
    let rest = a / 16;
    match one_of(kind, &kinds) {
        Kind::Request => Step::Request(one, 1 + u8::try_from(rest % 12).unwrap(), tokens(rest / 12, b)),
        Kind::Exchange => Step::Exchange(one, delay(rest), delay(b)),
        Kind::Elapse => elapse(shortest, [a, rest, b]),
        Kind::Send => Step::Send(one),
        Kind::Reach => Step::Reach(one, small(b, 2)),
        Kind::Receive => Step::Receive(one, small(b, 2)),
        Kind::PutBack => Step::PutBack(one, small(b, 4)),
        Kind::Lose => Step::Lose(one, small(b, 2)),
        Kind::Haunt => Step::Haunt,
        Kind::Crash => Step::Crash(one),
        Kind::PutClock if a % 3 == 0 => Step::PutClock(below(b, 110_000_000) - 90_000_000),
        Kind::PutClock => Step::PutClock(below(b, 6_000_000) - 3_000_000),
        Kind::SetLimit => {
            let of_window = Limit::ALL.iter().filter(|limit| limit.window >= shortest);
            let limit = of_window.cycle().nth(small(a, 6)).unwrap();
            let index = Limit::ALL.iter().position(|it| it == limit).unwrap();
            Step::SetLimit(index, (rest % 3 > 0).then(|| most(rest / 3, b)))
        }
        Kind::Tell => Step::Tell(one),
        Kind::Report => Step::Report(small(a, 6), below(b, 16) - 8),
        Kind::FailOver => Step::FailOver(small(a, 6)),
        Kind::Learn => Step::Learn(one),
    }
}

/// Histories of so many steps.
pub fn history(weights: Weights, steps: usize) -> impl Strategy<Value = History> {
    let shortest = prop_oneof![3 => Just(Window::Minute), 2 => Just(Window::Hour), 1 => Just(Window::Day)];
    let raw = any::<Raw>;
    (shortest, 1..4_usize, any::<bool>(), vec(raw(), 6), vec(raw(), steps..=steps)).prop_map(
        move |(shortest, replicas, is_summed, of_limits, raw)| History {
            limits: limits(shortest, &of_limits),
            replicas,
            is_summed,
            steps: raw.into_iter().map(|raw| step(shortest, replicas, weights, raw)).collect(),
        },
    )
}

/// Histories in which units are debited ahead and all that is left is used at once: from shortly before the end of a
/// sub-bucket on, and again when it leaves.
pub fn history_ahead() -> impl Strategy<Value = History> {
    let pace = (1..8_u8, 0..60_000_000_u64);
    (
        16..200_i64,
        0..700_000_000_u64,
        vec(pace, 2..6),
        0..1_000_000_000_u64,
        vec(-1_000_000_000..2_500_000_000_i64, 4),
    )
        .prop_map(|(most, before_end, paces, until_used, edges)| {
            let end = nanos(Window::Minute.end(Window::Minute.bucket(START)) - START);
            let mut steps = vec![Step::Elapse(end.saturating_sub(before_end))];
            let all = |replica| [Step::Request(replica, u8::MAX, 0), Step::Exchange(replica, 0, 0)];
            for (requests, pause) in paces {
                steps.extend([Step::Request(0, requests, 0), Step::Exchange(0, 0, 0), Step::Elapse(pause)]);
            }
            steps.extend(all(1));
            steps.extend([Step::Elapse(until_used), Step::Request(0, u8::MAX, 0)]);
            for edge in edges {
                steps.push(Step::Edge(edge));
                steps.extend(all(1));
            }
            let limits = [Some(most), None, None, None, None, None];
            History { limits, replicas: 2, is_summed: false, steps }
        })
}

fn nanos(micros: i64) -> u64 {
    u64::try_from(micros).unwrap() * 1_000
}

impl World {
    pub fn take_step(&mut self, step: &Step) {
        match *step {
            Step::Elapse(nanos) => self.elapse(nanos),
            Step::Edge(nanos) => {
                let Some(window) = self.terms.shortest() else { return };
                let row = self.row();
                let oldest = row.rings.iter().filter(|ring| ring.limit.window == window);
                let Some((bucket, _)) = oldest.filter_map(|ring| ring.counts.first()).min() else { return };
                let leaves = self.true_time_of(window.leaves(*bucket));
                self.now = self.now.max(leaves.saturating_add_signed(nanos));
            }
            Step::Request(replica, times, tokens) => {
                for _ in 0..times {
                    self.request(replica, Need::request(tokens));
                }
            }
            Step::Exchange(replica, there, back) => self.exchange(replica, there, back),
            Step::Send(replica) => self.send(replica),
            Step::Reach(replica, lane) => self.reach(replica, lane),
            Step::Receive(replica, lane) => self.receive(replica, lane),
            Step::Lose(replica, lane) => self.lose(replica, lane),
            Step::Haunt => self.haunt(),
            Step::Crash(replica) => self.crash(replica),
            Step::PutBack(replica, pick) => self.put_back(replica, pick),
            Step::Report(pick, tokens) => self.report(pick, tokens),
            Step::PutClock(micros) => self.put_clock(micros),
            Step::SetLimit(index, most) => self.set_limit(index, most),
            Step::Tell(replica) => self.tell(replica),
            Step::FailOver(states) => self.fail_over(states),
            Step::Learn(replica) => self.learn(replica),
        }
    }
}

impl History {
    /// What became of it, with something done wrong on purpose.
    pub fn run(&self, fault: Fault) -> World {
        let mut world = World::new(self.limits, self.replicas);
        (world.fault, world.is_summed) = (fault, self.is_summed);
        for step in &self.steps {
            world.take_step(step);
        }
        world
    }
}
