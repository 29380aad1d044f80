//! The body of a call that memory may be able to answer: one short message, which has come already or is about to.

use std::task::{Context, Poll, Waker, ready};

use h2::RecvStream;
use prost::bytes::Bytes;

use super::body::poll_data;

/// A longer message goes the long way.
const SHORT_BODY_BYTES_MAX: usize = 64 << 10;

/// What there is of a body.
pub(super) enum Read {
    /// All of it.
    Whole(Bytes),
    /// More will come.
    Part(Bytes),
    /// It is for others to make sense of.
    Odd(Bytes),
}

/// What of a body has come already.
pub(super) fn read_at_once(body: &mut RecvStream) -> Read {
    // Nobody is to be woken: whoever waits for more asks again.
    let mut context = Context::from_waker(Waker::noop());
    let mut read = Bytes::new();
    match poll_whole(body, &mut read, &mut context) {
        Poll::Ready(true) => Read::Whole(read),
        Poll::Ready(false) => Read::Odd(read),
        Poll::Pending => Read::Part(read),
    }
}

/// Reads on: true at the end of a short body, which many clients say only after its last piece; false where the long way
/// has to make sense of it. What has come is in `read` either way.
pub(super) fn poll_whole(body: &mut RecvStream, read: &mut Bytes, context: &mut Context<'_>) -> Poll<bool> {
    loop {
        match ready!(poll_data(body, context)) {
            Some(Ok(data)) => {
                // The usual end has no data. Pieces are for those who read streams: putting them together costs more
                // with each.
                let is_piece = !read.is_empty() && !data.is_empty();
                *read = match (read.is_empty(), is_piece) {
                    (true, _) => data,
                    (false, false) => std::mem::take(read),
                    (false, true) => [read.as_ref(), data.as_ref()].concat().into(),
                };
                if is_piece || read.len() > SHORT_BODY_BYTES_MAX {
                    return Poll::Ready(false);
                }
                if body.is_end_stream() {
                    return Poll::Ready(true);
                }
            }
            Some(Err(_)) => return Poll::Ready(false),
            None => return Poll::Ready(!read.is_empty()),
        }
    }
}
