//! What is asked, and how an answer must be.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

use bytes::Bytes;
use http::header::{AUTHORIZATION, CONTENT_TYPE, TE, USER_AGENT};
use http::{Method, Request, Version};
use keystile::grpc::pb;
use keystile::grpc::pb::authorize_response::Decision;
use keystile::grpc::pb::batch_authorize_response::item;
use prost::Message;
use tokio::sync::Notify;

use crate::client::{Answer, CallFailure};
use crate::echo;
use crate::failure::Failure;
use crate::message::{Echo, PREFIX_BYTES, framed};
use crate::random::Random;
use crate::subject::Gateway;
use crate::template::Template;
use crate::tokens::{Forgery, Tokens};

/// One in so many of Keystile's answers is decoded.
pub const SAMPLE: usize = 64;

/// Where many requests are decided in one call.
const BATCH_PATH: &str = "/keystile.v1.AuthorizeService/BatchAuthorize";
/// Where a stream of them is.
const STREAM_PATH: &str = "/keystile.v1.AuthorizeService/AuthorizeStream";

/// Wrong tokens so far: none is ever asked about twice, since the service may remember it.
static FORGED: AtomicU64 = AtomicU64::new(1);

/// What is asked in the calls to one server, and how the answers must be.
#[derive(Debug)]
pub struct Question {
    /// Of each request.
    pub head: Request<()>,
    bodies: Bodies,
    right: Right,
    /// Decisions in one answer.
    decisions: usize,
    /// Told when there is nothing left to ask.
    dry: Notify,
}

#[derive(Debug)]
enum Bodies {
    /// Always the same.
    Same(Bytes),
    /// About these keys.
    About { template: Template, tokens: Arc<Tokens>, order: Order },
    /// With tokens that are wrong, another each time.
    Forged { template: Template, forgery: Forgery },
}

/// Which of many keys comes next.
#[derive(Debug)]
pub enum Order {
    /// As these places say, over and over. Each stream begins somewhere else.
    Cycle(Arc<[usize]>),
    /// Each from `next` until `end` once; then there is nothing left to ask.
    Once {
        /// The next one.
        next: AtomicUsize,
        /// Behind the last one.
        end: usize,
    },
    /// One after the other, all streams together, over and over, until so many were asked about.
    Rounds {
        /// How many were asked about.
        asked: AtomicUsize,
        /// How many there are to ask about, each counted as often as it comes.
        end: usize,
        /// How many keys there are.
        keys: usize,
    },
}

#[derive(Debug)]
enum Right {
    /// Exactly this message.
    Echo(Bytes),
    /// ALLOW.
    Allow,
    /// ALLOW, so many times.
    AllowAll(usize),
    /// DENY, or that the server has too much to do.
    Deny,
}

/// How far one stream of calls is.
#[derive(Debug)]
pub struct Turn {
    at: usize,
}

impl Turn {
    /// Of the stream with this number; each number goes through the keys from another place.
    pub fn new(stream: usize) -> Self {
        let mut random = Random::new(u64::try_from(stream).unwrap_or_default());
        Self { at: usize::try_from(random.bits() >> 32).unwrap_or_default() }
    }
}

impl Turn {
    /// At this place of an order.
    pub fn at(at: usize) -> Self {
        Self { at }
    }
}

impl Question {
    /// The gateway's question to Keystile, about one key.
    ///
    /// # Errors
    /// The token is no header value.
    pub fn to_keystile(gateway: &Gateway, address: SocketAddr) -> Result<Self, Failure> {
        let body = framed(&gateway.question);
        Self::new(gateway, address, echo::PATH, Bodies::Same(body), Right::Allow)
    }

