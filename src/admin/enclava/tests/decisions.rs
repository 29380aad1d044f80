//! The export's questions, put to the decision core for each converted key: what the import yields and what
//! the core decides agree with the expectations, before a token or a network is involved.

use serde_json::{Map, Value};

use super::fixture::{expectations, source_rows};
use crate::admin::enclava::{ImportedKey, Options, convert};
use crate::policy::{AccessRequest, CheckSet, Dimension, DimensionSet, KeyPolicy, KeySnapshot, evaluate};

fn policy(key: ImportedKey) -> KeyPolicy {
    KeyPolicy {
        revoked: key.revoked(),
        deleted: false,
        owner_disabled: key.owner_disabled,
        expire_time: key.expire_time,
        ips: key.ips,
        endpoints: key.endpoints,
        models: key.models,
        chatbots: key.chatbots,
        scopes: key.scopes,
        permissions: key.permissions,
        observe: CheckSet::EMPTY,
    }
}

/// The base request changed by a JSON merge patch.
fn merged(base: &Value, patch: &Value) -> Map<String, Value> {
    let mut ask = base.as_object().expect("a request").clone();
    ask.extend(patch.as_object().expect("a patch").clone());
    ask.retain(|_, value| !value.is_null());
    ask
}

fn texts(ask: &Map<String, Value>, name: &str) -> Vec<String> {
    let list = ask.get(name).map_or(&[][..], |value| value.as_array().expect("a list"));
    list.iter().map(|value| value.as_str().expect("a text").to_owned()).collect()
}

fn answer(key: &KeySnapshot, ask: &Map<String, Value>, now: chrono::DateTime<chrono::Utc>) -> &'static str {
    // As the callers of the core do, an empty text is one that was left out.
    let bytes = |name: &str| {
        let value = ask.get(name).map(|value| value.as_str().expect("a text").as_bytes());
        value.filter(|value| !value.is_empty())
    };
    let not_applicable = texts(ask, "not_applicable").iter().fold(DimensionSet::EMPTY, |set, name| {
        set.with(match name.as_str() {
            "MODEL" => Dimension::Model,
            "ENDPOINT" => Dimension::Endpoint,
            "CHATBOT" => Dimension::Chatbot,
            other => panic!("no dimension {other}"),
        })
    });
    let request = AccessRequest {
        model: bytes("model"),
        endpoint: bytes("endpoint"),
        method: bytes("method"),
        chatbot_id: bytes("chatbot_id"),
        client_ip: bytes("client_ip"),
        scopes: &texts(ask, "scopes"),
        permissions: &texts(ask, "permissions"),
        not_applicable,
    };
    evaluate(key, &request, now).denied.map_or("ALLOW", |reason| reason.as_str())
}

#[test]
fn every_question_about_every_converted_key_has_the_expected_answer() {
    let (now, expectations) = expectations();
    let mut asked = 0;
    for row in source_rows() {
        let expected = &expectations[&row.id];
        let key = convert(&row, &Options::default(), now).expect("every row of the export is taken").key;
        let snapshot = KeySnapshot::compile(&policy(key));
        for (wanted, questions) in expected["questions"].as_object().expect("answers") {
            for question in questions.as_array().expect("questions") {
                let ask = merged(&expected["base"], &question[1]);
                assert_eq!(answer(&snapshot, &ask, now), wanted, "key {}, {}: {ask:?}", row.id, question[0]);
                asked += 1;
            }
        }
    }
    assert!(asked >= 2_000, "at least ten for each of 200 keys, not {asked}");
}
