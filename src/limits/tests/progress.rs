//! What the limits allow is given out, and soon.

use proptest::prelude::*;

use super::history::{History, Weights, history};
use super::replica::Outcome;
use super::world::{Fault, World};
use crate::limits::Need;

/// How finely time is cut, in nanoseconds. A question takes two of these.
const STEP: u64 = 5_000_000;
const SECOND: u64 = 1_000_000_000;
/// What is used in one sub-bucket can be used again so long after it was: a window and a sub-bucket.
const CYCLE: u64 = 62 * SECOND;

/// Steady demand of every replica in turn, so many requests a minute, and how many are admitted in each of the cycles.
fn admitted(
    limits: [Option<i64>; 6],
    replicas: usize,
    per_minute: u64,
    need: &dyn Fn(u64) -> Need,
    cycles: u64,
) -> Vec<usize> {
    let mut world = World::new(limits, replicas);
    let mut asked = 0;
    let mut turn = (0..replicas).cycle();
    let mut of_cycles = Vec::new();
    let mut before = 0;
    for cycle in 1..=cycles {
        while world.now < cycle * CYCLE {
            world.elapse(STEP);
            while asked * 60 * SECOND < per_minute * world.now {
                asked += 1;
                world.request(turn.next().unwrap(), need(asked));
            }
            for replica in 0..replicas {
                match world.replicas[replica].flights.first() {
                    None => world.send(replica),
                    Some(flight) if flight.answer.is_none() => world.reach(replica, 0),
                    Some(_) => world.receive(replica, 0),
                }
            }
        }
        let all = world.log.entries.len();
        of_cycles.push(all - before);
        before = all;
    }
    world.check();
    of_cycles
}

/// Of each cycle from the fourth on, at least 95 hundredths of what the limit allows in the same time.
fn assert_given_out(of_cycles: &[usize], most: usize, what: &str) {
    for admitted in &of_cycles[3..] {
        // A cycle is a window and its thirtieth.
        assert!(admitted * 100 * 30 >= 95 * most * 31, "{what}: {of_cycles:?} of {most} in a window");
    }
}

#[test]
fn steady_demand_is_given_what_the_limit_allows() {
    for replicas in [1, 3] {
        // What is asked for is less than what is admitted now and then, if it is little.
        for (most, times) in [(1, 20), (3, 3), (10, 3), (200, 3)] {
            let limits = [Some(most), None, None, None, None, None];
            let most = usize::try_from(most).unwrap();
            let per_minute = u64::try_from(most * times).unwrap();
            let of_cycles = admitted(limits, replicas, per_minute, &|_| Need::request(0), 6);
            assert_given_out(&of_cycles, most, &format!("{replicas} replicas"));
        }
    }
}

#[test]
fn steady_demand_is_given_the_tokens_that_the_limit_allows() {
    for replicas in [1, 3] {
        for size in [1, 20, 100] {
            let limits = [None, None, None, Some(200), Some(1 << 31), None];
            let per_minute = u64::try_from(3 * 200 / size).unwrap();
            let of_cycles = admitted(limits, replicas, per_minute, &|_| Need::request(size), 6);
            let most = usize::try_from(200 / size).unwrap();
            assert_given_out(&of_cycles, most, &format!("{replicas} replicas, requests of {size} tokens"));
        }
    }
}

#[test]
fn requests_that_do_not_fit_take_nothing_from_others() {
    for replicas in [1, 3] {
        let limits = [None, None, None, Some(200), None, None];
        let need = |asked: u64| Need::request(if asked.is_multiple_of(3) { 300 } else { 1 });
        let of_cycles = admitted(limits, replicas, 800, &need, 6);
        assert_given_out(&of_cycles, 200, &format!("{replicas} replicas"));
    }
}

/// Everything that is under way has ended, and what was not used is given back.
fn settle(world: &mut World) {
    for _ in 0..40 {
        for replica in 0..world.replicas.len() {
            world.exchange(replica, 0, 0);
        }
        world.elapse(SECOND / 4);
    }
}

/// Asks the row for one request; `Err` is when there is room.
fn ask(world: &mut World, need: Need) -> Result<(), Option<u64>> {
    match world.request(0, need) {
        Outcome::Admitted => Ok(()),
        Outcome::Refused(until) => Err(until),
        Outcome::Waits => {
            let (before, refused) = (world.log.entries.len(), world.replicas[0].refused.len());
            // Where it has pieces in hand, it gives them back first and asks again.
            (0..3).for_each(|_| world.exchange(0, 0, 0));
            assert_ne!(world.log.entries.len() - before, world.replicas[0].refused.len() - refused);
            if world.log.entries.len() > before {
                Ok(())
            } else {
                Err(*world.replicas[0].refused.last().unwrap())
            }
        }
    }
}

fn fits(world: &World, need: Need) -> bool {
    world.terms.iter().all(|(limit, most)| need.of(limit.metric) <= most)
}

const STEPS: usize = 120;

proptest! {
    #[test]
    fn what_a_row_counts_is_what_was_used(history in history(Weights::default(), STEPS)) {
        let mut world = history.run(Fault::None);
        settle(&mut world);
        world.check_counters();
        world.elapse(SECOND);
        for replica in &mut world.replicas {
            prop_assert!(!replica.holding.claims_return(replica.own(world.now)));
            prop_assert!(replica.is_idle(world.now));
        }
    }

    #[test]
    fn a_need_that_fits_is_admitted_when_nothing_is_used(
        history in history(Weights { losses: 3, clocks: 1, limits: 2, reports: 1, failovers: 1 }, STEPS),
        tokens in 0..20_i64,
    ) {
        let mut world = history.run(Fault::None);
        (0..world.replicas.len()).for_each(|replica| world.learn(replica));
        settle(&mut world);
        // The clock may have been put back by less than that.
        world.elapse(100 * 3_600 * SECOND);
        let need = Need::request(tokens);
        let outcome = ask(&mut world, need);
        prop_assert_eq!(outcome, if fits(&world, need) { Ok(()) } else { Err(None) });
    }

    #[test]
    fn there_is_room_when_a_refusal_says_so_and_not_before(
        history in history(Weights { losses: 3, ..Weights::default() }, STEPS),
        tokens in 0..20_i64,
    ) {
        let history = History { is_summed: false, ..history };
        let mut world = history.run(Fault::None);
        settle(&mut world);
        let need = Need::request(tokens);
        while ask(&mut world, need) == Ok(()) && world.log.entries.len() < 400 {}
        world.elapse(SECOND);
        settle(&mut world);
        let Err(refused) = ask(&mut world, need) else { return Ok(()) };
        prop_assert_eq!(refused.is_some(), fits(&world, need));
        let Some(until) = refused else { return Ok(()) };
        let offset = world.replicas[0].offset;
        world.now = (until - offset - 2_000).max(world.now);
        prop_assert!(ask(&mut world, need).is_err());
        world.now += 2_000;
        prop_assert_eq!(ask(&mut world, need), Ok(()));
    }
}
