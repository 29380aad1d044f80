//! What is planned, and that nothing is planned where all is as it is to be.

use super::*;
use crate::cli::keys::apply::source::Source;
use crate::cli::keys::apply::wanted;
use crate::cli::time::to_timestamp;

fn now() -> DateTime<Utc> {
    DateTime::parse_from_rfc3339("2027-01-01T00:00:00Z").unwrap().to_utc()
}

fn wanted(text: &str) -> Vec<Wanted> {
    let source = Source { name: "keys.yaml".into(), text: text.into() };
    wanted::read(&[source]).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn key(key_id: i64, name: &str) -> pb::Key {
    pb::Key {
        key_id,
        user_id: 4,
        display_name: name.into(),
        etag: format!("e{key_id}"),
        ..Default::default()
    }
}

fn present(keys: &[pb::Key]) -> Present {
    Present { owned: keys.to_vec(), by_id: keys.iter().map(|key| (key.key_id, key.clone())).collect() }
}

fn planned(text: &str, keys: &[pb::Key]) -> Plan {
    plan(&wanted(text), &present(keys), now()).unwrap_or_else(|faults| panic!("{faults:#?}"))
}

fn refused(text: &str, keys: &[pb::Key]) -> String {
    let faults = plan(&wanted(text), &present(keys), now()).unwrap_err();
    faults.iter().map(|fault| format!("{fault}\n")).collect()
}

fn steps(text: &str, key: &pb::Key) -> Vec<Step> {
    match planned(text, std::slice::from_ref(key)).entries.remove(0).action {
        Action::Change { steps, .. } => steps,
        _ => Vec::new(),
    }
}

#[test]
fn keys_are_found_by_id_else_by_owner_and_name() {
    let keys = [key(1, "a"), key(2, "b")];
    let plan = planned(
        "keys:\n- {user_id: 4, name: a}\n- {key_id: 2, name: c}\n- {user_id: 4, name: d}\n- {user_id: 5, name: a}",
        &keys,
    );
    let found: Vec<_> = plan.entries.iter().map(|entry| (entry.kind(), entry.key_id())).collect();
    assert_eq!(
        found,
        [(Kind::Unchanged, Some(1)), (Kind::Change, Some(2)), (Kind::Create, None), (Kind::Create, None)]
    );
    assert_eq!(plan.summary(), "2 to create, 1 to change, 0 to revoke, 0 to delete, 1 unchanged");
    assert_eq!(plan.entries[1].title(), "key 2 \"b\" of owner 4");
}

#[test]
fn fields_that_are_left_out_are_left_alone() {
    let mut there = key(1, "a");
    there.description = "kept".into();
    there.tags = vec!["kept".into()];
    assert!(planned("keys: [{user_id: 4, name: a, state: active}]", &[there.clone()]).is_empty());
    assert_eq!(
        steps("keys: [{user_id: 4, name: a, tags: []}]", &there),
        [Step::Update([(Field::Tags, Value::Set([].into()))].into())]
    );
}

#[test]
fn a_change_that_is_made_leaves_nothing_to_do() {
    let text = "keys: [{user_id: 4, name: a, description: d, tags: [t], metadata: {m: x}, permissions: [p], \
                scopes: [s], models: [m], endpoints: [/e], ips: [10.0.0.0/8], chatbots: any, \
                rate_limits: {requests: {per_day: 5}}, observe: [ips], expire_time: 2030-01-01T00:00:00Z}]";
    let mut there = key(1, "a");
    let steps = steps(text, &there);
    assert_eq!(steps.len(), 2);
    for step in steps {
        match step {
            Step::Update(fields) => fields.iter().for_each(|(field, value)| field.put(value, &mut there)),
            Step::Expire(time) => there.expire_time = time.map(to_timestamp),
            other => panic!("{other:?}"),
        }
    }
    assert!(planned(text, &[there]).is_empty());
}

#[test]
fn what_takes_away_comes_first_and_what_gives_back_last() {
    let there = key(1, "a");
    let steps_of = |state: &str, key: &pb::Key| {
        steps(
            &format!(
                "keys: [{{user_id: 4, name: a, tags: [t], expire_time: 2030-01-01T00:00:00Z, {state}}}]"
            ),
            key,
        )
    };
    let revoked = pb::Key { revoke_time: Some(to_timestamp(now())), ..there.clone() };
    assert!(matches!(
        steps_of("state: revoked, revoke_reason: leaked", &there)[..],
        [Step::Revoke(ref reason), Step::Update(_), Step::Expire(_)] if reason == "leaked"
    ));
    assert!(matches!(
        steps_of("state: active", &revoked)[..],
        [Step::Update(_), Step::Expire(_), Step::Reactivate]
    ));
    assert!(matches!(
        steps_of("state: revoked, revoke_reason: x", &revoked)[..],
        [Step::Update(_), Step::Expire(_)]
    ));
    assert_eq!(steps_of("state: absent", &there), [Step::Delete]);
}

#[test]
fn a_key_that_is_to_be_gone_and_is_gone_is_nothing_to_do() {
    let text = "keys:\n- {user_id: 4, name: a, state: absent}\n- {user_id: 4, name: b, state: revoked}\n\
                - {key_id: 9, state: absent}\n- {key_id: 1, state: absent}";
    let deleted = pb::Key { delete_time: Some(to_timestamp(now())), ..key(1, "z") };
    let present = Present { owned: Vec::new(), by_id: [(1, deleted)].into() };
    assert!(plan(&wanted(text), &present, now()).unwrap().is_empty());
}

#[test]
fn what_is_ambiguous_or_cannot_be_is_told_for_all_keys_at_once() {
    let deleted = pb::Key { delete_time: Some(to_timestamp(now())), ..key(7, "x") };
    let keys = [key(1, "a"), key(2, "a"), key(3, "c"), deleted];
    let told = refused(
        "keys:
- {user_id: 4, name: a}
- {key_id: 3, name: d}
- {user_id: 4, name: c}
- {key_id: 99}
- {key_id: 1, user_id: 5}
- {key_id: 7}
- {user_id: 4, name: n, expire_time: 2026-12-31T23:59:59Z}",
        &keys,
    );
    assert_eq!(
        told,
        "keys.yaml:2:3: several keys have this owner and name: say which one by key_id: 1, 2
keys.yaml:4:3: this key stands at keys.yaml:3:3 already: one entry a key
keys.yaml:5:3: there is no key 99; leave key_id out to make a new one
keys.yaml:6:3: key 1 belongs to owner 4: apply moves no key to another owner
keys.yaml:7:3: key 7 is deleted: restore it with `keystile keys undelete 7`, or take it out
keys.yaml:8:3: expire_time has passed: a key is ended by state: revoked
"
    );
}

#[test]
fn an_expired_key_that_is_to_be_expired_stays_so() {
    let expired = pb::Key { expire_time: Some(to_timestamp(now())), ..key(1, "a") };
    assert!(
        planned("keys: [{key_id: 1, expire_time: 2027-01-01T00:00:00Z}]", std::slice::from_ref(&expired))
            .is_empty()
    );
    assert_eq!(steps("keys: [{key_id: 1, expire_time: never}]", &expired), [Step::Expire(None)]);
}
