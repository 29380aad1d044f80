//! Messages, and how gRPC frames them.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;
use prost::encoding::{encoded_len_varint, key_len};

/// Before each message: one byte that says whether it is compressed, and four of its length.
pub const PREFIX_BYTES: usize = 5;

/// A message as it goes over the wire.
pub fn framed(message: &impl Message) -> Bytes {
    let length = message.encoded_len();
    let mut frame = BytesMut::with_capacity(PREFIX_BYTES + length);
    frame.put_u8(0);
    // The messages here have some hundred bytes.
    frame.put_u32(u32::try_from(length).unwrap_or(u32::MAX));
    frame.put(message.encode_to_vec().as_slice());
    frame.freeze()
}

/// The bytes of the message in a body; `None` where it is not exactly one, whole and uncompressed.
pub fn unframed(mut body: Bytes) -> Option<Bytes> {
    let Some((&[0, a, b, c, d], rest)) = body.split_first_chunk::<PREFIX_BYTES>() else { return None };
    let whole = usize::try_from(u32::from_be_bytes([a, b, c, d])) == Ok(rest.len());
    whole.then(|| body.split_off(PREFIX_BYTES))
}

/// Request and answer of the echo service.
#[derive(Clone, PartialEq, Eq, Message)]
pub struct Echo {
    /// Anything.
    #[prost(bytes = "bytes", tag = "1")]
    pub payload: Bytes,
}

impl Echo {
    /// A message that takes `bytes` bytes on the wire, or the next fewer where no message takes so many.
    pub fn of_size(bytes: usize) -> Self {
        // Longer payloads take longer length fields: the first that fits from above is the longest.
        let payload = (0..=bytes).rev().find(|payload| size_with(*payload) <= bytes).unwrap_or(0);
        Self { payload: Bytes::from(vec![b'x'; payload]) }
    }

    /// The answer to this request: its payload, cut or repeated to the length that is wanted.
    pub fn answer(&self, payload_bytes: usize) -> Self {
        if payload_bytes <= self.payload.len() {
            return Self { payload: self.payload.slice(..payload_bytes) };
        }
        let mut payload = BytesMut::with_capacity(payload_bytes);
        payload.extend(self.payload.iter().copied().cycle().take(payload_bytes));
        Self { payload: payload.freeze() }
    }
}

fn size_with(payload: usize) -> usize {
    match u64::try_from(payload) {
        // proto3 leaves an empty field out.
        Ok(0) => 0,
        Ok(length) => key_len(1) + encoded_len_varint(length) + payload,
        Err(_) => usize::MAX,
    }
}
