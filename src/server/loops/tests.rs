//! Loops over real sockets, with answers that say who made them.

use std::future::pending;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use h2::Reason;
use h2::client::{ResponseFuture, SendRequest};
use http::request::Parts;
use http::{HeaderMap, HeaderValue, Request, Response};
use prost::bytes::Bytes;
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{mpsc, oneshot};
use tokio::task::JoinHandle;
use tokio::time::timeout;
use tonic::body::Body;

use super::connection::Terms;
use super::{Answers, Limits, LoopsError, serve};
use crate::grpc::hot::{ShortAnswer, ShortCall, ShortMessage};
use crate::grpc::telemetry_layer;
use crate::metrics::Metrics;

/// Only a test that would fail waits so long.
const FAILS: Duration = Duration::from_secs(30);

/// Answers with the name of the thread that answers.
#[derive(Clone, Debug)]
struct Threads {
    /// Told when work that hangs is dropped.
    dropped: mpsc::UnboundedSender<()>,
    /// Told when work that hangs has begun.
    begun: mpsc::UnboundedSender<()>,
}

struct Telling(mpsc::UnboundedSender<()>);

impl Drop for Telling {
    fn drop(&mut self) {
        let _heard = self.0.send(());
    }
}

fn thread_name() -> HeaderValue {
    HeaderValue::from_str(std::thread::current().name().unwrap_or("nameless")).unwrap()
}

impl Answers for Threads {
    fn is_short(&self, head: &Parts) -> bool {
        head.uri.path().starts_with("/short")
    }

    fn patience(&self, _: &Parts) -> Duration {
        FAILS
    }

    type Memory = ();

    fn answer_now(&self, call: &ShortCall<'_>, (): &mut ()) -> Option<ShortAnswer> {
        match call.head.uri.path() {
            "/short" => {
                let headers = HeaderMap::from_iter([(http::header::SERVER, thread_name())]);
                let message = ShortMessage { body: call.body.clone(), trailers: HeaderMap::new() };
                Some(ShortAnswer { headers, message: Some(message) })
            }
            "/short/miss" => None,
            path => panic!("{path}"),
        }
    }

    fn answer(&self, request: Request<Body>) -> impl Future<Output = Response<Body>> + Send + 'static {
        let Self { dropped, begun } = self.clone();
        async move {
            match request.uri().path() {
                "/long/panic" => panic!("as the test wants it"),
                "/long/hang" => {
                    let _telling = Telling(dropped);
                    begun.send(()).unwrap();
                    pending().await
                }
                _ => {
                    let (_, body) = request.into_parts();
                    let mut response = Response::new(body);
                    response.headers_mut().insert(http::header::SERVER, thread_name());
                    response
                }
            }
        }
    }
}

struct Served {
    address: std::net::SocketAddr,
    metrics: Arc<Metrics>,
    stop: oneshot::Sender<()>,
    serving: JoinHandle<Result<(), LoopsError>>,
    dropped: mpsc::UnboundedReceiver<()>,
    begun: mpsc::UnboundedReceiver<()>,
}

const TERMS: Terms = Terms { streams: 100, silence: Duration::from_secs(60), age: None };

async fn start(terms: Terms, connections: usize) -> Served {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let address = listener.local_addr().unwrap();
    let (told_dropped, dropped) = mpsc::unbounded_channel();
    let (told_begun, begun) = mpsc::unbounded_channel();
    let answers = Threads { dropped: told_dropped, begun: told_begun };
    let limits = Limits { threads: NonZeroUsize::new(2).unwrap(), connections, terms };
    let metrics = telemetry_layer::metrics();
    let (stop, stopping) = oneshot::channel();
    let counted = Arc::clone(&metrics);
    let serving = tokio::spawn(async move {
        let stopping = async { stopping.await.unwrap_or_default() };
        serve(listener, None, answers, limits, &counted, stopping).await
    });
    Served { address, metrics, stop, serving, dropped, begun }
}

