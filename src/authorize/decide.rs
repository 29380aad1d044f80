//! One request, decided.

use std::sync::Arc;

use super::prove::Freshness;
use super::warnings::{self, Warning};
use super::{AuthorizeError, Authorizer, Proof};
use crate::policy::{
    AccessRequest, Budget, Check, CheckSet, Decision, Dimension, KeyPolicy, KeySnapshot, KeyState, KeyTotals,
    Reason, Revision, evaluate,
};
use crate::storage::secrets::{ProvenKey, Whose};
use crate::storage::{budgets, usage};
use crate::{call, clock};

/// A request to be decided. What the end user controls is any bytes of any length.
#[derive(Clone, Copy, Debug)]
pub struct Question<'a> {
    /// The judged token.
    pub token: &'a [u8],
    /// Everything else that decides.
    pub access: AccessRequest<'a>,
    /// Charge and count nothing.
    pub dry_run: bool,
    /// How new the state must be.
    pub freshness: Freshness,
}

/// A proven key, shared by an answer.
pub type KeyFacts = Arc<ProvenKey>;

/// The decision, and what it rests on.
#[derive(Clone, Debug)]
pub struct Outcome {
    /// Why it was denied; `None` allows.
    pub denied: Option<Reason>,
    /// The first failure that observe mode let pass.
    pub observed: Option<Reason>,
    /// One sentence on a denial.
    pub message: String,
    /// The key, where the token was proven.
    pub key: Option<KeyFacts>,
    /// What to know.
    pub warnings: Vec<Warning>,
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

/// A key's own view.
#[derive(Clone, Debug)]
pub struct Introspection {
    /// The key and where it stands, where the token was proven.
    pub key: Option<(KeyFacts, KeyState)>,
    /// Why the token cannot be used at all (checks 1 to 4).
    pub reason: Option<Reason>,
    /// What it has used.
    pub totals: KeyTotals,
    /// Budgets of the key and its owner.
    pub budgets: Vec<Budget>,
    /// What to know.
    pub warnings: Vec<Warning>,
    /// The state is at least as new as this.
    pub revision: Revision,
}

impl Authorizer {
    /// Decides one request.
    ///
    /// # Errors
    /// [`AuthorizeError`]: no decision was made.
    pub async fn authorize(&self, question: Question<'_>) -> Result<Outcome, AuthorizeError> {
        let began = clock::monotonic_now();
        let proof = self.prove(question.token, Whose::Anyones, question.freshness).await;
        let proof = proof.inspect_err(|_| self.metrics.took(None, clock::since(began)))?;
        let outcome = self.decide(proof, &question.access);
        self.metrics.took(Some(outcome.denied.is_none()), clock::since(began));
        self.metrics.count(outcome.denied, outcome.observed);
        if outcome.denied.is_none()
            && !question.dry_run
            && let Some(key) = &outcome.key
        {
            self.uses.count(key.key.key_id, self.clock.now());
        }
        Ok(outcome)
    }

    /// Decides the context and each model. Counts nothing.
    ///
    /// # Errors
    /// [`AuthorizeError`]: no decision was made.
    pub async fn filter_models(&self, question: FilterQuestion<'_>) -> Result<FilterOutcome, AuthorizeError> {
        let proof = self.prove(question.token, Whose::Anyones, question.freshness).await?;
        let not_applicable = question.access.not_applicable.with(Dimension::Model);
        let access = AccessRequest { model: None, not_applicable, ..question.access };
        let mut context = self.decide(proof, &access);
        let mut allowed = Vec::new();
        let Some(key) = context.key.clone().filter(|_| context.denied.is_none()) else {
            self.metrics.count(context.denied, context.observed);
            return Ok(FilterOutcome { context, allowed });
        };
        let policy = self.effective_policy(&key);
        let is_observed = policy.observe.contains(Check::Models);
        // Without observe mode, to tell what it let pass.
        let strict = KeySnapshot::compile(&KeyPolicy { observe: CheckSet::EMPTY, ..policy });
        for (position, model) in question.models.iter().enumerate() {
            let is_allowed = strict.allows_model(model.as_bytes());
            if !is_allowed && is_observed {
                context.observed = context.observed.or(Some(Reason::ModelNotAllowed));
            }
            if is_allowed || is_observed {
                allowed.push(position);
            }
        }
        self.metrics.count(context.denied, context.observed);
        Ok(FilterOutcome { context, allowed })
    }

