//! The short way of a call: from the bytes of its message to those of its answer, without a task, a layer or a lock.
//!
//! It is for good calls that memory can answer. Whatever is unusual goes the long way with its request as it came, so
//! that what a call means stands in one place: the layers and the handlers.

mod authorize;

pub use authorize::{ShortAuthorize, is_short, patience};

use std::time::Instant;

use http::header::CONTENT_TYPE;
use http::request::Parts;
use http::{HeaderMap, HeaderName, HeaderValue};
use prost::Message;
use prost::bytes::{BufMut as _, Bytes, BytesMut};
use tonic::Status;

use super::peer::Peer;

/// The method that has a short way.
pub(super) const PATH: &str = "/keystile.v1.AuthorizeService/Authorize";
const GRPC: HeaderValue = HeaderValue::from_static("application/grpc");
const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");
const OK: HeaderValue = HeaderValue::from_static("0");
/// Before a message: a byte that says whether it is compressed, and four of its length.
const PREFIX_BYTES: usize = 5;

/// A call whose message has come as a whole.
#[derive(Debug)]
pub struct ShortCall<'a> {
    /// Who is at the other end.
    pub peer: Peer,
    /// Its head.
    pub head: &'a Parts,
    /// Its body: the message in its frame, if it is one.
    pub body: &'a Bytes,
    /// When its head came.
    pub received: Instant,
}

impl ShortCall<'_> {
    /// The bytes of the message; `None` where the body is anything but one that is whole and not compressed.
    #[must_use]
    pub fn message(&self) -> Option<Bytes> {
        let (&[0, a, b, c, d], message) = self.body.split_first_chunk::<PREFIX_BYTES>()? else { return None };
        let is_whole = usize::try_from(u32::from_be_bytes([a, b, c, d])) == Ok(message.len());
        is_whole.then(|| self.body.slice(PREFIX_BYTES..))
    }
}

/// An answer with one message, or a refusal without.
#[derive(Debug)]
pub struct ShortAnswer {
    /// Metadata before the message; all of it, and the status, where there is none.
    pub headers: HeaderMap,
    /// What comes after the metadata; `None` for a refusal.
    pub message: Option<ShortMessage>,
}

/// The message of an answer, and the end.
#[derive(Debug)]
pub struct ShortMessage {
    /// In its frame.
    pub body: Bytes,
    /// Metadata after it.
    pub trailers: HeaderMap,
}

impl ShortAnswer {
    /// The answer with this message; `None` for one that is too long for its frame.
    #[must_use]
    pub fn of(message: &impl Message) -> Option<Self> {
        let length = message.encoded_len();
        let mut body = BytesMut::with_capacity(length.checked_add(PREFIX_BYTES)?);
        body.put_u8(0);
        body.put_u32(u32::try_from(length).ok()?);
        message.encode(&mut body).ok()?;
        let mut headers = HeaderMap::with_capacity(2);
        headers.insert(CONTENT_TYPE, GRPC);
        let mut trailers = HeaderMap::with_capacity(1);
        trailers.insert(GRPC_STATUS, OK);
        let message = ShortMessage { body: body.freeze(), trailers };
        Some(Self { headers, message: Some(message) })
    }

    /// The answer that a call is refused with.
    #[must_use]
    pub fn refusal(status: Status) -> Self {
        Self { headers: status.into_http::<()>().into_parts().0.headers, message: None }
    }
}

#[cfg(test)]
mod tests {
    use http::Request;

    use super::*;

    fn message(body: &[u8]) -> Option<Bytes> {
        let (head, ()) = Request::new(()).into_parts();
        let peer = Peer { address: ([127, 0, 0, 1], 1).into(), key_id: None };
        let body = Bytes::copy_from_slice(body);
        ShortCall { peer, head: &head, body: &body, received: crate::clock::monotonic_now() }.message()
    }

    #[test]
    fn only_one_whole_plain_message_is_short() {
        assert_eq!(message(&[0, 0, 0, 0, 2, 7, 8]).unwrap(), [7, 8].as_slice());
        assert_eq!(message(&[0, 0, 0, 0, 0]).unwrap(), [].as_slice());
        for odd in [
            &[][..],
            &[0, 0, 0, 0],
            &[1, 0, 0, 0, 2, 7, 8],
            &[2, 0, 0, 0, 2, 7, 8],
            &[0, 0, 0, 0, 3, 7, 8],
            &[0, 0, 0, 0, 1, 7, 8],
            &[0, 0xff, 0xff, 0xff, 0xff, 7, 8],
        ] {
            assert_eq!(message(odd), None, "{odd:?}");
        }
    }

    #[test]
    fn an_answer_is_a_message_in_its_frame_between_its_metadata() {
        let answer = ShortAnswer::of(&prost_types::Duration { seconds: 1, nanos: 0 }).unwrap();
        assert_eq!(answer.headers["content-type"], "application/grpc");
        let message = answer.message.unwrap();
        assert_eq!(message.body, [0, 0, 0, 0, 2, 8, 1].as_slice());
        assert_eq!(message.trailers["grpc-status"], "0");
    }

    #[test]
    fn a_refusal_has_its_status_in_its_headers() {
        let answer = ShortAnswer::refusal(Status::resource_exhausted("too much"));
        assert!(answer.message.is_none());
        assert_eq!(answer.headers["content-type"], "application/grpc");
        assert_eq!(answer.headers["grpc-status"], "8");
    }
}
