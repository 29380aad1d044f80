//! Who may call this service: keys with reserved scopes, by their tokens or by a client certificate.
//!
//! A caller's key is one of the operator's. It passes checks 1 to 5 with the peer's address, then its
//! scopes are looked at; each call anew, so that revoking the key stops its callers. Observe mode never applies
//! here. Which certificate stands for which key is set where the service listens.

use std::io::{Cursor, Write as _};
use std::net::IpAddr;
use std::sync::Arc;

use chrono::{DateTime, Utc};
use secrecy::{ExposeSecret as _, SecretSlice};

use super::prove::Whose;
use super::{AuthorizeError, Authorizer, Freshness};
use crate::cache::{CachedKey, View, Wanted};
use crate::call;
use crate::metrics::ProofOutcome;
use crate::policy::{
    AccessRequest, Dimension, DimensionSet, KeyId, Reason, Revision, SCOPE_ADMIN, SCOPE_AUTHORIZE,
    SCOPE_READ, UserId, evaluate,
};

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

/// What a connection, or a stream, remembers of the caller that it let in last, by a token and from its own peer's
/// address.
#[derive(Debug, Default)]
pub struct KnownCaller(Option<Known>);

#[derive(Debug)]
struct Known {
    token: SecretSlice<u8>,
    key: Arc<CachedKey>,
    caller: Caller,
    needed: Needed,
    /// Until when the token and the key work, where either ends by itself. Exclusive.
    end: Option<DateTime<Utc>>,
}

impl Known {
    fn new(token: &[u8], key: Arc<CachedKey>, caller: Caller, needed: Needed) -> Self {
        let end = key.grace_end().into_iter().chain(key.snapshot().expire_time()).min();
        Self { token: token.to_vec().into(), key, caller, needed, end }
    }

    /// Compares all bytes, wherever they differ: others may share the connection.
    fn has(&self, token: &[u8]) -> bool {
        let known = self.token.expose_secret();
        let differences = known.iter().zip(token).fold(0, |all, (one, other)| all | (one ^ other));
        known.len() == token.len() && differences == 0
    }
}

impl Authorizer {
    /// [`Authorizer::authenticate_now`] for a caller who calls again and again, on a connection or a stream: where neither
    /// his token nor the key has changed, all that has to be asked is whether the key still works. The wall clock is not
    /// read for one that has no end.
    ///
    /// Counts nothing: see [`Authorizer::count_caller`].
    #[must_use]
    pub fn authenticate_again(
        &self,
        view: View<'_>,
        known: &mut KnownCaller,
        token: &[u8],
        peer: Option<IpAddr>,
        needed: Needed,
    ) -> Option<Result<Caller, CallerError>> {
        let again = known.0.as_ref().filter(|it| it.needed == needed && it.caller.peer == peer);
        if let Some(Known { key, caller, end, .. }) =
            again.filter(|it| it.has(token) && view.still_has(&it.key))
        {
            let works = end.is_none_or(|end| self.0.clock.now() < end);
            if works && !view.wants_refresh(key) {
                call::note_caller(key.key_id().get());
                return Some(Ok(caller.clone()));
            }
        }
        known.0 = None;
        let (proof, _) = self.look_up(Some(view), token, Revision::ZERO)?;
        let admitted = self.let_in(proof.key.clone(), peer, needed).map_err(Refused::by_token);
        if let (Ok(caller), Some(key)) = (&admitted, proof.key) {
            known.0 = Some(Known::new(token, key, caller.clone(), needed));
        }
        Some(admitted)
    }

    /// Counts a caller whom [`Authorizer::authenticate_again`] has let in, once his call is answered: one that turns out
    /// to take the long way is counted there.
    pub fn count_caller(&self) {
        self.count_look_up(Whose::Operators, ProofOutcome::Digest);
    }

