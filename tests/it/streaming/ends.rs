//! What ends a stream: its caller's end, its deadline, the service's end, bytes that are no message.

use std::net::TcpStream;
use std::time::Duration;

use chrono::TimeDelta;
use keystile::clock::{Clock, ManualClock};
use keystile::grpc::pb;
use prost::Message as _;
use prost_types::Timestamp;
use tonic::{Code, Request, Status};

use super::Open;
use crate::harness::{App, eventually, new_token, status_reason};
use crate::raw::{Call, Connection, frame};

const STREAM: &str = "keystile.v1.AuthorizeService/AuthorizeStream";

async fn service_key(app: &App) -> (pb::Key, String) {
    let scopes = vec!["keystile.authorize".to_owned()];
    app.create(pb::Key { display_name: "service".into(), scopes, ..Default::default() }).await
}

async fn revoke(app: &App, key_id: i64) {
    app.keys().revoke_key(pb::RevokeKeyRequest { key_id, ..Default::default() }).await.unwrap();
}

fn is(status: &Status) -> (Code, String) {
    (status.code(), status_reason(status))
}

fn invalid() -> (Code, String) {
    (Code::Unauthenticated, "CALLER_TOKEN_INVALID".to_owned())
}

#[tokio::test(flavor = "multi_thread")]
async fn a_revoked_caller_gets_no_further_answer() {
    let app = App::start().await;
    let (_, works) = app.create_any().await;
    let (key, token) = service_key(&app).await;
    let mut stream = Open::by(&app, &token).await;
    stream.ask(1, &works).await;
    assert_eq!(stream.decision().await, (1, None));
    revoke(&app, key.key_id).await;
    // It may have ended by itself by now.
    let request = pb::AuthorizeRequest { token: works.into(), ..Default::default() };
    let _gone =
        stream.requests.send(pb::AuthorizeStreamRequest { correlation_id: 2, request: Some(request) }).await;
    assert_eq!(is(&stream.end().await), invalid());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn an_idle_stream_ends_with_its_caller() {
    let app = App::start().await;
    let (key, token) = service_key(&app).await;
    let (narrowed, narrow_token) = service_key(&app).await;
    let mut revoked = Open::by(&app, &token).await;
    let mut lacking = Open::by(&app, &narrow_token).await;
    let mut other = Open::by(&app, &app.admin_token).await;
    revoke(&app, key.key_id).await;
    assert_eq!(is(&revoked.end().await), invalid());
    let grants = Some(pb::Grants { scopes: vec!["keystile.authorize".into()], ..Default::default() });
    let remove = pb::RemoveGrantsRequest { key_id: narrowed.key_id, grants, ..Default::default() };
    app.keys().remove_grants(remove).await.unwrap();
    assert_eq!(is(&lacking.end().await), (Code::PermissionDenied, "CALLER_SCOPE_MISSING".to_owned()));
    other.ask(3, "malformed").await;
    assert_eq!(other.decision().await, (3, Some("KEY_INVALID".to_owned())), "nobody else's stream ends");
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_caller_is_judged_by_the_clock_with_each_request() {
    let clock = ManualClock::new(chrono::DateTime::from_timestamp(1_900_000_000, 0).unwrap());
    let app = App::builder().clock(Clock::Manual(clock.clone())).start().await;
    let end = clock.now() + TimeDelta::hours(1);
    let key = pb::Key {
        display_name: "for an hour".into(),
        scopes: vec!["keystile.authorize".into()],
        expire_time: Some(Timestamp { seconds: end.timestamp(), nanos: 0 }),
        ..Default::default()
    };
    let (_, token) = app.create(key).await;
    let mut stream = Open::by(&app, &token).await;
    stream.ask(1, "malformed").await;
    assert_eq!(stream.decision().await.0, 1);
    clock.advance(TimeDelta::hours(1));
    stream.ask(2, "malformed").await;
    assert_eq!(is(&stream.end().await), invalid());
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_deadline_is_that_of_the_whole_stream() {
    let app = App::start().await;
    let mut stream = Open::with(&app, &app.admin_token, |requests| {
        let mut request = Request::new(requests);
        request.set_timeout(Duration::from_secs(2));
        request
    })
    .await;
    stream.ask(1, "malformed").await;
    assert_eq!(stream.decision().await.0, 1);
    assert_eq!(is(&stream.end().await), (Code::DeadlineExceeded, "DEADLINE_EXCEEDED".to_owned()));
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_service_that_stops_answers_what_it_has_read_and_says_where_to_go() {
    let app = App::start().await;
    let (_, works) = app.create_any().await;
    let mut stream = Open::by(&app, &app.admin_token).await;
    let mut idle = Open::by(&app, &app.admin_token).await;
    stream.ask(1, "malformed").await;
    assert_eq!(stream.decision().await.0, 1);
    let lock = app.database.hold("LOCK TABLE key_digests IN ACCESS EXCLUSIVE MODE").await;
    stream.ask(2, &works).await;
    app.database.until_blocked().await;
    let address = app.address();
    let stopping = tokio::spawn(app.running.stop());
    eventually("the listener closes", async || TcpStream::connect(address).is_err()).await;
    let draining = (Code::Unavailable, "DRAINING".to_owned());
    assert_eq!(is(&idle.end().await), draining);
    lock.let_go().await;
    assert_eq!(stream.decision().await, (2, None));
    assert_eq!(is(&stream.end().await), draining);
    stopping.await.unwrap().unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_too_old_ends_its_streams_like_a_service_that_stops() {
    let flags = ["--max-connection-age=1s", "--max-connection-age-grace=10m"];
    let app = App::builder().flags(flags).start().await;
    // The caller is in memory then: nothing of what follows takes longer than the connection lasts.
    app.keys().list_keys(pb::ListKeysRequest::default()).await.unwrap();
    let lock = app.database.hold("LOCK TABLE key_digests IN ACCESS EXCLUSIVE MODE").await;
    let client = app.authorize_as(Some(&app.admin_token));
    let (mut stream, mut idle) = (Open::on(&client).await, Open::on(&client).await);
    stream.ask(2, &new_token()).await;
    app.database.until_blocked().await;
    let draining = (Code::Unavailable, "DRAINING".to_owned());
    assert_eq!(is(&idle.end().await), draining);
    lock.let_go().await;
    assert_eq!(stream.decision().await, (2, Some("KEY_INVALID".to_owned())));
    assert_eq!(is(&stream.end().await), draining);
    let mut anew = Open::on(&client).await;
    anew.ask(3, "malformed").await;
    assert_eq!(anew.decision().await.0, 3);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn bytes_that_are_no_message_end_the_stream_after_what_came_before_them() {
    let app = App::start().await;
    let connection = Connection::open(app.address()).await;
    let good =
        pb::AuthorizeStreamRequest { correlation_id: 7, request: Some(pb::AuthorizeRequest::default()) };
    let good = frame(&good.encode_to_vec());
    let malformed = "INVALID_ARGUMENT MALFORMED_MESSAGE";
    for (what, bytes, outcome, answered) in [
        ("undecodable", [good.clone(), frame(b"\xff\xff\xff"), good.clone()].concat(), malformed, 1),
        ("truncated", [good.clone(), good[..7].to_vec()].concat(), malformed, 1),
        ("wrong flag", [good.clone(), vec![9, 0, 0, 0, 0]].concat(), malformed, 1),
        (
            "too long",
            [good.clone(), vec![0, 0xff, 0xff, 0xff, 0xff]].concat(),
            "RESOURCE_EXHAUSTED MESSAGE_TOO_LARGE",
            1,
        ),
        ("nothing", Vec::new(), "OK", 0),
        ("two", [good.clone(), good.clone()].concat(), "OK", 2),
    ] {
        let answer = connection.call(Call::to(STREAM).bearer(&app.admin_token).body(bytes)).await;
        assert_eq!((answer.outcome().as_str(), answer.messages.len()), (outcome, answered), "{what}");
        for message in &answer.messages {
            assert_eq!(pb::AuthorizeStreamResponse::decode(message.clone()).unwrap().correlation_id, 7);
        }
    }
    // The connection has taken no harm.
    let answer = connection.call(Call::to("keystile.v1.KeyService/ListKeys").bearer(&app.admin_token)).await;
    assert!(answer.is_ok(), "{:?}", answer.status);
    app.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_goes_away_leaves_nothing_behind() {
    let app = App::start().await;
    let mut stream = Open::by(&app, &app.admin_token).await;
    stream.ask(1, "malformed").await;
    assert_eq!(stream.decision().await.0, 1);
    let in_flight = async || {
        let page = crate::harness::get(&app.ops(), "/metrics").await.body;
        let open = format!("keystile_rpc_in_flight{{method=\"{STREAM}\"}} ");
        page.lines().find_map(|line| line.strip_prefix(&open).map(str::to_owned))
    };
    assert_eq!(in_flight().await.as_deref(), Some("1"));
    drop(stream);
    eventually("the stream is gone", async || in_flight().await.as_deref() == Some("0")).await;
    app.stop().await;
}
