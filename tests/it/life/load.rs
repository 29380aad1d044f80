//! SIGTERM under load: a client that does as it is told (goes elsewhere on GOAWAY) loses no call.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use h2::client::SendRequest;
use http::Request;
use keystile::grpc::pb;
use prost::Message as _;
use prost::bytes::Bytes;
use rustix::process::Signal;
use tokio::net::TcpStream;
use tokio::task::{JoinSet, block_in_place};
use tonic::{Code, Status};

use super::Served;
use crate::harness::eventually;
use crate::raw::frame;

const CONNECTIONS: usize = 64;

/// What came of one attempt at a call.
enum Attempt {
    Answered(Code),
    /// The server said, or the closed connection says, that it has not looked at the call.
    GoElsewhere,
}

/// One connection that calls again and again, each call once: only what was certainly not looked at is sent to the
/// next server.
struct Caller {
    servers: [SocketAddr; 2],
    at: usize,
    send: Option<SendRequest<Bytes>>,
    token: String,
}

impl Caller {
    async fn call(&mut self) -> Code {
        loop {
            match self.attempt().await {
                Attempt::Answered(code) => return code,
                Attempt::GoElsewhere => {
                    self.send = None;
                    self.at = (self.at + 1) % self.servers.len();
                }
            }
        }
    }

    async fn attempt(&mut self) -> Attempt {
        let send = match self.send.take() {
            Some(send) => send,
            None => match TcpStream::connect(self.servers[self.at]).await {
                Ok(stream) => {
                    stream.set_nodelay(true).unwrap();
                    let (send, connection) = h2::client::handshake(stream).await.unwrap();
                    tokio::spawn(connection);
                    send
                }
                Err(_) => return Attempt::GoElsewhere,
            },
        };
        // Nothing of a call is sent yet: a server that has said GOAWAY takes none.
        let Ok(mut ready) = send.ready().await else { return Attempt::GoElsewhere };
        let request = Request::post("http://keystile/keystile.v1.AuthorizeService/Authorize")
            .header("content-type", "application/grpc")
            .header("te", "trailers")
            .header("authorization", format!("Bearer {}", self.token))
            .body(())
            .unwrap();
        let Ok((answer, mut body)) = ready.send_request(request, false) else { return Attempt::GoElsewhere };
        let message = pb::AuthorizeRequest { token: self.token.clone().into(), ..Default::default() };
        // Whether it arrived is told by the answer.
        let _sent = body.send_data(frame(&message.encode_to_vec()).into(), true);
        let answer = match answer.await {
            Ok(answer) => answer,
            // Beyond the last stream that GOAWAY names, or refused: not looked at.
            Err(error) if error.is_go_away() || error.reason() == Some(h2::Reason::REFUSED_STREAM) => {
                return Attempt::GoElsewhere;
            }
            Err(error) => panic!("a call was lost: {error:?}"),
        };
        let (head, mut body) = answer.into_parts();
        while let Some(chunk) = body.data().await {
            let length = chunk.unwrap().len();
            body.flow_control().release_capacity(length).unwrap();
        }
        let trailers = body.trailers().await.unwrap();
        let status = trailers.as_ref().and_then(Status::from_header_map);
        let status = status.or_else(|| Status::from_header_map(&head.headers)).unwrap();
        self.send = Some(ready);
        Attempt::Answered(status.code())
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn under_load_a_replica_leaves_without_a_failed_call() {
    let served = Served::new().await;
    let mut leaving = served.serve(&[("KEYSTILE_DRAIN_DELAY", "300ms"), ("KEYSTILE_DRAIN_TIMEOUT", "1m")]);
    let staying = served.serve(&[]);
    let servers = [&leaving, &staying].map(|process| process.address.parse().unwrap());
    let (calls, has_left) = (Arc::new(AtomicUsize::new(0)), Arc::new(AtomicBool::new(false)));
    let mut callers = JoinSet::new();
    for _ in 0..CONNECTIONS {
        let mut caller = Caller { servers, at: 0, send: None, token: served.token.clone() };
        let (calls, has_left) = (Arc::clone(&calls), Arc::clone(&has_left));
        callers.spawn(async move {
            // Until the replica has gone, and then once more.
            loop {
                let is_last = has_left.load(Ordering::Relaxed);
                assert_eq!(caller.call().await, Code::Ok);
                calls.fetch_add(1, Ordering::Relaxed);
                if is_last {
                    return caller.at;
                }
            }
        });
    }
    eventually("all of them call", async || calls.load(Ordering::Relaxed) > 4 * CONNECTIONS).await;
    leaving.signal(Signal::TERM);
    let status = block_in_place(|| leaving.exit());
    has_left.store(true, Ordering::Relaxed);
    let places = callers.join_all().await;
    assert_eq!(status.code(), Some(0));
    assert_eq!(places, [1; CONNECTIONS], "everybody has gone over");
    let log = block_in_place(|| leaving.rest_of_log()).join("\n");
    assert!(!log.contains("given up"), "{log}");
    drop(staying);
    // What both have counted is all that was answered, but for the last second of the one that was killed.
    let allowed = i64::try_from(calls.load(Ordering::Relaxed)).unwrap();
    let counted = served.database.number("SELECT sum(authorized_count) FROM key_usage").await;
    assert!(0 < counted && counted <= allowed, "{counted} of {allowed}");
}
