//! Lets callers in before anything else is done: before the request is decoded, let alone validated.
//!
//! A caller is the key of its bearer token. Where it presents no token at all, it is the key that its client
//! certificate stands for; the connection's [`Peer`] says which.
//!
//! What a known caller is refused is noted for the audit log: a call that takes an administrator, on the way in, and
//! what would have given somebody more than he may have, on the way out.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{HeaderMap, Request, Response, header};
use tonic::Status;
use tonic::body::Body;
use tonic_types::StatusExt as _;
use tower::{Layer, Service};

use super::access;
use super::convert::key_request::SCOPE_IS_RESERVED;
use super::error::{self, ErrorReason};
use super::key_service::actor_of;
use super::peer::Peer;
use super::session::Session;
use crate::admin::{Refusal, Refusals};
use crate::authorize::{Authorizer, Caller, CallerError, Needed};
use crate::policy::KeyId;
use crate::storage::changes::Actor;

/// How callers are let in.
#[derive(Clone, Debug)]
pub enum CallerAuth {
    /// By service token or client certificate.
    Tokens(Authorizer),
    /// Everybody, as administrator. On loopback only.
    Open,
}

/// The layer.
#[derive(Clone, Debug)]
pub struct AuthLayer {
    auth: CallerAuth,
    refusals: Arc<Refusals>,
}

impl AuthLayer {
    /// A layer that lets callers in by `auth`.
    #[must_use]
    pub fn new(auth: CallerAuth) -> Self {
        Self { auth, refusals: Arc::default() }
    }

    /// Notes refused attempts in `refusals`, for whoever writes them to the audit log.
    #[must_use]
    pub fn noting(self, refusals: Arc<Refusals>) -> Self {
        Self { refusals, ..self }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticated { auth: self.auth.clone(), refusals: Arc::clone(&self.refusals), inner }
    }
}

