//! The compiled tables answer as the patterns that they were compiled from.

use proptest::collection::{btree_set, vec};
use proptest::option;
use proptest::prelude::{Strategy, proptest};
use proptest::prop_assert_eq;

use super::{EndpointRule, KeySnapshot, ScopeTable};
use crate::policy::key::unrestricted_key;
use crate::policy::{AccessRule, Check, CheckSet, EndpointPattern, KeyPolicy, NamePattern, Scope};

fn models(patterns: &[&str]) -> AccessRule<NamePattern> {
    AccessRule::only(patterns.iter().map(|pattern| NamePattern::parse(pattern).unwrap())).unwrap()
}

#[test]
fn a_model_is_allowed_as_the_decision_would_have_it() {
    let snapshot =
        |models, observe| KeySnapshot::compile(&KeyPolicy { models, observe, ..unrestricted_key() });
    let only = snapshot(models(&["gpt-4o*", "o3"]), CheckSet::EMPTY);
    assert!(only.allows_model(b"gpt-4o-mini") && only.allows_model(b"o3"));
    assert!(!only.allows_model(b"o3-mini") && !only.allows_model(b"") && !only.allows_model(b"gpt-4o\xff"));
    let any = snapshot(AccessRule::Any, CheckSet::EMPTY);
    assert!(any.allows_model(b"whatever") && !any.allows_model(b"a\0") && !any.allows_model(&[b'a'; 257]));
    let none = snapshot(models(&[]), CheckSet::EMPTY);
    assert!(!none.allows_model(b"o3"));
    let observed = snapshot(models(&[]), CheckSet::EMPTY.with(Check::Models));
    assert!(observed.allows_model(b"o3"));
}

fn endpoint_pattern() -> impl Strategy<Value = EndpointPattern> {
    "(((GET|PUT|A)(,(GET|PUT|A)){0,2}) )?/[ab/]{0,3}[*]?"
        .prop_map(|text| EndpointPattern::parse(&text).unwrap())
}

proptest! {
    #[test]
    fn an_endpoint_rule_answers_as_its_patterns_one_by_one(
        patterns in btree_set(endpoint_pattern(), 0..10),
        path in "/([ab]{1,2}/){0,2}[ab]{0,3}",
        method in option::of("GET|PUT|A|B|get"),
    ) {
        let method = method.as_deref();
        let one_by_one = patterns.iter().any(|pattern| pattern.matches(&path, method));
        let rule = EndpointRule::compile(&AccessRule::Only(patterns));
        prop_assert_eq!(rule.allows(&path, method), one_by_one);
    }

    #[test]
    fn scopes_answer_as_the_grants_one_by_one(
        grants in vec(r"(\*|keystile\.\*|[ab](\.[ab]){0,2}(\.\*)?|keystile(\.[ab])?)", 0..6),
        asked in r"((keystile|[ab])(\.[ab]){0,3}|\*|a\.\*|a\.|)",
    ) {
        let scopes: Vec<Scope> = grants.iter().map(|grant| Scope::parse(grant).unwrap()).collect();
        let one_by_one = scopes.iter().any(|scope| scope.grants(&asked));
        prop_assert_eq!(ScopeTable::compile(scopes.iter()).grants(&asked), one_by_one);
    }
}
