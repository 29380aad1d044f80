//! What the operator may choose about an import.

use std::str::FromStr;

use thiserror::Error;

/// Decimals of the currency that fit into micros.
const MICROS_DECIMALS: usize = 6;

/// Choices of the operator; the defaults are the safe ones.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Options {
    /// Take values that hold `*`, and CIDRs, as live patterns. The older system compared them literally, so
    /// that they allowed nothing; by default they are dropped with a warning.
    pub keep_wildcards: bool,
    /// What one unit of `total_cost` is worth.
    pub total_cost_unit: CostUnit,
}

/// The worth of one unit of the older system's `total_cost`: from 1 micro (10⁻⁶ of the currency) on.
///
/// Parses from a decimal part of the currency: `0.0001` (the default), `0.01` (cents), `1`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CostUnit(i64);

impl CostUnit {
    /// A unit of this many micros; `None` below 1.
    #[must_use]
    pub fn from_micros(micros: i64) -> Option<Self> {
        (micros >= 1).then_some(Self(micros))
    }

    /// The unit in micros, ≥ 1.
    #[must_use]
    pub fn micros(self) -> i64 {
        self.0
    }
}

impl Default for CostUnit {
    /// 10⁻⁴ of the currency.
    fn default() -> Self {
        Self(100)
    }
}

/// The text is no [`CostUnit`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, Error)]
#[error("must be a positive decimal part of the currency with at most 6 decimals, like 0.0001 or 0.01")]
pub struct CostUnitError;

impl FromStr for CostUnit {
    type Err = CostUnitError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        let digits = |part: &str| !part.is_empty() && part.bytes().all(|byte| byte.is_ascii_digit());
        if !digits(whole) || !digits(decimals) || decimals.len() > MICROS_DECIMALS {
            return Err(CostUnitError);
        }
        format!("{whole}{decimals:0<MICROS_DECIMALS$}")
            .parse()
            .ok()
            .and_then(Self::from_micros)
            .ok_or(CostUnitError)
    }
}
