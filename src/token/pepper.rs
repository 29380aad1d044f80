//! Peppers: the secrets under which tokens have digests.
//!
//! One is current, and new digests are made under it; the others are accepted still (or already: a new one is
//! accepted everywhere before it becomes current). Each has an id. With every digest, a [`PepperMark`] is stored:
//! the id and a fingerprint of the secret, so that a pepper that was lost and made anew under its old id is not
//! taken for the old one (which would refuse every token that has a digest).
//!
//! Keys for other purposes are derived from peppers, so that one kind of secret is to be kept.
//!
//! What does not belong here: where peppers come from (a file: `pepper_file.rs`; the database: storage).

use std::fmt;

use hmac::{Hmac, KeyInit, Mac};
use rand::CryptoRng;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretSlice};
use sha2::Sha256;

use super::Digest;

/// The fewest bytes of a pepper: as many as the digest has.
pub(super) const MIN_SECRET_LEN: usize = 32;
const MAX_ID_LEN: usize = 64;

/// The name of a pepper: 1 to 64 of `A-Z`, `a-z`, `0-9`, `.`, `_`, `-`. Not a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PepperId(String);

/// A pepper id is 1 to 64 characters of `[A-Za-z0-9._-]`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pepper id is 1 to 64 of A-Z, a-z, 0-9, dot, underscore and hyphen")]
pub struct InvalidPepperId;

impl PepperId {
    /// Takes `[A-Za-z0-9._-]{1,64}`.
    ///
    /// # Errors
    /// [`InvalidPepperId`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidPepperId> {
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b'-');
        if (1..=MAX_ID_LEN).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidPepperId)
        }
    }

    /// The id as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl fmt::Display for PepperId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

/// Says in the store under which pepper a digest was made. Not a secret.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct PepperMark(String);

impl PepperMark {
    /// The mark as it is stored: `<id>~<fingerprint>`.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// No token is as short as the text whose digest begins with the fingerprint.
    fn of(id: &PepperId, keyed: &Hmac<Sha256>) -> Self {
        let mut mac = keyed.clone();
        mac.update(b"fingerprint");
        let fingerprint = mac.finalize().into_bytes();
        let hex: String = fingerprint.iter().take(4).map(|byte| format!("{byte:02x}")).collect();
        Self(format!("{id}~{hex}"))
    }
}

/// One pepper: an id and a secret of at least 32 bytes.
pub struct Pepper {
    id: PepperId,
    mark: PepperMark,
    secret: SecretSlice<u8>,
    /// HMAC after its key has been mixed in: a digest starts from a copy, which saves two of five blocks.
    keyed: Hmac<Sha256>,
}

/// A pepper's secret must have at least 32 bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a pepper has at least 32 bytes, not {0}")]
pub struct PepperTooShort(pub usize);

impl Pepper {
    /// A pepper from its stored secret, of any length from 32 bytes.
    ///
    /// # Errors
    /// [`PepperTooShort`] below 32 bytes.
    pub fn new(id: PepperId, secret: &[u8]) -> Result<Self, PepperTooShort> {
        if secret.len() < MIN_SECRET_LEN {
            return Err(PepperTooShort(secret.len()));
        }
        Ok(Self::keyed(id, secret))
    }

    /// A new pepper of 32 random bytes; see [`os_rng`](super::os_rng).
    #[must_use]
    pub fn generate(id: PepperId, rng: &mut impl CryptoRng) -> Self {
        let mut secret = Zeroizing::new([0; MIN_SECRET_LEN]);
        rng.fill_bytes(secret.as_mut_slice());
        Self::keyed(id, secret.as_slice())
    }

    fn keyed(id: PepperId, secret: &[u8]) -> Self {
        let keyed = hmac_under(secret);
        Self { mark: PepperMark::of(&id, &keyed), id, secret: secret.to_vec().into(), keyed }
    }

    /// Its name.
    #[must_use]
    pub fn id(&self) -> &PepperId {
        &self.id
    }

    /// The secret in the clear: for storing it.
    #[must_use]
    pub fn expose(&self) -> &[u8] {
        self.secret.expose_secret()
    }

    /// HMAC-SHA-256 of the whole token. Allocates nothing.
    #[must_use]
    pub fn digest(&self, token: &[u8]) -> Digest {
        let mut mac = self.keyed.clone();
        mac.update(token);
        Digest::new(mac.finalize().into_bytes().into())
    }

