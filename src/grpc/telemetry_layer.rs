//! Measures every call, and gives it what its log lines and its trace are known by.
//!
//! The outermost layer: what the others refuse is measured as well. It decides nothing, and a call that nobody logs
//! or traces costs it two additions, an id and no formatting but that.
//!
//! - The id of a call is the caller's `x-request-id` where that is fit for a log line, else one of ours; either way
//!   the answer has it, and the request from here on, so that the audit log has it too.
//! - `traceparent` is taken where it is well formed. Where traces are exported, the call is a span of that trace;
//!   nothing is decided by it.
//! - A unary call has ended when its answer begins, a stream when it ends or its caller goes away.

mod observation;
mod slow;

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName, HeaderValue, Request, Response};
use http_body::Frame;
use opentelemetry::trace::{SpanContext, SpanId, TraceContextExt as _, TraceFlags, TraceId, TraceState};
use tonic::Code;
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use self::observation::Observation;
use self::slow::SlowCalls;
use super::error::ErrorReason;
use super::{access, hot};
use crate::call::{self, Call, RequestIds, TraceParent};
use crate::metrics::{CallMetrics, MethodMetrics, Metrics};

/// When a call came, among its request's extensions: it may have waited since.
#[derive(Clone, Copy, Debug)]
pub struct Received(pub Instant);

/// Metadata with the id of a call, in both directions.
pub(super) const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Metrics of a service that serves the contract.
#[must_use]
pub fn metrics() -> Arc<Metrics> {
    let methods = access::methods().map(|method| method.name.to_owned()).collect();
    Metrics::new(methods, ErrorReason::ALL.map(|reason| reason.parts().1).to_vec())
}

/// What all calls share: who is told of them, and what they are known by.
#[derive(Debug)]
pub struct Telemetry {
    metrics: Arc<CallMetrics>,
    authorize: Arc<MethodMetrics>,
    ids: RequestIds,
    slow: Option<SlowCalls>,
}

impl Telemetry {
    /// Tells `metrics`, and logs calls that take longer than `slow`.
    #[must_use]
    pub fn new(metrics: Arc<CallMetrics>, slow: Option<Duration>) -> Arc<Self> {
        let authorize = Arc::clone(metrics.method(hot::PATH));
        Arc::new(Self { metrics, authorize, ids: RequestIds::default(), slow: slow.map(SlowCalls::new) })
    }

    /// The method that the short way answers.
    pub(super) fn authorize(&self) -> &MethodMetrics {
        &self.authorize
    }

    /// The id that an answer has: the caller's, if it gave one that is fit, else one of ours.
    pub(super) fn answered_id(&self, given: Option<&HeaderValue>) -> Option<HeaderValue> {
        let given = given.filter(|id| call::is_fit(id.as_bytes())).cloned();
        // Fit for a header, because it is fit for a line.
        given.or_else(|| HeaderValue::from_bytes(&self.ids.own()).ok()).map(unlike_others)
    }

    /// A call of [`Telemetry::authorize`] was answered on the short way, after so long; with an error where there is a
    /// reason.
    pub(super) fn answered_at_once(&self, refused: Option<ErrorReason>, took: Duration) {
        let (code, reason) = refused.map_or((Code::Ok, None), |reason| {
            let (code, name) = reason.parts();
            (code, Some(name))
        });
        if reason.is_some() {
            self.metrics.count_error(reason);
        }
        let Ok(number) = usize::try_from(i32::from(code)) else { return };
        self.authorize.end(number, took);
        self.note_slow(self.authorize.name(), code, took);
    }
}

/// Keeps an id out of the table of headers that HTTP/2 keeps for each connection: none comes twice.
fn unlike_others(mut id: HeaderValue) -> HeaderValue {
    id.set_sensitive(true);
    id
}

/// The layer.
#[derive(Clone, Debug)]
pub struct TelemetryLayer(Arc<Telemetry>);

impl TelemetryLayer {
    /// A layer that tells `telemetry`.
    #[must_use]
    pub fn new(telemetry: Arc<Telemetry>) -> Self {
        Self(telemetry)
    }
}

impl<S> Layer<S> for TelemetryLayer {
    type Service = Measured<S>;

    fn layer(&self, inner: S) -> Self::Service {
        Measured { shared: Arc::clone(&self.0), inner }
    }
}

/// A service behind the layer.
#[derive(Clone, Debug)]
pub struct Measured<S> {
    shared: Arc<Telemetry>,
    inner: S,
}

type Answer<E> = Pin<Box<dyn Future<Output = Result<Response<Body>, E>> + Send>>;

