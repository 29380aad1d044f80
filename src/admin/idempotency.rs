//! Requests that may be repeated: within 24 hours a repetition makes nothing new and answers with the key (without its
//! token) or the budget as it is then.
//!
//! An id belongs to its caller and method. It is taken in the transaction of the change, before anything else:
//! a failed attempt leaves it free, and of two at once, from whatever replica, the second waits for the first.

use std::time::Instant;

use chrono::{DateTime, TimeDelta, Utc};
use uuid::Uuid;

use super::create::repetition;
use super::read::KeyView;
use super::{Admin, AdminError, Changed};
use crate::storage::changes::Actor;
use crate::storage::idempotency::{self, Carried, RequestName};
use crate::storage::{Session, StorageError};

/// How long a request's id is remembered.
pub const REQUEST_ID_LIFE: TimeDelta = TimeDelta::hours(24);

/// A caller's id of a request, and what the request was.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RequestId {
    /// What the caller gave.
    pub id: Uuid,
    /// SHA-256 of the request without its id.
    pub fingerprint: [u8; 32],
}

/// One attempt at a request that may have an id.
#[derive(Clone, Debug)]
pub(super) struct Attempt {
    caller: String,
    method: &'static str,
    request: Option<RequestId>,
}

impl Attempt {
    pub(super) fn new(actor: &Actor, method: &'static str, request: Option<RequestId>) -> Self {
        Self { caller: actor.name.clone(), method, request }
    }

    fn name(&self, id: Uuid) -> RequestName<'_> {
        RequestName { caller: &self.caller, method: self.method, request_id: id }
    }

    /// Takes the id. Answers the id of what the request before made or changed, where this one repeats it.
    pub(super) async fn take(
        &self,
        session: &mut Session,
        now: DateTime<Utc>,
    ) -> Result<Option<i64>, AdminError> {
        let Some(RequestId { id, fingerprint }) = self.request else { return Ok(None) };
        let end = now.checked_add_signed(REQUEST_ID_LIFE).unwrap_or(DateTime::<Utc>::MAX_UTC);
        if idempotency::take(session, self.name(id), &fingerprint, now, end).await? {
            return Ok(None);
        }
        let known = self.known(session, now).await?;
        // Only a purge by a clock that is ahead of ours comes in between. Without a row, the change must not be made.
        let went = || StorageError::Unavailable(format!("request {id} was just forgotten"));
        Ok(Some(known.ok_or_else(went)?))
    }

    /// The same, where the id has been taken.
    async fn known(&self, session: &mut Session, now: DateTime<Utc>) -> Result<Option<i64>, AdminError> {
        let Some(RequestId { id, fingerprint }) = self.request else { return Ok(None) };
        match idempotency::find(session, self.name(id), now).await? {
            None => Ok(None),
            Some(Carried { fingerprint: before, resource_id }) if before == fingerprint => {
                Ok(Some(resource_id))
            }
            Some(_) => Err(AdminError::RequestIdReused(id)),
        }
    }

    /// Says what came of it: the id of what it made or changed.
    pub(super) async fn complete(&self, session: &mut Session, resource_id: i64) -> Result<(), AdminError> {
        if let Some(RequestId { id, .. }) = self.request {
            idempotency::complete(session, self.name(id), resource_id).await?;
        }
        Ok(())
    }
}

impl Admin {
    /// What a repetition of a request for a key answers, before anything costly is done for it; `None` for what is new. Only
    /// [`Attempt::take`] is sure.
    pub(super) async fn repeated(
        &self,
        attempt: &Attempt,
        answer_by: Option<Instant>,
    ) -> Result<Option<Changed<KeyView>>, AdminError> {
        if attempt.request.is_none() {
            return Ok(None);
        }
        let (attempt, now) = (attempt.clone(), self.settings.clock.now());
        let known = self.store.read("requests.known", move |session| {
            Box::pin(async move { Ok(attempt.known(session, now).await) })
        });
        let Some(key_id) = known.await?? else { return Ok(None) };
        let again = self.store.snapshot("requests.repeat", move |session| {
            Box::pin(async move { Ok(repetition(session, key_id, now).await) })
        });
        Ok(Some(self.propagated(again.await??, answer_by).await))
    }
}