    /// HMAC-SHA-256 under a key of its own for `purpose`, after that key has been mixed in.
    ///
    /// `purpose` is shorter than any token, or somebody's token would have that key as its digest.
    pub(super) fn derived(&self, purpose: &'static [u8]) -> Hmac<Sha256> {
        let mut mac = self.keyed.clone();
        mac.update(purpose);
        let key: Zeroizing<[u8; 32]> = Zeroizing::new(mac.finalize().into_bytes().into());
        hmac_under(key.as_slice())
    }
}

#[expect(clippy::expect_used, reason = "RFC 2104 hashes long keys and pads short ones: none is refused")]
fn hmac_under(secret: &[u8]) -> Hmac<Sha256> {
    Hmac::new_from_slice(secret).expect("HMAC takes a key of any length")
}

impl fmt::Debug for Pepper {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Pepper({}, [REDACTED])", self.id)
    }
}

/// The configured peppers: one current, any number accepted besides; no two share an id.
#[derive(Debug)]
pub struct Peppers {
    current: Pepper,
    accepted: Vec<Pepper>,
}

/// Two peppers have the same id, so that it would not say which one a digest was made under.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("two peppers have the id {0}")]
pub struct DuplicatePepperId(pub PepperId);

impl Peppers {
    /// `current` for new digests; `accepted` are the others (without `current`).
    ///
    /// # Errors
    /// [`DuplicatePepperId`] when an id occurs twice, `current`'s included.
    pub fn new(current: Pepper, accepted: Vec<Pepper>) -> Result<Self, DuplicatePepperId> {
        let mut earlier = vec![&current.id];
        for pepper in &accepted {
            if earlier.contains(&&pepper.id) {
                return Err(DuplicatePepperId(pepper.id.clone()));
            }
            earlier.push(&pepper.id);
        }
        Ok(Self { current, accepted })
    }

    /// The pepper of new digests.
    #[must_use]
    pub fn current(&self) -> &Pepper {
        &self.current
    }

    /// The marks of all, the current one's first.
    pub fn marks(&self) -> impl Iterator<Item = &PepperMark> {
        self.iter().map(|pepper| &pepper.mark)
    }

    /// The token's digest under the current pepper: the hot path, which allocates nothing.
    #[must_use]
    pub fn digest_current(&self, token: &[u8]) -> (&PepperMark, Digest) {
        (&self.current.mark, self.current.digest(token))
    }

    /// The token's digests under all peppers, the current one first.
    #[must_use]
    pub fn digests(&self, token: &[u8]) -> Vec<(&PepperMark, Digest)> {
        self.iter().map(|pepper| (&pepper.mark, pepper.digest(token))).collect()
    }