    /// A question of the same size with the same metadata to an echo server that answers in `answer_bytes`.
    ///
    /// # Errors
    /// The token is no header value.
    pub fn to_echo(gateway: &Gateway, address: SocketAddr, answer_bytes: usize) -> Result<Self, Failure> {
        let asked = Echo::of_size(gateway.question.encoded_len());
        let answer = asked.answer(Echo::of_size(answer_bytes).payload.len());
        let right = Right::Echo(answer.encode_to_vec().into());
        Self::new(gateway, address, echo::PATH, Bodies::Same(framed(&asked)), right)
    }

    /// The gateway's question about many keys.
    ///
    /// # Errors
    /// A token is no header value, or the keys' tokens have another length than that of the gateway's question.
    pub fn about(
        gateway: &Gateway,
        address: SocketAddr,
        tokens: &Arc<Tokens>,
        order: Order,
    ) -> Result<Self, Failure> {
        let template = template(gateway, tokens.get(0).unwrap_or_default())?;
        let bodies = Bodies::About { template, tokens: Arc::clone(tokens), order };
        Self::new(gateway, address, echo::PATH, bodies, Right::Allow)
    }

    /// The gateway's question with tokens that are wrong.
    ///
    /// # Errors
    /// The token is no header value.
    pub fn forged(gateway: &Gateway, address: SocketAddr, forgery: Forgery) -> Result<Self, Failure> {
        let template = template(gateway, &forgery.token(&mut Random::new(0)))?;
        Self::new(gateway, address, echo::PATH, Bodies::Forged { template, forgery }, Right::Deny)
    }

    /// The gateway's question so many times in one call.
    ///
    /// # Errors
    /// The token is no header value.
    pub fn batch(gateway: &Gateway, address: SocketAddr, items: usize) -> Result<Self, Failure> {
        let body = framed(&pb::BatchAuthorizeRequest { requests: vec![gateway.question.clone(); items] });
        let question = Self::new(gateway, address, BATCH_PATH, Bodies::Same(body), Right::AllowAll(items))?;
        Ok(Self { decisions: items, ..question })
    }

    /// The gateway's question on a stream; the bodies are the stream's own.
    ///
    /// # Errors
    /// The token is no header value.
    pub fn on_stream(gateway: &Gateway, address: SocketAddr) -> Result<Self, Failure> {
        let body = framed(&gateway.question);
        Self::new(gateway, address, STREAM_PATH, Bodies::Same(body), Right::Allow)
    }

    fn new(
        gateway: &Gateway,
        address: SocketAddr,
        path: &str,
        bodies: Bodies,
        right: Right,
    ) -> Result<Self, Failure> {
        let head = Request::builder()
            .method(Method::POST)
            .version(Version::HTTP_2)
            .uri(format!("http://{address}{path}"))
            .header(TE, "trailers")
            .header(CONTENT_TYPE, "application/grpc")
            .header(USER_AGENT, "keystile-throughput")
            .header(AUTHORIZATION, format!("Bearer {}", gateway.token))
            .body(());
        let head = head.map_err(|_| Failure::Unusable("the service token is no header value"))?;
        Ok(Self { head, bodies, right, decisions: 1, dry: Notify::new() })
    }

    /// Decisions in one answer.
    pub fn decisions(&self) -> usize {
        self.decisions
    }

    /// Whether it may be refused because the server has too much to do.
    pub fn may_be_shed(&self) -> bool {
        matches!(self.right, Right::Deny)
    }

    /// The next request, framed; `None` where there is nothing left to ask.
    pub fn body(&self, turn: &mut Turn) -> Option<Bytes> {
        let body = match &self.bodies {
            Bodies::Same(body) => Some(body.clone()),
            Bodies::About { template, tokens, order } => {
                let token = order.next(turn).and_then(|at| tokens.get(at));
                token.and_then(|token| template.with(token))
            }
            Bodies::Forged { template, forgery } => {
                let number = FORGED.fetch_add(1, Ordering::Relaxed);
                template.with(&forgery.token(&mut Random::new(number)))
            }
        };
        if body.is_none() {
            self.dry.notify_one();
        }
        body
    }

