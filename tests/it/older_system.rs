//! The older system's export, imported by the command, and every one of its tokens decided over gRPC,
//! against expectations that Python worked out from the export (`fixtures/enclava/expectations.py`).

use std::collections::HashMap;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use keystile::grpc::pb::authorize_request::Dimension;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use keystile::grpc::pb::batch_authorize_response::item::Result;
use keystile::grpc::pb::warning::Kind;
use serde_json::Value;
use tokio::sync::Semaphore;
use tokio::task::JoinSet;

use crate::harness::{App, Client, Process, TestDatabase, denial, judged_key};

/// So many questions of each key go through Authorize, the others through BatchAuthorize.
const SINGLE: usize = 12;

const EXPORT: &str = include_str!("../fixtures/enclava/enclava.sql");
const EXPECTATIONS: &str = include_str!("../fixtures/enclava/expectations.json");

/// A database with the export loaded.
async fn source() -> TestDatabase {
    let source = TestDatabase::unmigrated().await;
    source.sql(EXPORT).await;
    source
}

fn import(source: &TestDatabase, target: &TestDatabase) -> std::process::Output {
    let mut command = Process::command();
    command.args(["import", "enclava", "--output", "json"]);
    command.env("KEYSTILE_IMPORT_SOURCE_URL", source.url());
    command.env("KEYSTILE_DATABASE_URL", target.url()).env("KEYSTILE_ALLOW_DATA_LOSS", "true");
    Process::run(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn every_token_of_the_older_system_is_decided_as_its_export_says() {
    let expectations: Value = serde_json::from_str(EXPECTATIONS).unwrap();
    let now: DateTime<Utc> = expectations["now"].as_str().unwrap().parse().unwrap();
    let target = TestDatabase::new().await;
    let imported = import(&source().await, &target);
    assert!(imported.status.success(), "{}", String::from_utf8_lossy(&imported.stderr));

    let clock = Clock::Manual(ManualClock::new(now));
    let app = App::builder().database(&target).clock(clock).start().await;
    let keys = expectations["keys"].as_array().unwrap();
    assert_eq!(keys.len(), 200);
    let width = Arc::new(Semaphore::new(8));
    let mut running = JoinSet::new();
    for key in keys {
        let (client, key, width) = (app.authorize(), key.clone(), Arc::clone(&width));
        running.spawn(async move {
            let _turn = width.acquire().await.unwrap();
            decide_all(client, &key).await
        });
    }
    let asked: usize = running.join_all().await.into_iter().sum();
    assert_eq!(u64::try_from(asked).unwrap(), expectations["summary"]["questions"].as_u64().unwrap());

    let runs = app.running.authorizer().bcrypt_runs();
    for key in keys {
        app.reason(key["token"].as_str().unwrap()).await;
        let look_alike = app.reason(key["look_alike"].as_str().unwrap()).await;
        assert_eq!(look_alike.as_deref(), Some("KEY_INVALID"));
    }
    assert_eq!(app.running.authorizer().bcrypt_runs(), runs, "every secret has its digest by now");
    app.stop().await;
}

/// Puts every question of a key, its look-alike's first and last, and returns how many there were.
async fn decide_all(mut client: AuthorizeServiceClient<Client>, key: &Value) -> usize {
    let token = key["token"].as_str().unwrap();
    let look_alike = question(key["look_alike"].as_str().unwrap(), &key["base"]);
    assert_eq!(token[..8], key["look_alike"].as_str().unwrap()[..8]);
    let refused = client.authorize(look_alike.clone()).await.unwrap().into_inner();
    assert_eq!(denial(&refused).as_deref(), Some("KEY_INVALID"), "a look-alike of key {}", key["key_id"]);
    assert_eq!((refused.key.len(), refused.warnings), (0, Vec::new()), "nothing of the key is told");

    let mut questions = Vec::new();
    for (expected, named) in key["questions"].as_object().unwrap() {
        for question in named.as_array().unwrap() {
            let mut request = key["base"].clone();
            merge(&mut request, &question[1]);
            questions.push((expected.as_str(), request));
        }
    }
    // One of every expected answer first, so that Authorize gives each of them; the rest by batch.
    let mut seen = HashMap::new();
    questions.sort_by_cached_key(|(expected, _)| {
        let nth = seen.entry(*expected).and_modify(|nth| *nth += 1).or_insert(0_u32);
        (*nth, *expected)
    });
    let (single, batched) = questions.split_at(SINGLE);
    for (expected, request) in single {
        let answer = client.authorize(question(token, request)).await.unwrap().into_inner();
        assert_answer(&answer, expected, key, request);
    }
    let requests = batched.iter().map(|(_, request)| question(token, request)).collect();
    let items =
        client.batch_authorize(pb::BatchAuthorizeRequest { requests }).await.unwrap().into_inner().items;
    assert_eq!(items.len(), batched.len());
    for (item, (expected, request)) in items.into_iter().zip(batched) {
        let Some(Result::Response(answer)) = item.result else { panic!("{item:?}") };
        assert_answer(&answer, expected, key, request);
    }

    let refused = client.authorize(look_alike).await.unwrap().into_inner();
    assert_eq!(denial(&refused).as_deref(), Some("KEY_INVALID"), "right after the true token was used");
    questions.len()
}

fn assert_answer(answer: &pb::AuthorizeResponse, expected: &str, key: &Value, request: &Value) {
    let got = denial(answer).unwrap_or_else(|| "ALLOW".to_owned());
    assert_eq!(got, expected, "key {}: {request}", key["key_id"]);
    assert_eq!(Some(judged_key(answer).key_id), key["key_id"].as_i64());
    assert_warnings(answer, key);
}

/// The limits that the key has are shown; its budgets are said not to be enforced, and no state of them is shown.
fn assert_warnings(answer: &pb::AuthorizeResponse, key: &Value) {
    let named: Vec<&str> = answer
        .warnings
        .iter()
        .filter(|warning| warning.kind() == Kind::NotEnforced)
        .map(|warning| warning.message.split(' ').next().unwrap())
        .collect();
    let import = &key["import"];
    let windows = ["requests_per_minute", "requests_per_hour", "requests_per_day"];
    let has_limits = windows.iter().any(|window| !import[*window].is_null());
    let has_budgets = !import["budget"].is_null();
    let expected: &[&str] = if has_budgets { &["budgets"] } else { &[] };
    assert_eq!(named, expected);
    assert_eq!(has_limits, key["not_enforced"]["rate_limits"].as_bool().unwrap());
    assert_eq!(has_budgets, key["not_enforced"]["budgets"].as_bool().unwrap());
    let is_allowed = denial(answer).is_none();
    assert_eq!(
        !answer.rate_limits.is_empty(),
        has_limits && is_allowed,
        "looked at where all before has passed"
    );
    assert!(answer.budgets.is_empty());
}

/// RFC 7396: members of the patch replace; null leaves out.
fn merge(request: &mut Value, patch: &Value) {
    for (name, value) in patch.as_object().unwrap() {
        if value.is_null() {
            request.as_object_mut().unwrap().remove(name);
        } else {
            request[name] = value.clone();
        }
    }
}

fn question(token: &str, request: &Value) -> pb::AuthorizeRequest {
    let text = |name: &str| request[name].as_str().unwrap_or_default().to_owned().into();
    let list = |name: &str| -> Vec<String> {
        let values = request[name].as_array().map(Vec::as_slice).unwrap_or_default();
        values.iter().map(|value| value.as_str().unwrap().to_owned()).collect()
    };
    let dimension = |name: String| i32::from(Dimension::from_str_name(&name).unwrap());
    for name in request.as_object().unwrap().keys() {
        assert!(KNOWN.contains(&name.as_str()), "the question has an unknown field {name}");
    }
    pb::AuthorizeRequest {
        token: token.to_owned().into(),
        model: text("model"),
        endpoint: text("endpoint"),
        method: text("method"),
        chatbot_id: text("chatbot_id"),
        client_ip: text("client_ip"),
        scopes: list("scopes"),
        permissions: list("permissions"),
        not_applicable: list("not_applicable").into_iter().map(dimension).collect(),
        ..Default::default()
    }
}

const KNOWN: [&str; 8] =
    ["model", "endpoint", "method", "chatbot_id", "client_ip", "scopes", "permissions", "not_applicable"];
