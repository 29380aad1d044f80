//! New terms of a budget.

use crate::admin::AdminError;
use crate::policy::{AccessRule, Budget, BudgetSubject, Micros, NamePattern, Period};

/// New terms of a budget; `None` leaves one as it is.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct BudgetPatch {
    /// For people.
    pub display_name: Option<String>,
    /// At the limit, nothing more is admitted.
    pub limit: Option<Micros>,
    /// Denies, rather than warns.
    pub is_hard: Option<bool>,
    /// From here on it warns; `Some(None)` takes the warning away.
    pub warning: Option<Option<Micros>>,
    /// Reserved for a request without an estimate.
    pub default_estimate: Option<Micros>,
    /// Denies a request without an estimate.
    pub require_estimate: Option<bool>,
    /// What cannot be changed, as the caller's copy of the budget has it. Another value than the budget's is a change
    /// that must not be lost in silence.
    pub seen: SeenBudget,
}

/// What a caller has seen of a budget that never changes.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenBudget {
    /// Whose it is.
    pub subject: Option<BudgetSubject>,
    /// Over what time it counts.
    pub period: Option<Period>,
    /// The models that it counts.
    pub models: Option<AccessRule<NamePattern>>,
}

impl BudgetPatch {
    pub(super) fn apply(self, budget: &mut Budget) -> Result<(), AdminError> {
        self.seen.check(budget)?;
        let terms = &mut budget.terms;
        let Self { display_name, limit, is_hard, warning, default_estimate, require_estimate, seen: _ } =
            self;
        terms.display_name = display_name.unwrap_or_else(|| std::mem::take(&mut terms.display_name));
        terms.limit = limit.unwrap_or(terms.limit);
        terms.is_hard = is_hard.unwrap_or(terms.is_hard);
        terms.warning = warning.unwrap_or(terms.warning);
        terms.default_estimate = default_estimate.unwrap_or(terms.default_estimate);
        terms.require_estimate = require_estimate.unwrap_or(terms.require_estimate);
        if terms.warning > Some(terms.limit) {
            return Err(AdminError::BudgetWarningAboveLimit);
        }
        Ok(())
    }
}

impl SeenBudget {
    fn check(&self, budget: &Budget) -> Result<(), AdminError> {
        let Self { subject, period, models } = self;
        let fields = [
            ("budget.subject", subject.is_none_or(|seen| seen == budget.subject)),
            ("budget.period", period.is_none_or(|seen| seen == budget.terms.period)),
            ("budget.models", models.as_ref().is_none_or(|seen| *seen == budget.terms.models)),
        ];
        let changed = fields.into_iter().find(|(_, is_same)| !is_same);
        changed.map_or(Ok(()), |(field, _)| Err(AdminError::BudgetFieldImmutable { field }))
    }
}
