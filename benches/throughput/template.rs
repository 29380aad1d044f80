//! A request of which only the token changes from call to call: encoded once, copied with another token.

use bytes::{BufMut, Bytes, BytesMut};
use prost::Message;

use crate::message::framed;

/// The frame of a request, cut where its token stands.
#[derive(Clone, Debug)]
pub struct Template {
    before: Bytes,
    token_bytes: usize,
    after: Bytes,
}

impl Template {
    /// Cuts the frame of `request` around `token`; `None` where the token does not stand in it.
    pub fn of(request: &impl Message, token: &[u8]) -> Option<Self> {
        let frame = framed(request);
        let at = frame.windows(token.len().max(1)).position(|window| window == token)?;
        let after = at.checked_add(token.len())?;
        Some(Self { before: frame.slice(..at), token_bytes: token.len(), after: frame.slice(after..) })
    }

    /// The same with another token; `None` where that has another length, since the lengths before it would lie.
    pub fn with(&self, token: &[u8]) -> Option<Bytes> {
        if token.len() != self.token_bytes {
            return None;
        }
        let mut frame = BytesMut::with_capacity(self.before.len() + token.len() + self.after.len());
        frame.put(self.before.as_ref());
        frame.put(token);
        frame.put(self.after.as_ref());
        Some(frame.freeze())
    }
}
