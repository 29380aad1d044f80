//! One request, decided.

use std::borrow::Cow;
use std::sync::Arc;
use std::time::Duration;

use chrono::{DateTime, Utc};

use super::charge::AtOnce;
use super::prove::{Freshness, Whose};
use super::warnings::{self, Warning};
use super::{AuthorizeError, Authorizer, Proof};
use crate::cache::{CachedKey, View};
use crate::call;
use crate::clock::BootTime;
use crate::limits::LimitStatus;
use crate::policy::{AccessRequest, Check, CheckSet, Decision, Dimension, Reason, Revision, evaluate};
use crate::token::Charges;

/// A request to be decided. What the end user controls is any bytes of any length.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The judged token.
    pub token: &'a [u8],
    /// Everything else that decides.
    pub access: AccessRequest<'a>,
    /// Model tokens that it is expected to use, 0 or more: charged to limits on tokens.
    pub tokens: i64,
    /// Charge and count nothing.
    pub dry_run: bool,
    /// How new the state must be.
    pub freshness: Freshness,
}

/// The decision, and what it rests on.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why it was denied; `None` allows.
    pub denied: Option<Reason>,
    /// The first failure that observe mode let pass.
    pub observed: Option<Reason>,
    /// One sentence on a denial.
    pub message: Cow<'static, str>,
    /// The key, where the token was proven.
    pub key: Option<Arc<CachedKey>>,
    /// What to know.
    pub warnings: Vec<Warning>,
    /// How the rate limits of the key and its owner stand, where they were looked at.
    pub limits: Vec<LimitStatus>,
    /// Where a rate limit denied: when to come again.
    pub retry_after: Option<Duration>,
    /// What was charged to them, as far as a report may have to put it right.
    pub charges: Charges,
    /// When it was decided.
    pub decided_at: DateTime<Utc>,
    /// Nothing was charged or counted.
    pub is_dry: bool,
    /// The state is at least as new as this.
    pub revision: Revision,
}

/// Which models may a key call?
#[derive(Clone, Copy, Debug)]
pub struct FilterQuestion<'a> {
    /// The judged token.
    pub token: &'a [u8],
    /// The context; its model is left out of account.
    pub access: AccessRequest<'a>,
    /// The models in question.
    pub models: &'a [String],
    /// How new the state must be.
    pub freshness: Freshness,
}

/// The models that passed.
#[derive(Clone, Debug)]
pub struct FilterOutcome {
    /// The decision of the context.
    pub context: Outcome,
    /// Positions of the models that may be called; none on a denial.
    pub allowed: Vec<usize>,
}

impl Authorizer {
    /// Decides one request by what memory knows; `None` where memory cannot tell: then [`Authorizer::authorize`] can.
    #[must_use]
    pub fn authorize_now(&self, view: View<'_>, question: &Question<'_>) -> Option<Outcome> {
        let (proof, known) = self.look_up(Some(view), question.token, question.freshness.min_revision)?;
        let outcome = self.charge_now(proof, question, view.taken_at())?;
        self.count_look_up(Whose::Anyones, known);
        Some(outcome)
    }

    /// The key of a question, if memory knows.
    pub(super) fn proven_now(&self, view: View<'_>, question: &Question<'_>) -> Option<Proof> {
        self.prove_now(Some(view), question.token, Whose::Anyones, question.freshness.min_revision)
    }

    /// Decides one request.
    ///
    /// # Errors
    /// [`AuthorizeError`]: no decision was made.
    pub async fn authorize(&self, question: &Question<'_>) -> Result<Outcome, AuthorizeError> {
        let began = BootTime::now();
        let proof = self.prove(question.token, Whose::Anyones, question.freshness).await;
        let proof = proof.inspect_err(|_| self.0.metrics.took(None, BootTime::now().since(began)))?;
        match self.begin(proof, question, began) {
            AtOnce::Decided(outcome) => Ok(outcome),
            AtOnce::Waits(waiting) => self.finish(waiting, question).await,
            AtOnce::Unknown => Err(AuthorizeError::StateTooOld),
        }
    }

