//! The body of a request, as those who read it by way of `http_body` want it.

use std::pin::Pin;
use std::task::{Context, Poll, ready};

use h2::{Reason, RecvStream};
use http_body::{Frame, SizeHint};
use prost::bytes::Bytes;

/// A body, with what was read of it already in front.
#[derive(Debug)]
pub(super) struct Incoming {
    read: Bytes,
    rest: RecvStream,
    has_data: bool,
}

impl Incoming {
    /// `read` and then `rest`.
    pub(super) fn new(read: Bytes, rest: RecvStream) -> Self {
        Self { read, rest, has_data: true }
    }
}

impl http_body::Body for Incoming {
    type Data = Bytes;
    type Error = h2::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, h2::Error>>> {
        if !self.read.is_empty() {
            return Poll::Ready(Some(Ok(Frame::data(std::mem::take(&mut self.read)))));
        }
        if self.has_data {
            match ready!(poll_data(&mut self.rest, context)) {
                Some(data) => return Poll::Ready(Some(data.map(Frame::data))),
                None => self.has_data = false,
            }
        }
        match ready!(self.rest.poll_trailers(context)) {
            Ok(trailers) => Poll::Ready(trailers.map(|trailers| Ok(Frame::trailers(trailers)))),
            Err(error) if is_end(&error) => Poll::Ready(None),
            Err(error) => Poll::Ready(Some(Err(error))),
        }
    }

    fn is_end_stream(&self) -> bool {
        self.read.is_empty() && self.rest.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        SizeHint::default()
    }
}

/// The next piece of a body; the client may send as much again. `None` at its end.
pub(super) fn poll_data(
    body: &mut RecvStream,
    context: &mut Context<'_>,
) -> Poll<Option<Result<Bytes, h2::Error>>> {
    Poll::Ready(match ready!(body.poll_data(context)) {
        Some(Ok(data)) => Some(body.flow_control().release_capacity(data.len()).map(|()| data)),
        Some(Err(error)) if is_end(&error) => None,
        Some(Err(error)) => Some(Err(error)),
        None => None,
    })
}

/// A client that gives up has no more to say; that is no failure of the body.
fn is_end(error: &h2::Error) -> bool {
    matches!(error.reason(), Some(Reason::NO_ERROR | Reason::CANCEL))
}
