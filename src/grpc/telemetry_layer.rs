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
use tonic::body::Body;
use tower::{Layer, Service};
use tracing::{Instrument as _, Span, field};
use tracing_opentelemetry::OpenTelemetrySpanExt as _;

use self::observation::Observation;
use self::slow::SlowCalls;
use super::access;
use super::error::ErrorReason;
use crate::call::{self, Call, RequestIds, TraceParent};
use crate::metrics::{CallMetrics, Metrics};

/// When a call came, among its request's extensions: it may have waited since.
#[derive(Clone, Copy, Debug)]
pub struct Received(pub Instant);

/// Metadata with the id of a call, in both directions.
const REQUEST_ID: HeaderName = HeaderName::from_static("x-request-id");
const TRACEPARENT: HeaderName = HeaderName::from_static("traceparent");

/// Methods that are not of the contract and served all the same: health and reflection.
const BESIDE: [&str; 5] = [
    "grpc.health.v1.Health/Check",
    "grpc.health.v1.Health/List",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Methods whose answers last as long as their callers want.
const STREAMS: [&str; 5] = [
    "keystile.v1.AuthorizeService/AuthorizeStream",
    "keystile.v1.KeyService/WatchKeys",
    "grpc.health.v1.Health/Watch",
    "grpc.reflection.v1.ServerReflection/ServerReflectionInfo",
    "grpc.reflection.v1alpha.ServerReflection/ServerReflectionInfo",
];

/// Metrics of a service that serves the contract.
#[must_use]
pub fn metrics() -> Arc<Metrics> {
    let methods = access::methods().chain(BESIDE).map(str::to_owned).collect();
    Metrics::new(methods, ErrorReason::ALL.map(|reason| reason.parts().1).to_vec())
}

/// The layer.
#[derive(Clone, Debug)]
pub struct TelemetryLayer(Arc<Shared>);

/// What all calls share.
#[derive(Debug)]
struct Shared {
    metrics: Arc<CallMetrics>,
    ids: RequestIds,
    slow: Option<SlowCalls>,
}

impl TelemetryLayer {
    /// A layer that tells `metrics`, and logs calls that take longer than `slow`.
    #[must_use]
    pub fn new(metrics: Arc<CallMetrics>, slow: Option<Duration>) -> Self {
        Self(Arc::new(Shared { metrics, ids: RequestIds::default(), slow: slow.map(SlowCalls::new) }))
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
    shared: Arc<Shared>,
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
        let id = self.shared.ids.of(only(request.headers(), &REQUEST_ID));
        let parent = only(request.headers(), &TRACEPARENT).and_then(TraceParent::parse);
        let span = span(method.name(), &id, parent.as_ref());
        let trace = own_trace(&span).or(parent);
        let is_stream = STREAMS.contains(&method.name());
        let call = Call::new(id, trace);
        // Fit for a header, because it is fit for a line.
        let id = HeaderValue::from_str(call.request_id()).ok();
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
fn only<'h>(headers: &'h HeaderMap, name: &HeaderName) -> Option<&'h [u8]> {
    let mut values = headers.get_all(name).iter();
    let value = values.next()?;
    values.next().is_none().then_some(value.as_bytes())
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

#[cfg(test)]
mod tests {
    use prost_reflect::DescriptorPool;

    use super::*;
    use crate::grpc::pb::FILE_DESCRIPTOR_SET;

    #[test]
    fn the_streams_are_those_of_the_contract() {
        let pool = DescriptorPool::decode(FILE_DESCRIPTOR_SET).unwrap();
        let methods = pool.services().flat_map(|service| service.methods().collect::<Vec<_>>());
        let streams: Vec<String> = methods
            .filter(prost_reflect::MethodDescriptor::is_server_streaming)
            .map(|method| format!("{}/{}", method.parent_service().full_name(), method.name()))
            .collect();
        let ours: Vec<&str> = STREAMS.into_iter().filter(|name| name.starts_with("keystile.")).collect();
        assert_eq!(streams, ours);
    }
}
