//! Faults below the messages: bytes, frames, flags, paths, lengths, deadlines, and how long answers may be.

use http::{Method, StatusCode};
use keystile::grpc::pb;
use prost::Message;
use tonic_types::StatusExt;

use crate::harness::{App, new_token, violated_fields};
use crate::raw::{Answer, Call, Connection, frame, panics};

const MALFORMED: &str = "INVALID_ARGUMENT MALFORMED_MESSAGE";
const TOO_LARGE: &str = "RESOURCE_EXHAUSTED MESSAGE_TOO_LARGE";
const UNKNOWN: &str = "UNIMPLEMENTED METHOD_UNKNOWN";
const COMPRESSION: &str = "UNIMPLEMENTED COMPRESSION_NOT_SERVED";
const INVALID: &str = "INVALID_ARGUMENT INVALID_REQUEST";
const AUTHORIZE: &str = "keystile.v1.AuthorizeService/Authorize";
const CREATE: &str = "keystile.v1.KeyService/CreateKey";
const LIST: &str = "keystile.v1.KeyService/ListKeys";

/// Sends every call as the administrator, holds its outcome against the expected one, and asks once more
/// whether the service still serves.
async fn hold(calls: Vec<(&str, Call, &str)>) {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    for (what, call, outcome) in calls {
        let answer = connection.call(call.bearer(&app.admin_token)).await;
        answer.assert_decent(what, &[&app.admin_token]);
        assert_eq!(answer.outcome(), outcome, "{what}: {:?}", answer.status);
    }
    // On the same connection, which nothing of it has hurt.
    let answer = connection.call(Call::to(LIST).bearer(&app.admin_token)).await;
    assert!(!answer.read::<pb::ListKeysResponse>().keys.is_empty());
    assert_eq!(panics(), 0);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_is_no_message_is_the_callers_fault() {
    let list = |body: Vec<u8>| Call::to(LIST).body(body);
    let message = |bytes: &[u8]| list(frame(bytes));
    let authorize = |bytes: &[u8]| Call::to(AUTHORIZE).body(frame(bytes));
    let long_frame = |length: u32| [&[0], length.to_be_bytes().as_slice(), &[0; 64]].concat();
    let groups = [0x9b, 0x01].repeat(100_000);
    hold(vec![
        ("undecodable bytes", message(b"\xff\xff\xff\xff"), MALFORMED),
        (
            "an endless varint",
            message(&[0x18, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 1]),
            MALFORMED,
        ),
        ("field number 0", message(&[0x00, 0x01]), MALFORMED),
        ("wire type 7", message(&[0x0f]), MALFORMED),
        ("text where a number stands", message(&[0x1a, 1, b'x']), MALFORMED),
        ("a text longer than its message", message(&[0x12, 100, b'x']), MALFORMED),
        ("text that is not UTF-8", message(&[0x12, 2, 0xc3, 0x28]), MALFORMED),
        ("an id that is not UTF-8", authorize(&[0x6a, 1, 0xff]), MALFORMED),
        ("a scope that is not UTF-8", authorize(&[0x3a, 1, 0xff]), MALFORMED),
        ("100 000 groups in each other", message(&groups), MALFORMED),
        ("the end of a group without its start", message(&[0x9c, 0x01]), MALFORMED),
        ("no message", list(Vec::new()), MALFORMED),
        ("a truncated header", list(vec![0, 0, 0]), MALFORMED),
        ("a truncated frame", list(long_frame(65)), MALFORMED),
        (
            "a truncated frame of a stream",
            Call::to("keystile.v1.KeyService/WatchKeys").body(long_frame(65)),
            MALFORMED,
        ),
        ("another protocol", list(b"GET / HTTP/1.1\r\nHost: keystile\r\n\r\n".to_vec()), MALFORMED),
        ("an unknown flag", list(vec![2, 0, 0, 0, 0]), MALFORMED),
        ("compressed, but by what?", list(vec![1, 0, 0, 0, 0]), MALFORMED),
        ("a GET", list(Vec::new()).http_method(Method::GET), MALFORMED),
        ("gzip", message(&[]).header("grpc-encoding", "gzip"), COMPRESSION),
        ("a made-up compression", message(&[]).header("grpc-encoding", b"\xffzip"), COMPRESSION),
        ("no compression, in words", message(&[]).header("grpc-encoding", "identity"), "OK"),
        ("a field of tomorrow", message(&[0x98, 0x06, 0x01]), "OK"),
        ("a deadline of nonsense", message(&[]).header("grpc-timeout", "soon"), "OK"),
        ("a deadline below zero", message(&[]).header("grpc-timeout", "-1S"), "OK"),
        ("metadata that is no base64", message(&[]).header("x-trace-bin", "%%%"), "OK"),
    ])
    .await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_refused_compression_says_what_is_taken() {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    let call = Call::to(LIST).bearer(&app.admin_token).header("grpc-encoding", "snappy");
    let answer = connection.call(call).await;
    assert_eq!(answer.outcome(), COMPRESSION);
    assert_eq!(answer.status.metadata().get("grpc-accept-encoding").unwrap(), "identity");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn only_grpc_is_taken_for_grpc() {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    let list = |content_type| Call::to(LIST).bearer(&app.admin_token).content_type(content_type);
    let foreign =
        ["text/plain", "application/json", "application/grpc-web", "application/grpc-web+proto", "grpc", ""];
    for content_type in foreign.map(Some).into_iter().chain([None]) {
        let answer = connection.call(list(content_type)).await;
        assert_eq!(answer.http, StatusCode::UNSUPPORTED_MEDIA_TYPE, "{content_type:?}");
        assert_eq!(answer.outcome(), MALFORMED, "{content_type:?}");
    }
    for grpc in ["application/grpc", "application/grpc+proto", "application/grpc;charset=utf-8"] {
        assert_eq!(connection.call(list(Some(grpc))).await.outcome(), "OK", "{grpc}");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn what_the_contract_does_not_have_is_unknown() {
    let paths = [
        "keystile.v1.KeyService/DropKeys",
        "keystile.v1.KeyService/",
        "keystile.v1.KeyService",
        "keystile.v1.KeyService/getkey",
        "keystile.v1.KeyService/GetKey/",
        "keystile.v1.KeyService//GetKey",
        "keystile.v1.KeyService/GetKey%00",
        "keystile.v1.KeyService/Get%4Bey",
        "keystile%2Ev1.KeyService/GetKey",
        "/keystile.v1.KeyService/GetKey",
        "x/../keystile.v1.KeyService/GetKey",
        "Keystile.v1.KeyService/GetKey",
        "keystile.v1.SecretService/Reveal",
        "keystile.v2.KeyService/GetKey",
        "KeyService/GetKey",
        "nothing",
        "",
    ];
    hold(paths.map(|path| (path, Call::to(path), UNKNOWN)).into()).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_may_be_4_mib_long_and_no_longer() {
    const MAX: usize = 4 << 20;
    // A text and its tag and length of 1 + 4 bytes.
    let text = |bytes: usize| pb::RevokeKeyRequest { reason: "x".repeat(bytes - 5), ..Default::default() };
    let revoke = |bytes: usize| {
        let message = text(bytes);
        assert_eq!(message.encoded_len(), bytes);
        Call::to("keystile.v1.KeyService/RevokeKey").message(&message)
    };
    let header = |length: u32| Call::to(LIST).body([&[0], length.to_be_bytes().as_slice()].concat());
    hold(vec![
        ("the longest", revoke(MAX), INVALID),
        ("one byte more", revoke(MAX + 1), TOO_LARGE),
        ("announced, not sent", header(4_194_305), TOO_LARGE),
        ("4 GiB announced", header(u32::MAX), TOO_LARGE),
    ])
    .await;
}

/// Every fault in words of its longest: what matters is that the error arrives, which [`hold`] asserts.
#[tokio::test(flavor = "multi_thread")]
async fn the_worst_request_still_gets_an_error_that_clients_take() {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    let ask = async |what: &str, call: Call| -> Answer {
        let answer = connection.call(call.bearer(&app.admin_token)).await;
        answer.assert_decent(what, &[]);
        assert_eq!(answer.outcome(), INVALID, "{what}");
        let bad = answer.status.get_details_bad_request().unwrap().field_violations;
        assert!((1..=20).contains(&bad.len()), "{what}: {} violations", bad.len());
        answer
    };
    for wild in ["\u{10fff0}", "\u{202e}", "字", "\u{1}", "%", "\"", "\\", "x y"] {
        let names = vec![wild.repeat(100); 100];
        let request =
            pb::AuthorizeRequest { scopes: names.clone(), permissions: names, ..Default::default() };
        let answer = ask(wild, Call::to(AUTHORIZE).message(&request)).await;
        assert_eq!(violated_fields(&answer.status)[0], "scopes[0]");
        assert!(answer.status.message().ends_with(" more"), "{}", answer.status.message());
    }
    let bad = vec!["*".repeat(200); 1000];
    let grants = pb::Grants {
        scopes: bad.clone(),
        permissions: bad.clone(),
        models: bad.clone(),
        endpoints: bad.clone(),
        ips: bad.clone(),
        chatbots: bad,
        tags: Vec::new(),
    };
    let request = pb::AddGrantsRequest { key_id: 0, grants: Some(grants), etag: "r".repeat(1000) };
    let answer = ask("grants", Call::to("keystile.v1.KeyService/AddGrants").message(&request)).await;
    assert_eq!(violated_fields(&answer.status)[..2], ["key_id", "grants.scopes[0]"]);

    let budget = pb::Budget { models: vec!["**".into(); 1000], enforcement: 9, ..Default::default() };
    let key = pb::Key { scopes: vec!["**".into(); 1000], ..Default::default() };
    let request = pb::CreateKeyRequest { key: Some(key), budgets: vec![budget; 20], ..Default::default() };
    ask("budgets", Call::to(CREATE).message(&request)).await;
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_ends_a_call_that_waits() {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    let (_, token) = app.create_any().await;
    // No token that is not in memory can be read until the lock goes.
    let lock = app.database.hold("LOCK TABLE key_digests IN ACCESS EXCLUSIVE MODE").await;
    for deadline in ["0n", "1n", "1m", "20000u"] {
        for method in [AUTHORIZE, CREATE, "keystile.v1.KeyService/WatchKeys"] {
            let caller = new_token();
            let call = Call::to(method).bearer(&caller).header("grpc-timeout", deadline);
            let answer = connection.call(call).await;
            answer.assert_decent(deadline, &[&caller]);
            assert_eq!(answer.outcome(), "DEADLINE_EXCEEDED DEADLINE_EXCEEDED", "{method} within {deadline}");
        }
    }
    lock.let_go().await;
    assert_eq!(app.reason(&token).await, None, "it serves on");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revision_that_does_not_come_is_not_waited_for_beyond_the_deadline() {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    let token = app.admin_token.clone().into();
    let request = pb::AuthorizeRequest { token, min_revision: i64::MAX, ..Default::default() };
    let call = Call::to(AUTHORIZE).bearer(&app.admin_token).message(&request).header("grpc-timeout", "100m");
    let answer = connection.call(call).await;
    answer.assert_decent("a revision of tomorrow", &[&app.admin_token]);
    // On a busy machine, the deadline itself may come first.
    let outcome = answer.outcome();
    if outcome != "DEADLINE_EXCEEDED DEADLINE_EXCEEDED" {
        assert_eq!(outcome, "UNAVAILABLE REVISION_NOT_REACHED");
        assert!(answer.status.get_details_retry_info().is_some(), "says when to come back");
    }
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_that_goes_away_leaves_the_service_as_it_was() {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    for method in [AUTHORIZE, LIST, CREATE, "keystile.v1.AuthorizeService/AuthorizeStream"] {
        let torn = Call::to(method).bearer(&app.admin_token).body(vec![0, 0, 0, 0, 9, 1]).torn();
        connection.call(torn).await;
    }
    let answer = connection.call(Call::to(LIST).bearer(&app.admin_token)).await;
    assert!(answer.is_ok(), "{:?}", answer.status);
    assert_eq!(panics(), 0);
    app.stop().await;
}
