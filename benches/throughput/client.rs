//! A gRPC client that is as cheap as HTTP/2 allows, and checks every answer: bare h2, and requests that were
//! encoded before the measurement.

use std::future::poll_fn;
use std::net::SocketAddr;
use std::sync::Arc;

use bytes::Bytes;
use h2::client::{self, SendRequest};
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE, USER_AGENT};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode, Version};
use keystile::grpc::pb;
use keystile::grpc::pb::authorize_response::Decision;
use prost::Message;
use tokio::net::TcpStream;
use tokio::task;

use crate::echo;
use crate::message::{Echo, PREFIX_BYTES, framed, unframed};
use crate::subject::Gateway;

/// Windows so wide that updates of them are rare.
const WINDOW_BYTES: u32 = 1 << 20;
/// One in so many of Keystile's answers is decoded.
const SAMPLE: usize = 64;

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
    /// Not what was asked for.
    #[error("the answer is wrong: {0}")]
    Wrong(String),
}

/// What is asked in every call, and how the answer must be.
#[derive(Clone)]
pub struct Question {
    head: Request<()>,
    body: Bytes,
    right: Right,
}

#[derive(Clone)]
enum Right {
    /// Exactly this message.
    Echo(Bytes),
    /// ALLOW.
    Allow,
}

/// A message and the metadata around it.
pub struct Answer {
    /// Without the prefix.
    pub message: Bytes,
    /// Names and values of headers and trailers.
    pub metadata_bytes: usize,
}

impl Question {
    /// The gateway's question to Keystile.
    ///
    /// # Errors
    /// The token is no header value.
    pub fn to_keystile(gateway: &Gateway, address: SocketAddr) -> Result<Self, http::Error> {
        let head = head(gateway, address)?;
        Ok(Self { head, body: framed(&gateway.question), right: Right::Allow })
    }

    /// A question of the same size with the same metadata to an echo server that answers in `answer_bytes`.
    ///
    /// # Errors
    /// The token is no header value.
    pub fn to_echo(gateway: &Gateway, address: SocketAddr, answer_bytes: usize) -> Result<Self, http::Error> {
        let head = head(gateway, address)?;
        let asked = Echo::of_size(gateway.question.encoded_len());
        let answer = asked.answer(Echo::of_size(answer_bytes).payload.len());
        Ok(Self { head, body: framed(&asked), right: Right::Echo(answer.encode_to_vec().into()) })
    }

    /// Bytes of its message.
    pub fn message_bytes(&self) -> usize {
        self.body.len().saturating_sub(PREFIX_BYTES)
    }

    /// Asks, and checks the answer's form.
    ///
    /// # Errors
    /// [`CallFailure`].
    pub async fn ask(&self, connection: &mut SendRequest<Bytes>) -> Result<Answer, CallFailure> {
        poll_fn(|context| connection.poll_ready(context)).await?;
        let (response, mut body) = connection.send_request(self.head.clone(), false)?;
        body.send_data(self.body.clone(), true)?;
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

    /// Checks what an answer says; `count` is the number of answers before it, of which some are sampled.
    ///
    /// # Errors
    /// [`CallFailure::Wrong`].
    pub fn check(&self, answer: &Answer, count: usize) -> Result<(), CallFailure> {
        match &self.right {
            Right::Echo(message) if *message == answer.message => Ok(()),
            Right::Echo(_) => Err(CallFailure::Wrong("it is not the echo".to_owned())),
            Right::Allow if !count.is_multiple_of(SAMPLE) => Ok(()),
            Right::Allow => check_allow(&answer.message),
        }
    }
}

fn check_allow(message: &Bytes) -> Result<(), CallFailure> {
    let answer = pb::AuthorizeResponse::decode(message.clone())
        .map_err(|error| CallFailure::Wrong(error.to_string()))?;
    match answer.decision() {
        Decision::Allow => Ok(()),
        Decision::Deny | Decision::Unspecified => {
            Err(CallFailure::Wrong(format!("{:?} for {:?}", answer.decision(), answer.reason())))
        }
    }
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

fn head(gateway: &Gateway, address: SocketAddr) -> Result<Request<()>, http::Error> {
    Request::builder()
        .method(Method::POST)
        .version(Version::HTTP_2)
        .uri(format!("http://{address}{}", echo::PATH))
        .header(TE, "trailers")
        .header(CONTENT_TYPE, "application/grpc")
        .header(USER_AGENT, "keystile-throughput")
        .header(AUTHORIZATION, format!("Bearer {}", gateway.token))
        .body(())
}

fn grpc_status(metadata: &HeaderMap) -> Result<(), CallFailure> {
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
#[derive(Clone)]
pub struct Target {
    /// For people.
    pub name: &'static str,
    /// Where it serves.
    pub address: SocketAddr,
    /// The same in every call.
    pub question: Arc<Question>,
}
