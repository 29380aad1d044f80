//! What end users send, at its worst: every value, in every field that they control, for a key whose rules
//! are ANY and one whose rules are ONLY. The answer is a decision, always: the field's deny, or, where a value
//! is legitimate, what `values.rs` says.

mod tokens;
mod values;

use std::sync::Arc;

use keystile::grpc::pb;
use prost::bytes::Bytes;
use tokio::task::JoinSet;

use crate::harness::{App, denial};
use crate::raw::panics;
use values::{ADDRESS, METHOD, NAME, PATH, SAME_PATH, Value};

/// A field that the end user controls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Field {
    Token,
    Model,
    Endpoint,
    Method,
    Chatbot,
    ClientIp,
}

const FIELDS: [Field; 6] =
    [Field::Token, Field::Model, Field::Endpoint, Field::Method, Field::Chatbot, Field::ClientIp];

/// The two keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Rules {
    Any,
    Only,
}

/// One value in one field of an otherwise allowed request.
#[derive(Clone)]
struct Question {
    what: String,
    field: Field,
    rules: Rules,
    value: Bytes,
    expected: &'static str,
}

/// Both keys' tokens.
#[derive(Clone)]
struct Keys {
    any: String,
    only: String,
}

impl Question {
    fn of(field: Field, rules: Rules, value: &Value) -> Self {
        let what = format!("{} as {field:?} under {rules:?}", value.name);
        Self { what, field, rules, value: value.bytes.clone(), expected: expected(field, rules, value) }
    }

    /// What this key may do, with the one value in its place.
    fn request(&self, keys: &Keys) -> pb::AuthorizeRequest {
        let token = if self.rules == Rules::Any { &keys.any } else { &keys.only };
        let mut request = allowed_request(token);
        let place = match self.field {
            Field::Token => &mut request.token,
            Field::Model => &mut request.model,
            Field::Endpoint => &mut request.endpoint,
            Field::Method => &mut request.method,
            Field::Chatbot => &mut request.chatbot_id,
            Field::ClientIp => &mut request.client_ip,
        };
        *place = self.value.clone();
        request
    }
}

/// Where the value is legitimate it is allowed under ANY, and under ONLY if it is the allowed path in another
/// spelling; all else is denied.
fn expected(field: Field, rules: Rules, value: &Value) -> &'static str {
    let (legitimate, malformed, not_allowed) = match field {
        Field::Token => (0, "KEY_INVALID", "KEY_INVALID"),
        Field::Model => (NAME, "MODEL_NOT_ALLOWED", "MODEL_NOT_ALLOWED"),
        Field::Chatbot => (NAME, "CHATBOT_NOT_ALLOWED", "CHATBOT_NOT_ALLOWED"),
        Field::Endpoint => (PATH, "ENDPOINT_MALFORMED", "ENDPOINT_NOT_ALLOWED"),
        Field::Method => (METHOD, "ENDPOINT_MALFORMED", "ENDPOINT_NOT_ALLOWED"),
        Field::ClientIp => (ADDRESS, "IP_NOT_ALLOWED", "IP_NOT_ALLOWED"),
    };
    let is_same = field == Field::Endpoint && value.legitimate & SAME_PATH == SAME_PATH;
    match (value.legitimate & legitimate != 0, rules) {
        (false, _) => malformed,
        (true, Rules::Any) => "ALLOW",
        (true, Rules::Only) if is_same => "ALLOW",
        (true, Rules::Only) => not_allowed,
    }
}

fn allowed_request(token: &str) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        token: token.to_owned().into(),
        model: "gpt-4o".into(),
        endpoint: "/v1/models".into(),
        method: "GET".into(),
        chatbot_id: "bot-1".into(),
        client_ip: "192.0.2.7".into(),
        ..Default::default()
    }
}

fn questions(values: &[Value]) -> Vec<Question> {
    let each = |value: &Value| {
        let value = value.clone();
        FIELDS
            .into_iter()
            .flat_map(move |field| [Rules::Any, Rules::Only].map(|rules| Question::of(field, rules, &value)))
    };
    values.iter().flat_map(|value| each(value).collect::<Vec<_>>()).collect()
}

async fn create_keys(app: &App) -> Keys {
    let only = |pattern: &str| {
        let mode = pb::access_rule::Mode::Only.into();
        Some(pb::AccessRule { mode, patterns: vec![pattern.to_owned()] })
    };
    let key = pb::Key {
        user_id: 1,
        display_name: "only".into(),
        models: only("gpt-4o"),
        endpoints: only("GET /v1/models"),
        ips: only("192.0.2.0/24"),
        chatbots: only("bot-1"),
        ..Default::default()
    };
    let keys = Keys { any: app.create_any().await.1, only: app.create(key).await.1 };
    for token in [&keys.any, &keys.only] {
        assert_eq!(denial(&app.ask("", allowed_request(token)).await).as_deref(), Some("KEY_INVALID"));
        assert_eq!(denial(&app.ask(token, allowed_request(token)).await), None, "allowed as it is");
    }
    keys
}

