//! The tests of the check of limits: against a slow and obvious one, and on limiters that are known to be right or wrong.

use crate::admissions::{Admission, Fullest, PARTS, Steady, Verdict, seconds};
use crate::random::Random;

/// Each window that there can be, one by one.
fn slow(admissions: &[Admission], window: i64) -> usize {
    let of = |time: u64| i64::try_from(time).unwrap();
    let last = admissions.iter().map(|admission| of(admission.answered)).max().unwrap_or(0);
    let inside = |after: i64| {
        let inside =
            |admission: &&Admission| of(admission.asked) > after && of(admission.answered) <= after + window;
        admissions.iter().filter(inside).count()
    };
    (-window - 1..=last + 1).map(inside).max().unwrap()
}

fn below(random: &mut Random, bound: u64) -> u64 {
    random.bits() % bound
}

fn at(instants: impl IntoIterator<Item = u64>) -> Vec<Admission> {
    instants.into_iter().map(|instant| Admission { asked: instant, answered: instant }).collect()
}

#[test]
fn the_fullest_window_is_that_of_the_slow_search() {
    let mut random = Random::new(11);
    for _ in 0..3_000 {
        let (count, span, took) =
            (below(&mut random, 14), 1 + below(&mut random, 60), 1 + below(&mut random, 30));
        let window = 1 + below(&mut random, 40);
        let draw = |random: &mut Random| {
            let asked = below(random, span);
            Admission { asked, answered: asked + below(random, took) }
        };
        let admissions: Vec<Admission> = (0..count).map(|_| draw(&mut random)).collect();
        let fullest = Fullest::of(&admissions, window);
        let right = slow(&admissions, i64::try_from(window).unwrap());
        assert_eq!(fullest.admissions, right, "{window}: {admissions:?}");
        // The window that is named holds so many.
        let inside = |one: &&Admission| one.asked + window > fullest.ends && one.answered <= fullest.ends;
        assert_eq!(admissions.iter().filter(inside).count(), right, "{window}: {admissions:?}");
    }
}

#[test]
fn a_window_has_its_end_and_not_its_beginning() {
    assert_eq!(Fullest::of(&at([5, 15]), 10), Fullest { admissions: 1, ends: 5 });
    assert_eq!(Fullest::of(&at([6, 15]), 10), Fullest { admissions: 2, ends: 15 });
    assert_eq!(Fullest::of(&at([0, 0, 0]), 10), Fullest { admissions: 3, ends: 0 });
    assert_eq!(Fullest::of(&[], 10), Fullest::default());
}

#[test]
fn what_may_have_happened_outside_is_not_counted() {
    let slow = Admission { asked: 0, answered: 10 };
    assert_eq!(Fullest::of(&[slow], 10).admissions, 0, "asked at the instant that a window leaves out");
    assert_eq!(Fullest::of(&[slow], 11).admissions, 1);
    let long_before = Admission { asked: 0, answered: 100 };
    let pair = [long_before, Admission { asked: 101, answered: 102 }];
    assert_eq!(Fullest::of(&pair, 50).admissions, 1);
}

#[test]
fn many_admissions_are_counted_as_few() {
    let evenly = at((0..1_000_000_u64).map(|number| number * 3));
    assert_eq!(Fullest::of(&evenly, 300_000).admissions, 100_000);
}

/// Greedy demand, one request each instant, on counters of `PARTS` + 1 parts of 10 instants: the service's rule.
fn by_parts(limit: u64, lasted: u64) -> Vec<Admission> {
    let mut parts: Vec<u64> = vec![0; usize::try_from(lasted / 10 + 1).unwrap()];
    let mut admitted = Vec::new();
    for instant in 0..lasted {
        let part = usize::try_from(instant / 10).unwrap();
        let held: u64 = parts[part.saturating_sub(usize::try_from(PARTS).unwrap())..=part].iter().sum();
        if held < limit {
            parts[part] += 1;
            admitted.push(instant);
        }
    }
    at(admitted)
}

/// The same demand on a counter that begins anew with each window: twice the limit passes around that instant.
fn by_fixed_windows(limit: u64, lasted: u64, window: u64) -> Vec<Admission> {
    // Demand comes late in each window, and goes on into the next.
    let asks =
        |instant: &u64| instant % (2 * window) >= window - limit && instant % (2 * window) < window + limit;
    at((0..lasted).filter(asks))
}

#[test]
fn the_rule_of_the_service_holds_and_gives_out_its_share() {
    for limit in [1_u32, 7, 120] {
        let admissions = by_parts(limit.into(), 1_500);
        let fullest = Fullest::of(&admissions, 300);
        assert_eq!(fullest.admissions, usize::try_from(limit).unwrap());
        let steady = Steady::of(1_500, 300).unwrap();
        assert_eq!(Verdict::of(limit, fullest, 1_240, &steady, None), Verdict::Holds);
        let share = steady.share(&admissions, limit);
        assert!((share - 30.0 / 31.0).abs() < 1e-9, "{limit}: {share}");
    }
}

#[test]
fn a_limiter_that_begins_anew_with_each_window_is_found_out() {
    let admissions = by_fixed_windows(10, 1_500, 300);
    let fullest = Fullest::of(&admissions, 300);
    assert_eq!(fullest.admissions, 20);
    let steady = Steady::of(1_500, 300).unwrap();
    assert_eq!(Verdict::of(10, fullest, 100, &steady, None), Verdict::Broken);
}

#[test]
fn a_limit_that_nobody_reaches_is_not_tested() {
    let steady = Steady::of(1_500, 300).unwrap();
    let fullest = Fullest { admissions: 90, ends: 0 };
    // 4.13 windows of a hundred each.
    assert_eq!(Verdict::of(100, fullest, 413, &steady, None), Verdict::NotTested);
    assert_eq!(Verdict::of(100, fullest, 414, &steady, None), Verdict::Holds);
    assert_eq!(Verdict::of(100, fullest, 414, &steady, Some(0.94)), Verdict::TooLittle);
    assert_eq!(Verdict::of(100, fullest, 414, &steady, Some(0.95)), Verdict::Holds);
}

#[test]
fn the_steady_time_is_whole_periods_after_half_a_window() {
    let steady = Steady::of(1_500, 300).unwrap();
    assert_eq!((steady.after, steady.to), (150, 150 + 4 * 310));
    assert!(
        !steady.contains(150) && steady.contains(151) && steady.contains(1_390) && !steady.contains(1_391)
    );
    assert!((steady.windows() - 4.0 * 31.0 / 30.0).abs() < 1e-9);
    assert_eq!(Steady::of(459, 300), None);
    assert_eq!(Steady::of(100, 300), None);
    assert!((seconds(1_500_000_000) - 1.5).abs() < 1e-12);
}
