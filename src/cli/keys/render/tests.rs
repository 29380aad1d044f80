//! What people and programs are shown of keys.

use prost_types::Timestamp;

use super::*;
use crate::cli::output::Written;
use crate::grpc::pb::budget::Period;

fn at(seconds: i64) -> Option<Timestamp> {
    Some(Timestamp { seconds, nanos: 0 })
}

fn only(patterns: &[&str]) -> Option<pb::AccessRule> {
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    Some(pb::AccessRule { mode: Mode::Only.into(), patterns })
}

fn full_key() -> pb::Key {
    pb::Key {
        key_id: 17,
        user_id: 4,
        display_name: "ci".into(),
        description: "for tests".into(),
        tags: vec!["a".into(), "b".into()],
        metadata: [("team".into(), "search".into())].into(),
        key_prefix: "ks_4fTg9kLmN0pQ".into(),
        state: State::Revoked.into(),
        permissions: vec!["chat".into()],
        scopes: vec!["chat.*".into(), "embeddings.create".into(), "models.list".into(), "x".into()],
        models: only(&["gpt-4o*"]),
        endpoints: only(&[]),
        ips: Some(pb::AccessRule { mode: Mode::Any.into(), patterns: vec![] }),
        rate_limits: Some(pb::RateLimits {
            requests: Some(pb::RateLimitWindows { per_minute: Some(60), per_hour: Some(0), per_day: None }),
            tokens: None,
        }),
        observe: vec![Check::RateLimits.into()],
        expire_time: at(1_900_000_000),
        create_time: at(1_700_000_000),
        revoke_time: at(1_700_000_060),
        revoke_reason: "leaked".into(),
        etag: "e1".into(),
        totals: Some(pb::KeyTotals {
            total_requests: 3,
            total_tokens: 500,
            total_cost_micros: 12_345,
            authorized_count: 4,
        }),
        budgets: vec![pb::Budget {
            display_name: "Team".into(),
            limit_micros: Some(100_000_000),
            period: Period::Monthly.into(),
            enforcement: Enforcement::Soft.into(),
            warning_micros: Some(80_000_000),
            models: vec!["gpt-4o*".into()],
            spent_micros: 1,
            ..Default::default()
        }],
        ..Default::default()
    }
}

#[test]
fn a_key_is_shown_whole() {
    assert_eq!(
        details(&full_key(), Look::default()),
        "key            17
owner          4
name           ci
description    for tests
prefix         ks_4fTg9kLmN0pQ
state          REVOKED
revoked        2023-11-14 22:14:20Z
reason         leaked
expires        2030-03-17 17:46:40Z
tags           a, b
metadata       team=search
scopes         chat.*, embeddings.create, models.list, x
permissions    chat
models         gpt-4o*
endpoints      none
ips            any
only observed  rate_limits
requests       60 a minute, 0 an hour
budget         0.000001 of 100.00 monthly, soft, warns at 80.00, for gpt-4o* (Team)
enforced       not yet: budgets are stored only
created        2023-11-14 22:13:20Z
used           3 requests, 500 tokens, 0.012345; allowed 4 times
etag           e1"
    );
}

#[test]
fn a_key_that_is_not_yet_has_no_id() {
    let key = pb::Key { display_name: "ci".into(), ..Default::default() };
    assert_eq!(details(&key, Look::default()), "owner    0\nname     ci\nexpires  never");
}

#[test]
fn keys_are_a_row_each_with_long_lists_summarised() {
    let operator = pb::Key {
        key_id: 1,
        display_name: "admin".into(),
        state: State::Active.into(),
        models: Some(pb::AccessRule { mode: Mode::Any.into(), patterns: vec![] }),
        last_used_time: at(1_700_000_000),
        ..Default::default()
    };
    let keys = [operator, full_key()];
    assert_eq!(
        table(&keys, false, Look::default()),
        "\
KEY  OWNER  NAME   PREFIX           STATE    EXPIRES            LAST USED
1    0      admin                   ACTIVE   never              2023-11-14 22:13Z
17   4      ci     ks_4fTg9kLmN0pQ  REVOKED  2030-03-17 17:46Z  never"
    );
    let wide = table(&keys, true, Look::default());
    let row = wide.lines().nth(2).unwrap();
    assert!(row.contains("chat.*, embeddings.create and 2 more  chat         gpt-4o*  none"), "{wide}");
    assert!(row.ends_with("a, b  2023-11-14 22:13Z"), "{wide}");
}

#[test]
fn a_change_that_has_not_come_everywhere_says_when_it_has() {
    let noted = |propagation: Option<pb::Propagation>| {
        let written = Written::default();
        let mut output = Output::to(Format::Table, Written::default(), written.clone());
        note_propagation(&mut output, propagation.as_ref());
        written.text()
    };
    assert_eq!(noted(None), "");
    assert_eq!(noted(Some(pb::Propagation { complete: true, certain_by: at(1), certain_after: None })), "");
    let certain_after = Some(prost_types::Duration { seconds: 33, nanos: 0 });
    assert_eq!(
        noted(Some(pb::Propagation { complete: false, certain_by: at(1_700_000_000), certain_after })),
        "Saved. Some replicas may decide from the state before for up to 33 s, until 2023-11-14 22:13:20Z.\n"
    );
}
