//! The four access rules.

use std::fmt::Display;

use serde_json::{Value, json};

use super::{converted, converted_with, keep_wildcards, rejected};
use crate::admin::enclava::{ImportedKey, Options, RejectionKind, SourceRow, WarningKind};
use crate::policy::{AccessRule, PATTERNS_MAX};

/// One rule of a converted key: `None` is ANY.
type Read = (Option<Vec<String>>, Vec<WarningKind>);

fn shown<P: Display + Ord>(rule: &AccessRule<P>) -> Option<Vec<String>> {
    match rule {
        AccessRule::Any => None,
        AccessRule::Only(patterns) => Some(patterns.iter().map(ToString::to_string).collect()),
    }
}

fn read(
    options: Options,
    change: impl FnOnce(&mut SourceRow),
    rule: impl FnOnce(&ImportedKey) -> Option<Vec<String>>,
) -> Read {
    let converted = converted_with(&options, change).expect("the row is taken");
    (rule(&converted.key), converted.warnings.iter().map(|warning| warning.kind).collect())
}

fn models(options: Options, value: Option<Value>) -> Read {
    read(options, |row| row.allowed_models = value, |key| shown(&key.models))
}

fn endpoints(options: Options, value: Option<Value>) -> Read {
    read(options, |row| row.allowed_endpoints = value, |key| shown(&key.endpoints))
}

fn ips(options: Options, value: Option<Value>) -> Read {
    read(options, |row| row.allowed_ips = value, |key| shown(&key.ips))
}

fn chatbots(options: Options, value: Option<Value>) -> Read {
    read(options, |row| row.allowed_chatbots = value, |key| shown(&key.chatbots))
}

fn only(patterns: &[&str]) -> Option<Vec<String>> {
    Some(patterns.iter().map(|pattern| (*pattern).to_owned()).collect())
}

#[test]
fn null_json_null_and_an_empty_list_are_any() {
    for none in [None, Some(json!(null)), Some(json!([]))] {
        for rule in [models, endpoints, ips, chatbots] {
            assert_eq!(rule(Options::default(), none.clone()), (None, vec![]));
        }
    }
}

#[test]
fn a_rule_of_another_shape_is_rejected_since_it_may_have_meant_anything() {
    for shape in [json!({}), json!(""), json!("gpt-4o"), json!(false), json!(0), json!({"gpt-4o": true})] {
        let unknown = |field| (RejectionKind::ShapeUnknown, field);
        let value = || Some(shape.clone());
        assert_eq!(rejected(|row| row.allowed_models = value()), unknown("allowed_models"));
        assert_eq!(rejected(|row| row.allowed_endpoints = value()), unknown("allowed_endpoints"));
        assert_eq!(rejected(|row| row.allowed_ips = value()), unknown("allowed_ips"));
        assert_eq!(rejected(|row| row.allowed_chatbots = value()), unknown("allowed_chatbots"));
    }
}

#[test]
fn dropping_every_value_leaves_nothing_and_never_anything() {
    use WarningKind::{CidrDropped, NothingAllowed, PatternInvalid, WildcardDropped};
    let strict = Options::default();
    assert_eq!(models(strict, Some(json!(["gpt-*"]))), (only(&[]), vec![WildcardDropped, NothingAllowed]));
    assert_eq!(models(strict, Some(json!([null]))), (only(&[]), vec![PatternInvalid, NothingAllowed]));
    assert_eq!(models(strict, Some(json!([""]))), (only(&[]), vec![PatternInvalid, NothingAllowed]));
    assert_eq!(chatbots(strict, Some(json!(["*"]))), (only(&[]), vec![WildcardDropped, NothingAllowed]));
    assert_eq!(ips(strict, Some(json!(["10.0.0.0/8"]))), (only(&[]), vec![CidrDropped, NothingAllowed]));
    assert_eq!(endpoints(strict, Some(json!(["/v1/*"]))), (only(&[]), vec![WildcardDropped, NothingAllowed]));
    let bad = converted(|row| row.allowed_ips = Some(json!(["10.0.0.0/8"]))).expect("the row is taken");
    assert!(bad.warnings[1].sentence.contains("allowed nothing"), "says so: {}", bad.warnings[1]);
}

#[test]
fn the_values_beside_a_dropped_one_stay() {
    let (rule, warnings) = models(Options::default(), Some(json!(["gpt-4o", "gpt-*", "a", "gpt-4o"])));
    assert_eq!((rule, warnings), (only(&["a", "gpt-4o"]), vec![WarningKind::WildcardDropped]));
}

