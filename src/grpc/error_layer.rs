//! Errors that tonic makes by itself (an unknown method, bytes that do not decode) get the same shape as
//! ours: a code of the table, and ErrorInfo.
//!
//! What does not even claim to be gRPC is refused first.
//!
//! The caller's deadline is kept here too: tonic keeps it outside of every layer, and answers CANCELLED
//! without details. Ours is set before tonic's, so it comes first.

use std::future::ready;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use http::{HeaderValue, Request, Response, StatusCode, header};
use tokio::time::timeout;
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::convert::authorize::read_timeout;
use super::error::{self, ErrorReason};
use super::telemetry_layer::Received;
use crate::clock;

/// The layer.
#[derive(Clone, Copy, Debug, Default)]
pub struct ErrorLayer;

impl<S> Layer<S> for ErrorLayer {
    type Service = Explained<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Explained { inner }
    }
}

/// A service behind the layer.
#[derive(Clone, Debug)]
pub struct Explained<S> {
    inner: S,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Service<Request<Body>> for Explained<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        if !is_grpc(request.headers().get(header::CONTENT_TYPE)) {
            return Box::pin(ready(Ok(refuse_content())));
        }
        let header = request.headers().get("grpc-timeout").and_then(|value| value.to_str().ok());
        let deadline = read_timeout(header);
        let waited = request.extensions().get::<Received>().copied();
        // It may have waited for its message. The deadline runs from when its head came, or from now on.
        let waited = waited.map_or(Duration::ZERO, |Received(at)| clock::since(at));
        let deadline = deadline.map(|deadline| deadline.saturating_sub(waited));
        if deadline == Some(Duration::ZERO) {
            return Box::pin(ready(Ok(error::deadline().into_http())));
        }
        let answer = self.inner.call(request);
        // A timer takes a lock of the runtime: a call without a deadline has none.
        let Some(deadline) = deadline else {
            return Box::pin(async move { Ok(explained(answer.await?)) });
        };
        let answer = timeout(deadline, answer);
        Box::pin(async move {
            let Ok(answer) = answer.await else {
                return Ok(error::deadline().into_http());
            };
            Ok(explained(answer?))
        })
    }
}

/// `application/grpc`, by itself or with a subtype or parameters after it. gRPC-Web is another protocol.
pub(super) fn is_grpc(content_type: Option<&HeaderValue>) -> bool {
    let rest = content_type.and_then(|value| value.as_bytes().strip_prefix(b"application/grpc"));
    rest.is_some_and(|rest| matches!(rest.first(), None | Some(b'+' | b';' | b' ')))
}

/// For readers of HTTP (gRPC over HTTP/2: 415) and of gRPC.
fn refuse_content() -> Response<Body> {
    let status = ErrorReason::MalformedMessage.status("the content-type must be application/grpc");
    let mut response = status.into_http();
    *response.status_mut() = StatusCode::UNSUPPORTED_MEDIA_TYPE;
    response
}

/// The same answer, with a reason where it is an error without one.
fn explained(response: Response<Body>) -> Response<Body> {
    match bare_error(&response) {
        Some(status) => explain(&status).into_http(),
        None => response,
    }
}

/// An error without details, in an answer without a body: one that is not ours.
fn bare_error(response: &Response<Body>) -> Option<Status> {
    let status = Status::from_header_map(response.headers())?;
    (status.code() != Code::Ok && status.details().is_empty()).then_some(status)
}

/// An error of tonic's in our shape.
pub(super) fn explain(status: &Status) -> Status {
    match status.code() {
        Code::Unimplemented if status.message().starts_with("Content is compressed") => {
            let mut explained =
                ErrorReason::CompressionNotServed.status("the service does not take messages so compressed");
            // tonic's `grpc-accept-encoding` tells what it takes.
            *explained.metadata_mut() = status.metadata().clone();
            explained
        }
        Code::Unimplemented => ErrorReason::MethodUnknown.status("there is no such method"),
        Code::OutOfRange | Code::ResourceExhausted => {
            ErrorReason::MessageTooLarge.status("the message is longer than the service takes")
        }
        // tonic says INTERNAL for whatever it cannot read: truncated frames, wrong flags, bytes that are no
        // message, no message at all. These are the caller's; our own defects have details.
        Code::Internal | Code::InvalidArgument => {
            ErrorReason::MalformedMessage.status("the bytes are no message of the contract")
        }
        Code::NotFound => ErrorReason::ServiceUnknown.status("health knows no service of this name"),
        Code::Cancelled => ErrorReason::Cancelled.status("the call was given up"),
        _ => error::defect(&format!("a bare status: {status:?}")),
    }
}
