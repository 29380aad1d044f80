//! When calls are sent in an open loop: whether those before them were answered or not.
//!
//! The gaps are exponential, as those between callers who do not know of one another.

use std::time::Duration;

use crate::random::Random;

/// Instants, as lengths of time since the start, in order and without end.
#[derive(Debug)]
pub struct Schedule {
    per_second: f64,
    seconds: f64,
    random: Random,
}

impl Schedule {
    /// On average so many a second; the same seed gives the same instants.
    pub fn new(per_second: f64, seed: u64) -> Self {
        Self { per_second, seconds: 0.0, random: Random::new(seed) }
    }
}

impl Iterator for Schedule {
    type Item = Duration;

    fn next(&mut self) -> Option<Duration> {
        self.seconds -= self.random.unit().ln() / self.per_second;
        // Only a rate of 0 leads beyond what a duration holds: then there is no call.
        Duration::try_from_secs_f64(self.seconds).ok()
    }
}
