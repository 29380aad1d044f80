//! What a token looks like, and what a presented one is, by its bytes alone.
//!
//! An own token is `brand_PPPPPPPPPPPP_SSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSSCCCCCC`: a brand, 12 base62 digits of
//! public id, 32 of secret (190 bits), and the CRC-32 of everything before it as 6 digits. An imported
//! (*foreign*) token is any printable ASCII of 16 to 72 bytes: 72 is where bcrypt would cut.
//!
//! What does not belong here: whether a token is known or right.

use std::fmt;

use rand::CryptoRng;
use secrecy::zeroize::Zeroizing;
use secrecy::{ExposeSecret, SecretString};

use super::base62;

#[cfg(test)]
#[expect(clippy::string_slice, reason = "test texts are ASCII where they are cut")]
mod tests;

const PUBLIC_ID_LEN: usize = 12;
const SECRET_LEN: usize = 32;
/// All of an own token but its brand: two underscores, public id, secret, checksum.
const LEN_WITHOUT_BRAND: usize = 1 + PUBLIC_ID_LEN + 1 + SECRET_LEN + base62::CHECKSUM_LEN;
/// Foreign tokens: length in bytes, and how much of one an admin may see.
const FOREIGN_LEN: std::ops::RangeInclusive<usize> = 16..=72;
const FOREIGN_PREFIX_LEN: usize = 8;

/// The word that own tokens start with: `[a-z][a-z0-9]{0,7}`, by default `ks`.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Brand(Box<str>);

/// A brand must be 1 to 8 lower-case letters and digits and start with a letter.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a token brand is 1 to 8 of a-z and 0-9 and starts with a letter")]
pub struct InvalidBrand;

impl Brand {
    /// Takes `[a-z][a-z0-9]{0,7}`.
    ///
    /// # Errors
    /// [`InvalidBrand`] for anything else.
    pub fn parse(text: &str) -> Result<Self, InvalidBrand> {
        if is_brand(text) { Ok(Self(text.into())) } else { Err(InvalidBrand) }
    }

    /// The brand without the underscore that follows it in a token.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }
}

impl Default for Brand {
    fn default() -> Self {
        Self("ks".into())
    }
}

impl fmt::Display for Brand {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0)
    }
}

fn is_brand(text: &str) -> bool {
    let Some((first, rest)) = text.as_bytes().split_first() else { return false };
    first.is_ascii_lowercase()
        && rest.len() <= 7
        && rest.iter().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit())
}

/// A whole token, owned: a secret that is wiped from memory when dropped.
///
/// Always 16 to 72 bytes of printable ASCII: it comes from [`Token::generate`] or
/// [`Presented::to_token`] only.
#[derive(Clone)]
pub struct Token {
    secret: SecretString,
    prefix: String,
}

impl Token {
    /// Makes a new own token from 12 + 32 digits drawn from `rng`; see [`os_rng`](super::os_rng).
    #[must_use]
    pub fn generate(brand: &Brand, rng: &mut impl CryptoRng) -> Self {
        let mut public_id = [0; PUBLIC_ID_LEN];
        base62::fill_random(&mut public_id, rng);
        let mut secret = Zeroizing::new([0; SECRET_LEN]);
        base62::fill_random(secret.as_mut_slice(), rng);

        let mut prefix = String::from(brand.as_str());
        prefix.push('_');
        prefix.extend(public_id.map(char::from));

        // Of exactly the right capacity, so that no growth leaves a copy of the secret behind.
        let mut text = String::with_capacity(brand.as_str().len() + LEN_WITHOUT_BRAND);
        text.push_str(&prefix);
        text.push('_');
        text.extend(secret.iter().copied().map(char::from));
        let checksum = base62::checksum(text.as_bytes());
        text.extend(checksum.map(char::from));
        Self { secret: text.into(), prefix }
    }

