//! The tests of the simulation's parts, and a small one of it. They have a target of their own, because the benchmark's
//! cannot run tests.

mod group;
mod log;
mod options;
mod outcome;
#[allow(dead_code, reason = "the throughput harness uses more of it")]
#[path = "../throughput/random.rs"]
mod random;
mod replica;
mod second;
mod store;
mod traffic;
mod world;
#[allow(dead_code, reason = "the throughput harness uses more of it")]
#[path = "../throughput/zipf.rs"]
mod zipf;

use std::collections::HashSet;

use clap::Parser;

use log::Log;
use options::{Options, Plan};
use outcome::{HEADING, Report, percentile};
use second::{Left, Second, Then};
use store::{Lane, Store};
use traffic::{Traffic, float};
use world::World;

const WINDOW: u64 = 60_000_000_000;

fn plans(arguments: &str) -> Vec<Plan> {
    let small = ["simulation", "--replicas", "5", "--keys", "40", "--warm-up", "93", "--seconds", "62"];
    Options::parse_from(small.into_iter().chain(arguments.split_whitespace())).plans()
}

fn report(plan: &Plan) -> Report {
    World::new(plan).run().report(plan)
}

#[test]
fn a_log_admits_a_limit_and_again_what_is_a_window_old() {
    let mut log = Log::new(2, WINDOW);
    assert!(log.admit(5) && log.admit(7) && !log.admit(8));
    assert!(!log.has_room(WINDOW + 4) && log.admit(WINDOW + 5) && !log.admit(WINDOW + 6));
    assert_eq!(log.fullness(), (2, 2));
}

#[test]
fn a_log_says_when_a_limit_was_broken() {
    let mut log = Log::new(2, WINDOW);
    assert!(log.note(1) && log.note(2) && !log.note(WINDOW));
    assert!(log.note(WINDOW + 2));
}

#[test]
fn a_percentile_is_the_nearest_rank_in_milliseconds() {
    let mut micros: Vec<u32> = (1..=200).rev().map(|number| number * 1_000).collect();
    for (percent, expected) in [(50, 100.0), (99, 198.0), (100, 200.0)] {
        assert!((percentile(&mut micros, percent) - expected).abs() < 1e-9);
    }
    assert!(percentile(&mut [], 99).abs() < 1e-9);
}

#[test]
fn counts_are_numbers() {
    assert!((float(7_000_000_001) - 7_000_000_001.0).abs() < 1e-6);
}

#[test]
fn each_combination_is_a_cell_and_no_key_has_more_replicas_than_there_are() {
    let plans = plans("--popularity even,zipf --sticky 1,100 --limits far,near,below --rate 10,20");
    assert_eq!(plans.len(), 24);
    assert!(plans.iter().all(|plan| plan.sticky == 1 || plan.sticky == 5));
}

#[test]
fn requests_of_a_key_go_to_so_many_replicas_at_the_rate_that_is_expected() {
    let plan = &plans("--rate 1000 --popularity even --sticky 2 --limits far")[0];
    let window = plan.warm_up;
    let began = 3 * WINDOW;
    let from = began + traffic::nanos_of(window);
    let arrivals: Vec<_> = Traffic::new(plan, began)
        .skip_while(|arrival| arrival.at < from)
        .take_while(|arrival| arrival.at < from + traffic::nanos_of(window))
        .collect();
    assert!(arrivals.is_sorted_by_key(|arrival| arrival.at));
    let expected = Traffic::expected(plan, window);
    for (key, expected) in expected.into_iter().enumerate() {
        let its = arrivals.iter().filter(|arrival| arrival.key == key);
        let count = u32::try_from(its.clone().count()).unwrap();
        assert!((f64::from(count) / expected - 1.0).abs() < 0.2, "{count} for {expected}");
        assert_eq!(its.map(|arrival| arrival.replica).collect::<HashSet<_>>().len(), 2);
    }
}

#[test]
fn cores_work_in_the_order_of_coming() {
    let costs = options::Costs { network: 0, cores: 2, group: 0, row: 0, flush: 10 };
    let mut store = Store::new(1, &costs);
    assert_eq!([store.work(5, 10), store.work(6, 2), store.work(6, 1)], [(5, 15), (6, 8), (8, 9)]);
}

#[test]
fn commits_that_come_while_the_disk_works_last_together() {
    let costs = options::Costs { network: 0, cores: 1, group: 0, row: 0, flush: 10 };
    let mut store = Store::new(1, &costs);
    let lasts = [100, 101, 109, 110, 115, 200].map(|now| store.commit(now));
    assert_eq!(lasts, [110, 120, 120, 130, 130, 210]);
}

#[test]
fn a_row_goes_to_who_waits_for_it_and_is_left_out_by_others() {
    let costs = options::Costs { network: 0, cores: 1, group: 0, row: 0, flush: 10 };
    let mut store = Store::new(1, &costs);
    let [first, skips, waits, later] = [0, 1, 2, 3].map(|replica| Lane { replica, is_second: replica > 1 });
    assert!(store.lock(0, first, false) && !store.lock(0, skips, false));
    assert!(!store.lock(0, waits, true) && !store.lock(0, later, true));
    assert_eq!(store.unlock(0, first), Some(waits));
    assert!(store.lock(0, waits, true) && !store.lock(0, first, false));
    // It has given up.
    assert_eq!(store.unlock(0, later), None);
    assert_eq!(store.unlock(0, waits), None);
    assert!(store.lock(0, first, false));
}

