//! Many tokens, and tokens that are wrong.

use crate::random::Random;

/// Bytes of the public id and the secret of an own token, and of its checksum.
const PUBLIC_ID_BYTES: usize = 12;
const SECRET_BYTES: usize = 32;
const CHECKSUM_BYTES: usize = 6;

/// Tokens of one length, side by side.
#[derive(Debug, Default)]
pub struct Tokens {
    text: Vec<u8>,
    each: usize,
}

impl Tokens {
    /// None yet; each is going to have so many bytes.
    pub fn of_length(each: usize) -> Self {
        Self { text: Vec::new(), each }
    }

    /// Adds one; `false` where it has another length.
    pub fn push(&mut self, token: &str) -> bool {
        let fits = token.len() == self.each;
        if fits {
            self.text.extend_from_slice(token.as_bytes());
        }
        fits
    }

    /// Adds all of these; where there are none yet, their length becomes that of all.
    pub fn append(&mut self, more: &Self) {
        if self.text.is_empty() {
            self.each = more.each;
        }
        if self.each == more.each {
            self.text.extend_from_slice(&more.text);
        }
    }

    /// How many there are.
    pub fn len(&self) -> usize {
        self.text.len().checked_div(self.each).unwrap_or(0)
    }

    /// The one at this place.
    pub fn get(&self, at: usize) -> Option<&[u8]> {
        let start = at.checked_mul(self.each)?;
        self.text.get(start..start.checked_add(self.each)?)
    }
}

/// How a token is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Forgery {
    /// Of own format with the right checksum, and nobody's.
    Nobodys,
    /// The prefix of an own key (brand and public id), another secret, the right checksum.
    WrongSecret(String),
    /// The first characters of an imported key's token, and others behind; as long as that.
    WrongImported {
        /// What is right.
        prefix: String,
        /// Bytes of the whole.
        length: usize,
    },
}

impl Forgery {
    /// Another such token.
    pub fn token(&self, random: &mut Random) -> Vec<u8> {
        match self {
            Self::Nobodys => {
                let mut prefix = b"ks_".to_vec();
                prefix.extend((0..PUBLIC_ID_BYTES).map(|_| random.digit()));
                own(prefix, random)
            }
            Self::WrongSecret(prefix) => own(prefix.clone().into_bytes(), random),
            Self::WrongImported { prefix, length } => {
                let mut token = prefix.clone().into_bytes();
                let missing = length.saturating_sub(token.len());
                token.extend((0..missing).map(|_| random.digit()));
                token
            }
        }
    }
}

/// An own token with this prefix and any secret.
fn own(mut token: Vec<u8>, random: &mut Random) -> Vec<u8> {
    token.push(b'_');
    token.extend((0..SECRET_BYTES).map(|_| random.digit()));
    let checksum = checksum(crc32fast::hash(&token));
    token.extend(checksum);
    token
}

/// A CRC-32 as base62, most significant digit first.
fn checksum(mut number: u32) -> [u8; CHECKSUM_BYTES] {
    let mut digits = [b'0'; CHECKSUM_BYTES];
    for digit in digits.iter_mut().rev() {
        let [value, ..] = (number % 62).to_le_bytes();
        *digit = match value {
            0..=9 => b'0' + value,
            10..=35 => b'A' + (value - 10),
            _ => b'a' + (value - 36),
        };
        number /= 62;
    }
    digits
}
