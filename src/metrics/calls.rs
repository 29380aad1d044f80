//! Calls over gRPC.

use std::collections::HashMap;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::cells::{Counter, Gauge, Held};
use super::histogram::{Histogram, Scale};
use super::page::{Group, Page};

/// gRPC's codes by their numbers.
pub const CODES: [&str; 17] = [
    "OK",
    "CANCELLED",
    "UNKNOWN",
    "INVALID_ARGUMENT",
    "DEADLINE_EXCEEDED",
    "NOT_FOUND",
    "ALREADY_EXISTS",
    "PERMISSION_DENIED",
    "RESOURCE_EXHAUSTED",
    "FAILED_PRECONDITION",
    "ABORTED",
    "OUT_OF_RANGE",
    "UNIMPLEMENTED",
    "INTERNAL",
    "UNAVAILABLE",
    "DATA_LOSS",
    "UNAUTHENTICATED",
];

/// Whatever is no method of ours.
const UNKNOWN: &str = "unknown";

/// An error without a reason of ours.
const OTHER: &str = "OTHER";

/// Calls, connections, batches.
#[derive(Debug)]
pub struct CallMetrics {
    methods: HashMap<String, Arc<MethodMetrics>>,
    unknown: Arc<MethodMetrics>,
    reasons: Vec<(&'static str, Counter)>,
    other: Counter,
    /// Calls that took longer than they should.
    pub slow: Counter,
    /// Open connections.
    pub connections: Arc<Gauge>,
    /// Connections since the start.
    pub accepted: Counter,
    /// Requests of each batch.
    pub batches: Histogram,
    /// Answers in streams of AuthorizeStream.
    pub stream_items: Counter,
    /// Requests of such streams that wait for the store.
    pub stream_waiting: Arc<Gauge>,
    /// Changes sent to those who watch keys.
    pub watched_changes: Counter,
}

/// Calls of one method.
#[derive(Debug)]
pub struct MethodMetrics {
    name: String,
    in_flight: Arc<Gauge>,
    was_called: OnceLock<()>,
    /// By code; made when first needed: most methods never end in most codes.
    durations: [OnceLock<Box<Histogram>>; CODES.len()],
}

impl CallMetrics {
    pub(super) fn new(methods: Vec<String>, reasons: Vec<&'static str>) -> Self {
        let methods = methods.into_iter().map(|name| (name.clone(), Arc::new(MethodMetrics::new(name))));
        Self {
            methods: methods.collect(),
            unknown: Arc::new(MethodMetrics::new(UNKNOWN.to_owned())),
            reasons: reasons.into_iter().map(|reason| (reason, Counter::default())).collect(),
            other: Counter::default(),
            slow: Counter::default(),
            connections: Arc::default(),
            accepted: Counter::default(),
            batches: Histogram::new(Scale::MEMBERS),
            stream_items: Counter::default(),
            stream_waiting: Arc::default(),
            watched_changes: Counter::default(),
        }
    }

    /// The method that a path (`/keystile.v1.KeyService/GetKey`) calls.
    #[must_use]
    pub fn method(&self, path: &str) -> &Arc<MethodMetrics> {
        path.strip_prefix('/').and_then(|name| self.methods.get(name)).unwrap_or(&self.unknown)
    }

    /// Counts an error.
    pub fn count_error(&self, reason: Option<&str>) {
        let known = self.reasons.iter().find(|(name, _)| reason == Some(name));
        known.map_or(&self.other, |(_, counter)| counter).increment();
    }
}

impl MethodMetrics {
    fn new(name: String) -> Self {
        Self {
            name,
            in_flight: Arc::default(),
            was_called: OnceLock::new(),
            durations: std::array::from_fn(|_| OnceLock::new()),
        }
    }

    /// `keystile.v1.KeyService/GetKey`, or `unknown`.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// A call has come; it is in flight until the answer is dropped.
    #[must_use]
    pub fn begin(&self) -> Held<Arc<Gauge>> {
        self.was_called.get_or_init(|| ());
        Gauge::hold(Arc::clone(&self.in_flight))
    }

    /// A call has ended with this code ([`CODES`]).
    pub fn end(&self, code: usize, took: Duration) {
        if let Some(duration) = self.durations.get(code) {
            duration.get_or_init(|| Box::new(Histogram::new(Scale::CALLS))).observe(took);
        }
    }

    fn durations(&self) -> impl Iterator<Item = (&'static str, &Histogram)> {
        CODES.into_iter().zip(&self.durations).filter_map(|(code, it)| Some((code, it.get()?.as_ref())))
    }
}

impl Group for CallMetrics {
    fn write(&self, page: &mut Page) {
        let mut methods: Vec<&MethodMetrics> = self.methods.values().map(AsRef::as_ref).collect();
        methods.sort_unstable_by_key(|method| method.name());
        methods.push(&self.unknown);
        methods.retain(|method| method.was_called.get().is_some());
        page.histograms(
            "keystile_rpc_duration_seconds",
            "Time from the head of a call to the head of its answer, or to the end of a stream",
            methods.iter().flat_map(|method| {
                let by_code = method.durations();
                by_code.map(|(code, it)| (vec![("method", method.name()), ("code", code)], it))
            }),
        );
        page.gauges(
            "keystile_rpc_in_flight",
            "Calls that are being answered",
            methods.iter().map(|method| (vec![("method", method.name())], method.in_flight.get())),
        );
        let reasons = self.reasons.iter().map(|(reason, counter)| (*reason, counter));
        page.counters(
            "keystile_rpc_errors_total",
            "Calls that ended in an error",
            reasons.chain([(OTHER, &self.other)]).map(|(reason, it)| (vec![("reason", reason)], it.get())),
        );
        page.counter("keystile_slow_calls_total", "Calls that took longer than --slow-call", self.slow.get());
        page.gauge("keystile_connections", "Open connections of callers", self.connections.get());
        page.counter(
            "keystile_connections_accepted_total",
            "Connections taken in since the start",
            self.accepted.get(),
        );
        page.histograms(
            "keystile_batch_requests",
            "Requests in one BatchAuthorize",
            [(Vec::new(), &self.batches)],
        );
        page.counter(
            "keystile_stream_answers_total",
            "Answers in streams of AuthorizeStream",
            self.stream_items.get(),
        );
        page.gauge(
            "keystile_stream_waiting",
            "Requests in streams of AuthorizeStream that wait for the store",
            self.stream_waiting.get(),
        );
        page.counter(
            "keystile_watched_changes_total",
            "Changes sent in streams of WatchKeys",
            self.watched_changes.get(),
        );
    }
}
