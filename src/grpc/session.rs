//! Who opened a stream, to be judged again as long as it lasts: with every message, and whenever something changes.
//!
//! Only calls that open a stream ([`access::Method::is_stream`]) have one, among the extensions of their requests. The secret that it
//! holds is the caller's own token.

use std::net::IpAddr;
use std::sync::Arc;
use std::time::Duration;

use http::request::Parts;
use secrecy::{ExposeSecret as _, SecretSlice};
use tokio::time::timeout;
use tonic::{Request, Status};

use super::access;
use super::auth_layer::{CallerAuth, bearer};
use super::error;
use super::peer::Peer;
use super::streams::Streams;
use crate::authorize::{Authorizer, CallerError, KnownCaller, Needed};
use crate::cache::View;
use crate::call;
use crate::policy::KeyId;

/// The caller of an idle stream is looked at so often at least: that a key has expired is no change.
const LOOK_EVERY: Duration = Duration::from_secs(10);

/// A caller who may be judged again. Clones are the same.
#[derive(Clone, Debug)]
pub(super) struct Session(Arc<Opened>);

#[derive(Debug)]
struct Opened {
    by: OpenedBy,
    peer: Option<IpAddr>,
    needed: Needed,
}

#[derive(Debug)]
enum OpenedBy {
    /// Anybody, where the service runs without authentication.
    Anybody,
    Token(Authorizer, SecretSlice<u8>),
    Certificate(Authorizer, KeyId),
}

/// Why a caller is not let on.
#[derive(Debug)]
pub(super) enum Refused {
    /// He may not call any more: his stream ends.
    Gone(Status),
    /// Nothing is known of him now; later, perhaps.
    Unknown(Status),
}

impl From<CallerError> for Refused {
    fn from(error: CallerError) -> Self {
        match error {
            CallerError::Undecided(_) => Self::Unknown(error::caller(error)),
            other => Self::Gone(error::caller(other)),
        }
    }
}

impl Session {
    /// Of a request that was let in, if it opens a stream.
    pub(super) fn of(auth: &CallerAuth, request: &Parts) -> Option<Self> {
        let needed = access::method(request.uri.path()).filter(|method| method.is_stream)?.needed?;
        let peer = request.extensions.get::<Peer>();
        let by = match (auth, bearer(request)) {
            (CallerAuth::Open, _) => OpenedBy::Anybody,
            (CallerAuth::Tokens(authorizer), Some(token)) => {
                OpenedBy::Token(authorizer.clone(), token.to_vec().into())
            }
            (CallerAuth::Tokens(authorizer), None) => {
                OpenedBy::Certificate(authorizer.clone(), peer?.key_id?)
            }
        };
        Some(Self(Arc::new(Opened { by, peer: peer.map(|it| it.address.ip().to_canonical()), needed })))
    }

    /// Of the request that a handler is given.
    pub(super) fn take<T>(request: &mut Request<T>) -> Result<Self, Status> {
        let session = request.extensions_mut().remove::<Self>();
        session.ok_or_else(|| error::defect(&"a stream was opened past the layer that lets callers in"))
    }

    /// Judges the caller of one message of many by what memory knows of him; `None` where it does not know.
    pub(super) fn judge_again_now(
        &self,
        view: View<'_>,
        known: &mut KnownCaller,
    ) -> Option<Result<(), Refused>> {
        let Opened { by: OpenedBy::Token(authorizer, token), peer, needed } = &*self.0 else {
            return self.judge_now();
        };
        let judged = authorizer.authenticate_again(view, known, token.expose_secret(), *peer, *needed);
        judged.map(|judged| Ok(judged.map(drop)?))
    }

    /// Judges the caller by what memory knows of him; `None` where it does not know.
    pub(super) fn judge_now(&self) -> Option<Result<(), Refused>> {
        let Opened { by, peer, needed } = &*self.0;
        let judged = match by {
            OpenedBy::Anybody => return Some(Ok(())),
            OpenedBy::Token(authorizer, token) => {
                authorizer.authenticate_now(token.expose_secret(), *peer, *needed)
            }
            OpenedBy::Certificate(authorizer, key_id) => {
                authorizer.authenticate_certificate_now(*key_id, *peer, *needed)
            }
        };
        judged.map(|judged| Ok(judged.map(drop)?))
    }

    /// Judges the caller.
    pub(super) async fn judge(&self) -> Result<(), Refused> {
        let Opened { by, peer, needed } = &*self.0;
        let judged = match by {
            OpenedBy::Anybody => return Ok(()),
            OpenedBy::Token(authorizer, token) => {
                authorizer.authenticate(token.expose_secret(), *peer, *needed).await
            }
            OpenedBy::Certificate(authorizer, key_id) => {
                authorizer.authenticate_certificate(*key_id, *peer, *needed).await
            }
        };
        Ok(judged.map(drop)?)
    }

    /// Judges the caller; where memory does not know him, where calls of the database belong.
    pub(super) async fn judge_aside(&self, streams: &Streams) -> Result<(), Refused> {
        if let Some(judged) = self.judge_now() {
            return judged;
        }
        let session = self.clone();
        let judging = streams.background.spawn(call::inherit(async move { session.judge().await }));
        judging.await.unwrap_or_else(|defect| Err(Refused::Unknown(error::defect(&defect))))
    }

    /// Returns when the caller may not call any more, with the reason. Looks whenever something has changed.
    pub(super) async fn ended(self, streams: Streams) -> Status {
        let mut movement = streams.movement.clone();
        loop {
            let _moved = timeout(LOOK_EVERY, movement.moved()).await;
            if let Err(Refused::Gone(status)) = self.judge_aside(&streams).await {
                return status;
            }
        }
    }
}
