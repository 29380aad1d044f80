//! Flags become the question that they say, and the answer is shown as it is.

use std::os::unix::ffi::OsStringExt;

use clap::Parser;
use prost::Message as _;

use super::*;
use crate::cli::output::Written;
use crate::grpc::pb::authorize_request::Dimension;
use crate::grpc::pb::warning::Kind;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    authorize: Authorize,
}

fn question(args: &[&str]) -> pb::AuthorizeRequest {
    let program = Program::try_parse_from(["authorize"].iter().chain(args)).unwrap();
    program.authorize.question.with_token(Bytes::from_static(b"t")).unwrap()
}

fn output() -> Output {
    Output::to(Format::Table, Written::default(), Written::default())
}

#[test]
fn every_flag_reaches_the_question() {
    let asked = question(&[
        "--model=gpt-4o",
        "--endpoint=/v1/chat",
        "--method=POST",
        "--chatbot=7",
        "--client-ip=10.0.0.7",
        "--scope=a.b",
        "--scope=c",
        "--permission=chat",
        "--not-applicable=model,chatbot",
        "--estimated-tokens=0",
        "--estimated-cost=0.25",
        "--reservation-ttl=90s",
        "--request-id=r1",
        "--dry-run",
        "--min-revision=9",
    ]);
    let expected = pb::AuthorizeRequest {
        token: Bytes::from_static(b"t"),
        model: Bytes::from_static(b"gpt-4o"),
        endpoint: Bytes::from_static(b"/v1/chat"),
        method: Bytes::from_static(b"POST"),
        chatbot_id: Bytes::from_static(b"7"),
        client_ip: Bytes::from_static(b"10.0.0.7"),
        scopes: vec!["a.b".into(), "c".into()],
        permissions: vec!["chat".into()],
        not_applicable: vec![Dimension::Model.into(), Dimension::Chatbot.into()],
        estimated_tokens: Some(0),
        estimated_cost_micros: Some(250_000),
        reservation_ttl: Some(prost_types::Duration { seconds: 90, nanos: 0 }),
        request_id: "r1".into(),
        dry_run: true,
        min_revision: 9,
    };
    assert!(asked == expected);
    assert!(question(&[]) == pb::AuthorizeRequest { token: Bytes::from_static(b"t"), ..Default::default() });
}

#[test]
fn what_is_no_text_is_asked_as_it_is() {
    let model = OsString::from_vec(b"--model=\xff\xfe".to_vec());
    let program = Program::try_parse_from([OsString::from("authorize"), model]).unwrap();
    let asked = program.authorize.question.with_token(Bytes::new()).unwrap();
    assert_eq!(asked.model, Bytes::from_static(b"\xff\xfe"));
}

#[test]
fn a_batch_is_asked_alone() {
    assert!(Program::try_parse_from(["authorize", "--batch=-"]).is_ok());
    for other in ["--judged-token-file=t", "--model=m", "--scope=s", "--dry-run"] {
        assert!(Program::try_parse_from(["authorize", "--batch=-", other]).is_err(), "{other}");
    }
}

#[test]
fn an_allow_shows_the_key_and_its_warnings() {
    let answer = pb::AuthorizeResponse {
        decision: Decision::Allow.into(),
        http_status: 200,
        key: pb::AuthorizedKey {
            key_id: 17,
            user_id: 4,
            display_name: "ci".into(),
            key_prefix: "ks_abc".into(),
            scopes: vec!["chat.*".into()],
            ..Default::default()
        }
        .encode_to_vec()
        .into(),
        warnings: vec![pb::Warning {
            kind: Kind::NotEnforced.into(),
            message: "budgets/3 is not\nenforced".into(),
        }],
        observed_reason: Reason::IpNotAllowed.into(),
        revision: 9,
        ..Default::default()
    };
    assert_eq!(
        shown(&answer, &output()),
        "ALLOW
http status  200
observed     IP_NOT_ALLOWED was only observed
key          17 ci
owner        4
prefix       ks_abc
expires      never
scopes       chat.*
revision     9
warning: NOT_ENFORCED: budgets/3 is not\u{fffd}enforced"
    );
}

#[test]
fn a_deny_leads_with_its_reason() {
    let answer = pb::AuthorizeResponse {
        decision: Decision::Deny.into(),
        reason: Reason::RateLimited.into(),
        message: "Too many requests.".into(),
        http_status: 429,
        retry_after: Some(prost_types::Duration { seconds: 1, nanos: 500_000_000 }),
        revision: 9,
        ..Default::default()
    };
    assert_eq!(
        shown(&answer, &output()),
        "DENY RATE_LIMITED
message      Too many requests.
http status  429
retry after  1.5 s
revision     9"
    );
}
