//! What memory answers is answered where it was read; and nobody can tell but by how long it took.

use http::Method;
use keystile::grpc::pb;
use prost::Message as _;

use crate::harness::{App, denial, eventually, get};
use crate::raw::{Answer, Call, Connection, frame, panics};

const AUTHORIZE: &str = "keystile.v1.AuthorizeService/Authorize";

/// The sum of a metric over the series that have this text in their labels.
async fn sum(app: &App, name: &str, label: &str) -> f64 {
    let page = get(&app.ops(), "/metrics").await.body;
    let lines = page.lines().filter(|line| line.starts_with(&format!("{name}{{")) && line.contains(label));
    lines.map(|line| line.rsplit_once(' ').unwrap().1.parse::<f64>().unwrap()).sum()
}

async fn answered_from_memory(app: &App) -> f64 {
    sum(app, "keystile_loop_calls_total", "by=\"memory\"").await
}

/// A key that memory knows, and how to ask about it.
struct Warm {
    app: App,
    connection: Connection,
    question: pb::AuthorizeRequest,
}

impl Warm {
    async fn up() -> Self {
        let app = App::start().await;
        let (_, token) = app.create_any().await;
        let connection = Connection::open(app.address()).await;
        let question = pb::AuthorizeRequest { token: token.into(), ..Default::default() };
        let warm = Self { app, connection, question };
        eventually("memory answers", async || {
            warm.ask(warm.call()).await;
            answered_from_memory(&warm.app).await > 0.0
        })
        .await;
        warm
    }

    fn call(&self) -> Call {
        Call::to(AUTHORIZE).bearer(&self.app.admin_token).message(&self.question)
    }

