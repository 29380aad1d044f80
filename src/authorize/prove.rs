//! From a presented token to its key: check 1 of the decision.
//!
//! The digest leads to the row. A secret that has no digest yet (an imported one, or one whose pepper was
//! lost) is proven by bcrypt, once, and gets its digest then. Every way of being wrong ends in the same
//! "no key".

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::{Duration, Instant};

use tokio::sync::Mutex as AsyncMutex;

use super::Authorizer;
use crate::clock;
use crate::metrics::ProofOutcome;
use crate::policy::Revision;
use crate::storage::secrets::{self, DigestOutcome, ProvenKey, Whose};
use crate::storage::{StorageError, changes};
use crate::token::{BcryptError, Digest, PepperMark, Presented};

/// Why no decision was made.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AuthorizeError {
    /// The store failed.
    #[error(transparent)]
    Store(#[from] StorageError),
    /// Too many tokens wait for bcrypt: try again later.
    #[error("too many tokens wait to be proven")]
    Overloaded,
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
    pub key: Option<ProvenKey>,
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
    /// Whatever the store says now.
    pub const NONE: Self = Self { min_revision: Revision::ZERO, wait_max: Duration::ZERO };
}

/// How often the store is asked again while waiting for a revision.
const REVISION_POLL: Duration = Duration::from_millis(25);

/// Tokens that are being proven by bcrypt: several calls with the same token take turns, so that the first
/// proves it for all. Entries go with their last caller.
#[derive(Debug, Default)]
pub(super) struct Upgrades(Mutex<HashMap<Digest, Weak<Turn>>>);

type Turn = AsyncMutex<Option<Refusal>>;

/// What the last turn found where the token is nobody's. It holds for calls that came before it began: they
/// would read no older state.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    began: Instant,
    revision: Revision,
}

impl Upgrades {
    fn turn(&self, digest: Digest) -> Arc<Turn> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&digest).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(AsyncMutex::new(None));
        turns.insert(digest, Arc::downgrade(&turn));
        turn
    }
}

impl Authorizer {
    /// Waits until the store has reached a revision.
    async fn await_revision(&self, freshness: Freshness) -> Result<(), AuthorizeError> {
        if freshness.min_revision == Revision::ZERO {
            return Ok(());
        }
        let deadline = clock::monotonic_now() + freshness.wait_max;
        loop {
            let head = self.store.read("revision", |connection| Box::pin(changes::head(connection))).await?;
            if head >= freshness.min_revision {
                return Ok(());
            }
            if clock::monotonic_now() + REVISION_POLL >= deadline {
                return Err(AuthorizeError::RevisionNotReached { wanted: freshness.min_revision, head });
            }
            tokio::time::sleep(REVISION_POLL).await;
        }
    }

    /// Finds the key of a token, in state at least as new as `freshness` asks. `None` for every way of being
    /// wrong: malformed, unknown, a look-alike.
    ///
    /// `whose` bounds what bcrypt is run for: a caller that is nobody's must not take the threads that imported
    /// tokens wait for.
    ///
    /// A malformed token (a wrong checksum, say) is refused without a look at the store: the answer rests on
    /// no state, so its revision is 0.
    ///
    /// # Errors
    /// [`AuthorizeError`]: nothing is known of the token then.
    pub(super) async fn prove(
        &self,
        token: &[u8],
        whose: Whose,
        freshness: Freshness,
    ) -> Result<Proof, AuthorizeError> {
        let counts = match whose {
            Whose::Anyones => &self.metrics.judged,
            Whose::Operators => &self.metrics.callers,
        };
        let Ok(presented) = Presented::classify(token, &self.brand) else {
            counts.count(ProofOutcome::Malformed);
            return Ok(Proof { key: None, revision: Revision::ZERO });
        };
        self.await_revision(freshness).await?;
        let digests = self.peppers.digests(presented.bytes());
        let proof = self.find(&digests).await?;
        self.metrics.saw(proof.revision);
        if proof.key.is_some() {
            counts.count(ProofOutcome::Digest);
            return Ok(proof);
        }
        let proof = self.prove_by_bcrypt(presented, whose, &digests, proof).await?;
        counts.count(if proof.key.is_some() { ProofOutcome::Bcrypt } else { ProofOutcome::Unknown });
        Ok(proof)
    }

    async fn find(&self, digests: &[(&PepperMark, Digest)]) -> Result<Proof, AuthorizeError> {
        let digests: Vec<Digest> = digests.iter().map(|(_, digest)| *digest).collect();
        let (key, revision) = self
            .store
            .read("secrets.find_by_digest", |connection| {
                Box::pin(async move { secrets::find_by_digest(connection, &digests).await })
            })
            .await?;
        Ok(Proof { key, revision })
    }

    async fn prove_by_bcrypt(
        &self,
        presented: Presented<'_>,
        whose: Whose,
        digests: &[(&PepperMark, Digest)],
        unknown: Proof,
    ) -> Result<Proof, AuthorizeError> {
        // A secret gets its digest at any moment, from another call or another replica. So the digests are
        // looked up after each look at what has none: whatever left the second is in the first by then.
        let candidates = self.candidates(presented.prefix(), whose).await?;
        if !candidates.prefix_is_known {
            return Ok(unknown);
        }
        if candidates.open.is_empty() {
            return self.find(digests).await;
        }
        let (pepper, digest) = self.peppers.digest_current(presented.bytes());
        let turn = self.upgrades.turn(digest);
        let arrived = clock::monotonic_now();
        let mut last = turn.lock().await;
        if let Some(refusal) = last.filter(|refusal| refusal.began >= arrived) {
            return Ok(Proof { key: None, revision: refusal.revision });
        }
        let began = clock::monotonic_now();
        let candidates = self.candidates(presented.prefix(), whose).await?;
        let proof = self.find(digests).await?;
        if proof.key.is_some() {
            return Ok(proof);
        }
        for candidate in candidates.open {
            if !self.bcrypt.verify(presented.to_token(), candidate.key_hash.clone()).await? {
                continue;
            }
            let pepper = pepper.clone();
            let outcome = self
                .store
                .write::<_, StorageError, _>("secrets.store_proven_digest", move |connection| {
                    Box::pin(async move {
                        let (secret, hash) = (candidate.secret_id, &candidate.key_hash);
                        secrets::store_proven_digest(connection, secret, hash, &pepper, &digest).await
                    })
                })
                .await?;
            // Read anew either way: time has passed, and the key may have been revoked or rotated.
            match outcome {
                DigestOutcome::Stored => self.metrics.digests_stored.increment(),
                DigestOutcome::SecretChanged => {}
            }
            return self.find(digests).await;
        }
        *last = Some(Refusal { began, revision: proof.revision });
        Ok(proof)
    }

    async fn candidates(
        &self,
        key_prefix: &str,
        whose: Whose,
    ) -> Result<secrets::Candidates, AuthorizeError> {
        let peppers: Vec<String> = self.peppers.marks().map(|mark| mark.as_str().to_owned()).collect();
        let key_prefix = key_prefix.to_owned();
        let candidates = self.store.read("secrets.candidates", |connection| {
            Box::pin(async move { secrets::candidates(connection, &key_prefix, &peppers, whose).await })
        });
        Ok(candidates.await?)
    }
}
