//! Who may call this service: keys with reserved scopes, by their tokens or by a client certificate.
//!
//! A caller's key is one of the operator's. It passes checks 1 to 5 with the peer's address, then its
//! scopes are looked at; each call anew, so that revoking the key stops its callers. Observe mode never applies
//! here. Which certificate stands for which key is set where the service listens.

use std::net::IpAddr;

use chrono::{DateTime, Utc};

use super::{AuthorizeError, Authorizer, Freshness, Proof};
use crate::call;
use crate::policy::{
    AccessRequest, CheckSet, Dimension, DimensionSet, Key, KeyId, KeyPolicy, KeySnapshot, Reason,
    SCOPE_ADMIN, SCOPE_AUTHORIZE, SCOPE_READ, Scope, UserId, evaluate,
};
use crate::storage::keys;
use crate::storage::secrets::Whose;

/// What a call needs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Needed {
    /// `keystile.authorize`, or admin.
    Authorize,
    /// `keystile.read`, or admin.
    Read,
    /// `keystile.admin`.
    Admin,
}

impl Needed {
    /// The scope's name.
    #[must_use]
    pub const fn scope(self) -> &'static str {
        match self {
            Self::Authorize => SCOPE_AUTHORIZE,
            Self::Read => SCOPE_READ,
            Self::Admin => SCOPE_ADMIN,
        }
    }
}

/// A caller that was let in.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Caller {
    /// The key of its token or certificate; `None` where the service runs without authentication.
    pub key_id: Option<KeyId>,
    /// It may do everything.
    pub is_admin: bool,
    /// Where it calls from.
    pub peer: Option<IpAddr>,
}

impl Caller {
    /// Whoever calls a service that runs without authentication.
    #[must_use]
    pub const fn anonymous(peer: Option<IpAddr>) -> Self {
        Self { key_id: None, is_admin: true, peer }
    }
}

/// Why a caller was not let in.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum CallerError {
    /// The token is unknown, revoked, expired, or its owner is disabled: one answer for all.
    #[error("the service token is not valid")]
    Unknown,
    /// The key that a client certificate stands for is missing, revoked, expired, or its owner is disabled.
    #[error("the key that the client certificate stands for is not valid")]
    Certificate,
    /// The key may not be used from this address.
    #[error("the caller's key may not be used from this address")]
    Address(KeyId),
    /// The key is known, but lacks the scope.
    #[error("the caller's key lacks the scope {}", .0.scope())]
    Scope(Needed, KeyId),
    /// Nothing is known of the key.
    #[error(transparent)]
    Undecided(#[from] AuthorizeError),
}

impl Authorizer {
    /// Lets a caller in by its token, or says why not.
    ///
    /// # Errors
    /// [`CallerError`].
    pub async fn authenticate(
        &self,
        token: &[u8],
        peer: Option<IpAddr>,
        needed: Needed,
    ) -> Result<Caller, CallerError> {
        let Proof { key, .. } = self.prove(token, Whose::Operators, Freshness::NONE).await?;
        let now = self.clock.now();
        let proven = key.filter(|key| key.grace_end.is_none_or(|end| now < end));
        admit(proven.ok_or(CallerError::Unknown)?.key, peer, needed, now)
    }

    /// Lets a caller in whose verified certificate stands for a key, or says why not.
    ///
    /// # Errors
    /// [`CallerError`].
    pub async fn authenticate_certificate(
        &self,
        key_id: KeyId,
        peer: Option<IpAddr>,
        needed: Needed,
    ) -> Result<Caller, CallerError> {
        let key = self.store.read("callers.key", |connection| Box::pin(keys::get(connection, key_id))).await;
        let key = key.map_err(AuthorizeError::from)?;
        let now = self.clock.now();
        admit(key.ok_or(CallerError::Certificate)?, peer, needed, now).map_err(|error| match error {
            CallerError::Unknown => CallerError::Certificate,
            other => other,
        })
    }
}

/// Checks 1 to 5 and the scopes.
fn admit(key: Key, peer: Option<IpAddr>, needed: Needed, now: DateTime<Utc>) -> Result<Caller, CallerError> {
    let policy = KeyPolicy { observe: CheckSet::EMPTY, ..key.policy };
    let address = peer.map(|peer| peer.to_string());
    let access = AccessRequest {
        client_ip: address.as_deref().map(str::as_bytes),
        not_applicable: DimensionSet::EMPTY
            .with(Dimension::Model)
            .with(Dimension::Endpoint)
            .with(Dimension::Chatbot),
        ..AccessRequest::default()
    };
    match evaluate(&KeySnapshot::compile(&policy), &access, now).denied {
        None => {}
        Some(Reason::IpNotAllowed) => return Err(CallerError::Address(key.key_id)),
        Some(_) => return Err(CallerError::Unknown),
    }
    // Only the operator's keys may hold reserved scopes; a row that says otherwise grants nothing.
    let is_operator = key.user_id == UserId::OPERATOR;
    let granted = |asked: &str| is_operator && policy.scopes.iter().any(|scope| Scope::grants(scope, asked));
    call::note_caller(key.key_id.get());
    let is_admin = granted(SCOPE_ADMIN);
    if is_admin || granted(needed.scope()) {
        return Ok(Caller { key_id: Some(key.key_id), is_admin, peer });
    }
    Err(CallerError::Scope(needed, key.key_id))
}
