//! The service as a whole.

use std::sync::atomic::{AtomicBool, Ordering};

use super::cells::Counter;
use super::page::{Group, Page};

/// The service's.
#[derive(Debug, Default)]
pub struct ServiceMetrics {
    is_ready: AtomicBool,
    /// Refused attempts to administer that are not in the audit log: too many different ones at a time.
    pub refusals_dropped: Counter,
}

impl ServiceMetrics {
    /// It is ready to decide, or is not.
    pub fn set_ready(&self, is_ready: bool) {
        self.is_ready.store(is_ready, Ordering::Relaxed);
    }

    /// Whether it is ready to decide.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.is_ready.load(Ordering::Relaxed)
    }
}

impl Group for ServiceMetrics {
    fn write(&self, page: &mut Page) {
        page.gauge("keystile_ready", "Whether the replica is ready to decide", i64::from(self.is_ready()));
        page.counter(
            "keystile_audit_refusals_dropped_total",
            "Refused attempts that were not recorded in the audit log",
            self.refusals_dropped.get(),
        );
        page.gauges("keystile_build_info", "What runs", [(vec![("version", env!("CARGO_PKG_VERSION"))], 1)]);
    }
}