    async fn ask(&self, call: Call) -> Answer {
        let answer = self.connection.call(call).await;
        answer.assert_decent("an answer", &[&self.app.admin_token]);
        answer
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn both_ways_answer_alike_and_count_alike() {
    let warm = Warm::up().await;
    let app = &warm.app;
    let counts = async || {
        [
            sum(app, "keystile_rpc_duration_seconds_count", "Authorize\",code=\"OK\"").await,
            sum(app, "keystile_decisions_total", "ALLOW").await,
            sum(app, "keystile_token_proofs_total", "judged").await,
            sum(app, "keystile_token_proofs_total", "caller").await,
        ]
    };
    let (mut answers, mut ids) = (Vec::new(), Vec::new());
    for is_short in [true, false] {
        let (before, by_memory) = (counts().await, answered_from_memory(app).await);
        let call = warm.call().header("x-request-id", "given-7");
        let call = if is_short { call } else { call.in_pieces() };
        let answer = warm.ask(call).await;
        let rise = answered_from_memory(app).await - by_memory;
        assert_eq!(rise, f64::from(u8::from(is_short)), "it took the way that it should");
        let after = counts().await;
        assert_eq!(after, before.map(|count| count + 1.0), "short: {is_short}");
        let mut headers = answer.headers.clone();
        headers.remove("date");
        let mut answer = answer.read::<pb::AuthorizeResponse>();
        ids.push(std::mem::take(&mut answer.authorization_id));
        answers.push((headers, answer));
    }
    assert_eq!(answers[0].0["x-request-id"], "given-7");
    assert_eq!(answers[0], answers[1]);
    assert!(ids.iter().all(|id| id.len() > 20) && ids[0] != ids[1], "each has an id of its own: {ids:?}");
    assert_eq!(denial(&answers[0].1), None);
    assert_eq!(sum(app, "keystile_rpc_in_flight", "Authorize\"").await, 0.0);
    // Without one of the caller's there is one of ours, another for each.
    let mut ids = Vec::new();
    for call in [
        warm.call(),
        warm.call(),
        warm.call().in_pieces(),
        warm.call().header("x-request-id", "x".repeat(129)),
    ] {
        ids.push(warm.ask(call).await.headers["x-request-id"].to_str().unwrap().to_owned());
    }
    ids.sort_unstable();
    ids.dedup();
    assert_eq!(ids.len(), 4, "{ids:?}");
    assert!(ids.iter().all(|id| id.len() == 21), "{ids:?}");
    warm.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_denial_takes_the_short_way_too() {
    let warm = Warm::up().await;
    let before = answered_from_memory(&warm.app).await;
    let scoped = pb::AuthorizeRequest { scopes: vec!["missing".into()], ..warm.question.clone() };
    let answer = warm.ask(warm.call().message(&scoped)).await.read::<pb::AuthorizeResponse>();
    assert_eq!(denial(&answer).as_deref(), Some("SCOPE_MISSING"));
    assert_eq!(answered_from_memory(&warm.app).await, before + 1.0);
    warm.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn whatever_is_unusual_is_answered_as_ever() {
    let warm = Warm::up().await;
    let before = answered_from_memory(&warm.app).await;
    let without_caller = Call::to(AUTHORIZE).message(&warm.question);
    let unknown = crate::harness::new_token();
    let two_scopes = pb::AuthorizeRequest { scopes: vec!["**".into()], ..warm.question.clone() };
    let message = warm.question.encode_to_vec();
    let tomorrow = pb::AuthorizeRequest { min_revision: i64::MAX, ..warm.question.clone() };
    for (what, call, outcome) in [
        ("no caller", without_caller.clone(), "UNAUTHENTICATED CALLER_TOKEN_MISSING"),
        (
            "an unknown caller",
            without_caller.clone().bearer(&unknown),
            "UNAUTHENTICATED CALLER_TOKEN_INVALID",
        ),
        ("two callers", warm.call().bearer(&warm.app.admin_token), "UNAUTHENTICATED CALLER_TOKEN_MISSING"),
        ("no message", warm.call().body(Vec::new()), "INVALID_ARGUMENT MALFORMED_MESSAGE"),
        ("bytes", warm.call().body(frame(b"\xff\xff")), "INVALID_ARGUMENT MALFORMED_MESSAGE"),
        ("two messages", warm.call().body([frame(&message), frame(&message)].concat()), "OK"),
        ("a flag", warm.call().body(vec![1, 0, 0, 0, 0]), "INVALID_ARGUMENT MALFORMED_MESSAGE"),
        ("compressed", warm.call().header("grpc-encoding", "gzip"), "UNIMPLEMENTED COMPRESSION_NOT_SERVED"),
        ("no time", warm.call().header("grpc-timeout", "0n"), "DEADLINE_EXCEEDED DEADLINE_EXCEEDED"),
        ("a fault", warm.call().message(&two_scopes), "INVALID_ARGUMENT INVALID_REQUEST"),
        ("a GET", warm.call().http_method(Method::GET), "OK"),
        (
            "a revision of tomorrow",
            warm.call().message(&tomorrow).header("grpc-timeout", "100m"),
            "UNAVAILABLE REVISION_NOT_REACHED",
        ),
    ] {
        let answer = warm.ask(call).await;
        let came = answer.outcome();
        // On a busy machine, the deadline itself may come first.
        let is_late = outcome.contains("REVISION") && came.starts_with("DEADLINE_EXCEEDED");
        assert!(came == outcome || is_late, "{what}: {came}");
        let has_id = answer.headers.contains_key("x-request-id");
        assert!(has_id, "{what}: every answer has an id");
    }
    assert_eq!(answered_from_memory(&warm.app).await, before, "none of them took the short way");
    let json = warm.connection.call(warm.call().content_type(Some("application/json"))).await;
    assert_eq!(json.outcome(), "INVALID_ARGUMENT MALFORMED_MESSAGE");
    assert_eq!(panics(), 0);
    // Nor has it hurt anything.
    assert!(warm.ask(warm.call()).await.is_ok());
    assert_eq!(answered_from_memory(&warm.app).await, before + 1.0);
    warm.app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn without_authentication_the_short_way_is_open_as_well() {
    let app = App::builder().flags(["--no-auth"]).start().await;
    let (_, token) = app.create_any().await;
    let connection = Connection::open(app.address()).await;
    let question = pb::AuthorizeRequest { token: token.into(), ..Default::default() };
    eventually("memory answers", async || {
        assert!(connection.call(Call::to(AUTHORIZE).message(&question)).await.is_ok());
        answered_from_memory(&app).await > 0.0
    })
    .await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_remembers_its_caller_knows_no_other_and_forgets_one_who_is_revoked() {
    let warm = Warm::up().await;
    let service = pb::Key {
        display_name: "gateway".into(),
        scopes: vec!["keystile.authorize".into()],
        ..Default::default()
    };
    let (key, token) = warm.app.create(service).await;
    let as_gateway = || Call::to(AUTHORIZE).bearer(&token).message(&warm.question);
    for _ in 0..3 {
        assert!(warm.ask(as_gateway()).await.is_ok());
        assert!(warm.ask(warm.call()).await.is_ok());
    }
    // One character less, or another one, is nobody.
    let last = token.chars().last().unwrap();
    let other = if last == 'a' { 'b' } else { 'a' };
    let shorter = &token[..token.len() - 1];
    for look_alike in [shorter.to_owned(), format!("{shorter}{other}"), format!("{token}a")] {
        assert!(warm.ask(as_gateway()).await.is_ok());
        let call = Call::to(AUTHORIZE).bearer(&look_alike).message(&warm.question);
        assert_eq!(warm.ask(call).await.outcome(), "UNAUTHENTICATED CALLER_TOKEN_INVALID");
    }
    let before = answered_from_memory(&warm.app).await;
    assert!(warm.ask(as_gateway()).await.is_ok());
    assert_eq!(answered_from_memory(&warm.app).await, before + 1.0);
    let revoke = pb::RevokeKeyRequest { key_id: key.key_id, ..Default::default() };
    warm.app.keys().revoke_key(revoke).await.unwrap();
    assert_eq!(warm.ask(as_gateway()).await.outcome(), "UNAUTHENTICATED CALLER_TOKEN_INVALID");
    warm.app.stop().await;
}
