//! What the service counts and measures of itself, and the page that tells of it (`docs/metrics.md`).
//!
//! - A [`Metrics`] is made where the service is put together and handed down; nothing here is global.
//! - Whoever counts holds the counter itself: on the hot path nothing is looked up by a name, and a count is one
//!   addition to a cell that the thread shares with few others ([`Counter`]).
//! - Labels have values that are known beforehand (reasons, codes, methods of the contract, names in our code).
//!   Nothing that a caller sends becomes a label: whoever can make series can fill the memory of this process and
//!   of the one that collects them.
//!
//! What does not belong here: when something is counted, which whoever does it knows; how the page is served.

mod bcrypt_pools;
mod calls;
mod cells;
mod decisions;
mod histogram;
mod page;
mod process;
mod service;
mod store;

pub use bcrypt_pools::{BcryptMetrics, PoolMetrics};
pub use calls::{CODES, CallMetrics, MethodMetrics};
pub use cells::{Counter, Gauge, Held};
pub use decisions::{DecisionMetrics, ProofMetrics, ProofOutcome};
pub use histogram::{Histogram, Scale};
pub use service::ServiceMetrics;
pub use store::{Connections, ErrorKind, Kind, StoreMetrics};

use std::sync::Arc;

use prometheus_client::encoding::text;
use prometheus_client::registry::Registry;

/// The `content-type` of the page.
pub const CONTENT_TYPE: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// Everything that a service counts and measures.
#[derive(Debug)]
pub struct Metrics {
    /// Calls, by method.
    pub calls: Arc<CallMetrics>,
    /// Decisions, and what they rest on.
    pub decisions: Arc<DecisionMetrics>,
    /// The store.
    pub store: Arc<StoreMetrics>,
    /// bcrypt.
    pub bcrypt: Arc<BcryptMetrics>,
    /// The service as a whole.
    pub service: Arc<ServiceMetrics>,
    registry: Registry,
}

impl Metrics {
    /// Metrics that start at nothing, of a service that serves `methods` (`keystile.v1.KeyService/GetKey`) and
    /// answers errors with `reasons`.
    #[must_use]
    pub fn new(methods: Vec<String>, reasons: Vec<&'static str>) -> Arc<Self> {
        let calls = Arc::new(CallMetrics::new(methods, reasons));
        let decisions = Arc::new(DecisionMetrics::default());
        let store = Arc::new(StoreMetrics::default());
        let bcrypt = Arc::new(BcryptMetrics::default());
        let service = Arc::new(ServiceMetrics::default());
        let mut registry = Registry::default();
        registry.register_collector(Box::new(Arc::clone(&calls)));
        registry.register_collector(Box::new(Arc::clone(&decisions)));
        registry.register_collector(Box::new(Arc::clone(&store)));
        registry.register_collector(Box::new(Arc::clone(&bcrypt)));
        registry.register_collector(Box::new(Arc::clone(&service)));
        registry.register_collector(Box::new(process::Process));
        Arc::new(Self { calls, decisions, store, bcrypt, service, registry })
    }

    /// The page, in the OpenMetrics text format.
    #[must_use]
    pub fn page(&self) -> String {
        let mut page = String::new();
        match text::encode(&mut page, &self.registry) {
            Ok(()) => page,
            Err(error) => {
                // Half a page would be taken for a whole one: without its last line it is refused instead.
                tracing::error!(error = %error, "the metrics could not be written");
                String::new()
            }
        }
    }
}

#[cfg(test)]
mod tests;
