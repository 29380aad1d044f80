//! Traffic that is not even: a few keys are asked about often, most seldom.
//!
//! The key of rank r is asked about in proportion to r⁻ˢ (Zipf's law).

use crate::random::Random;

/// The law over ranks 0 to `count` − 1.
#[derive(Debug)]
pub struct Zipf {
    /// The share of this rank and all before it; the last is 1.
    cumulative: Vec<f64>,
}

impl Zipf {
    /// Over at least one rank.
    pub fn new(count: u32, exponent: f64) -> Self {
        let mut sum = 0.0;
        let weights = (1..=count.max(1)).map(|rank| {
            sum += f64::from(rank).powf(-exponent);
            sum
        });
        let mut cumulative: Vec<f64> = weights.collect();
        for share in &mut cumulative {
            *share /= sum;
        }
        Self { cumulative }
    }

    /// The rank at this place, which is above 0 and up to 1.
    pub fn rank(&self, place: f64) -> usize {
        let last = self.cumulative.len().saturating_sub(1);
        self.cumulative.partition_point(|share| *share < place).min(last)
    }

    /// So many ranks, one after the other.
    pub fn sequence(&self, length: usize, random: &mut Random) -> Vec<usize> {
        (0..length).map(|_| self.rank(random.unit())).collect()
    }
}
