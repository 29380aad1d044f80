//! One connection on its loop, from its first byte of HTTP/2 to its end.
//!
//! - What has come is read first, then answered, then written: calls that come together leave together.
//! - A call that memory can answer is answered where it was read, without a task of its own. Every other one is handed
//!   to the background runtime with its request put together again.
//! - One connection does not keep the others of its loop waiting: after some calls it is their turn.
//! - A connection whose client is silent, and does not answer a PING either, is closed; so is one that is too old.

use std::future::poll_fn;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use h2::server::{self, SendResponse};
use h2::{Reason, RecvStream};
use http::request::Parts;
use http::{Request, Response};
use prost::bytes::Bytes;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::timeout;
use tonic::body::Body;

use super::answers::Answers;
use super::body::Incoming;
use super::exchange::exchange;
use super::short_body::{Read, poll_whole, read_at_once};
use super::upkeep::{Due, Heard, Listened, Upkeep};
use crate::clock;
use crate::grpc::closing::Closing;
use crate::grpc::hot::{ShortAnswer, ShortCall, ShortMessage};
use crate::grpc::peer::Peer;
use crate::grpc::telemetry_layer::Received;
use crate::metrics::{LoopMetrics, OnLoop};

/// What a client may send of a call before it is read.
const CALL_WINDOW_BYTES: u32 = 128 << 10;
/// The same of all calls of a connection: one that is not read from leaves room to the others.
const CONNECTION_WINDOW_BYTES: u32 = 1 << 20;
/// What short DATA frames may be short of 256 bytes, all those together that are not read yet: a stream full of short
/// messages, each in a frame of its own, waits for the store like any other.
const SHORT_FRAMES_BYTES_MAX: usize = 4 << 20;
const FRAME_BYTES_MAX: u32 = 16 << 10;
const HEADER_LIST_BYTES_MAX: u32 = 16 << 10;
/// What is kept of answers that a client does not read yet, for each call.
const UNSENT_BYTES_MAX: usize = 400 << 10;
/// More than clients cause by mistake: calls that are reset because of what is wrong with them.
const FAULTY_CALLS_MAX: usize = 1024;
/// Calls of one connection before it is the others' turn.
const CALLS_AT_ONCE: usize = 64;
/// So many answers leave together: their client reads them while the next ones are made.
const CALLS_IN_A_ROW: usize = 16;

type Call = (Request<RecvStream>, SendResponse<Bytes>);

/// How a connection is kept.
#[derive(Clone, Copy, Debug)]
pub(super) struct Terms {
    /// Calls under way at once.
    pub(super) streams: u32,
    /// A client that says nothing for so long is asked whether it is still there.
    pub(super) silence: Duration,
    /// How old it may become, `None` for no end; and how long its calls may take then.
    pub(super) age: Option<(Duration, Duration)>,
}

/// What a connection needs of its loop.
#[derive(Debug)]
pub(super) struct Surroundings<A> {
    pub(super) answers: A,
    pub(super) background: Handle,
    pub(super) terms: Terms,
    pub(super) place: OnLoop,
    pub(super) metrics: Arc<LoopMetrics>,
    /// Of all connections.
    pub(super) closing: Closing,
}

/// Waits for the client to say that it speaks HTTP/2.
///
/// # Errors
/// It does not, or has gone.
pub(super) async fn greet<IO: AsyncRead + AsyncWrite + Unpin>(
    io: IO,
    terms: &Terms,
) -> Result<Greeted<IO>, h2::Error> {
    let heard = Heard::default();
    let http2 = server::Builder::new()
        .initial_window_size(CALL_WINDOW_BYTES)
        .initial_connection_window_size(CONNECTION_WINDOW_BYTES)
        .data_frame_budget(SHORT_FRAMES_BYTES_MAX)
        .max_frame_size(FRAME_BYTES_MAX)
        .max_header_list_size(HEADER_LIST_BYTES_MAX)
        .max_send_buffer_size(UNSENT_BYTES_MAX)
        .max_local_error_reset_streams(Some(FAULTY_CALLS_MAX))
        .max_concurrent_streams(terms.streams)
        .handshake(heard.listen(io))
        .await?;
    Ok(Greeted { http2, heard })
}

