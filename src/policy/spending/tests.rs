//! The edges of the rule one by one, and its properties.

use proptest::prelude::{Strategy, any, proptest};
use proptest::{prop_assert, prop_assert_eq};

use super::*;
use crate::policy::{NamePattern, Period};

fn micros(value: i64) -> Micros {
    Micros::new(value).unwrap()
}

fn balance(spent: i64, reserved: i64) -> Balance {
    Balance { spent: micros(spent), reserved: micros(reserved) }
}

fn hard(limit: i64) -> NewBudget {
    NewBudget {
        display_name: String::new(),
        limit: micros(limit),
        period: Period::Total,
        is_hard: true,
        warning: None,
        models: AccessRule::Any,
        default_estimate: Micros::ZERO,
        require_estimate: false,
    }
}

fn soft(limit: i64) -> NewBudget {
    NewBudget { is_hard: false, ..hard(limit) }
}

fn reserve(amount: i64, warns: bool) -> Ruling {
    Ruling::Reserve { amount: micros(amount), warns }
}

const EXCEEDED: Ruling = Ruling::Refuse(Refusal::Exceeded);

#[test]
fn a_request_fits_where_something_is_left_and_its_estimate_is_not_more() {
    for (limit, spent, reserved, estimate, fits) in [
        (100, 0, 0, 100, true),
        (100, 0, 0, 101, false),
        (100, 60, 30, 10, true),
        (100, 60, 30, 11, false),
        (100, 60, 39, 0, true),
        // Used up: nothing more, though nothing more would be spent.
        (100, 60, 40, 0, false),
        (100, 0, 100, 0, false),
        (0, 0, 0, 0, false),
        (1, 0, 0, 0, true),
        (1, 0, 0, 1, true),
        // Above the limit by reports, or since it was lowered.
        (100, 150, 0, 0, false),
        (i64::MAX, 0, 0, i64::MAX, true),
        (i64::MAX, i64::MAX - 1, 0, 1, true),
        (i64::MAX, i64::MAX, 0, 0, false),
        (i64::MAX, i64::MAX, 1, 0, false),
        (i64::MAX, 1, 1, i64::MAX, false),
    ] {
        let expected = if fits { Admission::Within } else { Admission::Over };
        let found = admit(micros(limit), balance(spent, reserved), micros(estimate));
        assert_eq!(found, expected, "{estimate} to {spent} + {reserved} of {limit}");
    }
}

#[test]
fn without_an_estimate_the_default_is_reserved() {
    let budget = NewBudget { default_estimate: micros(7), ..hard(10) };
    assert_eq!(budget.rule(balance(3, 0), None), reserve(7, false));
    assert_eq!(budget.rule(balance(4, 0), None), EXCEEDED);
    assert_eq!(budget.rule(balance(9, 0), Some(micros(1))), reserve(1, false), "what is given counts");
    assert_eq!(budget.rule(balance(9, 0), Some(Micros::ZERO)), reserve(0, false), "0 is given as well");
}

#[test]
fn a_budget_that_wants_an_estimate_refuses_without_one() {
    let budget = NewBudget { require_estimate: true, default_estimate: micros(7), ..hard(10) };
    assert_eq!(budget.rule(balance(0, 0), None), Ruling::Refuse(Refusal::EstimateMissing));
    assert_eq!(budget.rule(balance(0, 0), Some(Micros::ZERO)), reserve(0, false));
    let budget = NewBudget { is_hard: false, ..budget };
    assert_eq!(budget.rule(balance(0, 0), None), reserve(7, true), "a soft one only warns");
}

#[test]
fn a_soft_budget_reserves_and_warns_where_a_hard_one_refuses() {
    assert_eq!(soft(10).rule(balance(10, 0), Some(micros(5))), reserve(5, true));
    assert_eq!(soft(10).rule(balance(5, 0), Some(micros(5))), reserve(5, false));
    assert_eq!(soft(0).rule(balance(0, 0), None), reserve(0, true));
    let nearly_all = balance(i64::MAX - 1, 0);
    assert_eq!(soft(10).rule(nearly_all, Some(micros(5))), reserve(1, true), "what still can be counted");
}

