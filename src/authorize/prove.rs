//! From a presented token to its key: check 1 of the decision.
//!
//! The digest leads to the key: in memory, else in the store. A secret that has no digest yet (an imported one, or one
//! whose pepper was lost) is proven by bcrypt, once, and gets its digest then. Every way of being wrong ends in the same
//! "no key".

use std::sync::Arc;
use std::time::Duration;

use tokio::time::timeout;

use super::{Authorizer, Question};
use crate::cache::{Asker, Cached, CachedKey, LoadError, Loaded, Lookup, View, Wanted};
use crate::clock;
use crate::metrics::{ProofMetrics, ProofOutcome};
use crate::policy::Revision;
use crate::storage::StorageError;
use crate::token::{BcryptError, Presented};

/// Why no decision was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizeError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StorageError),
    /// The key could not be loaded.
    #[error(transparent)]
    Load(#[from] LoadError),
    /// Too many tokens wait for bcrypt: try again later.
    #[error("too many tokens wait to be proven")]
    Overloaded,
    /// Too many tokens that begin like this one were wrong: try again later.
    #[error("too many tokens that begin like this one could not be proven")]
    Throttled,
    /// bcrypt failed: a defect.
    #[error("bcrypt: {0}")]
    Bcrypt(BcryptError),
    /// The store has not reached the revision that the caller asked for.
    #[error("revision {wanted} is not reached; the newest is {head}")]
    RevisionNotReached {
        /// `min_revision`.
        wanted: Revision,
        /// What there is.
        head: Revision,
    },
    /// Rate limits cannot be charged: the store is away.
    #[error("rate limits cannot be charged: the database is out of reach")]
    LimitsAway,
    /// Too many requests wait for their rate limits: try again later.
    #[error("too many requests wait to be charged to their rate limits")]
    LimitsOverloaded,
    /// This replica could not follow the changes for so long that what it knows is not to be decided by.
    #[error("this replica has lost touch with the changes of keys")]
    StateTooOld,
}

impl From<BcryptError> for AuthorizeError {
    fn from(error: BcryptError) -> Self {
        match error {
            BcryptError::Overloaded => Self::Overloaded,
            other => Self::Bcrypt(other),
        }
    }
}

/// What came of a token, as of a revision.
#[derive(Clone, Debug)]
pub struct Proof {
    /// The key, if the token is one's. `None` says nothing about why.
    pub key: Option<Arc<CachedKey>>,
    /// The state is at least as new as this.
    pub revision: Revision,
}

/// The newest state that a caller insists on, and how long it waits for it.
#[derive(Clone, Copy, Debug)]
pub struct Freshness {
    /// At least this revision.
    pub min_revision: Revision,
    /// At most so long.
    pub wait_max: Duration,
}

impl Freshness {
    /// Whatever is known now.
    pub const NONE: Self = Self { min_revision: Revision::ZERO, wait_max: Duration::ZERO };
}

/// Whose token it is meant to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(super) enum Whose {
    /// Any owner's.
    Anyones,
    /// The operator's: no other key can be a caller's. So bcrypt is not run for other keys: a caller that is nobody's
    /// must not take the threads that imported tokens wait for.
    Operators,
}

impl Authorizer {
    pub(super) fn proofs(&self, whose: Whose) -> &ProofMetrics {
        match whose {
            Whose::Anyones => &self.0.metrics.judged,
            Whose::Operators => &self.0.metrics.callers,
        }
    }

    /// The key of a token as memory knows it, in state at least as new as `min_revision`. `None` where memory cannot
    /// tell, or must not be trusted.
    pub(super) fn prove_now(
        &self,
        view: Option<View<'_>>,
        token: &[u8],
        whose: Whose,
        min_revision: Revision,
    ) -> Option<Proof> {
        let (proof, outcome) = self.look_up(view, token, min_revision)?;
        self.count_look_up(whose, outcome);
        Some(proof)
    }

    /// [`Authorizer::prove_now`] without counting it.
    ///
    /// A malformed token (a wrong checksum, say) is refused without a look at anything: the answer rests on no state, so
    /// its revision is 0.
    pub(super) fn look_up(
        &self,
        view: Option<View<'_>>,
        token: &[u8],
        min_revision: Revision,
    ) -> Option<(Proof, ProofOutcome)> {
        let inner = &*self.0;
        let Ok(presented) = Presented::classify(token, &inner.brand) else {
            return Some((Proof { key: None, revision: Revision::ZERO }, ProofOutcome::Malformed));
        };
        let view = view?;
        if view.revision() < min_revision {
            return None;
        }
        let (_, digest) = inner.peppers.digest_current(presented.bytes());
        let (key, outcome) = match view.get(&Lookup::Token(digest)) {
            Cached::Key(key) => {
                if view.claims_refresh(&key) {
                    inner.loader.refresh(Wanted::token(presented, &inner.peppers));
                }
                (Some(key), ProofOutcome::Digest)
            }
            Cached::Unknown => (None, ProofOutcome::Unknown),
            Cached::Missing => return None,
        };
        inner.metrics.saw(view.revision());
        Some((Proof { key, revision: view.revision() }, outcome))
    }

    /// Counts what memory knew.
    pub(super) fn count_look_up(&self, whose: Whose, outcome: ProofOutcome) {
        match outcome {
            ProofOutcome::Digest => self.0.lookups.hits.increment(),
            ProofOutcome::Unknown => self.0.lookups.unknown_hits.increment(),
            ProofOutcome::Malformed | ProofOutcome::Bcrypt => {}
        }
        self.proofs(whose).count(outcome);
    }