#[test]
fn wildcards_and_networks_are_live_when_kept() {
    let keep = keep_wildcards();
    assert_eq!(models(keep, Some(json!(["gpt-*", "*"]))), (only(&["*", "gpt-*"]), vec![]));
    assert_eq!(chatbots(keep, Some(json!(["bot-*"]))), (only(&["bot-*"]), vec![]));
    assert_eq!(ips(keep, Some(json!(["10.0.0.0/8"]))), (only(&["10.0.0.0/8"]), vec![]));
    assert_eq!(endpoints(keep, Some(json!(["/v1/*"]))), (only(&["/v1/*"]), vec![]));
}

#[test]
fn what_is_no_pattern_is_dropped_even_when_wildcards_are_kept() {
    use WarningKind::{NothingAllowed, PatternInvalid, WildcardDropped};
    let keep = keep_wildcards();
    for model in ["g*t", "a\u{0}b", &"x".repeat(257)] {
        assert_eq!(models(keep, Some(json!([model]))), (only(&[]), vec![PatternInvalid, NothingAllowed]));
    }
    for ip in ["10.0.0.7/8", "fe80::1%eth0", "localhost", "10.0.0.07"] {
        assert_eq!(ips(keep, Some(json!([ip]))), (only(&[]), vec![PatternInvalid, NothingAllowed]), "{ip}");
    }
    assert_eq!(ips(keep, Some(json!(["10.0.*"]))), (only(&[]), vec![WildcardDropped, NothingAllowed]));
    let paths = [
        "v1/models",
        "GET /v1/models",
        "/a/../b",
        "/a%2Fb",
        "/v1?x=1",
        "/v1#x",
        "https://x.example/v1",
        "/a*b",
    ];
    for path in paths {
        let read = endpoints(keep, Some(json!([path])));
        assert_eq!(read, (only(&[]), vec![PatternInvalid, NothingAllowed]), "{path}");
    }
}

#[test]
fn addresses_are_kept_in_their_canonical_form() {
    let written = json!(["::ffff:10.0.0.7", "2001:DB8:0::7"]);
    let (rule, warnings) = ips(Options::default(), Some(written));
    assert_eq!((rule, warnings), (only(&["10.0.0.7", "2001:db8::7"]), vec![]));
}

#[test]
fn a_chatbots_one_endpoint_becomes_all_of_that_chatbots() {
    let strict = Options::default();
    let older = json!(["/api/v1/chatbot/external/bot-2768/chat", "/api/v1/chat/completions"]);
    let expected = only(&["/api/v1/chat/completions", "/api/v1/chatbot/external/bot-2768/*"]);
    assert_eq!(endpoints(strict, Some(older)), (expected, vec![]));
    let others = [
        "/api/v1/chatbot/external/bot-1/chat/",
        "/api/v1/chatbot/external/bot-1/history",
        "/api/v1/chatbot/external/a/b/chat",
        "/api/v1/chatbot/external/chat",
        "/api/v1/chatbot/external/a%20b/chat",
        "/x/api/v1/chatbot/external/bot-1/chat",
    ];
    for path in others {
        assert_eq!(endpoints(strict, Some(json!([path]))), (only(&[path]), vec![]), "stays as it is");
    }
}

#[test]
fn chatbot_ids_that_would_widen_the_rewritten_endpoint_do_not() {
    for id in ["*", "..", "."] {
        let path = format!("/api/v1/chatbot/external/{id}/chat");
        for options in [Options::default(), keep_wildcards()] {
            assert_eq!(endpoints(options, Some(json!([path]))).0, only(&[]), "{id}");
        }
    }
    let long = format!("/api/v1/chatbot/external/{}/chat", "x".repeat(65));
    assert_eq!(endpoints(Options::default(), Some(json!([long]))).0, only(&[&long]));
}

#[test]
fn more_patterns_than_a_rule_holds_are_rejected() {
    let many = |count: usize| Some(json!((0..count).map(|at| format!("model-{at}")).collect::<Vec<_>>()));
    assert_eq!(models(Options::default(), many(PATTERNS_MAX)).1, []);
    let kind = rejected(|row| row.allowed_models = many(PATTERNS_MAX + 1));
    assert_eq!(kind, (RejectionKind::TooManyPatterns, "allowed_models"));
}
