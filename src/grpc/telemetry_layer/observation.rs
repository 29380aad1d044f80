//! One call, from its beginning to its end.

use std::sync::Arc;
use std::time::Instant;

use http::{HeaderMap, HeaderName};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tracing::Span;

use super::Shared;
use crate::call::{self, Call};
use crate::clock;
use crate::metrics::{CODES, Gauge, Held, MethodMetrics};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

/// Services beside the contract; how long their calls take says nothing of Keystile.
const BESIDE: &str = "grpc.";

/// A call that is being answered. One that is dropped without an end was given up by its caller.
#[derive(Debug)]
pub(super) struct Observation {
    shared: Arc<Shared>,
    method: Arc<MethodMetrics>,
    span: Span,
    began: Instant,
    has_ended: bool,
    _in_flight: Held<Arc<Gauge>>,
}

impl Observation {
    /// `received`: when it came; now, if nobody has said so.
    pub(super) fn begin(
        shared: Arc<Shared>,
        method: Arc<MethodMetrics>,
        span: Span,
        received: Option<Instant>,
    ) -> Self {
        let _in_flight = method.begin();
        let began = received.unwrap_or_else(clock::monotonic_now);
        Self { shared, method, span, began, has_ended: false, _in_flight }
    }

    /// The end that `headers`, or trailers, tell of. Without a status it is a unary answer, which has none yet and
    /// is good.
    pub(super) fn end(mut self, headers: &HeaderMap) {
        let code = headers.get(GRPC_STATUS).map_or(Code::Ok, |code| Code::from_bytes(code.as_bytes()));
        if code != Code::Ok {
            let status = Status::from_header_map(headers);
            let info = status.and_then(|status| status.get_details_error_info());
            self.shared.metrics.count_error(info.as_ref().map(|info| info.reason.as_str()));
        }
        self.conclude(code);
    }

    fn conclude(&mut self, code: Code) {
        self.has_ended = true;
        let took = clock::since(self.began);
        let number = usize::try_from(i32::from(code)).unwrap_or_default();
        self.method.end(number, took);
        let name = CODES.get(number).copied().unwrap_or_default();
        if !self.span.is_disabled() {
            self.describe(code);
        }
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        let _of_call = self.span.enter();
        tracing::debug!(rpc.method = self.method.name(), rpc.code = name, took_us, "answered");
        let Some(slow) = self.shared.slow.as_ref().filter(|slow| took > slow.threshold()) else { return };
        if super::STREAMS.contains(&self.method.name()) || self.method.name().starts_with(BESIDE) {
            return;
        }
        self.shared.metrics.slow.increment();
        if let Some(left_out) = slow.may_log() {
            tracing::warn!(
                rpc.method = self.method.name(),
                rpc.code = name,
                took_us,
                key.id = call::current(Call::key_id).flatten(),
                caller.key_id = call::current(Call::caller_key_id).flatten(),
                left_out,
                "a slow call"
            );
        }
    }

    /// For whoever reads the trace. What the caller did wrong is no error of ours.
    fn describe(&self, code: Code) {
        self.span.record("rpc.grpc.status_code", i32::from(code));
        if let Some(key) = call::current(Call::key_id).flatten() {
            self.span.record("key.id", key);
        }
        let is_ours = matches!(
            code,
            Code::Unknown
                | Code::DeadlineExceeded
                | Code::Unimplemented
                | Code::Internal
                | Code::Unavailable
                | Code::DataLoss
        );
        if is_ours {
            self.span.record("otel.status_code", "ERROR");
        }
    }
}

impl Drop for Observation {
    fn drop(&mut self) {
        if !self.has_ended {
            self.shared.metrics.count_error(Some("CANCELLED"));
            self.conclude(Code::Cancelled);
        }
    }
}