impl Served {
    async fn connect(&self) -> (SendRequest<Bytes>, JoinHandle<Result<(), h2::Error>>) {
        let stream = TcpStream::connect(self.address).await.unwrap();
        let (send, connection) = h2::client::handshake(stream).await.unwrap();
        let connection = tokio::spawn(connection);
        (send.ready().await.unwrap(), connection)
    }

    async fn stop(self) {
        self.stop.send(()).unwrap();
        timeout(FAILS, self.serving).await.expect("it goes on").unwrap().unwrap();
    }
}

fn ask(send: &mut SendRequest<Bytes>, path: &str) -> ResponseFuture {
    let request = Request::post(format!("http://loops{path}")).body(()).unwrap();
    let (response, mut body) = send.send_request(request, false).unwrap();
    let sent = body.send_data(Bytes::from_static(b"message"), true);
    // A call that panics at its head may have been reset by now.
    assert!(sent.is_ok() || path.ends_with("/panic"), "{path}: {sent:?}");
    response
}

/// The thread that answered, and with what.
async fn answer(response: ResponseFuture) -> Result<(String, Vec<u8>), h2::Error> {
    let response = timeout(FAILS, response).await.expect("no answer")?;
    let by = response.headers()[http::header::SERVER].to_str().unwrap().to_owned();
    let mut body = response.into_body();
    let mut all = Vec::new();
    while let Some(data) = body.data().await {
        let data = data?;
        body.flow_control().release_capacity(data.len())?;
        all.extend_from_slice(&data);
    }
    Ok((by, all))
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_answers_on_the_loop_and_everything_else_runs_behind_it() {
    let served = start(TERMS, 10).await;
    let (mut send, _connection) = served.connect().await;
    let (by, body) = answer(ask(&mut send, "/short")).await.unwrap();
    assert!(by.starts_with("loop-"), "{by}");
    assert_eq!(body, b"message");
    for path in ["/long", "/short/miss"] {
        let (by, body) = answer(ask(&mut send, path)).await.unwrap();
        assert!(!by.starts_with("loop-"), "{path}: {by}");
        assert_eq!(body, b"message", "{path}: the request is whole");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_message_that_comes_after_its_head_is_waited_for_on_the_loop() {
    let served = start(TERMS, 10).await;
    let (mut send, _connection) = served.connect().await;
    let request = Request::post("http://loops/short").body(()).unwrap();
    let (response, mut body) = send.send_request(request, false).unwrap();
    // By the time that this is answered, the head above has been looked at.
    answer(ask(&mut send, "/short")).await.unwrap();
    body.send_data(Bytes::from_static(b"later"), true).unwrap();
    let (by, body) = answer(response).await.unwrap();
    assert!(by.starts_with("loop-"), "{by}");
    assert_eq!(body, b"later");
    // So is its end, which many clients say by itself.
    let request = Request::post("http://loops/short").body(()).unwrap();
    let (response, mut body) = send.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"whole"), false).unwrap();
    answer(ask(&mut send, "/short")).await.unwrap();
    body.send_data(Bytes::new(), true).unwrap();
    let (by, body) = answer(response).await.unwrap();
    assert!(by.starts_with("loop-"), "{by}");
    assert_eq!(body, b"whole");
    // One that comes in pieces is put together by those who read streams.
    let request = Request::post("http://loops/short").body(()).unwrap();
    let (response, mut body) = send.send_request(request, false).unwrap();
    body.send_data(Bytes::from_static(b"in "), false).unwrap();
    answer(ask(&mut send, "/short")).await.unwrap();
    body.send_data(Bytes::from_static(b"pieces"), true).unwrap();
    let (by, body) = answer(response).await.unwrap();
    assert!(!by.starts_with("loop-"), "{by}");
    assert_eq!(body, b"in pieces");
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_panic_is_one_calls_own() {
    let served = start(TERMS, 10).await;
    let (mut send, _connection) = served.connect().await;
    for path in ["/short/panic", "/long/panic"] {
        let error = answer(ask(&mut send, path)).await.unwrap_err();
        assert_eq!(error.reason(), Some(Reason::INTERNAL_ERROR), "{path}: {error}");
        answer(ask(&mut send, "/short")).await.expect("its connection goes on");
        answer(ask(&mut send, "/long")).await.expect("its connection goes on");
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn work_is_dropped_with_its_call_and_with_its_connection() {
    let mut served = start(TERMS, 10).await;
    let (mut send, connection) = served.connect().await;
    let given_up = ask(&mut send, "/long/hang");
    served.begun.recv().await.unwrap();
    drop(given_up);
    timeout(FAILS, served.dropped.recv()).await.expect("it goes on").unwrap();
    let cut_off = ask(&mut send, "/long/hang");
    served.begun.recv().await.unwrap();
    connection.abort();
    timeout(FAILS, served.dropped.recv()).await.expect("it goes on").unwrap();
    answer(cut_off).await.unwrap_err();
    // And with the service, where that is ended at once.
    let (mut send, _connection) = served.connect().await;
    let _hanging = ask(&mut send, "/long/hang");
    served.begun.recv().await.unwrap();
    served.serving.abort();
    timeout(FAILS, served.dropped.recv()).await.expect("it goes on").unwrap();
}

#[tokio::test(flavor = "multi_thread")]
async fn the_end_waits_for_calls_under_way_and_takes_no_more() {
    let mut served = start(TERMS, 10).await;
    let (mut send, connection) = served.connect().await;
    let request = Request::post("http://loops/long").body(()).unwrap();
    let (under_way, mut body) = send.send_request(request, false).unwrap();
    answer(ask(&mut send, "/long")).await.unwrap();
    served.stop.send(()).unwrap();
    // GOAWAY has come when the client takes no more calls.
    let mut ready = send;
    while let Ok(mut send) = timeout(FAILS, ready.ready()).await.expect("no GOAWAY") {
        ready = send.clone();
        match answer(ask(&mut send, "/short")).await {
            Ok(_) => {}
            Err(error) => {
                assert!(error.is_go_away(), "{error}");
                break;
            }
        }
    }
    TcpStream::connect(served.address).await.expect_err("nobody listens");
    assert!(!served.serving.is_finished());
    body.send_data(Bytes::from_static(b"the end"), true).unwrap();
    assert_eq!(answer(under_way).await.unwrap().1, b"the end");
    timeout(FAILS, &mut served.serving).await.expect("it goes on").unwrap().unwrap();
    drop(connection);
}

#[tokio::test(flavor = "multi_thread")]
async fn one_connection_too_many_is_closed_at_once() {
    let served = start(TERMS, 2).await;
    let (mut first, connection) = served.connect().await;
    let (mut second, _second) = served.connect().await;
    let mut third = TcpStream::connect(served.address).await.unwrap();
    let mut told = Vec::new();
    // Closed or reset: either way nothing was said.
    let _end = timeout(FAILS, third.read_to_end(&mut told)).await.expect("it is kept open");
    assert!(told.is_empty());
    assert_eq!(served.metrics.loops.refused.get(), 1);
    answer(ask(&mut first, "/short")).await.unwrap();
    answer(ask(&mut second, "/short")).await.unwrap();
    // The two of them are on two loops.
    let loops = served.metrics.loops.loops().iter().map(|load| load.connections()).collect::<Vec<_>>();
    assert_eq!(loops, [1, 1]);
    drop(first);
    connection.await.unwrap().unwrap();
    // There is room again once the loop has seen it go.
    loop {
        let mut stream = TcpStream::connect(served.address).await.unwrap();
        let hello = b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0";
        if stream.write_all(hello).await.is_ok() && stream.read_u8().await.is_ok() {
            break;
        }
    }
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_that_is_too_old_is_told_to_go_and_ends_after_its_grace() {
    let age = (Duration::from_millis(50), Duration::from_millis(50));
    let mut served = start(Terms { age: Some(age), ..TERMS }, 10).await;
    let (mut send, connection) = served.connect().await;
    answer(ask(&mut send, "/short")).await.unwrap();
    let hanging = ask(&mut send, "/long/hang");
    served.begun.recv().await.unwrap();
    answer(hanging).await.expect_err("the grace is over");
    timeout(FAILS, connection).await.expect("it is kept open").unwrap().expect("it ends in order");
    timeout(FAILS, served.dropped.recv()).await.expect("the work goes on").unwrap();
    assert_eq!(served.metrics.loops.aged.get(), 1);
    // Within its grace a call is finished, and the connection ends with it.
    let long_grace = (Duration::from_millis(50), FAILS * 100);
    let served = start(Terms { age: Some(long_grace), ..TERMS }, 10).await;
    let (mut send, connection) = served.connect().await;
    let request = Request::post("http://loops/long").body(()).unwrap();
    let (response, mut body) = send.send_request(request, false).unwrap();
    while send.clone().ready().await.is_ok() {
        tokio::task::yield_now().await;
    }
    body.send_data(Bytes::from_static(b"late"), true).unwrap();
    assert_eq!(answer(response).await.unwrap().1, b"late");
    timeout(FAILS, connection).await.expect("it is kept open").unwrap().unwrap();
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_connection_whose_client_is_gone_is_closed_and_one_that_answers_is_kept() {
    let served = start(Terms { silence: Duration::from_millis(20), ..TERMS }, 10).await;
    let (mut send, _connection) = served.connect().await;
    let mut gone = TcpStream::connect(served.address).await.unwrap();
    // The preface of HTTP/2 and empty settings, and not a word more: no answer to a PING either.
    gone.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    let mut told = Vec::new();
    timeout(FAILS, gone.read_to_end(&mut told)).await.expect("it is kept open").unwrap();
    assert!(!told.is_empty(), "the server's own settings, and its question");
    // By now the other one, which called nobody, was asked as well.
    answer(ask(&mut send, "/short")).await.unwrap();
    served.stop().await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_client_that_has_vanished_does_not_hold_up_the_end() {
    let mut served = start(TERMS, 10).await;
    let (mut send, connection) = served.connect().await;
    let mut gone = TcpStream::connect(served.address).await.unwrap();
    // As above: neither FIN nor RST, and no answer to anything.
    gone.write_all(b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\x04\0\0\0\0\0").await.unwrap();
    gone.read_u8().await.unwrap();
    let request = Request::post("http://loops/long").body(()).unwrap();
    let (under_way, mut body) = send.send_request(request, false).unwrap();
    answer(ask(&mut send, "/long")).await.unwrap();
    served.stop.send(()).unwrap();
    let mut told = Vec::new();
    timeout(FAILS, gone.read_to_end(&mut told)).await.expect("it is kept open").unwrap();
    // Who answers is waited for all the same.
    assert!(!served.serving.is_finished());
    body.send_data(Bytes::from_static(b"the end"), true).unwrap();
    assert_eq!(answer(under_way).await.unwrap().1, b"the end");
    timeout(FAILS, &mut served.serving).await.expect("it goes on").unwrap().unwrap();
    drop((send, connection));
}

#[tokio::test(flavor = "multi_thread")]
async fn short_messages_that_wait_leave_their_connection_to_the_others() {
    let mut served = start(TERMS, 10).await;
    let (mut send, connection) = served.connect().await;
    let request = Request::post("http://loops/long/hang").body(()).unwrap();
    let (hanging, mut body) = send.send_request(request, false).unwrap();
    served.begun.recv().await.unwrap();
    // Each in a frame of its own, more than the call may send: nobody reads them.
    for _ in 0..10_000 {
        body.send_data(Bytes::from_static(b"a short message"), false).unwrap();
    }
    for _ in 0..300 {
        let (_, said) = answer(ask(&mut send, "/short")).await.unwrap();
        assert_eq!(said, b"message");
    }
    drop((hanging, body, send, connection));
    timeout(FAILS, served.dropped.recv()).await.expect("it hangs on").unwrap();
    served.stop().await;
}
