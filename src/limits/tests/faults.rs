//! Clauses of the rule that the pure part cannot keep by itself: whoever uses it has to. Each is broken here on purpose, and
//! the checks find it.

use std::panic::{AssertUnwindSafe, catch_unwind};

use proptest::prelude::*;
use proptest::strategy::ValueTree;
use proptest::test_runner::TestRunner;

use super::history::{Weights, history};
use super::world::Fault;

/// The checks find a fault in one of so many histories.
const HISTORIES: usize = 3_000;
const STEPS: usize = 250;

/// What the first history that shows a fault breaks; histories are the same at every run.
fn breach(fault: Fault, weights: Weights) -> String {
    let mut runner = TestRunner::deterministic();
    let histories = history(weights, STEPS).no_shrink();
    for _ in 0..HISTORIES {
        let history = histories.new_tree(&mut runner).unwrap().current();
        if let Err(found) = catch_unwind(AssertUnwindSafe(|| history.run(fault).check())) {
            history.run(Fault::None).check();
            let text = found.downcast_ref::<String>().cloned();
            return text.or_else(|| found.downcast_ref::<&str>().map(|text| (*text).to_owned())).unwrap();
        }
    }
    panic!("no history shows {fault:?}");
}

#[test]
fn limits_that_were_read_before_the_row_was_locked_admit_too_much() {
    let found = breach(Fault::StaleTerms, Weights { limits: 6, ..Weights::default() });
    assert!(found.contains("time line"), "{found}");
}

#[test]
fn what_is_given_back_again_after_an_unknown_outcome_admits_too_much() {
    let found = breach(Fault::ReturnsAgain, Weights { losses: 9, ..Weights::default() });
    assert!(found.contains("time line"), "{found}");
}

#[test]
fn what_is_given_back_to_another_database_admits_too_much() {
    let found = breach(Fault::AnyEpoch, Weights { failovers: 6, ..Weights::default() });
    assert!(found.contains("time line"), "{found}");
}

#[test]
fn a_lease_that_counts_from_the_answer_lasts_too_long() {
    let found = breach(Fault::SentLate, Weights::default());
    assert!(found.contains("used too late") || found.contains("used after its sub-bucket"), "{found}");
}

#[test]
fn a_replica_that_does_not_hear_of_a_change_uses_what_was_given_before() {
    let found = breach(Fault::Deaf, Weights { limits: 6, ..Weights::default() });
    assert!(
        found.contains("limits that had been given up") || found.contains("beyond its limits"),
        "{found}"
    );
}
