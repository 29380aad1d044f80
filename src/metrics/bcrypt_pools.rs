//! bcrypt, which has threads of its own.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::cells::{Counter, Gauge};
use super::histogram::{Histogram, Scale};
use super::page::{Group, Page};

/// What bcrypt is run for.
#[derive(Debug, Default)]
pub struct BcryptMetrics {
    /// To prove tokens.
    pub prove: Arc<PoolMetrics>,
    /// To create keys.
    pub create: Arc<PoolMetrics>,
}

/// One pool of threads.
#[derive(Debug)]
pub struct PoolMetrics {
    threads: AtomicUsize,
    /// Computations that run.
    pub running: Gauge,
    /// Computations that wait for a thread.
    pub waiting: Gauge,
    /// Times of computations.
    pub durations: Histogram,
    /// Computations that found the queue full.
    pub refused: Counter,
}

impl Default for PoolMetrics {
    fn default() -> Self {
        Self {
            threads: AtomicUsize::new(0),
            running: Gauge::default(),
            waiting: Gauge::default(),
            durations: Histogram::new(Scale::CALLS),
            refused: Counter::default(),
        }
    }
}

impl PoolMetrics {
    /// It has so many threads.
    pub fn set_threads(&self, threads: usize) {
        self.threads.store(threads, Ordering::Relaxed);
    }

    fn threads(&self) -> i64 {
        i64::try_from(self.threads.load(Ordering::Relaxed)).unwrap_or(i64::MAX)
    }
}

impl Group for BcryptMetrics {
    fn write(&self, page: &mut Page) {
        let pools = [("prove", self.prove.as_ref()), ("create", self.create.as_ref())];
        let labels = |purpose| vec![("purpose", purpose)];
        page.gauges(
            "keystile_bcrypt_running",
            "bcrypt computations that run",
            pools.map(|(purpose, pool)| (labels(purpose), pool.running.get())),
        );
        page.gauges(
            "keystile_bcrypt_waiting",
            "bcrypt computations that wait for a thread",
            pools.map(|(purpose, pool)| (labels(purpose), pool.waiting.get())),
        );
        page.gauges(
            "keystile_bcrypt_threads",
            "Threads for bcrypt",
            pools.map(|(purpose, pool)| (labels(purpose), pool.threads())),
        );
        page.histograms(
            "keystile_bcrypt_duration_seconds",
            "Time of one bcrypt computation, without its wait",
            pools.map(|(purpose, pool)| (labels(purpose), &pool.durations)),
        );
        page.counters(
            "keystile_bcrypt_refused_total",
            "bcrypt computations that were refused because the queue was full",
            pools.map(|(purpose, pool)| (labels(purpose), pool.refused.get())),
        );
    }
}