impl<S> Service<Request<Body>> for Measured<S>
where
    S: Service<Request<Body>, Response = Response<Body>> + Send + 'static,
    S::Future: Send + 'static,
    S::Error: Send + 'static,
{
    type Response = Response<Body>;
    type Error = S::Error;
    type Future = Answer<S::Error>;

    fn poll_ready(&mut self, context: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(context)
    }

    fn call(&mut self, mut request: Request<Body>) -> Self::Future {
        let method = Arc::clone(self.shared.metrics.method(request.uri().path()));
        let is_stream = access::method(request.uri().path()).is_some_and(|method| method.is_stream);
        let id = self.shared.ids.of(only(request.headers(), &REQUEST_ID).map(HeaderValue::as_bytes));
        let parent = only(request.headers(), &TRACEPARENT).and_then(|it| TraceParent::parse(it.as_bytes()));
        let span = span(method.name(), &id, parent.as_ref());
        let trace = own_trace(&span).or(parent);
        let call = Call::new(id, trace);
        // Fit for a header, because it is fit for a line.
        let id = HeaderValue::from_str(call.request_id()).ok().map(unlike_others);
        if let Some(id) = &id {
            request.headers_mut().insert(REQUEST_ID, id.clone());
        }
        let received = request.extensions().get().map(|Received(at)| *at);
        let observation = Observation::begin(Arc::clone(&self.shared), method, span.clone(), received);
        let inner = &mut self.inner;
        let answer = call::within(Arc::clone(&call), || inner.call(request));
        let of_stream = is_stream.then(|| Arc::clone(&call));
        let measured = async move {
            let mut response = answer.await?;
            if let Some(id) = id {
                response.headers_mut().insert(REQUEST_ID, id);
            }
            Ok(observe(response, observation, of_stream))
        };
        Box::pin(call::enter(call, measured.instrument(span)))
    }
}

/// The value of a header that is there once: which of two counts must not depend on who reads them.
pub(super) fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h HeaderValue> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value)
}

/// The span of a call: none, unless somebody wants it.
fn span(method: &str, request_id: &str, parent: Option<&TraceParent>) -> Span {
    let span = tracing::debug_span!(
        "call",
        otel.name = method,
        otel.kind = "server",
        otel.status_code = field::Empty,
        rpc.system = "grpc",
        rpc.method = method,
        rpc.grpc.status_code = field::Empty,
        request.id = request_id,
        key.id = field::Empty,
    );
    if let Some(parent) = parent.filter(|_| !span.is_disabled()) {
        let remote = SpanContext::new(
            TraceId::from_bytes(parent.trace_id()),
            SpanId::from_bytes(parent.span_id()),
            TraceFlags::new(parent.flags()),
            true,
            TraceState::default(),
        );
        // Refused where spans are only logged and not exported.
        let _is_exported = span.set_parent(opentelemetry::Context::new().with_remote_span_context(remote));
    }
    span
}

/// The place of an exported span in its trace; `None` where it is not exported.
fn own_trace(span: &Span) -> Option<TraceParent> {
    if span.is_disabled() {
        return None;
    }
    let context = span.context();
    let own = context.span().span_context().clone();
    let flags = own.trace_flags().to_u8();
    own.is_valid().then(|| TraceParent::new(own.trace_id().to_bytes(), own.span_id().to_bytes(), flags))
}

/// Ends the observation now, or with the stream.
fn observe(
    response: Response<Body>,
    observation: Observation,
    of_stream: Option<Arc<Call>>,
) -> Response<Body> {
    let is_over = response.headers().contains_key("grpc-status");
    match of_stream {
        Some(call) if !is_over => {
            response.map(|body| Body::new(Watched { body, call, observation: Some(observation) }))
        }
        _ => {
            observation.end(response.headers());
            response
        }
    }
}

/// The body of a stream; it is observed until it ends or is dropped.
struct Watched {
    body: Body,
    call: Arc<Call>,
    observation: Option<Observation>,
}

impl http_body::Body for Watched {
    type Data = <Body as http_body::Body>::Data;
    type Error = <Body as http_body::Body>::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        context: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Self::Data>, Self::Error>>> {
        let Self { body, call, observation } = &mut *self;
        call::within(Arc::clone(call), || {
            let frame = Pin::new(body).poll_frame(context);
            if let Poll::Ready(Some(Ok(frame))) = &frame
                && let Some(trailers) = frame.trailers_ref()
                && let Some(observation) = observation.take()
            {
                observation.end(trailers);
            }
            frame
        })
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> http_body::SizeHint {
        self.body.size_hint()
    }
}
