//! What a key may know of itself.

use super::prove::{Freshness, Whose};
use super::warnings::{self, Warning};
use super::{AuthorizeError, Authorizer, Proof};
use crate::cache::{ReadAt, TooOld};
use crate::call;
use crate::limits::LimitStatus;
use crate::policy::{Budget, KeyState, KeyTotals, Reason, Revision};
use crate::storage::secrets::{self, Found, ProvenKey};
use crate::storage::{budgets, counters, usage};
use crate::token::{Digest, Presented};

/// What was read and was changed meanwhile is read again so many times at most.
const TRIES_MAX: u32 = 3;

/// A key with what it has used, and the budgets that it is under.
type Whole = (ProvenKey, KeyTotals, Vec<Budget>, Vec<LimitStatus>);

/// A key's own view.
#[derive(Clone, Debug)]
pub struct Introspection {
    /// The key and where it stands, where the token was proven.
    pub key: Option<(ProvenKey, KeyState)>,
    /// Why the token cannot be used at all (checks 1 to 4).
    pub reason: Option<Reason>,
    /// What it has used.
    pub totals: KeyTotals,
    /// Budgets of the key and its owner.
    pub budgets: Vec<Budget>,
    /// How the rate limits of the key and its owner stand.
    pub limits: Vec<LimitStatus>,
    /// What to know.
    pub warnings: Vec<Warning>,
    /// The state is at least as new as this.
    pub revision: Revision,
}

impl Introspection {
    fn invalid(revision: Revision) -> Self {
        Self {
            key: None,
            reason: Some(Reason::KeyInvalid),
            totals: KeyTotals::default(),
            budgets: Vec::new(),
            limits: Vec::new(),
            warnings: Vec::new(),
            revision,
        }
    }
}

impl Authorizer {
    /// What a key may know of itself: it is proven as any other, and then read whole from the store, with what it has
    /// used.
    ///
    /// # Errors
    /// [`AuthorizeError`]: nothing is known of the token then.
    pub async fn introspect(&self, token: &[u8]) -> Result<Introspection, AuthorizeError> {
        let inner = &*self.0;
        let Proof { key, revision } = self.prove(token, Whose::Anyones, Freshness::NONE).await?;
        let (Some(known), Ok(presented)) = (key, Presented::classify(token, &inner.brand)) else {
            return Ok(Introspection::invalid(revision));
        };
        let digests = inner.peppers.digests(presented.bytes());
        let digests: Vec<Digest> = digests.into_iter().map(|(_, digest)| digest).collect();
        let (found, revision) = self.read_whole(&digests).await?;
        // Time has passed.
        if !inner.cache.is_trusted() {
            return Err(AuthorizeError::StateTooOld);
        }
        // After the state was read.
        let now = inner.clock.now();
        let is_usable =
            |key: &ProvenKey| key.grace_end.is_none_or(|end| now < end) && !key.key.policy.deleted;
        let Some((key, totals, budgets, limits)) = found.filter(|(key, ..)| is_usable(key)) else {
            return Ok(Introspection::invalid(revision));
        };
        call::note_key(key.key.key_id.get());
        let state = key.key.policy.state(now);
        let reason = match state {
            KeyState::Active => None,
            KeyState::Deleted => Some(Reason::KeyInvalid),
            KeyState::Revoked => Some(Reason::KeyRevoked),
            KeyState::OwnerDisabled => Some(Reason::OwnerDisabled),
            KeyState::Expired => Some(Reason::KeyExpired),
        };
        let warnings = warnings::of(&known, now);
        Ok(Introspection { key: Some((key, state)), reason, totals, budgets, limits, warnings, revision })
    }

    /// The key of one of `digests` with what it has used, in state that passes the fill rule: the connection may lead to
    /// a database that another one has taken the place of.
    async fn read_whole(&self, digests: &[Digest]) -> Result<(Option<Whole>, Revision), AuthorizeError> {
        let inner = &*self.0;
        for _ in 0..TRIES_MAX {
            let (digests, now) = (digests.to_vec(), inner.clock.now());
            let read = inner.store.snapshot("introspect", move |session| {
                Box::pin(async move {
                    let Found { epoch, revision, keys } = secrets::find_by_digests(session, &digests).await?;
                    let at = ReadAt { epoch, revision };
                    let Some((_, key)) = keys.into_iter().next() else { return Ok((None, at)) };
                    let key = key?;
                    let (key_id, user_id) = (key.key.key_id, key.key.user_id);
                    let totals = usage::totals(session, &[key_id]).await?;
                    let totals = totals.into_iter().next().map(|(_, totals)| totals).unwrap_or_default();
                    let budgets = budgets::of(session, Some(key_id), Some(user_id), now).await?;
                    let limits = counters::statuses(session, &key.key, key.owner_rate_limits).await?;
                    Ok((Some((key, totals, budgets, limits)), at))
                })
            });
            let (found, at) = read.await?;
            match inner.cache.may_use(at, found.as_ref().map(|(key, ..)| key)) {
                Ok(()) => return Ok((found, at.revision)),
                Err(TooOld) => inner.cache.hurry(),
            }
        }
        Err(AuthorizeError::StateTooOld)
    }
}
