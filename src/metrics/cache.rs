//! Keys in memory.

use std::sync::atomic::{AtomicI64, Ordering};

use super::cells::Counter;
use super::page::{Group, Page};

/// Of the cache of keys.
#[derive(Debug, Default)]
pub struct CacheMetrics {
    entries: AtomicI64,
    bytes: AtomicI64,
    unknown: AtomicI64,
    /// Keys that had to make room for others.
    pub evicted: Counter,
    /// Keys that were dropped because they were changed.
    pub invalidated: Counter,
    /// Results of loads that came too late: what they had read was changed meanwhile.
    pub too_old: Counter,
}

impl CacheMetrics {
    /// An entry of so many bytes has come.
    pub fn grew(&self, bytes: usize) {
        self.entries.fetch_add(1, Ordering::Relaxed);
        self.bytes.fetch_add(signed(bytes), Ordering::Relaxed);
    }

    /// An entry of so many bytes has gone.
    pub fn shrank(&self, bytes: usize) {
        self.entries.fetch_sub(1, Ordering::Relaxed);
        self.bytes.fetch_sub(signed(bytes), Ordering::Relaxed);
    }

    /// So many tokens more, or fewer, are remembered as nobody's.
    pub fn unknown_changed(&self, by: i64) {
        self.unknown.fetch_add(by, Ordering::Relaxed);
    }

    /// Entries and their bytes.
    #[must_use]
    pub fn size(&self) -> (i64, i64) {
        (self.entries.load(Ordering::Relaxed), self.bytes.load(Ordering::Relaxed))
    }
}

fn signed(bytes: usize) -> i64 {
    i64::try_from(bytes).unwrap_or(i64::MAX)
}

impl Group for CacheMetrics {
    fn write(&self, page: &mut Page) {
        let (entries, bytes) = self.size();
        page.gauge("keystile_cache_keys", "Keys in memory", entries);
        page.gauge("keystile_cache_bytes", "Memory of the keys, about", bytes);
        page.gauge(
            "keystile_cache_unknown_tokens",
            "Tokens that are remembered as nobody's",
            self.unknown.load(Ordering::Relaxed),
        );
        page.counter(
            "keystile_cache_evicted_total",
            "Keys that had to make room for others",
            self.evicted.get(),
        );
        page.counter(
            "keystile_cache_invalidated_total",
            "Keys that were dropped because they were changed",
            self.invalidated.get(),
        );
        page.counter(
            "keystile_cache_too_old_loads_total",
            "Loads that were repeated because what they had read was changed meanwhile",
            self.too_old.get(),
        );
    }
}
