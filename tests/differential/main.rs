//! The evaluator against a slow, obvious reference on generated cases.
//!
//! `reference.rs` is written from the rules in words and shares nothing with the crate but the names of reasons and
//! checks: it reads patterns and requests as source text. `generate.rs` makes keys and requests that nearly match.
//! Everything follows from one seed, so a failure repeats. `no_allocation.rs` shows that deciding allocates nothing.

#![allow(
    clippy::as_conversions,
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

mod bits;
mod generate;
mod no_allocation;
mod random;
mod reference;
mod respell;
mod source;
mod warm_decision;

use std::collections::BTreeMap;

use keystile::policy::{
    AddressPattern, Check, EndpointPattern, KeySnapshot, NamePattern, Reason, Scope, evaluate,
};

use crate::random::Random;
use crate::reference::{
    address_pattern_is_valid, endpoint_pattern_is_valid, name_pattern_is_valid, scope_is_valid,
};

const SEED: u64 = 0x6b65_7973_7469_6c65;
const KEYS: usize = 26_000;
const REQUESTS_PER_KEY: usize = 4;
/// Every outcome must have occurred this often, or the generator has lost its aim.
const OCCURRENCES_MIN: usize = 100;

#[test]
fn the_evaluator_and_the_reference_decide_alike() {
    let mut random = Random::new(SEED);
    let mut outcomes: BTreeMap<String, usize> = BTreeMap::new();
    for index in 0..KEYS {
        let requests: Vec<_> = (0..REQUESTS_PER_KEY).map(|_| generate::request(&mut random)).collect();
        let key = generate::key(&mut random, &requests);
        let snapshot = KeySnapshot::compile(&key.parse());
        for request in &requests {
            let expected = reference::decide(&key, request);
            let actual = evaluate(&snapshot, &request.borrow(), request.now());
            assert_eq!(
                (actual.denied, actual.observed, actual.missing.map(str::to_owned)),
                (expected.denied, expected.observed, expected.missing.clone()),
                "key {index}: evaluated and expected differ\n{key:#?}\n{request:#?}"
            );
            if let Some(model) = &request.model {
                let expected = reference::allows_model(&key, model);
                assert_eq!(snapshot.allows_model(model), expected, "key {index}\n{key:#?}\n{request:#?}");
            }
            let denied = expected.denied.map_or("ALLOW", Reason::as_str);
            *outcomes.entry(denied.to_owned()).or_default() += 1;
            if let Some(observed) = expected.observed {
                *outcomes.entry(format!("observed {observed}")).or_default() += 1;
            }
        }
    }
    assert_outcomes_cover(&outcomes);
}

fn assert_outcomes_cover(outcomes: &BTreeMap<String, usize>) {
    let evaluated = |reason: &Reason| !matches!(reason.check(), Some(Check::RateLimits | Check::Budgets));
    let denied = Reason::ALL.into_iter().filter(evaluated).map(|reason| reason.as_str().to_owned());
    let observed = Reason::ALL
        .into_iter()
        .filter(|reason| evaluated(reason) && reason.check().is_some())
        .map(|reason| format!("observed {reason}"));
    for outcome in denied.chain(observed).chain(["ALLOW".to_owned()]) {
        let times = outcomes.get(&outcome).copied().unwrap_or(0);
        assert!(times >= OCCURRENCES_MIN, "{outcome} occurred {times} times only: {outcomes:#?}");
    }
    assert_eq!(outcomes.len(), 11 + 7 + 1, "unexpected outcomes: {outcomes:#?}");
}

/// What may be written at all, and that what was written is kept in a form that reads back as itself.
#[test]
fn patterns_are_accepted_and_refused_alike() {
    let mut random = Random::new(SEED);
    let mut counts: BTreeMap<(&str, bool), usize> = BTreeMap::new();
    for _ in 0..20_000 {
        let text = generate::any_pattern(&mut random);
        let mut compare =
            |kind, accepted: Option<String>, expected: bool, again: fn(&str) -> Option<String>| {
                assert_eq!(accepted.is_some(), expected, "{kind} {text:?}");
                if let Some(canonical) = accepted {
                    assert_eq!(again(&canonical), Some(canonical.clone()), "{kind} {text:?}");
                }
                *counts.entry((kind, expected)).or_default() += 1;
            };
        let name = |text: &str| NamePattern::parse(text).ok().map(|pattern| pattern.to_string());
        let endpoint = |text: &str| EndpointPattern::parse(text).ok().map(|pattern| pattern.to_string());
        let address = |text: &str| AddressPattern::parse(text).ok().map(|pattern| pattern.to_string());
        let scope = |text: &str| Scope::parse(text).ok().map(|scope| scope.to_string());
        compare("name", name(&text), name_pattern_is_valid(&text), name);
        compare("endpoint", endpoint(&text), endpoint_pattern_is_valid(&text), endpoint);
        compare("address", address(&text), address_pattern_is_valid(&text), address);
        compare("scope", scope(&text), scope_is_valid(&text), scope);
    }
    assert_eq!(counts.len(), 8);
    assert!(counts.values().all(|times| *times >= OCCURRENCES_MIN), "{counts:#?}");
}
