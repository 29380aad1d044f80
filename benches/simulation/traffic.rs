//! Requests: when they come, about which key, to which replica.
//!
//! Gaps are exponential. A key's requests go to a fixed number of replicas, to each as often. Keys are not all asked about
//! from the start: each from some instant of the first half of the warm-up on, so that windows are not all full at the same
//! time.

use std::time::Duration;

use crate::options::Plan;
use crate::random::Random;
use crate::zipf::Zipf;

/// A request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Arrival {
    /// Virtual nanoseconds.
    pub at: u64,
    /// Its key.
    pub key: usize,
    /// Where it comes in.
    pub replica: usize,
}

/// All of them, in order of time and without end.
#[derive(Debug)]
pub struct Traffic {
    random: Random,
    zipf: Zipf,
    at: u64,
    mean_gap: f64,
    replicas: usize,
    sticky: usize,
    /// By key: from when on it is asked about.
    begins: Vec<u64>,
    /// By key: the first of its replicas.
    homes: Vec<usize>,
}

impl Traffic {
    /// From `began` on.
    pub fn new(plan: &Plan, began: u64) -> Self {
        let mut random = Random::new(plan.seed);
        let half = float(nanos_of(plan.warm_up) / 2);
        let begins = (0..plan.keys).map(|_| began.saturating_add(nanos(random.unit() * half))).collect();
        let homes = (0..plan.keys).map(|_| below(random.bits(), plan.replicas)).collect();
        Self {
            random,
            zipf: Zipf::new(plan.keys, plan.popularity.exponent()),
            at: began,
            mean_gap: 1e9 / plan.rate.max(1e-3),
            replicas: plan.replicas,
            sticky: plan.sticky,
            begins,
            homes,
        }
    }

    /// Requests that each key is asked about in a time, on average, once all keys are.
    pub fn expected(plan: &Plan, time: Duration) -> Vec<f64> {
        let weight = |rank: u32| f64::from(rank).powf(-plan.popularity.exponent());
        let sum: f64 = (1..=plan.keys).map(weight).sum();
        (1..=plan.keys).map(|rank| plan.rate * time.as_secs_f64() * weight(rank) / sum).collect()
    }
}

impl Iterator for Traffic {
    type Item = Arrival;

    fn next(&mut self) -> Option<Arrival> {
        loop {
            let gap = nanos(-self.random.unit().ln() * self.mean_gap);
            self.at = self.at.saturating_add(gap);
            let key = self.zipf.rank(self.random.unit());
            if *self.begins.get(key)? > self.at {
                continue;
            }
            let further = below(self.random.bits(), self.sticky);
            let replica = (self.homes.get(key)? + further) % self.replicas;
            return Some(Arrival { at: self.at, key, replica });
        }
    }
}

/// A number below another, which is at least 1.
fn below(bits: u64, end: usize) -> usize {
    let end = u64::try_from(end).unwrap_or(u64::MAX).max(1);
    usize::try_from(bits % end).unwrap_or_default()
}

/// Whole nanoseconds of a number of them.
fn nanos(number: f64) -> u64 {
    Duration::try_from_secs_f64(number / 1e9).map_or(u64::MAX, nanos_of)
}

/// A duration in nanoseconds.
pub fn nanos_of(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).unwrap_or(u64::MAX)
}

/// A count as a number to divide by.
pub fn float(count: u64) -> f64 {
    let high = u32::try_from(count >> 32).unwrap_or(u32::MAX);
    let low = u32::try_from(count & u64::from(u32::MAX)).unwrap_or(u32::MAX);
    f64::from(high) * 4_294_967_296.0 + f64::from(low)
}
