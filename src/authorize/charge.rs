//! Check 11: what passed all checks before is charged to the rate limits of its key and owner, together or not at all.
//!
//! - What is in hand is charged at once. Else the request waits for the store, in the order of coming; after that wait it
//!   is judged again, since time has passed.
//! - A check that is only observed charges what it can, and lets the rest pass.

use std::borrow::Cow;

use super::decide::{Outcome, Question, judge};
use super::warnings;
use super::{AuthorizeError, Authorizer, Proof};
use crate::cache::{CachedKey, View};
use crate::clock::BootTime;
use crate::leases::{Attempt, Charged, Limited, NotCharged, Refused, Ticket, Verdict};
use crate::limits::{Metric, Taken};
use crate::policy::{Check, Reason};
use crate::token::{Authorization, Charge, Charges, OwnerCharge, fresh_id};

/// What can be said of a request without waiting.
#[derive(Debug)]
pub enum AtOnce {
    /// It is decided.
    Decided(Outcome),
    /// It waits to be charged: see [`Authorizer::finish`].
    Waits(Waiting),
    /// Memory cannot tell: see [`Authorizer::authorize`].
    Unknown,
}

/// A request that waits to be charged, behind those of its key and owner that came before. Dropped, it charges nothing.
#[derive(Debug)]
pub struct Waiting {
    proof: Proof,
    ticket: Ticket,
    began: BootTime,
}

impl Authorizer {
    /// Decides by what memory knows, or gets in line.
    #[must_use]
    pub fn authorize_at_once(&self, view: View<'_>, question: &Question<'_>) -> AtOnce {
        match self.proven_now(view, question) {
            Some(proof) => self.begin(proof, question, view.taken_at()),
            None => AtOnce::Unknown,
        }
    }

    /// Decides a request that was in line.
    ///
    /// # Errors
    /// [`AuthorizeError`]: no decision was made, and nothing is charged.
    pub async fn finish(&self, waiting: Waiting, question: &Question<'_>) -> Result<Outcome, AuthorizeError> {
        let Waiting { proof, mut ticket, began } = waiting;
        let answered = ticket.answered().await;
        let finished = self.charged_late(proof, &ticket, answered, question, began);
        finished.inspect_err(|_| self.0.metrics.took(None, BootTime::now().since(began)))
    }

    /// Charges with what is in hand; `None` where the store has to be asked.
    pub(super) fn charge_now(
        &self,
        proof: Proof,
        question: &Question<'_>,
        began: BootTime,
    ) -> Option<Outcome> {
        let now = self.0.clock.now();
        let mut outcome = judge(proof, &question.access, now);
        if let Some(key) = limited_key(&outcome) {
            let verdict = key.limited()?.charge_now(question.tokens, question.dry_run)?;
            self.apply(&mut outcome, verdict);
        }
        Some(self.conclude(outcome, question, now, began))
    }

    /// Charges, or gets in line.
    pub(super) fn begin(&self, proof: Proof, question: &Question<'_>, began: BootTime) -> AtOnce {
        let now = self.0.clock.now();
        let mut outcome = judge(proof, &question.access, now);
        let limited = limited_key(&outcome).and_then(CachedKey::limited);
        match limited.map(|limited| limited.charge(question.tokens, question.dry_run)) {
            None => {}
            Some(Attempt::Done(verdict)) => self.apply(&mut outcome, verdict),
            Some(Attempt::Waits(ticket)) => {
                let proof = Proof { key: outcome.key, revision: outcome.revision };
                return AtOnce::Waits(Waiting { proof, ticket, began });
            }
        }
        AtOnce::Decided(self.conclude(outcome, question, now, began))
    }

