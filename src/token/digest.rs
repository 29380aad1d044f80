//! The digest of a token: HMAC-SHA-256 under a pepper.
//!
//! Made by [`Peppers`](super::Peppers) only; this is the value that is stored, indexed and compared.

use std::fmt;

/// HMAC-SHA-256(pepper, token): 32 bytes that lead to a key's row and, without the pepper, to nothing else.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Digest([u8; 32]);

impl Digest {
    pub(super) const fn new(bytes: [u8; 32]) -> Self {
        Self(bytes)
    }

    /// A digest as it was stored; `None` unless it is exactly 32 bytes.
    #[must_use]
    pub fn from_slice(bytes: &[u8]) -> Option<Self> {
        bytes.try_into().ok().map(Self)
    }

    /// The digest as it is stored.
    #[must_use]
    pub const fn as_bytes(&self) -> &[u8; 32] {
        &self.0
    }
}

/// The first four bytes: enough to tell two apart in a log, not enough to look one up.
impl fmt::Debug for Digest {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let [a, b, c, d, ..] = self.0;
        write!(f, "Digest({a:02x}{b:02x}{c:02x}{d:02x}…)")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_stored_digest_is_exactly_32_bytes() {
        assert_eq!(Digest::from_slice(&[7; 32]), Some(Digest::new([7; 32])));
        assert_eq!(Digest::from_slice(&[7; 31]), None);
        assert_eq!(Digest::from_slice(&[7; 33]), None);
        assert_eq!(Digest::from_slice(&[]), None);
        assert_eq!(Digest::new([9; 32]).as_bytes(), &[9; 32]);
    }

    #[test]
    fn debug_shows_four_bytes() {
        assert_eq!(format!("{:?}", Digest::new([0xa5; 32])), "Digest(a5a5a5a5…)");
    }
}
