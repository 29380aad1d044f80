//! A key's bcrypt hash as it is stored, and the cost of new ones.
//!
//! What this accepts, [`BcryptPool`](super::BcryptPool) can verify: nothing fails later for its form.

use std::fmt;

use secrecy::{ExposeSecret, SecretString};

const HASH_LEN: usize = 60;
const MIN_COST: u32 = 4;
const MAX_COST: u32 = 14;

/// A bcrypt hash: `$2a$`, `$2b$` or `$2y$`, cost 4 to 14, 60 characters.
///
/// The three names stand for one algorithm where passwords are at most 72 bytes of ASCII (they tell apart how
/// bugs with longer or 8-bit ones were mended); `$2x$`, which keeps such a bug, is refused.
#[derive(Clone)]
pub struct KeyHash {
    text: SecretString,
    cost: BcryptCost,
}

/// Why a text is no [`KeyHash`]. Never holds any of the text.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum InvalidKeyHash {
    /// Not exactly 60 bytes.
    #[error("a bcrypt hash has 60 characters, not {0}")]
    Length(usize),
    /// Neither `$2a$`, `$2b$` nor `$2y$`.
    #[error("a bcrypt hash starts with $2a$, $2b$ or $2y$")]
    Version,
    /// Not two digits and `$`, or out of bounds.
    #[error("the cost of a bcrypt hash is two digits from 04 to 14")]
    Cost,
    /// Salt and hash are not bcrypt's base64, or its unused bits are set.
    #[error("the salt or the hash is not in bcrypt's base64")]
    Encoding,
}

impl KeyHash {
    /// Takes a hash as it is stored, whoever made it.
    ///
    /// # Errors
    /// [`InvalidKeyHash`] says what is wrong, without the text.
    pub fn parse(text: &str) -> Result<Self, InvalidKeyHash> {
        if text.len() != HASH_LEN {
            return Err(InvalidKeyHash::Length(text.len()));
        }
        let rest = ["$2a$", "$2b$", "$2y$"]
            .iter()
            .find_map(|version| text.strip_prefix(version))
            .ok_or(InvalidKeyHash::Version)?;
        let (digits, _) = rest.split_once('$').ok_or(InvalidKeyHash::Cost)?;
        if digits.len() != 2 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
            return Err(InvalidKeyHash::Cost);
        }
        let cost =
            digits.parse().ok().and_then(|cost| BcryptCost::new(cost).ok()).ok_or(InvalidKeyHash::Cost)?;
        // The library's own reading, so that verifying cannot fail for the form later.
        let _: bcrypt::HashParts = text.parse().map_err(|_| InvalidKeyHash::Encoding)?;
        Ok(Self { text: text.into(), cost })
    }

    /// The hash in the clear: for storing and verifying it.
    #[must_use]
    pub fn expose(&self) -> &str {
        self.text.expose_secret()
    }

    /// The cost that it was made with: what verifying it takes.
    #[must_use]
    pub fn cost(&self) -> BcryptCost {
        self.cost
    }
}

impl fmt::Debug for KeyHash {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "KeyHash(cost {}, [REDACTED])", self.cost.get())
    }
}

/// bcrypt's cost, 4 to 14: 2^cost rounds. Default 10, some 50 ms of one core.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct BcryptCost(u32);

/// A bcrypt cost out of bounds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
#[error("a bcrypt cost is 4 to 14, not {0}")]
pub struct InvalidBcryptCost(pub u32);

impl BcryptCost {
    /// Takes 4 to 14.
    ///
    /// # Errors
    /// [`InvalidBcryptCost`] for anything else.
    pub fn new(cost: u32) -> Result<Self, InvalidBcryptCost> {
        if (MIN_COST..=MAX_COST).contains(&cost) { Ok(Self(cost)) } else { Err(InvalidBcryptCost(cost)) }
    }

    /// The cost as a number.
    #[must_use]
    pub const fn get(self) -> u32 {
        self.0
    }
}

impl Default for BcryptCost {
    fn default() -> Self {
        Self(10)
    }
}

#[cfg(test)]
#[expect(clippy::string_slice, reason = "test texts are ASCII where they are cut")]
mod tests {
    use super::*;

    const TAIL: &str = "xQkH.TJGQYrBOBEtBsoZnOZoQbuw.2CMveCQa0S1QgAZkc9KWNkQe";

    #[test]
    fn accepts_the_three_names_and_every_cost_in_bounds() {
        for version in ["2a", "2b", "2y"] {
            for cost in 4..=14 {
                let text = format!("${version}${cost:02}${TAIL}");
                let hash = KeyHash::parse(&text).unwrap();
                assert_eq!(hash.expose(), text);
                assert_eq!(hash.cost().get(), cost);
            }
        }
    }

    #[test]
    fn refuses_everything_else() {
        use InvalidKeyHash::{Cost, Encoding, Length, Version};
        let cases: [(String, InvalidKeyHash); 19] = [
            (String::new(), Length(0)),
            (format!("$2b$04${}", &TAIL[1..]), Length(59)),
            (format!("$2b$04${TAIL}e"), Length(61)),
            (format!("$2b$04${TAIL}\n"), Length(61)),
            (format!("$2x$04${TAIL}"), Version),
            (format!("$2c$04${TAIL}"), Version),
            (format!("$2B$04${TAIL}"), Version),
            (format!(" 2b$04${TAIL}"), Version),
            (format!("$2b$03${TAIL}"), Cost),
            (format!("$2b$15${TAIL}"), Cost),
            (format!("$2b$31${TAIL}"), Cost),
            (format!("$2b$+4${TAIL}"), Cost),
            (format!("$2b$ 4${TAIL}"), Cost),
            (format!("$2b$4${TAIL}e"), Cost),
            (format!("$2b$04!{TAIL}"), Cost),
            (format!("$2b$04${}+", &TAIL[..52]), Encoding),
            (format!("$2b$04$\0{}", &TAIL[1..]), Encoding),
            // Six bits of a salt's last character, of which four are unused and must be clear: `O` + 1.
            (format!("$2b$04${}P{}", &TAIL[..21], &TAIL[22..]), Encoding),
            (format!("$2b$04$é{}", &TAIL[2..]), Encoding),
        ];
        for (text, expected) in cases {
            assert_eq!(KeyHash::parse(&text).err(), Some(expected), "{text:?}");
        }
    }

    #[test]
    fn costs_have_bounds_and_a_default() {
        assert_eq!(BcryptCost::default().get(), 10);
        assert_eq!(BcryptCost::new(4).map(BcryptCost::get), Ok(4));
        assert_eq!(BcryptCost::new(14).map(BcryptCost::get), Ok(14));
        for cost in [0, 3, 15, 31, u32::MAX] {
            assert_eq!(BcryptCost::new(cost), Err(InvalidBcryptCost(cost)));
        }
    }

    #[test]
    fn debug_shows_neither_salt_nor_hash() {
        let hash = KeyHash::parse(&format!("$2b$04${TAIL}")).unwrap();
        assert_eq!(format!("{hash:?}"), "KeyHash(cost 4, [REDACTED])");
    }
}
