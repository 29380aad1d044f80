//! `Authorize` on the short way: the caller, the message, the decision and the answer, each as on the long way and by the
//! same functions.
//!
//! It answers with a decision or not at all. A caller who is refused, a fault of the request, a miss: the long way finds
//! it again and words it. One refusal is given here, that of a miss for a caller who floods with tokens that are nobody's:
//! it has to cost less than what it saves.

use std::sync::Arc;
use std::time::Duration;

use http::header::{AUTHORIZATION, CONTENT_TYPE};
use http::request::Parts;
use http::{HeaderName, Method};
use prost::Message as _;
use tracing::level_filters::LevelFilter;

use super::{PATH, ShortAnswer, ShortCall};
use crate::authorize::{Authorizer, KnownCaller, Needed, Question};
use crate::cache::{Asker, LoadError, View};
use crate::clock;
use crate::grpc::auth_layer::{CallerAuth, bearer};
use crate::grpc::convert::authorize as convert;
use crate::grpc::error::{self, ErrorReason};
use crate::grpc::error_layer::is_grpc;
use crate::grpc::pb;
use crate::grpc::telemetry_layer::{REQUEST_ID, Telemetry, only};

const ENCODING: HeaderName = HeaderName::from_static("grpc-encoding");
const TIMEOUT: HeaderName = HeaderName::from_static("grpc-timeout");
/// A message that has not come by then is waited for on the long way.
const PATIENCE: Duration = Duration::from_secs(1);

/// Whether a call may be answered on the short way, by what its path says.
#[must_use]
pub fn is_short(head: &Parts) -> bool {
    head.uri.path() == PATH
}

/// How long the rest of a call may be waited for on the short way.
#[must_use]
pub fn patience(head: &Parts) -> Duration {
    deadline(head).map_or(PATIENCE, |deadline| deadline.min(PATIENCE))
}

fn deadline(head: &Parts) -> Option<Duration> {
    convert::read_timeout(head.headers.get(TIMEOUT).and_then(|value| value.to_str().ok()))
}

/// Decides from memory.
#[derive(Clone, Debug)]
pub struct ShortAuthorize {
    auth: CallerAuth,
    authorizer: Authorizer,
    telemetry: Arc<Telemetry>,
}

impl ShortAuthorize {
    /// For callers whom `auth` lets in; `telemetry` is told of each call that is answered.
    #[must_use]
    pub fn new(auth: CallerAuth, authorizer: Authorizer, telemetry: Arc<Telemetry>) -> Self {
        Self { auth, authorizer, telemetry }
    }

    /// The answer, if memory has it and nothing is unusual about the call.
    #[must_use]
    pub fn answer(&self, call: &ShortCall<'_>, known: &mut KnownCaller) -> Option<ShortAnswer> {
        // Somebody wants to read more of each call than is told here.
        if LevelFilter::current() >= LevelFilter::DEBUG || !is_usual(call) {
            return None;
        }
        let _in_flight = self.telemetry.authorize().begin();
        let view = self.authorizer.view()?;
        let caller = self.let_in(view, call, known)?;
        let request = pb::AuthorizeRequest::decode(call.message()?).ok()?;
        // A revision that is not there yet is not waited for here.
        let asked = convert::check_authorize(&request, Duration::ZERO).ok()?;
        let question = Question {
            token: &request.token,
            access: convert::access(&request, &asked),
            tokens: request.estimated_tokens.unwrap_or_default(),
            dry_run: request.dry_run,
            freshness: asked.freshness,
        };
        let (mut answer, refused) = match self.authorizer.authorize_now(view, &question) {
            Some(outcome) => {
                let id = self.authorizer.authorization_id(&outcome, &request.request_id);
                (ShortAnswer::of(&convert::response(outcome, id))?, None)
            }
            None if self.authorizer.sheds(&question, caller.asker) => {
                let status = error::authorize(LoadError::InVain.into());
                (ShortAnswer::refusal(status), Some(ErrorReason::Overloaded))
            }
            None => return None,
        };
        answer.headers.insert(REQUEST_ID, self.telemetry.answered_id(only(&call.head.headers, &REQUEST_ID))?);
        if caller.is_by_token {
            self.authorizer.count_caller();
        }
        self.telemetry.answered_at_once(refused, clock::since(call.received));
        Some(answer)
    }

    /// Lets the caller in; `None` where it takes more than memory, or he is refused.
    fn let_in(&self, view: View<'_>, call: &ShortCall<'_>, known: &mut KnownCaller) -> Option<LetIn> {
        let ShortCall { head, peer, .. } = call;
        let CallerAuth::Tokens(authorizer) = &self.auth else {
            return Some(LetIn { asker: Asker::Unknown, is_by_token: false });
        };
        let address = Some(peer.address.ip().to_canonical());
        let token = bearer(head);
        let caller = match (token, peer.key_id) {
            (Some(token), _) => authorizer.authenticate_again(view, known, token, address, Needed::Authorize),
            (None, Some(key_id)) if !head.headers.contains_key(AUTHORIZATION) => {
                authorizer.authenticate_certificate_now(key_id, address, Needed::Authorize)
            }
            (None, _) => None,
        };
        let key_id = caller?.ok()?.key_id;
        let asker = key_id.map_or(Asker::Unknown, |key_id| Asker::Caller(key_id.get()));
        Some(LetIn { asker, is_by_token: token.is_some() })
    }
}

/// A caller who may call.
struct LetIn {
    asker: Asker,
    is_by_token: bool,
}

/// Whether nothing of the head takes the long way.
fn is_usual(call: &ShortCall<'_>) -> bool {
    let head = call.head;
    let is_plain = head.headers.get(ENCODING).is_none_or(|encoding| encoding == "identity");
    let is_in_time = || deadline(head).is_none_or(|deadline| clock::since(call.received) < deadline);
    head.method == Method::POST && is_grpc(head.headers.get(CONTENT_TYPE)) && is_plain && is_in_time()
}