    /// Lets a caller in by its token as memory knows it, or says why not; `None` where memory cannot tell: then
    /// [`Authorizer::authenticate`] can.
    #[must_use]
    pub fn authenticate_now(
        &self,
        token: &[u8],
        peer: Option<IpAddr>,
        needed: Needed,
    ) -> Option<Result<Caller, CallerError>> {
        let proof = self.prove_now(self.view(), token, Whose::Operators, Revision::ZERO)?;
        Some(self.let_in(proof.key, peer, needed).map_err(Refused::by_token))
    }

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
        let proof = self.prove(token, Whose::Operators, Freshness::NONE).await?;
        self.let_in(proof.key, peer, needed).map_err(Refused::by_token)
    }

    /// Lets a caller in whose verified certificate stands for a key, as memory knows it; `None` as of
    /// [`Authorizer::authenticate_now`].
    #[must_use]
    pub fn authenticate_certificate_now(
        &self,
        key_id: KeyId,
        peer: Option<IpAddr>,
        needed: Needed,
    ) -> Option<Result<Caller, CallerError>> {
        let key = self.find_now(&Wanted::Key(key_id))?;
        Some(self.let_in(key, peer, needed).map_err(Refused::by_certificate))
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
        let key = self.find(Wanted::Key(key_id)).await?;
        self.let_in(key, peer, needed).map_err(Refused::by_certificate)
    }

    /// Checks 1 to 5 and the scopes. Allocates nothing.
    fn let_in(
        &self,
        key: Option<Arc<CachedKey>>,
        peer: Option<IpAddr>,
        needed: Needed,
    ) -> Result<Caller, Refused> {
        let now = self.0.clock.now();
        let key = key.filter(|key| key.grace_end().is_none_or(|end| now < end)).ok_or(Refused::Key)?;
        let address = peer.map(AddressText::of);
        let access = AccessRequest {
            client_ip: address.as_ref().map(AddressText::as_bytes),
            not_applicable: DimensionSet::EMPTY
                .with(Dimension::Model)
                .with(Dimension::Endpoint)
                .with(Dimension::Chatbot),
            ..AccessRequest::default()
        };
        let decision = evaluate(key.snapshot(), &access, now);
        // Nothing is only observed here: the first failure counts, whichever way it was reported.
        match decision.denied.into_iter().chain(decision.observed).min() {
            None => {}
            Some(Reason::IpNotAllowed) => return Err(Refused::Address(key.key_id())),
            Some(_) => return Err(Refused::Key),
        }
        call::note_caller(key.key_id().get());
        // Only the operator's keys may hold reserved scopes; a row that says otherwise grants nothing.
        let is_operator = key.user_id() == UserId::OPERATOR;
        let granted = |asked: &str| is_operator && key.snapshot().grants_scope(asked);
        let is_admin = granted(SCOPE_ADMIN);
        if is_admin || granted(needed.scope()) {
            return Ok(Caller { key_id: Some(key.key_id()), is_admin, peer });
        }
        Err(Refused::Scope(needed, key.key_id()))
    }
}

/// What a key is refused for, however its caller came by it.
enum Refused {
    /// It is missing or does not work.
    Key,
    Address(KeyId),
    Scope(Needed, KeyId),
}

impl Refused {
    fn by_token(self) -> CallerError {
        match self {
            Self::Key => CallerError::Unknown,
            Self::Address(key_id) => CallerError::Address(key_id),
            Self::Scope(needed, key_id) => CallerError::Scope(needed, key_id),
        }
    }

    fn by_certificate(self) -> CallerError {
        match self {
            Self::Key => CallerError::Certificate,
            other => other.by_token(),
        }
    }
}

/// An address as text, without the heap. The longest has 45 bytes.
struct AddressText {
    bytes: [u8; 48],
    length: usize,
}

impl AddressText {
    fn of(address: IpAddr) -> Self {
        let mut text = Cursor::new([0; 48]);
        // There is room for the longest; one that were cut would be no address, and pass no rule.
        let _written = write!(text, "{address}");
        let length = usize::try_from(text.position()).unwrap_or_default();
        Self { bytes: text.into_inner(), length }
    }

    fn as_bytes(&self) -> &[u8] {
        self.bytes.get(..self.length).unwrap_or_default()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_is_written_as_it_is_read() {
        for text in [
            "0.0.0.0",
            "255.255.255.255",
            "::",
            "2001:db8::1",
            "ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
            "::ffff:255.255.255.255",
        ] {
            assert_eq!(AddressText::of(text.parse().unwrap()).as_bytes(), text.as_bytes());
        }
    }
}
