//! Looking keys up in memory, and bringing them there.

use super::cells::Counter;
use super::histogram::{Histogram, Scale};
use super::page::{Group, Page};

/// Of look-ups and loads.
#[derive(Debug)]
pub struct LoaderMetrics {
    /// Look-ups that found their key in memory.
    pub hits: Counter,
    /// Look-ups whose token memory knew to be nobody's.
    pub unknown_hits: Counter,
    /// Look-ups that memory knew nothing of.
    pub misses: Counter,
    /// Loads that were queued.
    pub queued: Counter,
    /// Look-ups that joined a load.
    pub joined: Counter,
    /// Loads that were refused, or had to make room.
    pub shed: Counter,
    /// Loads of keys that memory had for long.
    pub refreshed: Counter,
    /// Loads that came to nothing.
    pub failed: Counter,
    /// Batches that were abandoned.
    pub abandoned: Counter,
    /// Look-ups of batches.
    pub members: Histogram,
    /// Times of batches.
    pub durations: Histogram,
    /// Digests under the current pepper that were stored of tokens that had an older one's.
    pub further_digests: Counter,
    /// Proofs that were refused because too many of their prefix have failed.
    pub throttled: Counter,
}

impl Default for LoaderMetrics {
    fn default() -> Self {
        Self {
            hits: Counter::default(),
            unknown_hits: Counter::default(),
            misses: Counter::default(),
            queued: Counter::default(),
            joined: Counter::default(),
            shed: Counter::default(),
            refreshed: Counter::default(),
            failed: Counter::default(),
            abandoned: Counter::default(),
            members: Histogram::new(Scale::MEMBERS),
            durations: Histogram::new(Scale::CALLS),
            further_digests: Counter::default(),
            throttled: Counter::default(),
        }
    }
}

impl Group for LoaderMetrics {
    fn write(&self, page: &mut Page) {
        let labelled = |label: &'static str, value: &'static str, counter: &Counter| {
            (vec![(label, value)], counter.get())
        };
        page.counters(
            "keystile_cache_lookups_total",
            "Keys looked up in memory, by what it knew",
            [
                labelled("outcome", "key", &self.hits),
                labelled("outcome", "unknown", &self.unknown_hits),
                labelled("outcome", "missing", &self.misses),
            ],
        );
        page.counters(
            "keystile_loads_total",
            "Keys asked of the loader, by how that was taken",
            [
                labelled("outcome", "queued", &self.queued),
                labelled("outcome", "joined", &self.joined),
                labelled("outcome", "shed", &self.shed),
                labelled("outcome", "refresh", &self.refreshed),
            ],
        );
        page.counter("keystile_loads_failed_total", "Loads that came to nothing", self.failed.get());
        page.counter(
            "keystile_load_batches_abandoned_total",
            "Batches of loads that took too long",
            self.abandoned.get(),
        );
        page.histograms("keystile_load_batch_keys", "Keys of one batch", [(Vec::new(), &self.members)]);
        page.histograms(
            "keystile_load_batch_duration_seconds",
            "Time of one batch of loads",
            [(Vec::new(), &self.durations)],
        );
        page.counter(
            "keystile_further_digests_total",
            "Digests stored under the current pepper for tokens that had an older one's",
            self.further_digests.get(),
        );
        page.counter(
            "keystile_bcrypt_throttled_total",
            "Proofs by bcrypt that were refused because too many with the same prefix have failed",
            self.throttled.get(),
        );
    }
}
