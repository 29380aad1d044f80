//! One call, from its beginning to its end.

use std::sync::Arc;
use std::time::{Duration, Instant};

use http::{HeaderMap, HeaderName};
use tonic::{Code, Status};
use tonic_types::StatusExt as _;
use tracing::Span;

use super::Telemetry;
use crate::call::{self, Call};
use crate::clock;
use crate::grpc::access;
use crate::metrics::{CODES, Gauge, Held, MethodMetrics};

const GRPC_STATUS: HeaderName = HeaderName::from_static("grpc-status");

impl Telemetry {
    /// Logs a call of the method `name` if it took too long.
    pub(super) fn note_slow(&self, name: &str, code: Code, took: Duration) {
        let Some(slow) = self.slow.as_ref().filter(|slow| took > slow.threshold()) else { return };
        let method = access::method(&format!("/{name}"));
        // How long a stream takes, or a call beside the contract, says nothing of Keystile.
        if method.is_some_and(|method| method.is_stream || !method.is_of_contract()) {
            return;
        }
        self.metrics.slow.increment();
        if let Some(left_out) = slow.may_log() {
            tracing::warn!(
                rpc.method = name,
                rpc.code = code_name(code),
                took_us = micros(took),
                key.id = call::current(Call::key_id).flatten(),
                caller.key_id = call::current(Call::caller_key_id).flatten(),
                left_out,
                "a slow call"
            );
        }
    }
}

fn code_name(code: Code) -> &'static str {
    CODES.get(number(code)).copied().unwrap_or_default()
}

fn number(code: Code) -> usize {
    usize::try_from(i32::from(code)).unwrap_or_default()
}

fn micros(took: Duration) -> u64 {
    u64::try_from(took.as_micros()).unwrap_or(u64::MAX)
}

/// A call that is being answered. One that is dropped without an end was given up by its caller.
#[derive(Debug)]
pub(super) struct Observation {
    shared: Arc<Telemetry>,
    method: Arc<MethodMetrics>,
    span: Span,
    began: Instant,
    has_ended: bool,
    _in_flight: Held<Arc<Gauge>>,
}

impl Observation {
    /// `received`: when it came; now, if nobody has said so.
    pub(super) fn begin(
        shared: Arc<Telemetry>,
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
        self.method.end(number(code), took);
        if !self.span.is_disabled() {
            self.describe(code);
        }
        let _of_call = self.span.enter();
        let (name, code_name, took_us) = (self.method.name(), code_name(code), micros(took));
        tracing::debug!(rpc.method = name, rpc.code = code_name, took_us, "answered");
        self.shared.note_slow(self.method.name(), code, took);
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