    /// Bytes of a message.
    pub fn message_bytes(&self) -> usize {
        let body = self.body(&mut Turn::new(0)).unwrap_or_default();
        body.len().saturating_sub(PREFIX_BYTES)
    }

    /// Waits until there is nothing left to ask; for ever where there always is something.
    pub async fn ran_dry(&self) {
        self.dry.notified().await;
    }

    /// Checks what an answer says; `count` is the number of answers before it, of which some are sampled.
    ///
    /// # Errors
    /// [`CallFailure::Wrong`].
    pub fn check(&self, answer: &Answer, count: usize) -> Result<(), CallFailure> {
        let sampled = count.is_multiple_of(SAMPLE);
        match &self.right {
            Right::Echo(message) if *message == answer.message => Ok(()),
            Right::Echo(_) => Err(CallFailure::Wrong("it is not the echo".to_owned())),
            Right::Allow if sampled => check_decision(&decode(&answer.message)?, Decision::Allow),
            Right::AllowAll(items) if sampled => check_batch(&answer.message, *items),
            Right::Allow | Right::AllowAll(_) => Ok(()),
            // A wrong token that is let in is never to be missed.
            Right::Deny => check_decision(&decode(&answer.message)?, Decision::Deny),
        }
    }
}

impl Order {
    /// From `first` to before `end`, each once.
    pub fn once(first: usize, end: usize) -> Self {
        Self::Once { next: AtomicUsize::new(first), end }
    }

    /// `end` times one of so many keys, the next one each time, whichever stream asks.
    pub fn rounds(keys: usize, end: usize) -> Self {
        Self::Rounds { asked: AtomicUsize::new(0), end, keys }
    }

    /// `None`: there is none left.
    fn next(&self, turn: &mut Turn) -> Option<usize> {
        match self {
            Self::Cycle(places) => {
                let at = turn.at.checked_rem(places.len())?;
                turn.at = at + 1;
                places.get(at).copied()
            }
            Self::Once { next, end } => Some(next.fetch_add(1, Ordering::Relaxed)).filter(|at| at < end),
            Self::Rounds { asked, end, keys } => {
                let number = asked.fetch_add(1, Ordering::Relaxed);
                number.checked_rem(*keys).filter(|_| number < *end)
            }
        }
    }
}

fn template(gateway: &Gateway, token: &[u8]) -> Result<Template, Failure> {
    let request = pb::AuthorizeRequest { token: Bytes::copy_from_slice(token), ..gateway.question.clone() };
    Template::of(&request, token).ok_or(Failure::Unusable("the request does not hold its token"))
}

fn decode(message: &Bytes) -> Result<pb::AuthorizeResponse, CallFailure> {
    pb::AuthorizeResponse::decode(message.clone()).map_err(|error| CallFailure::Wrong(error.to_string()))
}

/// Whether an answer is the one that must be.
///
/// # Errors
/// [`CallFailure::Wrong`] says what it is instead.
pub fn check_decision(answer: &pb::AuthorizeResponse, right: Decision) -> Result<(), CallFailure> {
    if answer.decision() == right {
        return Ok(());
    }
    Err(CallFailure::Wrong(format!("{:?} for {:?}", answer.decision(), answer.reason())))
}

fn check_batch(message: &Bytes, items: usize) -> Result<(), CallFailure> {
    let answer = pb::BatchAuthorizeResponse::decode(message.clone())
        .map_err(|error| CallFailure::Wrong(error.to_string()))?;
    if answer.items.len() != items {
        return Err(CallFailure::Wrong(format!("{} answers to {items} requests", answer.items.len())));
    }
    for item in answer.items {
        match item.result {
            Some(item::Result::Response(response)) => check_decision(&response, Decision::Allow)?,
            Some(item::Result::Error(status)) => return Err(CallFailure::Wrong(status.message)),
            None => return Err(CallFailure::Wrong("an item without a result".to_owned())),
        }
    }
    Ok(())
}