    /// The whole token in the clear: for the answer that shows it once, for digests and for bcrypt.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.secret.expose_secret()
    }

    /// What an admin may see of it: brand and public id, or a foreign token's first 8 characters.
    #[must_use]
    pub fn prefix(&self) -> String {
        self.prefix.clone()
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}…[REDACTED])", self.prefix)
    }
}

/// What was presented as a token cannot be one: no look-up is worth its while.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("malformed token")]
pub struct Malformed;

/// A presented token that could be known: borrowed, checked for form, not yet proven.
#[derive(Clone, Copy)]
pub struct Presented<'a> {
    text: &'a str,
    prefix: &'a str,
    own: bool,
}

impl<'a> Presented<'a> {
    /// Sorts what a caller presented. Reads nothing but its arguments and allocates nothing.
    ///
    /// - The own shape under any brand with the right checksum is own: tokens outlive a change of brand.
    /// - Other printable ASCII (0x21 to 0x7e) of 16 to 72 bytes is foreign, also the own shape under another
    ///   brand with a wrong checksum.
    ///
    /// # Errors
    /// [`Malformed`] for everything else, and for the own shape under `brand` with a wrong checksum.
    pub fn classify(bytes: &'a [u8], brand: &Brand) -> Result<Self, Malformed> {
        if !FOREIGN_LEN.contains(&bytes.len()) || !bytes.iter().all(u8::is_ascii_graphic) {
            return Err(Malformed);
        }
        let text = str::from_utf8(bytes).map_err(|_| Malformed)?;
        if let Some(shape) = OwnShape::of(text) {
            if shape.checksum.as_bytes() == base62::checksum(shape.checked.as_bytes()) {
                return Ok(Self { text, prefix: shape.prefix, own: true });
            }
            if shape.brand == brand.as_str() {
                return Err(Malformed);
            }
        }
        let prefix = text.get(..FOREIGN_PREFIX_LEN).ok_or(Malformed)?;
        Ok(Self { text, prefix, own: false })
    }

    /// The whole token in the clear.
    #[must_use]
    pub fn bytes(&self) -> &'a [u8] {
        self.text.as_bytes()
    }

    /// What an admin may see of it and what candidates are looked up by: brand and public id, or a foreign
    /// token's first 8 characters.
    #[must_use]
    pub fn prefix(&self) -> &'a str {
        self.prefix
    }

    /// Whether it has the form of a token that this service made, with the right checksum.
    #[must_use]
    pub fn is_own(&self) -> bool {
        self.own
    }

    /// An owned copy, wiped when dropped, for moving to another thread.
    #[must_use]
    pub fn to_token(&self) -> Token {
        Token { secret: self.text.into(), prefix: self.prefix.into() }
    }
}

impl fmt::Debug for Presented<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let kind = if self.own { "own" } else { "foreign" };
        write!(f, "Presented({kind}, {}…[REDACTED])", self.prefix)
    }
}

/// The parts of a text that has the form of an own token; the checksum is not yet compared.
struct OwnShape<'a> {
    brand: &'a str,
    /// Brand, underscore, public id.
    prefix: &'a str,
    /// Everything that the checksum covers.
    checked: &'a str,
    checksum: &'a str,
}

impl<'a> OwnShape<'a> {
    /// All parts but the brand have fixed lengths, so the text is cut from its end.
    fn of(text: &'a str) -> Option<Self> {
        let (checked, checksum) = split_tail(text, base62::CHECKSUM_LEN)?;
        let (rest, secret) = split_tail(checked, SECRET_LEN)?;
        let prefix = rest.strip_suffix('_')?;
        let (rest, public_id) = split_tail(prefix, PUBLIC_ID_LEN)?;
        let brand = rest.strip_suffix('_')?;
        let digits = [public_id, secret, checksum];
        (is_brand(brand) && digits.iter().all(|part| base62::is_base62(part.as_bytes()))).then_some(Self {
            brand,
            prefix,
            checked,
            checksum,
        })
    }
}

fn split_tail(text: &str, tail_len: usize) -> Option<(&str, &str)> {
    text.split_at_checked(text.len().checked_sub(tail_len)?)
}