fn left(key: usize, since: u64) -> Left {
    let waiters = vec![group::Waiter { key, since, is_central: true }];
    Left { waiters, ..Left::default() }
}

/// Longer than any pause where there is none.
fn pause(then: Then) -> u64 {
    match then {
        Then::Pauses(time) => time,
        Then::Rests | Then::GoesOn => u64::MAX,
    }
}

#[test]
fn what_was_left_is_tried_again_after_short_pauses_and_longer_ones_when_that_is_in_vain() {
    let mut lane = Second::new(1);
    assert!(lane.comes(left(7, 0)));
    let mut pauses: Vec<u64> = Vec::new();
    for _ in 0..64 {
        let (round, old) = lane.next(1);
        assert!(old.is_empty() && !round.is_alone && round.left.waiters.len() == 1);
        pauses.push(pause(lane.over(round.left, false)));
    }
    assert!(pauses[..31].iter().all(|it| *it <= 2_000_000) && pauses[31..].iter().any(|it| *it > 2_000_000));
    assert!(pauses.iter().collect::<HashSet<_>>().len() > 32 && pauses.iter().all(|it| *it <= 32_000_000));
    // What comes meanwhile is no reason to begin, but to make haste.
    assert!(!lane.comes(left(8, 1)));
    let (round, _) = lane.next(1);
    assert_eq!(round.left.waiters.len(), 2);
    assert!(pause(lane.over(round.left, false)) <= 2_000_000);
    let _round = lane.next(1);
    assert_eq!(lane.over(Left::default(), true), Then::Rests);
}

#[test]
fn what_has_waited_for_long_waits_alone_in_every_second_round_and_is_given_up_in_the_end() {
    let mut lane = Second::new(1);
    assert!(lane.comes(left(7, 0)) && lane.comes(left(8, 1)) && lane.comes(left(7, 900_000_000)));
    for is_alone in [true, false, true] {
        let (round, _) = lane.next(900_000_000);
        assert_eq!((round.is_alone, round.left.waiters.len()), (is_alone, if is_alone { 2 } else { 3 }));
        assert!(round.left.waiters.iter().all(|it| it.key == 7 || !is_alone));
        assert!(pause(lane.over(round.left, false)) <= 2_000_000);
    }
    let (round, old) = lane.next(1_000_000_001);
    assert_eq!((round.left.waiters.len(), old.len()), (1, 2));
}

#[test]
fn the_first_lane_leaves_to_the_second_whatever_is_about_its_keys() {
    let mut lane = Second::new(1);
    let _begins = lane.comes(left(7, 0));
    let (round, _) = lane.next(1);
    let mut work = (left(7, 1).waiters, vec![7, 8]);
    lane.takes_its(&mut work.0, &mut work.1);
    assert!(work.0.is_empty() && work.1 == [8]);
    // It has come while the round was under way.
    assert_eq!(lane.over(Left { waiters: Vec::new(), ..round.left }, true), Then::GoesOn);
    let (round, _) = lane.next(1);
    assert_eq!((round.left.waiters.len(), round.left.due.len()), (1, 1));
    assert_eq!(lane.over(Left::default(), true), Then::Rests);
    let mut work = (left(7, 1).waiters, vec![7]);
    lane.takes_its(&mut work.0, &mut work.1);
    assert_eq!((work.0.len(), work.1.len()), (1, 1));
}

#[test]
fn limits_hold_and_are_used_up_on_every_kind_of_traffic() {
    for plan in plans("--rate 150 --sticky 1,3,5") {
        let report = report(&plan);
        assert!(report.is_kept(), "{report:?}");
        assert!(report.utilisation > 0.9, "{report:?}");
        assert!(report.undecided_share == 0.0, "{report:?}");
        let is_far = plan.limits == options::Limits::Far;
        assert_eq!(report.refused_share == 0.0, is_far, "{report:?}");
        assert_eq!(report.fullest < 0.5, is_far, "{report:?}");
    }
}

#[test]
fn the_same_seed_gives_the_same_numbers() {
    let plan = |seed: u32| plans(&format!("--rate 200 --sticky 3 --limits near --seed {seed}")).remove(1);
    assert_eq!(report(&plan(1)), report(&plan(1)));
    assert_ne!(report(&plan(1)), report(&plan(2)));
}

#[test]
fn a_report_is_a_row_under_its_heading_and_a_line_of_json() {
    let report = report(&plans("--rate 5 --sticky 1")[0]);
    let bars = |text: &str| text.match_indices('|').map(|(at, _)| at).collect::<Vec<_>>();
    assert_eq!(bars(&report.row()), bars(HEADING));
    let json: serde_json::Value = serde_json::from_str(&report.json().unwrap()).unwrap();
    assert_eq!((&json["bench"], &json["broken"]), (&"simulation".into(), &0.into()));
}

#[test]
fn keys_that_are_asked_about_often_take_fewer_rows_a_request() {
    let rows =
        |rate: u32| report(&plans(&format!("--rate {rate} --sticky 1 --limits far"))[0]).rows_per_request;
    let (seldom, often) = (rows(20), rows(800));
    assert!(seldom > 0.9 && often < 0.15, "{seldom} {often}");
}

#[test]
fn a_store_that_is_too_small_leaves_requests_undecided_and_breaks_nothing() {
    let plan = &plans("--rate 400 --sticky 5 --limits near --cores 1 --group-cpu 100000")[0];
    let report = report(plan);
    assert!(report.is_kept() && report.undecided_share > 0.1, "{report:?}");
}
