//! Numbers that look random and are the same in every run: SplitMix64. For schedules and traffic, never for secrets.

/// A generator.
#[derive(Clone, Debug)]
pub struct Random(u64);

impl Random {
    /// Each seed has its own numbers.
    pub fn new(seed: u64) -> Self {
        Self(seed)
    }

    /// 64 bits.
    pub fn bits(&mut self) -> u64 {
        self.0 = self.0.wrapping_add(0x9e37_79b9_7f4a_7c15);
        let mixed = (self.0 ^ (self.0 >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let mixed = (mixed ^ (mixed >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ (mixed >> 31)
    }

    /// Above 0 and up to 1, in steps of 2⁻³².
    pub fn unit(&mut self) -> f64 {
        let high = u32::try_from(self.bits() >> 32).unwrap_or(u32::MAX);
        (f64::from(high) + 1.0) / 4_294_967_296.0
    }

    /// A base62 digit. Six bits are a candidate; 62 and 63 are drawn again.
    pub fn digit(&mut self) -> u8 {
        const DIGITS: &[u8; 62] = b"0123456789ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz";
        loop {
            let candidate = usize::try_from(self.bits() >> 58).unwrap_or(usize::MAX);
            if let Some(digit) = DIGITS.get(candidate) {
                return *digit;
            }
        }
    }
}
