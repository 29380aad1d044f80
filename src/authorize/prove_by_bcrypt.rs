//! Proves tokens whose secrets have no digest yet, each once.
//!
//! - Several calls with the same token take turns, so that the first proves it for all.
//! - A rotation in between must not resurrect the old token: the digest is stored only where the secret still has the
//!   hash that was proven, and the key is loaded anew.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError, Weak};
use std::time::Instant;

use tokio::sync::Mutex as AsyncMutex;

use super::prove::Whose;
use super::{AuthorizeError, Authorizer};
use crate::cache::{Cached, CachedKey, Loaded, Lookup, Wanted};
use crate::clock;
use crate::storage::StorageError;
use crate::storage::secrets::{self, Candidate, DigestOutcome};
use crate::token::{Digest, PepperMark, Presented};

/// A load that came after a digest was stored may join one that had begun before. The one after that cannot.
const LOADS_AFTER_PROOF: usize = 3;

/// Tokens that are being proven by bcrypt. Entries go with their last caller.
#[derive(Debug, Default)]
pub(super) struct Upgrades(Mutex<HashMap<(Digest, Whose), Weak<Turn>>>);

type Turn = AsyncMutex<Option<Refusal>>;

/// When the last turn began that found the token to be nobody's. It holds for calls that came before: they would read
/// no older state.
#[derive(Clone, Copy, Debug)]
struct Refusal {
    began: Instant,
}

impl Upgrades {
    fn turn(&self, digest: Digest, whose: Whose) -> Arc<Turn> {
        let mut turns = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        if let Some(turn) = turns.get(&(digest, whose)).and_then(Weak::upgrade) {
            return turn;
        }
        turns.retain(|_, turn| turn.strong_count() > 0);
        let turn = Arc::new(AsyncMutex::new(None));
        turns.insert((digest, whose), Arc::downgrade(&turn));
        turn
    }
}

fn is_worth_a_try(candidate: &Candidate, whose: Whose) -> bool {
    whose == Whose::Anyones || candidate.is_operators
}

impl Authorizer {
    /// The key of a token that no digest leads to, where one of `candidates` may be its secret.
    ///
    /// # Errors
    /// [`AuthorizeError`]: nothing is known of the token then.
    pub(super) async fn prove_by_bcrypt(
        &self,
        presented: Presented<'_>,
        whose: Whose,
        candidates: &[Candidate],
    ) -> Result<Option<Arc<CachedKey>>, AuthorizeError> {
        if !candidates.iter().any(|candidate| is_worth_a_try(candidate, whose)) {
            return Ok(None);
        }
        let inner = &*self.0;
        // Before anything is waited for.
        if !inner.throttle.has_left(presented.prefix(), clock::monotonic_now()) {
            return Err(self.throttled());
        }
        let (pepper, digest) = inner.peppers.digest_current(presented.bytes());
        let turn = inner.upgrades.turn(digest, whose);
        let arrived = clock::monotonic_now();
        let mut last = turn.lock().await;
        if last.is_some_and(|refusal| refusal.began >= arrived) {
            return Ok(None);
        }
        let began = clock::monotonic_now();
        // Somebody may have proven it meanwhile, here or elsewhere.
        let known = inner.cache.view().map(|view| view.get(&Lookup::Token(digest)));
        if let Some(Cached::Key(key)) = known {
            return Ok(Some(key));
        }
        let candidates = match inner.loader.load(Wanted::token(presented, &inner.peppers)).await? {
            Loaded::Key(key) => return Ok(Some(key)),
            Loaded::Unknown => return Ok(None),
            Loaded::Open(candidates) => candidates,
        };
        for candidate in candidates.iter().filter(|candidate| is_worth_a_try(candidate, whose)) {
            if self.verify(presented, candidate).await? {
                inner.throttle.clear(presented.prefix());
                self.store_digest(candidate, pepper, digest).await?;
                return self.load_proven(presented).await;
            }
        }
        *last = Some(Refusal { began });
        Ok(None)
    }

    async fn verify(&self, presented: Presented<'_>, candidate: &Candidate) -> Result<bool, AuthorizeError> {
        let inner = &*self.0;
        if !inner.throttle.take(presented.prefix(), clock::monotonic_now()) {
            return Err(self.throttled());
        }
        let turn = inner.turns.turn().await.map_err(|_| AuthorizeError::Overloaded)?;
        let is_right = inner.bcrypt.verify(presented.to_token(), candidate.key_hash.clone()).await?;
        drop(turn);
        Ok(is_right)
    }

    fn throttled(&self) -> AuthorizeError {
        self.0.lookups.throttled.increment();
        AuthorizeError::Throttled
    }

    async fn store_digest(
        &self,
        candidate: &Candidate,
        pepper: &PepperMark,
        digest: Digest,
    ) -> Result<(), AuthorizeError> {
        let (secret, hash, pepper) = (candidate.secret_id, candidate.key_hash.clone(), pepper.clone());
        let stored =
            self.0.store.write::<_, StorageError, _>("secrets.store_proven_digest", move |session| {
                Box::pin(async move {
                    secrets::store_proven_digest(session, secret, &hash, &pepper, &digest).await
                })
            });
        match stored.await? {
            DigestOutcome::Stored => self.0.metrics.digests_stored.increment(),
            DigestOutcome::SecretChanged => {}
        }
        Ok(())
    }

    /// Loads anew: time has passed, and the key may have been revoked or rotated.
    async fn load_proven(&self, presented: Presented<'_>) -> Result<Option<Arc<CachedKey>>, AuthorizeError> {
        for _ in 0..LOADS_AFTER_PROOF {
            match self.0.loader.load(Wanted::token(presented, &self.0.peppers)).await? {
                Loaded::Key(key) => return Ok(Some(key)),
                Loaded::Unknown => return Ok(None),
                Loaded::Open(_) => {}
            }
        }
        // The secret that was proven has no digest, so it is not the key's any more.
        Ok(None)
    }
}
