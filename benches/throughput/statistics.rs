//! Medians, percentiles and ratios.

use std::time::Duration;

use serde::{Serialize, Serializer};

/// Where measurements lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Spread {
    /// The middle one; of an even number, the mean of the middle two.
    #[serde(serialize_with = "short")]
    pub median: f64,
    /// The least.
    #[serde(serialize_with = "short")]
    pub min: f64,
    /// The greatest.
    #[serde(serialize_with = "short")]
    pub max: f64,
}

impl Spread {
    /// Of these measurements, in any order; `None` where there are none.
    pub fn of(measurements: impl IntoIterator<Item = f64>) -> Option<Self> {
        let mut sorted: Vec<f64> = measurements.into_iter().collect();
        sorted.sort_by(f64::total_cmp);
        let (min, max) = (*sorted.first()?, *sorted.last()?);
        let upper = *sorted.get(sorted.len() / 2)?;
        let lower = *sorted.get((sorted.len() - 1) / 2)?;
        Some(Self { median: f64::midpoint(lower, upper), min, max })
    }

    /// Of the ratios of what was measured one right after the other, which is not the ratio of the medians: what
    /// disturbs the machine disturbs both of a pair.
    pub fn of_ratios(pairs: impl IntoIterator<Item = (f64, f64)>) -> Option<Self> {
        Self::of(pairs.into_iter().map(|(above, below)| above / below))
    }

    /// In another unit.
    pub fn times(&self, factor: f64) -> Self {
        Self { median: self.median * factor, min: self.min * factor, max: self.max * factor }
    }

    /// For people: the median, and from where to where, in so many places.
    pub fn text(&self, places: usize) -> String {
        let Self { median, min, max } = self;
        format!("{median:.places$} ({min:.places$} to {max:.places$})")
    }
}

/// To four places: more would only look exact.
pub fn rounded(number: f64) -> f64 {
    (number * 1e4).round() / 1e4
}

/// For `serialize_with`.
///
/// # Errors
/// The serializer's.
#[expect(clippy::trivially_copy_pass_by_ref, reason = "the signature that serde asks of it")]
pub fn short<S: Serializer>(number: &f64, serializer: S) -> Result<S::Ok, S::Error> {
    serializer.serialize_f64(rounded(*number))
}

/// The duration that `percent` per cent of `durations` do not exceed (nearest rank); `None` where there are
/// none. Leaves them in another order.
pub fn percentile(durations: &mut [Duration], percent: usize) -> Option<Duration> {
    let rank = (durations.len() * percent).div_ceil(100).max(1);
    if rank > durations.len() {
        return None;
    }
    let (_, at_rank, _) = durations.select_nth_unstable(rank - 1);
    Some(*at_rank)
}

/// A count as a number to divide by; exact up to 2³² − 1, which no round reaches.
pub fn float(count: usize) -> f64 {
    f64::from(u32::try_from(count).unwrap_or(u32::MAX))
}

/// Microseconds.
pub fn micros(duration: Duration) -> f64 {
    duration.as_secs_f64() * 1e6
}
