//! Counts that many threads add to at once.
//!
//! One atomic number that all cores write would travel between their caches with every addition. So a count is
//! kept in a few cells that lie on cache lines of their own, each thread adds to one of them, and whoever reads
//! adds them up.

use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};

/// Cells of a count; parts of whatever else is kept apart by threads.
pub const SHARDS: usize = 8;

/// Which cell the next thread takes. It counts nothing of the service.
static NEXT_SHARD: AtomicUsize = AtomicUsize::new(0);

thread_local! {
    static SHARD: usize = NEXT_SHARD.fetch_add(1, Ordering::Relaxed) % SHARDS;
}

/// The cell of this thread, below [`SHARDS`].
#[must_use]
pub fn shard() -> usize {
    // A thread that is ending has lost its number; any cell will do.
    SHARD.try_with(|shard| *shard).unwrap_or_default()
}

/// A number on cache lines of its own (two, since processors fetch them in pairs).
#[derive(Debug, Default)]
#[repr(align(128))]
struct Cell(AtomicU64);

#[derive(Debug, Default)]
struct Cells([Cell; SHARDS]);

impl Cells {
    fn add(&self, count: u64) {
        if let Some(Cell(cell)) = self.0.get(shard()) {
            cell.fetch_add(count, Ordering::Relaxed);
        }
    }

    /// Wraps around: a gauge is added to on one thread and taken from on another.
    fn sum(&self) -> u64 {
        let cells = self.0.iter().map(|Cell(cell)| cell.load(Ordering::Relaxed));
        cells.fold(0, u64::wrapping_add)
    }
}

/// A count that only grows.
#[derive(Debug, Default)]
pub struct Counter(Cells);

impl Counter {
    /// Counts one.
    pub fn increment(&self) {
        self.0.add(1);
    }

    /// Counts some at once.
    pub fn add(&self, count: u64) {
        self.0.add(count);
    }

    /// All that was counted.
    #[must_use]
    pub fn get(&self) -> u64 {
        self.0.sum()
    }
}

/// How many there are now.
#[derive(Debug, Default)]
pub struct Gauge(Cells);

impl Gauge {
    /// One more, until the answer is dropped.
    #[must_use]
    pub fn hold<G: AsRef<Gauge>>(gauge: G) -> Held<G> {
        gauge.as_ref().0.add(1);
        Held(gauge)
    }

    /// How many there are.
    #[must_use]
    pub fn get(&self) -> i64 {
        self.0.sum().cast_signed()
    }
}

impl AsRef<Gauge> for Gauge {
    fn as_ref(&self) -> &Gauge {
        self
    }
}

/// Something that a [`Gauge`] counts while it lives. `G` is a reference to the gauge, or what holds it.
#[derive(Debug)]
pub struct Held<G: AsRef<Gauge>>(G);

impl<G: AsRef<Gauge>> Drop for Held<G> {
    fn drop(&mut self) {
        self.0.as_ref().0.add(u64::MAX);
    }
}