    /// What a key may know of itself.
    ///
    /// # Errors
    /// [`AuthorizeError`]: nothing is known of the token then.
    pub async fn introspect(&self, token: &[u8]) -> Result<Introspection, AuthorizeError> {
        let Proof { key, revision } = self.prove(token, Whose::Anyones, Freshness::NONE).await?;
        let now = self.clock.now();
        let usable = key.filter(|key| key.grace_end.is_none_or(|end| now < end) && !key.key.policy.deleted);
        let Some(key) = usable else {
            return Ok(Introspection {
                key: None,
                reason: Some(Reason::KeyInvalid),
                totals: KeyTotals::default(),
                budgets: Vec::new(),
                warnings: Vec::new(),
                revision,
            });
        };
        let (key_id, user_id) = (key.key.key_id, key.key.user_id);
        call::note_key(key_id.get());
        let (totals, budgets) = self
            .store
            .snapshot("introspect", move |connection| {
                Box::pin(async move {
                    let totals = usage::totals(connection, &[key_id]).await?;
                    let budgets = budgets::of(connection, Some(key_id), Some(user_id), now).await?;
                    Ok((totals.into_iter().next().map(|(_, totals)| totals).unwrap_or_default(), budgets))
                })
            })
            .await?;
        let state = key.key.policy.state(now);
        let reason = match state {
            KeyState::Active => None,
            KeyState::Deleted => Some(Reason::KeyInvalid),
            KeyState::Revoked => Some(Reason::KeyRevoked),
            KeyState::OwnerDisabled => Some(Reason::OwnerDisabled),
            KeyState::Expired => Some(Reason::KeyExpired),
        };
        let warnings = warnings::of(&key, now);
        Ok(Introspection { key: Some((Arc::new(key), state)), reason, totals, budgets, warnings, revision })
    }

    /// The pure part. Reads the clock after the state was read.
    fn decide(&self, proof: Proof, access: &AccessRequest<'_>) -> Outcome {
        let Proof { key, revision } = proof;
        let now = self.clock.now();
        let Some(key) = key.filter(|key| key.grace_end.is_none_or(|end| now < end)) else {
            return Outcome::invalid(revision);
        };
        call::note_key(key.key.key_id.get());
        let snapshot = KeySnapshot::compile(&self.effective_policy(&key));
        let decision = evaluate(&snapshot, access, now);
        if decision.denied == Some(Reason::KeyInvalid) {
            return Outcome::invalid(revision);
        }
        Outcome {
            denied: decision.denied,
            observed: decision.observed,
            message: message(&decision),
            warnings: warnings::of(&key, now),
            key: Some(Arc::new(key)),
            revision,
        }
    }

    fn effective_policy(&self, key: &ProvenKey) -> KeyPolicy {
        let mut policy = key.key.policy.clone();
        policy.observe = policy.observe.union(self.observe);
        policy
    }
}

impl Outcome {
    /// The one answer for every way of being wrong: nothing of the key is told.
    fn invalid(revision: Revision) -> Self {
        Self {
            denied: Some(Reason::KeyInvalid),
            observed: None,
            message: Reason::KeyInvalid.message().to_owned(),
            key: None,
            warnings: Vec::new(),
            revision,
        }
    }
}

fn message(decision: &Decision<'_>) -> String {
    match (decision.denied, decision.missing) {
        (None, _) => String::new(),
        (Some(reason), Some(missing)) => format!("{} Missing: {missing}.", reason.message()),
        (Some(reason), None) => reason.message().to_owned(),
    }
}