    fn charged_late(
        &self,
        proof: Proof,
        ticket: &Ticket,
        answered: Result<Verdict, NotCharged>,
        question: &Question<'_>,
        began: BootTime,
    ) -> Result<Outcome, AuthorizeError> {
        let now = self.0.clock.now();
        // Time has passed.
        let is_trusted = self.0.cache.is_trusted();
        let mut outcome = judge(proof, &question.access, now);
        match answered {
            Ok(Verdict::Charged(charged)) if !is_trusted || outcome.denied.is_some() => {
                ticket.limited().put_back(&charged);
            }
            Ok(verdict) if outcome.denied.is_none() => self.apply(&mut outcome, verdict),
            Ok(_) => {}
            Err(_) if outcome.denied.is_some() || is_observed(&outcome) => {}
            Err(NotCharged::StoreAway) => return Err(AuthorizeError::LimitsAway),
            Err(NotCharged::Overloaded) => return Err(AuthorizeError::LimitsOverloaded),
        }
        if !is_trusted {
            return Err(AuthorizeError::StateTooOld);
        }
        Ok(self.conclude(outcome, question, now, began))
    }

    /// What the limits say, in the outcome of a request that passed every check before.
    fn apply(&self, outcome: &mut Outcome, verdict: Verdict) {
        match verdict {
            Verdict::Charged(charged) => {
                if charged.is_local {
                    outcome.warnings.push(warnings::local_limits());
                }
                if let Some(key) = &outcome.key {
                    outcome.charges = charges(key, &charged);
                }
                outcome.limits = charged.statuses;
            }
            Verdict::Refused(refused, statuses) if is_observed(outcome) => {
                if refused.is_local {
                    outcome.warnings.push(warnings::local_limits());
                }
                outcome.observed = outcome.observed.or(Some(Reason::RateLimited));
                outcome.limits = statuses;
            }
            Verdict::Refused(refused, statuses) => {
                if refused.is_local {
                    outcome.warnings.push(warnings::local_limits());
                }
                outcome.denied = Some(Reason::RateLimited);
                outcome.message = message(&refused);
                outcome.retry_after = refused.retry_after;
                outcome.limits = statuses;
            }
        }
    }

    /// The id that an allowed request is reported and settled by.
    #[must_use]
    pub fn authorization_id(&self, outcome: &Outcome, request_id: &str) -> Option<String> {
        let key = outcome.key.as_ref().filter(|_| outcome.denied.is_none() && !outcome.is_dry)?;
        let authorization = Authorization {
            id: fresh_id(outcome.decided_at),
            key_id: key.key_id().get(),
            is_reserved: false,
            charges: outcome.charges,
        };
        Some(self.0.ids.sign(&authorization, request_id))
    }
}

/// The key of an outcome, where there is something to be charged.
fn limited_key(outcome: &Outcome) -> Option<&CachedKey> {
    outcome.key.as_deref().filter(|key| outcome.denied.is_none() && key.limited().is_some())
}

fn is_observed(outcome: &Outcome) -> bool {
    outcome.key.as_ref().is_some_and(|key| key.snapshot().observed_checks().contains(Check::RateLimits))
}

fn charges(key: &CachedKey, charged: &Charged) -> Charges {
    // Where no tokens are limited, a report has nothing to put right.
    if !key.limited().is_some_and(Limited::limits_tokens) {
        return Charges::default();
    }
    let charge = |taken: &Taken| Charge {
        generation: taken.generation,
        at_micros: taken.at,
        tokens: taken.units.tokens,
    };
    Charges {
        key: charged.of_key.as_ref().map(charge),
        owner: charged
            .of_owner
            .as_ref()
            .map(charge)
            .map(|charge| OwnerCharge { user_id: key.user_id().get(), charge }),
    }
}

fn message(refused: &Refused) -> Cow<'static, str> {
    let Refused { whose, limit, most, retry_after, is_local: _ } = refused;
    let (whose, window) = (whose.as_str(), limit.window.as_str());
    let metric = match limit.metric {
        Metric::Requests => "requests",
        Metric::Tokens => "tokens",
    };
    let limit = format!("{most} {metric} per {window} of the {whose}");
    match retry_after {
        Some(_) => format!("The limit of {limit} is used up for now.").into(),
        None => format!("The request needs more than the limit of {limit}.").into(),
    }
}
