//! Rotating keys: a new token, and a grace for the old one.
//!
//! A revoked or expired key is rotated too, and stays what it is: whoever has revoked a leaked token wants
//! another one before he lets the key work again. The token of an older system gets one of our own.

use chrono::{DateTime, TimeDelta, Utc};

use super::change::{lock, not_deleted, update};
use super::create::{IssuedToken, MadeSecret, TRIES, is_taken, repetition};
use super::idempotency::Attempt;
use super::read::{Entry, KeyView, finish};
use super::{Admin, AdminError, Etag, RequestId, Written};
use crate::policy::KeyId;
use crate::storage::changes::Actor;
use crate::storage::{Session, rotation};
use crate::token::{Token, os_rng};

/// The longest grace of a token that is rotated away.
pub const GRACE_MAX: TimeDelta = TimeDelta::days(30);

const ACTION: &str = "keys.rotate";

/// A key to be given another token.
#[derive(Clone, Debug)]
pub struct RotateKey {
    /// Which.
    pub key_id: KeyId,
    /// How long the old token works on: 0 to [`GRACE_MAX`].
    pub grace: TimeDelta,
    /// What the caller has seen of the key. A repetition does not look at it: the first has changed it.
    pub etag: Option<Etag>,
    /// Makes it safe to repeat.
    pub request_id: Option<RequestId>,
}

impl Admin {
    /// Gives a key another token. The token before it works for its grace; the one before that is ended.
    ///
    /// # Errors
    /// [`AdminError::KeyNotFound`], [`AdminError::KeyDeleted`], [`AdminError::EtagMismatch`],
    /// [`AdminError::RequestIdReused`], [`AdminError::Overloaded`], [`AdminError::Store`].
    pub async fn rotate_key(&self, actor: Actor, request: RotateKey) -> Result<IssuedToken, AdminError> {
        let attempt = Attempt::new(&actor, ACTION, request.request_id);
        if let Some(changed) = self.repeated(&attempt, actor.answer_by).await? {
            return Ok(IssuedToken { changed, token: None });
        }
        let mut tries = 1;
        loop {
            let token = Token::generate(&self.settings.brand, &mut os_rng());
            let made = self.make_secret(&token).await?;
            match self.rotate_key_to(actor.clone(), attempt.clone(), request.clone(), made).await {
                Ok((written, is_new)) => {
                    let changed = self.propagated(written, actor.answer_by).await;
                    return Ok(IssuedToken { changed, token: is_new.then_some(token) });
                }
                Err(error) if is_taken(&error) && tries < TRIES => tries += 1,
                Err(error) => return Err(error),
            }
        }
    }

    async fn rotate_key_to(
        &self,
        actor: Actor,
        attempt: Attempt,
        request: RotateKey,
        made: MadeSecret,
    ) -> Result<(Written<KeyView>, bool), AdminError> {
        let now = self.settings.clock.now();
        self.store
            .write(ACTION, move |session| {
                Box::pin(async move {
                    if let Some(key_id) = attempt.take(session, now).await? {
                        return Ok((repetition(session, key_id, now).await?, false));
                    }
                    attempt.complete(session, request.key_id.get()).await?;
                    Ok((rotate(session, &actor, &request, &made, now).await?, true))
                })
            })
            .await
    }
}

async fn rotate(
    session: &mut Session,
    actor: &Actor,
    request: &RotateKey,
    made: &MadeSecret,
    now: DateTime<Utc>,
) -> Result<Written<KeyView>, AdminError> {
    let RotateKey { key_id, grace, ref etag, request_id: _ } = *request;
    let (before, ended) = lock(session, key_id, etag.as_ref(), now).await?;
    not_deleted(&before)?;
    let grace_end = now.checked_add_signed(grace).filter(|end| *end > now);
    let secret_id = rotation::rotate(session, &made.of(key_id), grace_end, now).await?;
    made.store_digest(session, secret_id).await?;
    let mut after = before.clone();
    after.update_time = now;
    let shown = update(session, &after, now).await?;
    let entry = Entry { actor, action: ACTION, adds_tokens: true };
    Ok(finish(session, entry, Some((&before, ended)), shown).await?)
}