/// A service behind the layer: handlers find the [`Caller`] among the request's extensions.
#[derive(Clone, Debug)]
pub struct Authenticated<S> {
    auth: CallerAuth,
    refusals: Arc<Refusals>,
    inner: S,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Service<Request<Body>> for Authenticated<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Clone + Send + 'static,
    S::Future: Send,
    S::Error: Send,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, request: Request<Body>) -> Self::Future {
        // The service that is ready is the one that was polled; its clone waits for the next call.
        let clone = self.inner.clone();
        let mut inner = std::mem::replace(&mut self.inner, clone);
        if access::is_open(request.uri().path()) {
            return Box::pin(inner.call(request));
        }
        let auth = self.auth.clone();
        let refusals = Arc::clone(&self.refusals);
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            match admit(&auth, &refusals, &head).await {
                Ok(caller) => {
                    // The hot path has nothing to note.
                    let attempt = administers(&head).then(|| Attempt::of(&head, &caller));
                    head.extensions.insert(caller);
                    // Only a stream outlives this look at its caller.
                    if let Some(session) = Session::of(&auth, &head) {
                        head.extensions.insert(session);
                    }
                    let response = inner.call(Request::from_parts(head, body)).await?;
                    if let Some(attempt) = attempt {
                        note_refused_answer(&refusals, attempt, response.headers());
                    }
                    Ok(response)
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

async fn admit(auth: &CallerAuth, refusals: &Refusals, request: &Parts) -> Result<Caller, Status> {
    let peer = request.extensions.get::<Peer>();
    let address = peer.map(|peer| peer.address.ip().to_canonical());
    let authorizer = match auth {
        CallerAuth::Open => return Ok(Caller::anonymous(address)),
        CallerAuth::Tokens(authorizer) => authorizer,
    };
    let Some(needed) = access::needed(request.uri.path()) else {
        return Err(ErrorReason::MethodUnknown.status("the contract has no such method"));
    };
    // A token that was meant to be one must not turn into another caller by a slip of the pen.
    let presents_token = request.headers.contains_key(header::AUTHORIZATION);
    let admitted = match (bearer(request), peer.and_then(|peer| peer.key_id)) {
        (Some(token), _) => authorizer.authenticate(token, address, needed).await,
        (None, Some(key_id)) if !presents_token => {
            authorizer.authenticate_certificate(key_id, address, needed).await
        }
        (None, _) => {
            let message = "give a service token: `authorization: Bearer <token>`";
            return Err(ErrorReason::CallerTokenMissing.status(message));
        }
    };
    admitted.map_err(|error| {
        let refused = refused_key(&error).filter(|_| needed == Needed::Admin);
        let status = error::caller(error);
        if let Some(key_id) = refused {
            let caller = Caller { key_id: Some(key_id), is_admin: false, peer: address };
            Attempt::of(request, &caller).note(refusals, String::new(), reason_of(&status));
        }
        status
    })
}

/// The key of a caller that is known, and refused all the same. Of an unknown token nothing is known that could be
/// recorded, and anybody could fill the audit log with them.
fn refused_key(error: &CallerError) -> Option<KeyId> {
    match error {
        CallerError::Address(key_id) | CallerError::Scope(_, key_id) => Some(*key_id),
        _ => None,
    }
}

fn administers(request: &Parts) -> bool {
    access::needed(request.uri.path()).is_some_and(|needed| needed != Needed::Authorize)
}

/// Who calls what.
struct Attempt {
    actor: Actor,
    method: String,
}

impl Attempt {
    fn of(request: &Parts, caller: &Caller) -> Self {
        let method = request.uri.path().trim_start_matches('/');
        let id = request.headers.get("x-request-id").and_then(|value| value.to_str().ok());
        Self {
            actor: actor_of(Some(caller), id),
            method: method.strip_prefix("keystile.v1.").unwrap_or(method).to_owned(),
        }
    }

    fn note(self, refusals: &Refusals, resource: String, reason: String) {
        refusals.note(Refusal { actor: self.actor, method: self.method, resource, reason });
    }
}

fn reason_of(status: &Status) -> String {
    status.get_details_error_info().map(|info| info.reason).unwrap_or_default()
}

/// Whether a request is faulty for asking for a reserved scope: what is asked for a new key is refused before
/// anything is read.
fn asks_for_reserved(status: &Status) -> bool {
    let faults = status.get_details_bad_request().map(|faults| faults.field_violations).unwrap_or_default();
    faults.iter().any(|fault| fault.description == SCOPE_IS_RESERVED)
}

/// Notes an answer that refuses to give somebody more than he may have. Such an answer has no message, so that its
/// status stands in the headers.
fn note_refused_answer(refusals: &Refusals, attempt: Attempt, headers: &HeaderMap) {
    let code = headers.get(Status::GRPC_STATUS);
    if !code.is_some_and(|code| matches!(code.as_bytes(), b"3" | b"7" | b"9")) {
        return;
    }
    let Some(status) = Status::from_header_map(headers) else { return };
    let reserved = ErrorReason::ReservedScope.parts().1;
    let reason = if asks_for_reserved(&status) { reserved.to_owned() } else { reason_of(&status) };
    let noted = [ErrorReason::CallerScopeMissing, ErrorReason::ReservedScope, ErrorReason::OperatorOwner];
    if !noted.iter().any(|noted| noted.parts().1 == reason) {
        return;
    }
    let unmet = status.get_details_precondition_failure().map(|unmet| unmet.violations);
    let subject = unmet.and_then(|unmet| unmet.into_iter().next()).map(|unmet| unmet.subject);
    attempt.note(refusals, subject.unwrap_or_default(), reason);
}

/// The token that a request presents; `None` without one, and where it presents several.
pub(super) fn bearer(request: &Parts) -> Option<&[u8]> {
    let mut values = request.headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        // Which of two tokens counts must not depend on who reads the header.
        return None;
    }
    let (scheme, token) = value.split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}
