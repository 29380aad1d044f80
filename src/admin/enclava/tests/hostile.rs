//! Whatever a row holds, it is converted or rejected, and nothing is opened by it.

use proptest::collection::{btree_map, vec};
use proptest::prelude::*;
use secrecy::SecretString;
use serde_json::Value;

use super::{HASH, import_time, plain_row};
use crate::admin::enclava::{CostUnit, Options, SourceRow, convert};
use crate::policy::AccessRule;

/// Texts that mean something to some column, beside arbitrary ones.
fn text() -> impl Strategy<Value = String> {
    prop_oneof![
        ".{0,12}",
        "[a-z*/.:%$?# ]{0,300}",
        prop::sample::select(vec![
            "keystile.admin",
            "keystile.*",
            "llm:chat",
            "*",
            "chat.*",
            "gpt-*",
            "10.0.0.0/8",
            "::ffff:1.2.3.4/96",
            "/api/v1/chatbot/external/../chat",
            "/api/v1/chatbot/external/*/chat",
            "/%2e%2e/x",
            HASH,
            "total",
            "monthly",
        ])
        .prop_map(str::to_owned),
    ]
}

fn json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        text().prop_map(Value::from),
    ];
    leaf.prop_recursive(3, 32, 6, |inner| {
        prop_oneof![
            vec(inner.clone(), 0..6).prop_map(Value::from),
            vec(text(), 0..6).prop_map(Value::from),
            btree_map(text(), inner, 0..6).prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

fn column() -> impl Strategy<Value = Option<Value>> {
    proptest::option::of(json())
}

fn number() -> impl Strategy<Value = Option<i64>> {
    proptest::option::of(prop_oneof![any::<i64>(), -3..100_i64])
}

prop_compose! {
    fn arbitrary_row()(
        (permissions, scopes, tags) in (column(), column(), column()),
        (models, endpoints, ips, chatbots) in (column(), column(), column(), column()),
        (minute, hour, day) in (number(), number(), number()),
        (is_unlimited, cents, budget_type) in (any::<Option<bool>>(), number(), proptest::option::of(text())),
        (requests, tokens, cost) in (number(), number(), number()),
        (name, description, prefix, hash) in (
            text(),
            proptest::option::of(text()),
            prop_oneof![Just("en_c3j27".to_owned()), text()],
            prop_oneof![Just(HASH.to_owned()), text()],
        ),
        (id, user_id) in (prop_oneof![any::<i64>(), 1..9_i64], prop_oneof![any::<i64>(), 0..9_i64]),
    ) -> SourceRow {
        SourceRow {
            id,
            name,
            key_hash: SecretString::from(hash),
            key_prefix: prefix,
            user_id,
            permissions,
            scopes,
            rate_limit_per_minute: minute,
            rate_limit_per_hour: hour,
            rate_limit_per_day: day,
            allowed_models: models,
            allowed_endpoints: endpoints,
            allowed_ips: ips,
            allowed_chatbots: chatbots,
            is_unlimited,
            budget_limit_cents: cents,
            budget_type,
            description,
            tags,
            total_requests: requests,
            total_tokens: tokens,
            total_cost: cost,
            ..plain_row()
        }
    }
}

/// A column that there meant "anything".
fn meant_any(column: Option<&Value>) -> bool {
    match column {
        None | Some(Value::Null) => true,
        Some(Value::Array(values)) => values.is_empty(),
        Some(_) => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 2_000, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn no_row_panics_opens_a_rule_grants_a_reserved_scope_or_prints_a_hash(
        row in arbitrary_row(),
        keep_wildcards in any::<bool>(),
        unit in 1..=i64::MAX,
    ) {
        let options = Options { keep_wildcards, total_cost_unit: CostUnit::from_micros(unit).expect("positive") };
        match convert(&row, &options, import_time()) {
            Ok(converted) => {
                let key = &converted.key;
                prop_assert_eq!(matches!(key.models, AccessRule::Any), meant_any(row.allowed_models.as_ref()));
                prop_assert_eq!(matches!(key.endpoints, AccessRule::Any), meant_any(row.allowed_endpoints.as_ref()));
                prop_assert_eq!(matches!(key.ips, AccessRule::Any), meant_any(row.allowed_ips.as_ref()));
                prop_assert_eq!(matches!(key.chatbots, AccessRule::Any), meant_any(row.allowed_chatbots.as_ref()));
                prop_assert!(key.scopes.iter().all(|scope| !scope.is_reserved()));
                prop_assert!(key.user_id.get() >= 1);
                for warning in &converted.warnings {
                    let start = format!("key {}: {}: ", row.id, warning.field);
                    prop_assert!(warning.sentence.starts_with(&start), "{}", warning);
                    prop_assert!(!warning.sentence.contains("68NFsg9S"), "{}", warning);
                    prop_assert!(!warning.sentence.contains(char::is_control), "{}", warning);
                }
            }
            Err(rejection) => {
                prop_assert_eq!(rejection.key_id, row.id);
                prop_assert!(!rejection.sentence.contains("68NFsg9S"), "{}", rejection);
                prop_assert!(!rejection.sentence.contains(char::is_control), "{}", rejection);
            }
        }
    }

    #[test]
    fn any_json_in_any_one_column_is_converted_or_rejected(value in json(), at in 0..7_usize) {
        let mut row = plain_row();
        let columns = [
            &mut row.permissions, &mut row.scopes, &mut row.tags, &mut row.allowed_models,
            &mut row.allowed_endpoints, &mut row.allowed_ips, &mut row.allowed_chatbots,
        ];
        *columns.into_iter().nth(at).expect("seven columns") = Some(value);
        let fields = ["permissions", "scopes", "tags", "allowed_models", "allowed_endpoints", "allowed_ips",
            "allowed_chatbots"];
        match convert(&row, &Options::default(), import_time()) {
            Ok(converted) => prop_assert!(converted.warnings.iter().all(|warning| warning.field == fields[at])),
            Err(rejection) => prop_assert_eq!(rejection.field, fields[at]),
        }
    }
}
