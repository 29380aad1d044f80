//! Check 12, the rule: what a budget says to one more request, given what is spent and reserved of its period.
//!
//! - A request is admitted only where something of the limit is left *before* it, and its estimate fits as well. So a
//!   limit of 0 admits nothing, not even what costs nothing, and a budget that is used up admits nothing more.
//! - A soft budget never refuses: it reserves and warns.
//! - All sums are checked: one that cannot be said is over any limit.
//!
//! What does not belong here: which period it is, where balances are kept, charging several budgets together.

use super::name_pattern::parse_name;
use super::{AccessRule, Micros, NewBudget};

/// What has become of a budget in one period. Both may be above its limit: the actual cost may exceed the estimate, and
/// limits are changed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Balance {
    /// Reported, and spent.
    pub spent: Micros,
    /// Held for requests that are not reported yet.
    pub reserved: Micros,
}

impl Balance {
    /// Of a period in which nothing has happened.
    pub const ZERO: Self = Self { spent: Micros::ZERO, reserved: Micros::ZERO };

    /// What is not there any more for others: spent and reserved; `None` above [`Micros::MAX`].
    #[must_use]
    pub const fn committed(self) -> Option<Micros> {
        self.spent.checked_add(self.reserved)
    }
}

/// Whether one more request fits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Something is left, and the estimate is not more than that.
    Within,
    /// Nothing is left, or less than the estimate.
    Over,
}

/// Whether a request of `estimate` fits under `limit`: iff `spent + reserved < limit` and
/// `spent + reserved + estimate <= limit`.
#[must_use]
pub fn admit(limit: Micros, balance: Balance, estimate: Micros) -> Admission {
    let Some(committed) = balance.committed() else { return Admission::Over };
    let fits = committed.checked_add(estimate).is_some_and(|sum| sum <= limit);
    if committed < limit && fits { Admission::Within } else { Admission::Over }
}

/// Why a hard budget refuses: BUDGET_EXCEEDED.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// See [`Admission::Over`].
    Exceeded,
    /// The request gives no estimate, and the budget wants one.
    EstimateMissing,
}

/// What a budget says to a request.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Ruling {
    /// The request may go on when this much is reserved, which may be 0.
    Reserve {
        /// The estimate. Of a soft budget that cannot count so far any more, what it still can.
        amount: Micros,
        /// The threshold is reached with it; or the budget is soft, and a hard one would have refused.
        warns: bool,
    },
    /// It may not.
    Refuse(Refusal),
}

impl NewBudget {
    /// Whether the budget counts requests for `model`. It counts those that name none, whatever its patterns, and those
    /// whose model is no name: what cannot be told apart must not get past it.
    #[must_use]
    pub fn counts(&self, model: Option<&[u8]>) -> bool {
        match (&self.models, model) {
            (AccessRule::Any, _) | (AccessRule::Only(_), None) => true,
            (AccessRule::Only(patterns), Some(model)) => {
                parse_name(model).is_none_or(|name| patterns.iter().any(|pattern| pattern.matches(name)))
            }
        }
    }

    /// What the budget says to a request that it [counts](Self::counts), which estimates its cost or not, given the balance
    /// of the period.
    #[must_use]
    pub fn rule(&self, balance: Balance, estimate: Option<Micros>) -> Ruling {
        let is_missing = self.require_estimate && estimate.is_none();
        if is_missing && self.is_hard {
            return Ruling::Refuse(Refusal::EstimateMissing);
        }
        let amount = estimate.unwrap_or(self.default_estimate);
        let admission = admit(self.limit, balance, amount);
        if admission == Admission::Over && self.is_hard {
            return Ruling::Refuse(Refusal::Exceeded);
        }
        let committed = balance.spent.saturating_add(balance.reserved);
        let amount = amount.min(Micros::MAX.saturating_sub(committed));
        let is_reached = self.warning.is_some_and(|warning| committed.saturating_add(amount) >= warning);
        Ruling::Reserve { amount, warns: is_reached || is_missing || admission == Admission::Over }
    }
}

#[cfg(test)]
mod tests;
