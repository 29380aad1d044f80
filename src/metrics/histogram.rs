//! How values are distributed.
//!
//! Sums are kept in whole units (nanoseconds), so that an observation is two additions and no loop over a
//! floating-point number; they are turned into the base unit when somebody reads.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use super::cells::{SHARDS, shard};

/// Bounds of buckets, and the unit that the page has them in.
#[derive(Clone, Copy, Debug)]
pub struct Scale {
    /// Upper bounds, each included, rising.
    bounds: &'static [u64],
    /// From whole units to the unit of the page.
    to_base: fn(u64) -> f64,
}

const MICRO: u64 = 1_000;
const MILLI: u64 = 1_000 * MICRO;
const SECOND: u64 = 1_000 * MILLI;

impl Scale {
    /// Times of calls and of what they wait for: 100 µs to 10 s.
    pub const CALLS: Self = Self {
        bounds: &[
            100 * MICRO,
            250 * MICRO,
            500 * MICRO,
            MILLI,
            2_500 * MICRO,
            5 * MILLI,
            10 * MILLI,
            25 * MILLI,
            50 * MILLI,
            100 * MILLI,
            250 * MILLI,
            500 * MILLI,
            SECOND,
            2_500 * MILLI,
            5 * SECOND,
            10 * SECOND,
        ],
        to_base: seconds,
    };

    /// Times of decisions: 1 µs, which one takes that waits for nothing, to 2.5 s.
    pub const DECISIONS: Self = Self {
        bounds: &[
            MICRO,
            2_500,
            5 * MICRO,
            10 * MICRO,
            25 * MICRO,
            50 * MICRO,
            100 * MICRO,
            250 * MICRO,
            500 * MICRO,
            MILLI,
            2_500 * MICRO,
            5 * MILLI,
            10 * MILLI,
            25 * MILLI,
            50 * MILLI,
            100 * MILLI,
            250 * MILLI,
            MILLI * 500,
            SECOND,
            2_500 * MILLI,
        ],
        to_base: seconds,
    };

    /// Numbers of members.
    pub const MEMBERS: Self = Self { bounds: &[1, 2, 5, 10, 20, 50, 100, 200, 500, 1_000], to_base: plain };
}

fn seconds(nanoseconds: u64) -> f64 {
    Duration::from_nanos(nanoseconds).as_secs_f64()
}

fn plain(count: u64) -> f64 {
    Duration::from_secs(count).as_secs_f64()
}

/// How many values lay where.
#[derive(Debug)]
pub struct Histogram {
    scale: Scale,
    shards: [Shard; SHARDS],
}

#[derive(Debug)]
#[repr(align(128))]
struct Shard {
    /// One for each bound, and one for what lies above the last.
    counts: Box<[AtomicU64]>,
    sum: AtomicU64,
}

/// What a histogram says at a moment.
#[derive(Clone, Debug, PartialEq)]
pub struct Distribution {
    /// In the unit of the page.
    pub sum: f64,
    /// Of values.
    pub count: u64,
    /// Upper bounds in the unit of the page, the last infinite, and how many values lie in each bucket alone.
    pub buckets: Vec<(f64, u64)>,
}

impl Histogram {
    /// A histogram of nothing yet.
    #[must_use]
    pub fn new(scale: Scale) -> Self {
        let counts = || (0..=scale.bounds.len()).map(|_| AtomicU64::new(0)).collect();
        Self { scale, shards: std::array::from_fn(|_| Shard { counts: counts(), sum: AtomicU64::new(0) }) }
    }

    /// Counts a length of time.
    pub fn observe(&self, took: Duration) {
        self.observe_units(u64::try_from(took.as_nanos()).unwrap_or(u64::MAX));
    }

    /// Counts a number of members.
    pub fn observe_members(&self, count: usize) {
        self.observe_units(u64::try_from(count).unwrap_or(u64::MAX));
    }

    fn observe_units(&self, value: u64) {
        let Some(shard) = self.shards.get(shard()) else { return };
        let bucket = self.scale.bounds.partition_point(|bound| *bound < value);
        if let Some(count) = shard.counts.get(bucket) {
            count.fetch_add(1, Ordering::Relaxed);
            shard.sum.fetch_add(value, Ordering::Relaxed);
        }
    }

    /// What it says now.
    #[must_use]
    pub fn read(&self) -> Distribution {
        let mut counts = vec![0_u64; self.scale.bounds.len().saturating_add(1)];
        let mut sum = 0_u64;
        for shard in &self.shards {
            sum = sum.saturating_add(shard.sum.load(Ordering::Relaxed));
            for (total, count) in counts.iter_mut().zip(&shard.counts) {
                *total = total.saturating_add(count.load(Ordering::Relaxed));
            }
        }
        let bounds = self.scale.bounds.iter().map(|bound| (self.scale.to_base)(*bound));
        let bounds = bounds.chain([f64::INFINITY]);
        Distribution {
            sum: (self.scale.to_base)(sum),
            // From the buckets, so that they never contradict it.
            count: counts.iter().sum(),
            buckets: bounds.zip(counts).collect(),
        }
    }
}
