//! `authorization_id`: what an ALLOW has charged where, signed, in the caller's hands instead of a table.
//!
//! The text is base64url without padding of a [`message`] and 16 bytes of its HMAC-SHA-256, under a key that is
//! derived from a pepper for nothing else. So any replica reads what any other has made, and nobody else makes one.
//! It is signed, not encrypted: its holder may read numbers that he has been told anyway.
//!
//! - An authorization has one text, and a text one authorization: a bit that was changed anywhere is refused.
//! - Signing is on the path of every request that is allowed. What is common fits into 55 bytes, which SHA-256
//!   takes as one block.
//! - Another version is first read everywhere, then made; as with peppers.
//!
//! What does not belong here: how long ago an authorization may have been made, what becomes of it, and whether it
//! was settled before.

mod fresh;
mod message;

#[cfg(test)]
mod tests;

pub use fresh::fresh_id;

use std::fmt;

use base64::Engine;
use base64::prelude::BASE64_URL_SAFE_NO_PAD;
use chrono::{DateTime, Utc};
use hmac::{Hmac, Mac};
use sha2::Sha256;
use uuid::Uuid;

use self::message::Message;
use super::{Pepper, Peppers};

/// The longest text of an authorization id, in bytes.
pub const AUTHORIZATION_ID_MAX: usize = 256;
/// What the longest text stands for.
const BYTES_MAX: usize = AUTHORIZATION_ID_MAX / 4 * 3;
/// Bytes of the HMAC that are kept: 128 bits, which nobody guesses online or offline.
const TAG_BYTES: usize = 16;
/// Shorter than any token: see [`Pepper::derived`].
const PURPOSE: &[u8] = b"authorization";

/// An ALLOW, as far as it has to be known to settle it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Authorization {
    /// What it is known by: from [`fresh_id`]. One that is no UUIDv7 is signed, and refused afterwards.
    pub id: Uuid,
    /// The key that was allowed.
    pub key_id: i64,
    /// Whether budgets have reservations under its id.
    pub is_reserved: bool,
    /// What was charged to rate limits.
    pub charges: Charges,
}

/// What one authorization has charged to rate limits: at most the key's and its owner's.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charges {
    /// To the key's own limits.
    pub key: Option<Charge>,
    /// To its owner's.
    pub owner: Option<OwnerCharge>,
}

/// What was charged to one row of counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Charge {
    /// The generation of the row, 0 or more.
    pub generation: i64,
    /// When it was charged, which says in which buckets: microseconds since 1970 by the database's clock.
    pub at_micros: i64,
    /// Tokens that were estimated, 0 or more. The request itself counts as one, and is not said.
    pub tokens: i64,
}

/// What was charged to an owner's row of counters.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct OwnerCharge {
    /// The owner, as the key had him when it was charged.
    pub user_id: i64,
    /// What he was charged.
    pub charge: Charge,
}

impl Authorization {
    /// When it was made, to the millisecond, by the clock of the replica that made it. Never before 1970.
    #[must_use]
    pub fn made_at(&self) -> DateTime<Utc> {
        DateTime::from_timestamp_millis(message::unix_millis(self.id)).unwrap_or(DateTime::UNIX_EPOCH)
    }
}

impl Charges {
    /// Each with the owner that it was charged to; `None` for the key itself, which comes first.
    pub fn iter(&self) -> impl Iterator<Item = (Option<i64>, Charge)> {
        let owner = self.owner.map(|it| (Some(it.user_id), it.charge));
        self.key.map(|charge| (None, charge)).into_iter().chain(owner)
    }

    /// Whether nothing was charged.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.key.is_none() && self.owner.is_none()
    }
}

/// What an authorization id says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Verified {
    /// The authorization that was signed.
    pub authorization: Authorization,
    /// The caller's id of the request, 1 to 128 bytes; `None` where there was none, or no room for it.
    pub request_id: Option<String>,
}

/// It was not made here, or not as it is, or under a pepper that is not configured any more. Which, is not said.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("not an authorization id of this service")]
pub struct InvalidAuthorizationId;

/// Makes authorization ids under the current pepper, and reads those under any that is configured.
pub struct AuthorizationIds {
    /// HMAC after its key has been mixed in.
    current: Hmac<Sha256>,
    accepted: Vec<Hmac<Sha256>>,
}

impl AuthorizationIds {
    /// With keys that are derived from these peppers, once.
    #[must_use]
    pub fn new(peppers: &Peppers) -> Self {
        let derived = |pepper: &Pepper| pepper.derived(PURPOSE);
        Self { current: derived(peppers.current()), accepted: peppers.iter().skip(1).map(derived).collect() }
    }

    /// The text of an authorization: at most [`AUTHORIZATION_ID_MAX`] bytes of `[A-Za-z0-9_-]`.
    ///
    /// `request_id` is the caller's, empty for none. It is carried where it has at most 128 bytes and fits.
    #[must_use]
    pub fn sign(&self, authorization: &Authorization, request_id: &str) -> String {
        let mut message = Message::EMPTY;
        message.write(authorization, request_id);
        let mut mac = self.current.clone();
        mac.update(message.as_bytes());
        message.seal(&mac.finalize().into_bytes());
        BASE64_URL_SAFE_NO_PAD.encode(message.as_bytes())
    }

    /// What a text says that was made by [`sign`](Self::sign), here or on another replica.
    ///
    /// # Errors
    /// [`InvalidAuthorizationId`] for any other bytes.
    pub fn verify(&self, text: impl AsRef<[u8]>) -> Result<Verified, InvalidAuthorizationId> {
        self.read(text.as_ref()).ok_or(InvalidAuthorizationId)
    }

    fn read(&self, text: &[u8]) -> Option<Verified> {
        if text.len() > AUTHORIZATION_ID_MAX {
            return None;
        }
        let mut bytes = [0; BYTES_MAX];
        let len = BASE64_URL_SAFE_NO_PAD.decode_slice(text, &mut bytes).ok()?;
        let (message, tag) = bytes.get(..len)?.split_last_chunk::<TAG_BYTES>()?;
        let is_signed = |keyed: &Hmac<Sha256>| {
            let mut mac = keyed.clone();
            mac.update(message);
            mac.verify_truncated_left(tag).is_ok()
        };
        let is_ours = is_signed(&self.current) || self.accepted.iter().any(is_signed);
        if is_ours { message::read(message) } else { None }
    }
}

impl fmt::Debug for AuthorizationIds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("AuthorizationIds([REDACTED])")
    }
}
