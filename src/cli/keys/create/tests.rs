//! Flags become the request that they say.

use clap::Parser;

use super::*;
use crate::grpc::pb::access_rule::Mode;
use crate::grpc::pb::key::Check;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    create: Create,
}

fn now() -> DateTime<Utc> {
    DateTime::from_timestamp(1_900_000_000, 0).unwrap()
}

fn parsed(args: &[&str]) -> Result<Create, clap::Error> {
    let args = ["create", "--user-id=4", "--name=ci"].iter().chain(args);
    Program::try_parse_from(args).map(|program| program.create)
}

fn request(args: &[&str]) -> pb::CreateKeyRequest {
    parsed(args).unwrap().to_request(now()).unwrap()
}

fn key(args: &[&str]) -> pb::Key {
    request(args).key.unwrap()
}

fn only(patterns: &[&str]) -> Option<pb::AccessRule> {
    let patterns = patterns.iter().map(|pattern| (*pattern).to_owned()).collect();
    Some(pb::AccessRule { mode: Mode::Only.into(), patterns })
}

#[test]
fn what_is_not_given_is_left_to_the_server() {
    let expected = pb::CreateKeyRequest {
        key: Some(pb::Key { user_id: 4, display_name: "ci".into(), ..Default::default() }),
        ..Default::default()
    };
    assert_eq!(request(&[]), expected);
    assert!(Program::try_parse_from(["create", "--name=ci"]).is_err());
    assert!(Program::try_parse_from(["create", "--user-id=4"]).is_err());
}

#[test]
fn every_flag_reaches_the_key() {
    let key = key(&[
        "--description=for tests",
        "--tag=a",
        "--tag=b",
        "--metadata=team=search",
        "--metadata=note=x=y",
        "--scope=chat.*",
        "--permission=chat",
        "--expire=90d",
        "--observe=ips,rate_limits",
        "--requests-per-minute=0",
        "--tokens-per-day=5",
    ]);
    let expected = pb::Key {
        user_id: 4,
        display_name: "ci".into(),
        description: "for tests".into(),
        tags: vec!["a".into(), "b".into()],
        metadata: [("team".into(), "search".into()), ("note".into(), "x=y".into())].into(),
        scopes: vec!["chat.*".into()],
        permissions: vec!["chat".into()],
        expire_time: Some(prost_types::Timestamp { seconds: 1_900_000_000 + 90 * 86_400, nanos: 0 }),
        observe: vec![Check::Ips.into(), Check::RateLimits.into()],
        rate_limits: Some(pb::RateLimits {
            requests: Some(pb::RateLimitWindows { per_minute: Some(0), ..Default::default() }),
            tokens: Some(pb::RateLimitWindows { per_day: Some(5), ..Default::default() }),
        }),
        ..Default::default()
    };
    assert_eq!(key, expected);
}

#[test]
fn any_pattern_makes_its_rule_only_that_and_no_makes_it_only_nothing() {
    let given =
        key(&["--model=gpt-4o*", "--model=o3", "--endpoint=GET /v1/models", "--no-ips", "--no-chatbots"]);
    assert_eq!(given.models, only(&["gpt-4o*", "o3"]));
    assert_eq!(given.endpoints, only(&["GET /v1/models"]));
    assert_eq!(given.ips, only(&[]));
    assert_eq!(given.chatbots, only(&[]));
    let given = key(&["--ip=10.0.0.0/8", "--chatbot=7", "--no-models", "--no-endpoints"]);
    assert_eq!(given.ips, only(&["10.0.0.0/8"]));
    assert_eq!(given.chatbots, only(&["7"]));
    assert_eq!((given.models, given.endpoints), (only(&[]), only(&[])));
    for dimension in ["model", "endpoint", "ip", "chatbot"] {
        let pattern = format!("--{dimension}=x");
        assert!(parsed(&[&pattern, &format!("--no-{dimension}s")]).is_err(), "{dimension}");
    }
}

#[test]
fn rate_limits_are_the_templates_unless_some_or_none_are_given() {
    assert_eq!(key(&["--template=default"]).rate_limits, None);
    assert_eq!(key(&["--template=default", "--no-rate-limits"]).rate_limits, Some(pb::RateLimits::default()));
    assert!(parsed(&["--no-rate-limits", "--tokens-per-hour=1"]).is_err());
}

#[test]
fn a_template_is_passed_on_with_what_it_needs() {
    assert!(matches!(request(&["--template=default"]).template, Some(PbTemplate::DefaultKey(_))));
    assert!(matches!(request(&["--template=restricted"]).template, Some(PbTemplate::RestrictedKey(_))));
    let chatbot = request(&["--template=chatbot", "--chatbot-id=7", "--chatbot-name=Help"]).template;
    let expected = pb::ChatbotKeyTemplate { chatbot_id: "7".into(), chatbot_name: "Help".into() };
    assert_eq!(chatbot, Some(PbTemplate::ChatbotKey(expected)));
    assert!(parsed(&["--template=chatbot"]).is_err());
    assert!(parsed(&["--template=chatbot", "--chatbot-id=7"]).is_err());
    assert!(parsed(&["--chatbot-id=7"]).is_err());
    let misplaced = parsed(&["--template=default", "--chatbot-id=7"]).unwrap().to_request(now()).unwrap_err();
    assert!(misplaced.to_string().contains("belong to --template chatbot"), "{misplaced}");
}

#[test]
fn budgets_are_passed_on() {
    let budgets = request(&["--budget=total=25.00", "--budget=daily=1,soft"]).budgets;
    let limits: Vec<_> = budgets.iter().map(|budget| budget.limit_micros).collect();
    assert_eq!(limits, [Some(25_000_000), Some(1_000_000)]);
    assert!(parsed(&["--budget=25"]).is_err());
}

#[test]
fn what_contradicts_itself_is_refused() {
    let twice = parsed(&["--metadata=a=1", "--metadata=a=2"]).unwrap().to_request(now()).unwrap_err();
    assert_eq!(twice.to_string(), "--metadata gives one name twice.");
    let beyond = parsed(&["--expire=500000000d"]).unwrap().to_request(now()).unwrap_err();
    assert_eq!(beyond.to_string(), "--expire is beyond the end of the calendar.");
    assert!(parsed(&["--validate-only", "--token-out=t"]).is_err());
    assert!(request(&["--dry-run"]).validate_only);
    assert_eq!(request(&["--request-id=r"]).request_id, "r");
    assert!(parsed(&["--metadata=a"]).is_err());
    assert!(parsed(&["--metadata==a"]).is_err());
    assert!(parsed(&["--observe=key"]).is_err());
    assert!(request(&["--validate-only"]).validate_only);
}

#[test]
fn observed_checks_have_the_names_of_configuration() {
    for check in crate::policy::Check::ALL {
        let observe = key(&["--observe", check.as_str()]).observe;
        let name = Check::try_from(observe[0]).unwrap().as_str_name();
        assert_eq!(name, check.as_str().to_uppercase());
    }
}
