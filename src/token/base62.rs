//! Base62 with the digits `0-9A-Za-z`, in this order: the alphabet of own tokens.
//!
//! Two uses: random characters, and a CRC-32 as six digits. Not a codec for byte strings.

use rand::CryptoRng;
use secrecy::zeroize::Zeroizing;

/// How many digits hold any 32-bit number: 62⁶ > 2³².
pub(super) const CHECKSUM_LEN: usize = 6;

/// Whether all of `bytes` are base62 digits.
pub(super) fn is_base62(bytes: &[u8]) -> bool {
    bytes.iter().all(u8::is_ascii_alphanumeric)
}

/// The CRC-32 (IEEE 802.3) of `bytes` as base62, most significant digit first, padded with zeros.
pub(super) fn checksum(bytes: &[u8]) -> [u8; CHECKSUM_LEN] {
    encode(crc32fast::hash(bytes))
}

fn encode(number: u32) -> [u8; CHECKSUM_LEN] {
    let mut digits = [b'0'; CHECKSUM_LEN];
    let mut rest = number;
    for slot in digits.iter_mut().rev() {
        let [low, ..] = (rest % 62).to_le_bytes();
        *slot = digit(low);
        rest /= 62;
    }
    digits
}

/// Fills `out` with digits that are independent and equally likely.
///
/// Six bits of each random byte are a candidate; 62 and 63 are drawn again. (A remainder modulo 62 would
/// prefer the first digits.)
pub(super) fn fill_random(out: &mut [u8], rng: &mut impl CryptoRng) {
    let mut slots = out.iter_mut();
    while slots.len() > 0 {
        let mut drawn = Zeroizing::new([0_u8; 64]);
        rng.fill_bytes(drawn.as_mut_slice());
        let accepted = drawn.iter().map(|byte| byte & 0x3f).filter(|candidate| *candidate < 62);
        for (value, slot) in accepted.zip(slots.by_ref()) {
            *slot = digit(value);
        }
    }
}

/// The digit for `value`, which is below 62.
const fn digit(value: u8) -> u8 {
    match value % 62 {
        value @ 0..=9 => b'0' + value,
        value @ 10..=35 => b'A' + (value - 10),
        value => b'a' + (value - 36),
    }
}

#[cfg(test)]
pub(super) mod tests {
    use std::convert::Infallible;

    use rand::{TryCryptoRng, TryRng};

    use super::*;

    const ALPHABET: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";

    /// A generator that plays `script` over and over.
    pub(in crate::token) struct Scripted {
        script: Vec<u8>,
        next: usize,
    }

    impl Scripted {
        pub(in crate::token) fn new(script: impl Into<Vec<u8>>) -> Self {
            Self { script: script.into(), next: 0 }
        }
    }

    impl TryRng for Scripted {
        type Error = Infallible;

        fn try_next_u32(&mut self) -> Result<u32, Infallible> {
            let mut bytes = [0; 4];
            self.try_fill_bytes(&mut bytes)?;
            Ok(u32::from_le_bytes(bytes))
        }

        fn try_next_u64(&mut self) -> Result<u64, Infallible> {
            let mut bytes = [0; 8];
            self.try_fill_bytes(&mut bytes)?;
            Ok(u64::from_le_bytes(bytes))
        }

        fn try_fill_bytes(&mut self, dst: &mut [u8]) -> Result<(), Infallible> {
            for byte in dst {
                *byte = self.script[self.next % self.script.len()];
                self.next += 1;
            }
            Ok(())
        }
    }

    impl TryCryptoRng for Scripted {}

    #[test]
    fn every_digit_is_drawn_for_exactly_four_of_the_256_bytes() {
        // Each byte value once, over and over: 248 of the 256 must give a digit, each digit four times.
        let mut rng = Scripted::new((0..=255).collect::<Vec<u8>>());
        let mut out = [0; 248];
        fill_random(&mut out, &mut rng);
        for digit in ALPHABET {
            assert_eq!(out.iter().filter(|drawn| *drawn == digit).count(), 4, "{}", char::from(*digit));
        }
    }

    #[test]
    fn what_is_no_digit_is_drawn_again() {
        let mut script = vec![62, 63, 126, 127, 190, 191, 254, 255];
        script.extend([0, 9, 10, 35, 36, 61, 64, 255, 62, 128 + 61]);
        let mut out = [0; 8];
        fill_random(&mut out, &mut Scripted::new(script));
        assert_eq!(&out, b"09AZaz0z");
    }

    #[test]
    fn drawing_goes_on_beyond_one_buffer() {
        let mut script = vec![63; 200];
        script.push(1);
        let mut out = [0; 3];
        fill_random(&mut out, &mut Scripted::new(script));
        assert_eq!(&out, b"111");
    }

    #[test]
    fn numbers_are_padded_and_big_endian() {
        assert_eq!(&encode(0), b"000000");
        assert_eq!(&encode(61), b"00000z");
        assert_eq!(&encode(62), b"000010");
        // Worked out with Python: 4294967295 in base 62 with this alphabet.
        assert_eq!(&encode(u32::MAX), b"4gfFC3");
    }
}
