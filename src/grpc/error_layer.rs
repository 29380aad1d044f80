//! Errors that tonic makes by itself (an unknown method, bytes that do not decode, a deadline) get the
//! same shape as ours: a code of the table, and ErrorInfo.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::{Request, Response};
use tonic::body::Body;
use tonic::{Code, Status};
use tower::{Layer, Service};

use super::error::{self, ErrorReason};

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
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        let answer = self.inner.call(request);
        Box::pin(async move {
            let response = answer.await?;
            Ok(match bare_error(&response) {
                Some(status) => explain(&status).into_http(),
                None => response,
            })
        })
    }
}

/// An error without details, in an answer without a body: one that is not ours.
fn bare_error(response: &Response<Body>) -> Option<Status> {
    let status = Status::from_header_map(response.headers())?;
    (status.code() != Code::Ok && status.details().is_empty()).then_some(status)
}

fn explain(status: &Status) -> Status {
    let message = status.message();
    match status.code() {
        Code::Unimplemented => ErrorReason::MethodUnknown.status("there is no such method"),
        Code::OutOfRange | Code::ResourceExhausted => {
            ErrorReason::MessageTooLarge.status("the message is longer than the service takes")
        }
        // tonic says INTERNAL for bytes that are no message; these are the caller's.
        Code::Internal
            if message.contains("decode")
                || message.contains("protobuf")
                || message.contains("compression") =>
        {
            ErrorReason::MalformedMessage.status("the bytes are no message of the contract")
        }
        Code::Internal if message.contains("Missing request message") => {
            ErrorReason::MalformedMessage.status("there is no message")
        }
        Code::Cancelled | Code::DeadlineExceeded if message.contains("imeout") => {
            ErrorReason::DeadlineExceeded.status("the deadline came; a write that has begun still completes")
        }
        Code::Cancelled => ErrorReason::Cancelled.status("the call was given up"),
        Code::InvalidArgument => {
            ErrorReason::MalformedMessage.status("the bytes are no message of the contract")
        }
        _ => error::defect(&format!("a bare status: {status:?}")),
    }
}