#[test]
fn the_threshold_warns_from_the_request_on_that_reaches_it() {
    let budget = NewBudget { warning: Some(micros(80)), ..hard(100) };
    assert_eq!(budget.rule(balance(50, 20), Some(micros(9))), reserve(9, false));
    assert_eq!(budget.rule(balance(50, 20), Some(micros(10))), reserve(10, true));
    assert_eq!(budget.rule(balance(80, 0), None), reserve(0, true));
    assert_eq!(budget.rule(balance(100, 0), None), EXCEEDED);
    let budget = NewBudget { warning: Some(Micros::ZERO), ..budget };
    assert_eq!(budget.rule(balance(0, 0), None), reserve(0, true));
}

#[test]
fn a_budget_counts_its_models_and_requests_that_name_none() {
    let patterns = ["gpt-4o*", "o3"].map(|text| NamePattern::parse(text).unwrap());
    let budget = NewBudget { models: AccessRule::only(patterns).unwrap(), ..hard(10) };
    for (model, counts) in [
        (Some(&b"gpt-4o-mini"[..]), true),
        (Some(b"o3"), true),
        (Some(b"o3-mini"), false),
        (Some(b"GPT-4o"), false),
        (None, true),
        // No names.
        (Some(b""), true),
        (Some(b"\xff"), true),
        (Some(b"a\n"), true),
    ] {
        assert_eq!(budget.counts(model), counts, "{model:?}");
        assert!(hard(10).counts(model), "{model:?}");
    }
}

/// Amounts near each other, and near both ends.
fn amount() -> impl Strategy<Value = i64> {
    proptest::prop_oneof![0..=20_i64, (i64::MAX - 20)..=i64::MAX, 0..=i64::MAX]
}

proptest! {
    #[test]
    fn the_rule_is_that_of_whole_numbers_without_a_bound(
        limit in amount(), spent in amount(), reserved in amount(), estimate in amount(),
    ) {
        let wide = i128::from;
        let committed = wide(spent) + wide(reserved);
        let fits = committed < wide(limit) && committed + wide(estimate) <= wide(limit);
        let found = admit(micros(limit), balance(spent, reserved), micros(estimate));
        prop_assert_eq!(found == Admission::Within, fits);
    }

    #[test]
    fn what_is_reserved_in_turn_never_passes_a_hard_limit(
        limit in 0..1_000_i64,
        requests in proptest::collection::vec((0..400_i64, 0..400_i64, any::<bool>()), 1..50),
    ) {
        let budget = hard(limit);
        let mut balance = Balance::ZERO;
        for (estimate, cost, is_reported) in requests {
            if let Ruling::Reserve { amount, .. } = budget.rule(balance, Some(micros(estimate))) {
                prop_assert_eq!(amount, micros(estimate));
                prop_assert!(balance.committed().unwrap() < budget.limit);
                // Costs no more than was estimated, where it is reported at all.
                if is_reported {
                    balance.spent = balance.spent.saturating_add(micros(cost.min(estimate)));
                } else {
                    balance.reserved = balance.reserved.saturating_add(amount);
                }
            }
            prop_assert!(balance.committed().unwrap() <= budget.limit);
        }
    }

    #[test]
    fn a_soft_budget_never_refuses_and_never_reserves_what_cannot_be_counted(
        limit in amount(), spent in amount(), reserved in amount(), estimate in proptest::option::of(amount()),
        default in amount(), warning in proptest::option::of(amount()), require_estimate in any::<bool>(),
    ) {
        let budget = NewBudget {
            default_estimate: micros(default), warning: warning.map(micros), require_estimate, ..soft(limit)
        };
        let balance = balance(spent, reserved);
        let ruling = budget.rule(balance, estimate.map(micros));
        let Ruling::Reserve { amount, warns } = ruling else { panic!("{ruling:?}") };
        let asked = micros(estimate.unwrap_or(default));
        if let Some(committed) = balance.committed() {
            prop_assert!(amount <= asked && committed.checked_add(amount).is_some());
            prop_assert!(amount == asked || committed.checked_add(asked).is_none());
        } else {
            prop_assert_eq!(amount, Micros::ZERO);
        }
        let hard = NewBudget { is_hard: true, ..budget };
        match hard.rule(balance, estimate.map(micros)) {
            Ruling::Refuse(_) => prop_assert!(warns),
            same => prop_assert_eq!(same, ruling),
        }
    }
}