    /// Whether the token of a question would have to be loaded, and that would be refused to `asker`, who asks for too
    /// much that is nobody's. It is counted as refused then.
    #[must_use]
    pub fn sheds(&self, question: &Question<'_>, asker: Asker) -> bool {
        let inner = &*self.0;
        let began = clock::monotonic_now();
        // This first: else nothing needs to be looked at.
        let sheds = inner.loader.is_spent(asker) && self.misses(question);
        if sheds {
            inner.lookups.misses.increment();
            inner.lookups.shed.increment();
            inner.metrics.took(None, clock::since(began));
        }
        sheds
    }

    fn misses(&self, question: &Question<'_>) -> bool {
        let Ok(presented) = Presented::classify(question.token, &self.0.brand) else { return false };
        let Some(view) = self.0.cache.view() else { return false };
        let (_, digest) = self.0.peppers.digest_current(presented.bytes());
        let found = view.get(&Lookup::Token(digest));
        view.revision() >= question.freshness.min_revision && matches!(found, Cached::Missing)
    }

    /// The key of a token, in state at least as new as `freshness` asks. `None` for every way of being wrong:
    /// malformed, unknown, a look-alike.
    ///
    /// # Errors
    /// [`AuthorizeError`]: nothing is known of the token then.
    pub(super) async fn prove(
        &self,
        token: &[u8],
        whose: Whose,
        freshness: Freshness,
    ) -> Result<Proof, AuthorizeError> {
        if let Some(proof) = self.prove_now(self.view(), token, whose, freshness.min_revision) {
            return Ok(proof);
        }
        if freshness.min_revision > self.0.cache.applied() {
            self.await_revision(freshness).await?;
            if let Some(proof) = self.prove_now(self.view(), token, whose, freshness.min_revision) {
                return Ok(proof);
            }
        }
        let proof = self.prove_by_load(token, whose, freshness.min_revision).await?;
        // Time has passed.
        if !self.0.cache.is_trusted() {
            return Err(AuthorizeError::StateTooOld);
        }
        Ok(proof)
    }

    async fn prove_by_load(
        &self,
        token: &[u8],
        whose: Whose,
        min_revision: Revision,
    ) -> Result<Proof, AuthorizeError> {
        let inner = &*self.0;
        let counts = self.proofs(whose);
        let Ok(presented) = Presented::classify(token, &inner.brand) else {
            counts.count(ProofOutcome::Malformed);
            return Ok(Proof { key: None, revision: Revision::ZERO });
        };
        // Before the load: what it reads is at least as new, or else it is repeated.
        let revision = inner.cache.view().ok_or(AuthorizeError::StateTooOld)?.revision();
        if revision < min_revision {
            return Err(AuthorizeError::RevisionNotReached { wanted: min_revision, head: revision });
        }
        inner.lookups.misses.increment();
        inner.metrics.saw(revision);
        // Who is not let in yet is not known, and shares an account with everybody who is nobody.
        let asker = Asker::current();
        if whose == Whose::Anyones && inner.loader.is_spent(asker) {
            inner.lookups.shed.increment();
            return Err(LoadError::InVain.into());
        }
        let (key, outcome) = match inner.loader.load(Wanted::token(presented, &inner.peppers)).await? {
            Loaded::Key(key) => (Some(key), ProofOutcome::Digest),
            Loaded::Unknown => (None, ProofOutcome::Unknown),
            Loaded::Open(candidates) => {
                let key = self.prove_by_bcrypt(presented, whose, &candidates).await;
                if matches!(key, Ok(None) | Err(AuthorizeError::Throttled)) {
                    inner.loader.note_fruitless(asker);
                }
                let key = key?;
                let outcome = if key.is_some() { ProofOutcome::Bcrypt } else { ProofOutcome::Unknown };
                (key, outcome)
            }
        };
        counts.count(outcome);
        Ok(Proof { key, revision })
    }

    /// Waits until memory has reached a revision.
    async fn await_revision(&self, freshness: Freshness) -> Result<(), AuthorizeError> {
        let Freshness { min_revision, wait_max } = freshness;
        let mut applied = self.0.cache.watch();
        self.0.cache.hurry();
        let reached = timeout(wait_max, applied.wait_for(|at| at.revision >= min_revision)).await;
        if matches!(reached, Ok(Ok(_))) {
            return Ok(());
        }
        Err(AuthorizeError::RevisionNotReached { wanted: min_revision, head: self.0.cache.applied() })
    }

    /// The key itself as memory knows it, whatever its tokens; outer `None` as of [`Authorizer::prove_now`].
    pub(super) fn find_now(&self, wanted: &Wanted) -> Option<Option<Arc<CachedKey>>> {
        let inner = &*self.0;
        let view = inner.cache.view()?;
        match view.get(&wanted.lookup()) {
            Cached::Key(key) => {
                inner.lookups.hits.increment();
                if view.claims_refresh(&key) {
                    inner.loader.refresh(wanted.clone());
                }
                Some(Some(key))
            }
            Cached::Unknown => {
                inner.lookups.unknown_hits.increment();
                Some(None)
            }
            Cached::Missing => None,
        }
    }

    /// The key itself.
    ///
    /// # Errors
    /// [`AuthorizeError`].
    pub(super) async fn find(&self, wanted: Wanted) -> Result<Option<Arc<CachedKey>>, AuthorizeError> {
        if let Some(found) = self.find_now(&wanted) {
            return Ok(found);
        }
        let inner = &*self.0;
        if !inner.cache.is_trusted() {
            return Err(AuthorizeError::StateTooOld);
        }
        inner.lookups.misses.increment();
        let loaded = inner.loader.load(wanted).await?;
        if !inner.cache.is_trusted() {
            return Err(AuthorizeError::StateTooOld);
        }
        Ok(match loaded {
            Loaded::Key(key) => Some(key),
            Loaded::Unknown | Loaded::Open(_) => None,
        })
    }
}