    /// All of them, the current one first.
    pub(super) fn iter(&self) -> impl Iterator<Item = &Pepper> {
        std::iter::once(&self.current).chain(&self.accepted)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::base62::tests::Scripted;

    const TOKEN: &[u8] = b"ks_0123456789AB_abcdefghijklmnopqrstuvwxyzABCDEF05fmQ7";
    /// Python: `hmac.new(bytes(range(32)), TOKEN, hashlib.sha256).hexdigest()`.
    const DIGEST: &str = "c799c2305e1ba89a127082ba9db325e424e0afa53d5c175113ded60132d3ee4e";

    fn pepper(id: &str, first: u8) -> Pepper {
        let secret: Vec<u8> = (first..first + 32).collect();
        Pepper::new(PepperId::parse(id).unwrap(), &secret).unwrap()
    }

    fn hex(digest: Digest) -> String {
        digest.as_bytes().iter().map(|byte| format!("{byte:02x}")).collect()
    }

    #[test]
    fn ids_are_short_and_plain() {
        for id in ["a", "2026-11", "A.b_c-9", &"x".repeat(64)] {
            assert_eq!(PepperId::parse(id).unwrap().as_str(), id);
        }
        for id in ["", " a", "a b", "a/b", "ä", "a\n", "a\0", "a=", &"x".repeat(65)] {
            assert_eq!(PepperId::parse(id), Err(InvalidPepperId), "{id:?}");
        }
    }

    #[test]
    fn a_secret_has_at_least_32_bytes() {
        let id = || PepperId::parse("a").unwrap();
        assert_eq!(Pepper::new(id(), &[1; 31]).err(), Some(PepperTooShort(31)));
        assert_eq!(Pepper::new(id(), &[]).err(), Some(PepperTooShort(0)));
        assert_eq!(Pepper::new(id(), &[1; 32]).unwrap().expose(), [1; 32]);
    }

    #[test]
    fn the_digest_is_hmac_sha_256() {
        assert_eq!(hex(pepper("a", 0).digest(TOKEN)), DIGEST);
        // RFC 4231, test case 6: a key longer than a block.
        let long = Pepper::new(PepperId::parse("long").unwrap(), &[0xaa; 131]).unwrap();
        assert_eq!(
            hex(long.digest(b"Test Using Larger Than Block-Size Key - Hash Key First")),
            "60e431591ee0b67f0d8a26aacbf5b77f8e0bc6213728c5140546040f0ee37f54"
        );
    }

    #[test]
    fn a_digest_leaves_no_trace_in_the_next() {
        let pepper = pepper("a", 0);
        assert_ne!(pepper.digest(b"another"), pepper.digest(TOKEN));
        assert_eq!(hex(pepper.digest(TOKEN)), DIGEST);
    }

    fn ids<'p>(marks: impl Iterator<Item = &'p PepperMark>) -> Vec<&'p str> {
        marks.map(|mark| mark.as_str().split_once('~').unwrap().0).collect()
    }

    #[test]
    fn a_mark_tells_peppers_of_one_id_apart() {
        // Python: hmac.new(bytes(range(32)), b"fingerprint", hashlib.sha256).hexdigest()[:8].
        assert_eq!(pepper("a", 0).mark.as_str(), "a~5ab8c392");
        assert_eq!(pepper("a", 0).mark, pepper("a", 0).mark);
        assert_ne!(pepper("a", 0).mark, pepper("a", 1).mark);
        assert_ne!(pepper("a", 0).mark, pepper("b", 0).mark);
    }

    #[test]
    fn the_current_one_comes_first() {
        let peppers = Peppers::new(pepper("new", 0), vec![pepper("old", 1), pepper("older", 2)]).unwrap();
        assert_eq!(ids(peppers.marks()), ["new", "old", "older"]);
        assert_eq!(peppers.current().id().as_str(), "new");

        let (mark, digest) = peppers.digest_current(TOKEN);
        assert_eq!((mark, hex(digest).as_str()), (&peppers.current().mark, DIGEST));

        let digests = peppers.digests(TOKEN);
        assert_eq!(ids(digests.iter().map(|(mark, _)| *mark)), ["new", "old", "older"]);
        assert_eq!(digests[0].1, digest);
        assert_eq!(digests[1].1, pepper("x", 1).digest(TOKEN));
        assert_eq!(digests[2].1, pepper("x", 2).digest(TOKEN));
        assert_ne!(digests[0].1, digests[1].1);
    }

    #[test]
    fn no_two_share_an_id() {
        let same = |id: &str| Some(DuplicatePepperId(PepperId::parse(id).unwrap()));
        assert_eq!(Peppers::new(pepper("a", 0), vec![pepper("a", 1)]).err(), same("a"));
        assert_eq!(Peppers::new(pepper("a", 0), vec![pepper("b", 1), pepper("b", 2)]).err(), same("b"));
        assert!(Peppers::new(pepper("a", 0), vec![]).is_ok());
    }

    #[test]
    fn a_generated_one_is_all_from_the_generator() {
        let script: Vec<u8> = (100..132).collect();
        let generated = Pepper::generate(PepperId::parse("a").unwrap(), &mut Scripted::new(script.clone()));
        assert_eq!(generated.expose(), script);
        assert_eq!(
            generated.digest(TOKEN),
            Pepper::new(generated.id().clone(), &script).unwrap().digest(TOKEN)
        );
    }

    #[test]
    fn debug_shows_ids_only() {
        let peppers = Peppers::new(pepper("new", 7), vec![pepper("old", 1)]).unwrap();
        assert_eq!(format!("{:?}", peppers.current()), "Pepper(new, [REDACTED])");
        assert_eq!(
            format!("{peppers:?}"),
            "Peppers { current: Pepper(new, [REDACTED]), accepted: [Pepper(old, [REDACTED])] }"
        );
    }
}