    /// Records what was decided at `now`.
    pub(super) fn conclude(
        &self,
        mut outcome: Outcome,
        question: &Question<'_>,
        now: DateTime<Utc>,
        began: BootTime,
    ) -> Outcome {
        let inner = &*self.0;
        inner.metrics.took(Some(outcome.denied.is_none()), BootTime::now().since(began));
        inner.metrics.count(outcome.denied, outcome.observed);
        outcome.is_dry = question.dry_run;
        if outcome.denied.is_none()
            && !question.dry_run
            && let Some(key) = &outcome.key
        {
            inner.uses.count(key.key_id(), now);
        }
        outcome
    }

    /// Decides the context and each model. Counts nothing.
    ///
    /// # Errors
    /// [`AuthorizeError`]: no decision was made.
    pub async fn filter_models(&self, question: FilterQuestion<'_>) -> Result<FilterOutcome, AuthorizeError> {
        let proof = self.prove(question.token, Whose::Anyones, question.freshness).await?;
        let metrics = &self.0.metrics;
        let not_applicable = question.access.not_applicable.with(Dimension::Model);
        let access = AccessRequest { model: None, not_applicable, ..question.access };
        let mut context = judge(proof, &access, self.0.clock.now());
        let mut allowed = Vec::new();
        let Some(key) = context.key.clone().filter(|_| context.denied.is_none()) else {
            metrics.count(context.denied, context.observed);
            return Ok(FilterOutcome { context, allowed });
        };
        let is_observed = key.snapshot().observed_checks().contains(Check::Models);
        // Without observe mode, to tell what it let pass.
        let strict = key.snapshot().observing(CheckSet::EMPTY);
        for (position, model) in question.models.iter().enumerate() {
            let is_allowed = strict.allows_model(model.as_bytes());
            if !is_allowed && is_observed {
                context.observed = context.observed.or(Some(Reason::ModelNotAllowed));
            }
            if is_allowed || is_observed {
                allowed.push(position);
            }
        }
        metrics.count(context.denied, context.observed);
        Ok(FilterOutcome { context, allowed })
    }
}

/// The pure part: every check but limits and budgets. `now` was read after the key was looked up.
pub(super) fn judge(proof: Proof, access: &AccessRequest<'_>, now: DateTime<Utc>) -> Outcome {
    let Proof { key, revision } = proof;
    let Some(key) = key.filter(|key| key.grace_end().is_none_or(|end| now < end)) else {
        return Outcome::invalid(now, revision);
    };
    call::note_key(key.key_id().get());
    let decision = evaluate(key.snapshot(), access, now);
    if decision.denied == Some(Reason::KeyInvalid) {
        return Outcome::invalid(now, revision);
    }
    Outcome {
        denied: decision.denied,
        observed: decision.observed,
        message: message(&decision),
        warnings: warnings::of(&key, now),
        key: Some(key),
        ..Outcome::invalid(now, revision)
    }
}

impl Outcome {
    /// The one answer for every way of being wrong: nothing of the key is told.
    fn invalid(now: DateTime<Utc>, revision: Revision) -> Self {
        Self {
            denied: Some(Reason::KeyInvalid),
            observed: None,
            message: Reason::KeyInvalid.message().into(),
            key: None,
            warnings: Vec::new(),
            limits: Vec::new(),
            retry_after: None,
            charges: Charges::default(),
            decided_at: now,
            is_dry: false,
            revision,
        }
    }
}

fn message(decision: &Decision<'_>) -> Cow<'static, str> {
    match (decision.denied, decision.missing) {
        (None, _) => "".into(),
        (Some(reason), Some(missing)) => format!("{} Missing: {missing}.", reason.message()).into(),
        (Some(reason), None) => reason.message().into(),
    }
}
