//! The rule holds whatever happens.

use proptest::prelude::*;

use super::history::{Weights, history, history_ahead};
use super::world::Fault;

const STEPS: usize = 250;

const CALM: Weights = Weights { losses: 0, clocks: 0, limits: 0, reports: 0, failovers: 0 };

proptest! {
    #[test]
    fn no_more_is_admitted_than_the_limits_allow(history in history(Weights { reports: 1, ..CALM }, STEPS)) {
        history.run(Fault::None).check();
    }

    #[test]
    fn units_that_are_debited_ahead_count_where_they_are_used(history in history_ahead()) {
        history.run(Fault::None).check();
    }

    #[test]
    fn lost_questions_lost_answers_and_crashes_admit_no_more(history in history(Weights { losses: 6, ..CALM }, STEPS)) {
        history.run(Fault::None).check();
    }

    #[test]
    fn steps_of_the_clock_admit_no_more(history in history(Weights { losses: 2, clocks: 3, ..CALM }, STEPS)) {
        history.run(Fault::None).check();
    }

    #[test]
    fn changes_of_the_limits_admit_no_more(history in history(Weights { losses: 2, limits: 4, ..CALM }, STEPS)) {
        history.run(Fault::None).check();
    }

    #[test]
    fn a_failover_admits_no_more_than_what_it_lost(history in history(Weights { losses: 2, failovers: 6, ..CALM }, STEPS)) {
        history.run(Fault::None).check();
    }

    #[test]
    fn everything_together_admits_no_more(
        history in history(Weights { losses: 3, clocks: 2, limits: 3, reports: 1, failovers: 2 }, STEPS),
    ) {
        history.run(Fault::None).check();
    }
}
