//! A gRPC client that is as cheap as HTTP/2 allows, and checks every answer: bare h2, and requests that were
//! encoded before the measurement.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::{HeaderMap, HeaderValue, Request, StatusCode};
use tokio::net::TcpStream;
use tokio::task;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::message::unframed;
use crate::question::{Question, Turn};

/// Windows so wide that updates of them are rare.
const WINDOW_BYTES: u32 = 1 << 20;
/// How long a single call may take.
const CALL_MAX: Duration = Duration::from_secs(30);
/// `RESOURCE_EXHAUSTED`.
const EXHAUSTED: &str = "8";

/// How a call went wrong.
#[derive(Debug, thiserror::Error)]
pub enum CallFailure {
    /// No connection.
    #[error("no connection: {0}")]
    Connect(#[from] std::io::Error),
    /// HTTP/2 failed.
    #[error("HTTP/2: {0}")]
    Http2(#[from] h2::Error),
    /// Not 200.
    #[error("the HTTP status is {0}")]
    HttpStatus(StatusCode),
    /// Not OK.
    #[error("grpc-status {code:?}, {message:?}")]
    GrpcStatus {
        /// `None`: there was none.
        code: Option<HeaderValue>,
        /// Beside it.
        message: Option<HeaderValue>,
    },
    /// Not one whole, uncompressed message.
    #[error("the body of {0} bytes is not one message")]
    Framing(usize),
    /// A single call got no answer.
    #[error("no answer in {CALL_MAX:?}")]
    TooLate,
    /// Not what was asked for.
    #[error("the answer is wrong: {0}")]
    Wrong(String),
}

impl CallFailure {
    /// Whether the server refused it because it has too much to do.
    pub fn is_shed(&self) -> bool {
        matches!(self, Self::GrpcStatus { code: Some(code), .. } if code == EXHAUSTED)
    }
}

/// A message and the metadata around it.
#[derive(Debug)]
pub struct Answer {
    /// Without the prefix.
    pub message: Bytes,
    /// Names and values of headers and trailers.
    pub metadata_bytes: usize,
}

/// Asks once, and takes the answer's frame off. Where nobody answers, that is seen when the measurement is over.
///
/// # Errors
/// [`CallFailure`].
pub async fn ask(
    head: &Request<()>,
    body: Bytes,
    connection: &mut SendRequest<Bytes>,
) -> Result<Answer, CallFailure> {
    poll_fn(|context| connection.poll_ready(context)).await?;
    let (response, mut sending) = connection.send_request(head.clone(), false)?;
    sending.send_data(body, true)?;
    let (head, mut body) = response.await?.into_parts();
    if head.status != StatusCode::OK {
        return Err(CallFailure::HttpStatus(head.status));
    }
    let mut received = Bytes::new();
    while let Some(chunk) = body.data().await {
        let chunk = chunk?;
        body.flow_control().release_capacity(chunk.len())?;
        received = if received.is_empty() { chunk } else { [received, chunk].concat().into() };
    }
    // An error without a message has its status in the headers.
    let trailers = body.trailers().await?.unwrap_or_default();
    grpc_status(if trailers.is_empty() { &head.headers } else { &trailers })?;
    let received_bytes = received.len();
    let message = unframed(received).ok_or(CallFailure::Framing(received_bytes))?;
    Ok(Answer { message, metadata_bytes: size(&head.headers) + size(&trailers) })
}

/// One call on a connection of its own, whose answer must be right.
///
/// # Errors
/// [`Failure::Call`].
pub async fn try_out(target: &Target) -> Result<Answer, Failure> {
    let call = async {
        let mut connection = connect(target.address).await?;
        let body = target.question.body(&mut Turn::new(0)).unwrap_or_default();
        let answer = ask(&target.question.head, body, &mut connection).await?;
        target.question.check(&answer, 0)?;
        Ok(answer)
    };
    within(call).await.map_err(target.failure())
}

/// Does something that must not take long.
///
/// # Errors
/// Its own, or that it took too long.
pub async fn within<T>(call: impl Future<Output = Result<T, CallFailure>>) -> Result<T, CallFailure> {
    timeout(CALL_MAX, call).await.unwrap_or(Err(CallFailure::TooLate))
}

/// A connection; what is asked on it may be asked on clones at the same time. To be called in a runtime that
/// outlives it.
///
/// # Errors
/// [`CallFailure`].
pub async fn connect(address: SocketAddr) -> Result<SendRequest<Bytes>, CallFailure> {
    let stream = TcpStream::connect(address).await?;
    stream.set_nodelay(true)?;
    let mut builder = client::Builder::new();
    builder.initial_window_size(WINDOW_BYTES).initial_connection_window_size(WINDOW_BYTES).enable_push(false);
    let (send, connection) = builder.handshake(stream).await?;
    // Its errors are also those of the calls on it.
    task::spawn(async move { connection.await.is_ok() });
    Ok(send)
}

/// Whether a call ended well, by its trailers.
///
/// # Errors
/// [`CallFailure::GrpcStatus`].
pub fn grpc_status(metadata: &HeaderMap) -> Result<(), CallFailure> {
    let code = metadata.get("grpc-status");
    if code.is_some_and(|code| code == "0") {
        return Ok(());
    }
    Err(CallFailure::GrpcStatus { code: code.cloned(), message: metadata.get("grpc-message").cloned() })
}

fn size(metadata: &HeaderMap) -> usize {
    metadata.iter().map(|(name, value)| name.as_str().len() + value.len()).sum()
}

/// A server and what it is asked.
#[derive(Clone, Debug)]
pub struct Target {
    /// For people.
    pub name: &'static str,
    /// Where it serves.
    pub address: SocketAddr,
    /// The same in every call.
    pub question: Arc<Question>,
}

impl Target {
    /// For `map_err`: which server's call went wrong.
    pub fn failure(&self) -> impl FnOnce(CallFailure) -> Failure {
        let target = self.name.to_owned();
        move |source| Failure::Call { target, source }
    }
}