/// A connection that speaks HTTP/2.
pub(super) struct Greeted<IO> {
    http2: server::Connection<Listened<IO>, Bytes>,
    heard: Heard,
}

/// Serves a connection to its end.
///
/// # Errors
/// It ended otherwise than by the will of both sides: a defect of the other side, or of the network.
pub(super) async fn serve<IO, A>(
    greeted: Greeted<IO>,
    peer: Peer,
    around: Surroundings<A>,
) -> Result<(), h2::Error>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    A: Answers,
{
    let Greeted { mut http2, heard } = greeted;
    let mut upkeep = Upkeep::new(&around.terms, heard, http2.ping_pong());
    let mut closing = around.closing.clone();
    let mut is_closing = false;
    let metrics = Arc::clone(&around.metrics);
    let mut connection = Connection {
        http2,
        peer,
        around,
        arrived: Vec::with_capacity(CALLS_IN_A_ROW),
        memory: A::Memory::default(),
        closing: watch::Sender::new(false),
    };
    loop {
        tokio::select! {
            biased;
            ended = poll_fn(|context| connection.poll(context)) => return ended,
            () = closing.come(), if !is_closing => {
                is_closing = true;
                connection.say_goodbye();
                upkeep.hurry();
            }
            due = upkeep.due() => match due {
                Due::Asked => {}
                Due::Silent => {
                    tracing::debug!("a client is silent and does not answer; its connection is closed");
                    return Ok(());
                }
                Due::Old => {
                    metrics.aged.increment();
                    connection.say_goodbye();
                }
                Due::TooOld => {
                    connection.http2.abrupt_shutdown(Reason::NO_ERROR);
                    let farewell = poll_fn(|context| connection.http2.poll_closed(context));
                    return timeout(Duration::from_secs(1), farewell).await.unwrap_or(Ok(()));
                }
            },
        }
    }
}

struct Connection<IO, A: Answers> {
    http2: server::Connection<Listened<IO>, Bytes>,
    peer: Peer,
    around: Surroundings<A>,
    /// Calls that have come and were not looked at yet.
    arrived: Vec<Call>,
    memory: A::Memory,
    /// Told when this connection is to end.
    closing: watch::Sender<bool>,
}

