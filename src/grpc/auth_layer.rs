//! Lets callers in before anything else is done: before the request is decoded, let alone validated.
//!
//! A caller is the key of its bearer token. Where it presents no token at all, it is the key that its client
//! certificate stands for; the connection's [`Peer`] says which.

use std::pin::Pin;
use std::task::{Context, Poll};

use http::request::Parts;
use http::{Request, Response, header};
use tonic::Status;
use tonic::body::Body;
use tower::{Layer, Service};

use super::access;
use super::error::{self, ErrorReason};
use super::peer::Peer;
use crate::authorize::{Authorizer, Caller};

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
}

impl AuthLayer {
    /// A layer that lets callers in by `auth`.
    #[must_use]
    pub fn new(auth: CallerAuth) -> Self {
        Self { auth }
    }
}

impl<S> Layer<S> for AuthLayer {
    type Service = Authenticated<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Authenticated { auth: self.auth.clone(), inner }
    }
}

/// A service behind the layer: handlers find the [`Caller`] among the request's extensions.
#[derive(Clone, Debug)]
pub struct Authenticated<S> {
    auth: CallerAuth,
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
        Box::pin(async move {
            let (mut head, body) = request.into_parts();
            match admit(&auth, &head).await {
                Ok(caller) => {
                    head.extensions.insert(caller);
                    inner.call(Request::from_parts(head, body)).await
                }
                Err(status) => Ok(status.into_http()),
            }
        })
    }
}

async fn admit(auth: &CallerAuth, request: &Parts) -> Result<Caller, Status> {
    let peer = request.extensions.get::<Peer>();
    let address = peer.map(|peer| peer.address.ip().to_canonical());
    let authorizer = match auth {
        CallerAuth::Open => return Ok(Caller::anonymous(address)),
        CallerAuth::Tokens(authorizer) => authorizer,
    };
    let method = request.uri.path().trim_start_matches('/');
    let Some(needed) = access::needed(method) else {
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
    admitted.map_err(error::caller)
}

fn bearer(request: &Parts) -> Option<&[u8]> {
    let mut values = request.headers.get_all(header::AUTHORIZATION).iter();
    let value = values.next()?.as_bytes();
    if values.next().is_some() {
        // Which of two tokens counts must not depend on who reads the header.
        return None;
    }
    let (scheme, token) = value.split_at_checked(7)?;
    (scheme.eq_ignore_ascii_case(b"bearer ") && !token.is_empty()).then_some(token)
}
