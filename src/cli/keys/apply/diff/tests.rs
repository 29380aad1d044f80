//! What people and programs are shown of a plan.

use chrono::DateTime;

use super::*;
use crate::cli::keys::apply::plan::{Present, plan};
use crate::cli::keys::apply::source::Source;
use crate::cli::keys::apply::wanted;
use crate::cli::output::{Format, Written};
use crate::grpc::pb;

fn planned(text: &str, key: pb::Key) -> Plan {
    let source = Source { name: "keys.yaml".into(), text: text.into() };
    let wanted = wanted::read(&[source]).unwrap_or_else(|faults| panic!("{faults:#?}"));
    let present = Present { owned: vec![key], ..Default::default() };
    plan(&wanted, &present, DateTime::UNIX_EPOCH).unwrap()
}

const TEXT: &str = "keys:
- user_id: 4
  name: ci
  template: restricted
  models: ['gpt-4o*', o3]
- user_id: 4
  name: web
  description: new
  tags: [a, c]
  metadata: {x: '1', z: '3'}
  models: []
  chatbots: [b]
  rate_limits: {requests: {per_minute: 60, per_day: 9}}
  state: revoked
  revoke_reason: leaked
- {user_id: 4, name: gone, state: absent}
";

fn web() -> pb::Key {
    pb::Key {
        key_id: 17,
        user_id: 4,
        display_name: "web".into(),
        description: "old\u{202e}".into(),
        tags: vec!["a".into(), "b".into()],
        metadata: [("x".into(), "0".into()), ("y".into(), "2".into())].into(),
        models: Some(pb::AccessRule { mode: pb::access_rule::Mode::Any.into(), patterns: vec![] }),
        chatbots: Some(pb::AccessRule {
            mode: pb::access_rule::Mode::Only.into(),
            patterns: vec!["a".into()],
        }),
        rate_limits: Some(pb::RateLimits {
            requests: Some(pb::RateLimitWindows { per_minute: Some(30), per_hour: Some(1), per_day: None }),
            tokens: None,
        }),
        state: pb::key::State::Active.into(),
        ..Default::default()
    }
}

#[test]
fn the_difference_is_shown_field_by_field_and_summed_up() {
    let output = Output::to(Format::Table, Written::default(), Written::default());
    assert_eq!(
        text(&planned(TEXT, web()), &output),
        r#"+ key "ci" of owner 4 (keys.yaml:2:3)
    + template     restricted
    + models       gpt-4o*, o3
- key 17 "web" of owner 4 (keys.yaml:6:3)
    ~ description  "old\u{202e}" → "new"
    - tags         b
    + tags         c
    ~ metadata     x=0 → 1
    - metadata     y=2
    + metadata     z=3
    ~ models       any → none
    - chatbots     a
    + chatbots     b
    + rate_limits  requests.per_day=9
    - rate_limits  requests.per_hour=1
    ~ rate_limits  requests.per_minute=30 → 60
    ~ state        ACTIVE → REVOKED, "leaked"
1 to create, 0 to change, 1 to revoke, 0 to delete, 1 unchanged"#
    );
}

#[test]
fn programs_get_both_values_of_every_field() {
    let plan = planned(TEXT, web());
    let created = to_json(&plan.entries[0]);
    assert_eq!((&created["action"], &created["key_id"]), (&json!("create"), &json!(null)));
    assert_eq!(created["fields"][1], json!({ "field": "models", "to": ["gpt-4o*", "o3"] }));
    let changed = to_json(&plan.entries[1]);
    assert_eq!(changed["place"], "keys.yaml:6:3");
    assert_eq!(changed["steps"], json!(["revoke", "update"]));
    let models = json!({ "field": "models", "from": "any", "to": [] });
    assert!(changed["fields"].as_array().unwrap().contains(&models), "{changed:#}");
    assert_eq!(to_json(&plan.entries[2])["action"], "none");
}
