//! The loops: threads that serve connections, and how much each has to do.

use std::sync::atomic::{AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use super::cells::Counter;
use super::page::{Group, Page};

/// All loops, and the connections that they did not keep.
#[derive(Debug, Default)]
pub struct LoopMetrics {
    loops: OnceLock<Vec<LoopLoad>>,
    /// Connections that were closed at once because there were too many.
    pub refused: Counter,
    /// Connections that had to make room before they had begun to speak HTTP/2.
    pub ousted: Counter,
    /// Connections that were told to go because of their age.
    pub aged: Counter,
}

/// What one loop has to do.
#[derive(Debug)]
#[repr(align(128))]
pub struct LoopLoad {
    name: String,
    connections: AtomicUsize,
    placed: AtomicUsize,
    busy_permille: AtomicU32,
    busy_nanos: AtomicU64,
    short: AtomicU64,
    long: AtomicU64,
}

/// A connection's place on a loop; it is one more until this is dropped.
#[derive(Debug)]
pub struct OnLoop(Arc<LoopMetrics>, usize);

impl LoopMetrics {
    /// There are so many loops. Only the first time counts.
    pub fn start(&self, count: usize) {
        self.loops.get_or_init(|| (0..count).map(LoopLoad::new).collect());
    }

    /// The loops; none before [`LoopMetrics::start`].
    #[must_use]
    pub fn loops(&self) -> &[LoopLoad] {
        self.loops.get().map_or(&[], Vec::as_slice)
    }

    /// Connections of all loops, those that still shake hands too.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.loops().iter().map(LoopLoad::connections).sum()
    }

    /// A connection is given to this loop.
    #[must_use]
    pub fn place(self: &Arc<Self>, number: usize) -> OnLoop {
        if let Some(load) = self.loops().get(number) {
            load.connections.fetch_add(1, Ordering::Relaxed);
            load.placed.fetch_add(1, Ordering::Relaxed);
        }
        OnLoop(Arc::clone(self), number)
    }
}

impl OnLoop {
    /// The number of the loop, from 0.
    #[must_use]
    pub const fn number(&self) -> usize {
        self.1
    }

    /// Its load.
    #[must_use]
    pub fn load(&self) -> Option<&LoopLoad> {
        self.0.loops().get(self.1)
    }
}

impl Drop for OnLoop {
    fn drop(&mut self) {
        if let Some(load) = self.load() {
            load.connections.fetch_sub(1, Ordering::Relaxed);
        }
    }
}

impl LoopLoad {
    fn new(number: usize) -> Self {
        Self {
            name: number.to_string(),
            connections: AtomicUsize::new(0),
            placed: AtomicUsize::new(0),
            busy_permille: AtomicU32::new(0),
            busy_nanos: AtomicU64::new(0),
            short: AtomicU64::new(0),
            long: AtomicU64::new(0),
        }
    }

    /// Its connections.
    #[must_use]
    pub fn connections(&self) -> usize {
        self.connections.load(Ordering::Relaxed)
    }

    /// Connections that it got since its time was last looked at.
    #[must_use]
    pub fn placed(&self) -> usize {
        self.placed.load(Ordering::Relaxed)
    }

    /// The share of the time that it was busy when its time was last looked at, of 1000.
    #[must_use]
    pub fn busy_permille(&self) -> u32 {
        self.busy_permille.load(Ordering::Relaxed)
    }

    /// It has been busy for so long in all since the start, as was found `after` the last look.
    pub fn note_busy(&self, busy: Duration, after: Duration) {
        let busy = u64::try_from(busy.as_nanos()).unwrap_or(u64::MAX);
        let since = busy.saturating_sub(self.busy_nanos.swap(busy, Ordering::Relaxed));
        let after = u64::try_from(after.as_nanos()).unwrap_or(u64::MAX).max(1);
        let permille = since.saturating_mul(1_000).checked_div(after).unwrap_or_default().min(1_000);
        self.busy_permille.store(u32::try_from(permille).unwrap_or(1_000), Ordering::Relaxed);
        self.placed.store(0, Ordering::Relaxed);
    }

    /// It has answered so many calls from memory.
    pub fn note_short(&self, calls: u64) {
        self.short.fetch_add(calls, Ordering::Relaxed);
    }

    /// It has given a call to the other threads.
    pub fn note_long(&self) {
        self.long.fetch_add(1, Ordering::Relaxed);
    }
}

impl Group for LoopMetrics {
    fn write(&self, page: &mut Page) {
        let loops = self.loops();
        page.gauges(
            "keystile_loop_connections",
            "Connections of a loop, those that still shake hands too",
            loops.iter().map(|load| {
                (vec![("loop", load.name.as_str())], i64::try_from(load.connections()).unwrap_or(i64::MAX))
            }),
        );
        page.counters_of_seconds(
            "keystile_loop_busy_seconds_total",
            "Time that a loop was busy; 1 in a second is all it can",
            loops.iter().map(|load| {
                let busy = Duration::from_nanos(load.busy_nanos.load(Ordering::Relaxed));
                (vec![("loop", load.name.as_str())], busy.as_secs_f64())
            }),
        );
        page.counters(
            "keystile_loop_calls_total",
            "Calls that came on a loop's connections, by who answered them",
            loops.iter().flat_map(|load| {
                [("memory", &load.short), ("background", &load.long)].map(|(by, calls)| {
                    (vec![("loop", load.name.as_str()), ("by", by)], calls.load(Ordering::Relaxed))
                })
            }),
        );
        page.counters(
            "keystile_connections_ended_total",
            "Connections that the service itself ended",
            [("refused", &self.refused), ("ousted", &self.ousted), ("aged", &self.aged)]
                .map(|(reason, counter)| (vec![("reason", reason)], counter.get())),
        );
    }
}