impl<IO, A> Connection<IO, A>
where
    IO: AsyncRead + AsyncWrite + Unpin,
    A: Answers,
{
    /// Tells the client to make a new connection, and streams to end: other calls are finished.
    fn say_goodbye(&mut self) {
        self.http2.graceful_shutdown();
        self.closing.send_replace(true);
    }

    /// Reads, answers and writes; ready when the connection has ended.
    fn poll(&mut self, context: &mut Context<'_>) -> Poll<Result<(), h2::Error>> {
        let mut left = CALLS_AT_ONCE;
        loop {
            let ended = self.read(context, left.min(CALLS_IN_A_ROW));
            left = left.saturating_sub(self.arrived.len());
            if self.arrived.is_empty() {
                return ended;
            }
            self.take_all();
            if ended.is_ready() {
                return ended;
            }
            if left == 0 {
                // What was answered is written before the others have their turn.
                context.waker().wake_by_ref();
                return self.http2.poll_closed(context);
            }
        }
    }

    /// Takes in at most `max` calls; pending once there are no more, or so many.
    fn read(&mut self, context: &mut Context<'_>, max: usize) -> Poll<Result<(), h2::Error>> {
        while self.arrived.len() < max {
            match self.http2.poll_accept(context) {
                Poll::Ready(Some(Ok(call))) => self.arrived.push(call),
                Poll::Ready(Some(Err(error))) => return Poll::Ready(Err(error)),
                Poll::Ready(None) => return Poll::Ready(Ok(())),
                Poll::Pending => return Poll::Pending,
            }
        }
        Poll::Pending
    }

    fn take_all(&mut self) {
        let received = clock::monotonic_now();
        let mut calls = std::mem::take(&mut self.arrived);
        let mut short = 0;
        for (request, respond) in calls.drain(..) {
            short += u64::from(self.take(request, respond, received));
        }
        self.arrived = calls;
        if short > 0
            && let Some(load) = self.around.place.load()
        {
            load.note_short(short);
        }
    }

    /// Answers a call, or sees to it; whether it was answered from memory.
    fn take(
        &mut self,
        request: Request<RecvStream>,
        mut respond: SendResponse<Bytes>,
        received: Instant,
    ) -> bool {
        let (head, mut body) = request.into_parts();
        if !self.around.answers.is_short(&head) {
            self.hand_over(head, Bytes::new(), body, respond, received);
            return false;
        }
        match read_at_once(&mut body) {
            Read::Whole(read) => {
                let call = ShortCall { peer: self.peer, head: &head, body: &read, received };
                if answer(&self.around.answers, &call, &mut self.memory, &mut respond) {
                    return true;
                }
                self.hand_over(head, read, body, respond, received);
            }
            Read::Part(read) => self.wait((head, read, body), respond, received),
            Read::Odd(read) => self.hand_over(head, read, body, respond, received),
        }
        false
    }

    /// Waits for the rest of a message, aside from the others.
    fn wait(
        &self,
        (head, mut read, mut body): (Parts, Bytes, RecvStream),
        mut respond: SendResponse<Bytes>,
        received: Instant,
    ) {
        let Surroundings { answers, background, .. } = &self.around;
        let patience = answers.patience(&head);
        let (answers, background) = (answers.clone(), background.clone());
        let (peer, closing) = (self.peer, Closing::of(&self.closing));
        let (metrics, number) = (Arc::clone(&self.around.metrics), self.around.place.number());
        // It ends with the connection, which the body then tells of.
        tokio::spawn(async move {
            let rest = poll_fn(|context| poll_whole(&mut body, &mut read, context));
            if let Ok(true) = timeout(patience, rest).await {
                let call = ShortCall { peer, head: &head, body: &read, received };
                if answer(&answers, &call, &mut A::Memory::default(), &mut respond) {
                    if let Some(load) = metrics.loops().get(number) {
                        load.note_short(1);
                    }
                    return;
                }
            }
            if let Some(load) = metrics.loops().get(number) {
                load.note_long();
            }
            background.spawn(exchange(answers, whole(head, read, body, peer, closing, received), respond));
        });
    }

    fn hand_over(
        &self,
        head: Parts,
        read: Bytes,
        body: RecvStream,
        respond: SendResponse<Bytes>,
        received: Instant,
    ) {
        if let Some(load) = self.around.place.load() {
            load.note_long();
        }
        let request = whole(head, read, body, self.peer, Closing::of(&self.closing), received);
        self.around.background.spawn(exchange(self.around.answers.clone(), request, respond));
    }
}

/// The request, put together again.
fn whole(
    head: Parts,
    read: Bytes,
    body: RecvStream,
    peer: Peer,
    closing: Closing,
    received: Instant,
) -> Request<Body> {
    let mut request = Request::from_parts(head, Body::new(Incoming::new(read, body)));
    request.extensions_mut().insert(peer);
    request.extensions_mut().insert(closing);
    request.extensions_mut().insert(Received(received));
    request
}

/// Answers from memory, if it can; whether it did.
fn answer<A: Answers>(
    answers: &A,
    call: &ShortCall<'_>,
    memory: &mut A::Memory,
    respond: &mut SendResponse<Bytes>,
) -> bool {
    // A defect that one call meets must not end all the others of its connection.
    let answer = catch_unwind(AssertUnwindSafe(|| answers.answer_now(call, memory)));
    match answer {
        Ok(None) => false,
        Ok(Some(answer)) => {
            if let Err(error) = send(respond, answer) {
                tracing::debug!(error = %error, "an answer could not be sent");
            }
            true
        }
        Err(_) => {
            tracing::error!("answering a call panicked; it is given up");
            respond.send_reset(Reason::INTERNAL_ERROR);
            true
        }
    }
}

fn send(respond: &mut SendResponse<Bytes>, answer: ShortAnswer) -> Result<(), h2::Error> {
    let mut head = Response::new(());
    *head.headers_mut() = answer.headers;
    let mut stream = respond.send_response(head, answer.message.is_none())?;
    let Some(ShortMessage { body, trailers }) = answer.message else { return Ok(()) };
    stream.send_data(body, false)?;
    stream.send_trailers(trailers)
}