/// What is wrong with an answer. Its sentence was written for the reason and never has the value in it.
fn fault(question: &Question, answer: &pb::AuthorizeResponse) -> Option<String> {
    let decided = denial(answer);
    let decided = decided.as_deref().unwrap_or("ALLOW");
    let is_right = decided == question.expected;
    let is_sentence = answer.message.len() < 200 && !answer.message.contains(char::is_control);
    let tells_key = !answer.key.is_empty();
    let is_told_right = tells_key == (question.expected != "KEY_INVALID");
    let is_good = is_right && is_sentence && is_told_right;
    (!is_good).then(|| format!("{}: {decided}, not {}: {answer:?}", question.what, question.expected))
}

fn assert_none(faults: Vec<String>) {
    assert!(faults.is_empty(), "{} answers are wrong:\n{}", faults.len(), faults.join("\n"));
}

/// Asks everything, eight questions at a time.
async fn ask_all(app: &App, keys: &Keys, questions: Vec<Question>) {
    let questions = Arc::new(questions);
    let mut askers = JoinSet::new();
    for start in 0..8 {
        let (mut client, keys, questions) = (app.authorize(), keys.clone(), Arc::clone(&questions));
        askers.spawn(async move {
            let mut faults = Vec::new();
            for question in questions.iter().skip(start).step_by(8) {
                match client.authorize(question.request(&keys)).await {
                    Ok(answer) => faults.extend(fault(question, answer.get_ref())),
                    Err(status) => faults.push(format!("{}: {status:?}", question.what)),
                }
            }
            faults
        });
    }
    assert_none(askers.join_all().await.concat());
}

#[tokio::test(flavor = "multi_thread")]
async fn every_hostile_value_in_every_field_is_decided() {
    let app = App::start().await;
    let keys = create_keys(&app).await;
    let values = values::all();
    assert!(values.len() >= 60, "{} values", values.len());
    ask_all(&app, &keys, questions(&values)).await;
    ask_all(&app, &keys, questions(&values::long())).await;
    assert_eq!(panics(), 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn batches_decide_hostile_values_the_same() {
    use pb::batch_authorize_response::item::Result as Item;
    let app = App::start().await;
    let keys = create_keys(&app).await;
    let mut faults = Vec::new();
    for chunk in questions(&values::all()).chunks(1000) {
        let requests = chunk.iter().map(|question| question.request(&keys)).collect();
        let answer = app.authorize().batch_authorize(pb::BatchAuthorizeRequest { requests }).await;
        let items = answer.unwrap().into_inner().items;
        assert_eq!(items.len(), chunk.len());
        for (question, item) in chunk.iter().zip(items) {
            match item.result.unwrap() {
                Item::Response(answer) => faults.extend(fault(question, &answer)),
                Item::Error(error) => faults.push(format!("{}: {error:?}", question.what)),
            }
        }
    }
    assert_none(faults);
    assert_eq!(panics(), 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn filters_decide_hostile_values_the_same() {
    let app = App::start().await;
    let keys = create_keys(&app).await;
    let mut client = app.authorize();
    let values = [values::all(), values::long()].concat();
    for question in questions(&values).iter().filter(|it| it.field != Field::Model) {
        let request = question.request(&keys);
        let request = pb::FilterModelsRequest {
            token: request.token,
            endpoint: request.endpoint,
            method: request.method,
            chatbot_id: request.chatbot_id,
            client_ip: request.client_ip,
            models: vec!["gpt-4o".into(), "\u{202e}o4-tpg\0".into()],
            ..Default::default()
        };
        let answer = client.filter_models(request).await;
        let answer = answer.unwrap_or_else(|status| panic!("{}: {status:?}", question.what)).into_inner();
        let reason = answer.reason().as_str_name();
        let reason = if answer.models.is_empty() { reason } else { "ALLOW" };
        assert_eq!(reason, question.expected, "{}", question.what);
        let models: &[&str] = if reason == "ALLOW" { &["gpt-4o"] } else { &[] };
        assert_eq!(answer.models, models, "{}: the name with NUL is nobody's model", question.what);
    }
    assert_eq!(panics(), 0);
    app.stop().await;
}

/// The models of FilterModels are the calling service's list, but their names may be anything.
#[tokio::test(flavor = "multi_thread")]
async fn hostile_names_are_filtered_out() {
    let app = App::start().await;
    let keys = create_keys(&app).await;
    let values = values::all();
    let names: Vec<(&str, bool)> = values
        .iter()
        .filter_map(|value| Some((std::str::from_utf8(&value.bytes).ok()?, value.legitimate & NAME != 0)))
        .filter(|(name, _)| (1..=256).contains(&name.len()))
        .collect();
    assert!(names.len() >= 60, "{} names", names.len());
    for (token, rules) in [(&keys.any, Rules::Any), (&keys.only, Rules::Only)] {
        let models: Vec<String> = names.iter().map(|(name, _)| (*name).to_owned()).collect();
        let request = pb::FilterModelsRequest {
            token: token.clone().into(),
            models,
            endpoint: "/v1/models".into(),
            method: "GET".into(),
            chatbot_id: "bot-1".into(),
            client_ip: "192.0.2.7".into(),
            ..Default::default()
        };
        let passed = app.authorize().filter_models(request).await.unwrap().into_inner().models;
        let legitimate = names.iter().filter(|(_, is_name)| rules == Rules::Any && *is_name);
        assert_eq!(passed, legitimate.map(|(name, _)| *name).collect::<Vec<_>>());
    }
    app.stop().await;
}
