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
mod cache;
mod calls;
mod cells;
mod decisions;
mod freshness;
mod histogram;
mod leases;
mod loader;
mod loops;
mod page;
mod process;
mod service;
mod store;
mod tls;

pub use bcrypt_pools::{BcryptMetrics, PoolMetrics};
pub use cache::CacheMetrics;
pub use calls::{CODES, CallMetrics, MethodMetrics};
pub use cells::{Counter, Gauge, Held, SHARDS, shard};
pub use decisions::{DecisionMetrics, ProofMetrics, ProofOutcome};
pub use freshness::{FreshnessMetrics, Renewal, Restart};
pub use histogram::{Histogram, Scale};
pub use leases::LeaseMetrics;
pub use loader::LoaderMetrics;
pub use loops::{LoopLoad, LoopMetrics, OnLoop};
pub use service::ServiceMetrics;
pub use store::{Connections, ErrorKind, Kind, StoreMetrics};
pub use tls::{HANDSHAKE_REASONS, TlsMetrics};

use std::sync::Arc;

use page::{Group, Page};
use process::Process;

/// The `content-type` of the page.
pub const CONTENT_TYPE: &str = "text/plain; version=0.0.4; charset=utf-8";

/// Everything that a service counts and measures.
#[derive(Debug)]
pub struct Metrics {
    /// Calls, by method.
    pub calls: Arc<CallMetrics>,
    /// The threads that serve connections.
    pub loops: Arc<LoopMetrics>,
    /// Decisions, and what they rest on.
    pub decisions: Arc<DecisionMetrics>,
    /// The store.
    pub store: Arc<StoreMetrics>,
    /// Keys in memory.
    pub cache: Arc<CacheMetrics>,
    /// How changes are followed, and come everywhere.
    pub freshness: Arc<FreshnessMetrics>,
    /// Looking keys up there, and bringing them there.
    pub loader: Arc<LoaderMetrics>,
    /// What is held of rate limits.
    pub leases: Arc<LeaseMetrics>,
    /// bcrypt.
    pub bcrypt: Arc<BcryptMetrics>,
    /// TLS of the listener.
    pub tls: Arc<TlsMetrics>,
    /// The service as a whole.
    pub service: Arc<ServiceMetrics>,
}

impl Metrics {
    /// Metrics that start at nothing, of a service that serves `methods` (`keystile.v1.KeyService/GetKey`) and
    /// answers errors with `reasons`.
    #[must_use]
    pub fn new(methods: Vec<String>, reasons: Vec<&'static str>) -> Arc<Self> {
        Arc::new(Self {
            calls: Arc::new(CallMetrics::new(methods, reasons)),
            loops: Arc::default(),
            decisions: Arc::default(),
            store: Arc::default(),
            cache: Arc::default(),
            freshness: Arc::default(),
            loader: Arc::default(),
            leases: Arc::default(),
            bcrypt: Arc::default(),
            tls: Arc::default(),
            service: Arc::default(),
        })
    }

    /// The page, in Prometheus' text format.
    #[must_use]
    pub fn page(&self) -> String {
        let groups: [&dyn Group; 12] = [
            &*self.calls,
            &*self.loops,
            &*self.decisions,
            &*self.store,
            &*self.cache,
            &*self.freshness,
            &*self.loader,
            &*self.leases,
            &*self.bcrypt,
            &*self.tls,
            &*self.service,
            &Process,
        ];
        let mut page = Page::default();
        groups.into_iter().for_each(|group| group.write(&mut page));
        page.into_text()
    }
}

#[cfg(test)]
mod tests;
