//! The store: its connections, its named calls, its failures.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, OnceLock, PoisonError, RwLock};
use std::time::Duration;

use super::cells::{Counter, Gauge};
use super::histogram::{Histogram, Scale};
use super::page::{Group, Page};

/// Whether a named call reads or writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    /// It reads.
    Read,
    /// It is a transaction.
    Write,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Read => "read",
            Self::Write => "write",
        }
    }
}

/// How a call failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ErrorKind {
    /// Out of reach, too slow.
    Unavailable,
    /// No connection in time.
    Overloaded,
    /// A constraint refused.
    Constraint,
    /// A row does not parse.
    Corrupt,
    /// A defect.
    Defect,
}

/// Connections of a pool at a moment.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Connections {
    /// In use by nobody.
    pub idle: usize,
    /// Open.
    pub open: usize,
    /// At most.
    pub max: usize,
    /// Calls that wait for one.
    pub waiters: usize,
}

/// The store's.
#[derive(Default)]
pub struct StoreMetrics {
    pool: OnceLock<Box<dyn Fn() -> Connections + Send + Sync>>,
    /// By name and kind. The names stand in our code. A call goes over the network: beside that, finding its
    /// histogram is nothing.
    calls: RwLock<BTreeMap<(&'static str, Kind), Arc<Histogram>>>,
    /// Changes that wait for their turn.
    pub write_waiters: Gauge,
    unavailable: Counter,
    overloaded: Counter,
    constraint: Counter,
    corrupt: Counter,
    defect: Counter,
}

impl fmt::Debug for StoreMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoreMetrics").finish_non_exhaustive()
    }
}

impl StoreMetrics {
    /// Asks this for the connections, whenever the page is written. The first one told counts.
    pub fn watch_pool(&self, pool: impl Fn() -> Connections + Send + Sync + 'static) {
        self.pool.get_or_init(|| Box::new(pool));
    }

    /// Counts how long a named call took.
    pub fn took(&self, call: &'static str, kind: Kind, took: Duration) {
        let known = self.calls.read().unwrap_or_else(PoisonError::into_inner).get(&(call, kind)).cloned();
        let histogram = known.unwrap_or_else(|| {
            let mut calls = self.calls.write().unwrap_or_else(PoisonError::into_inner);
            Arc::clone(calls.entry((call, kind)).or_insert_with(|| Arc::new(Histogram::new(Scale::CALLS))))
        });
        histogram.observe(took);
    }

    /// Counts a failure.
    pub fn count_error(&self, kind: ErrorKind) {
        match kind {
            ErrorKind::Unavailable => self.unavailable.increment(),
            ErrorKind::Overloaded => self.overloaded.increment(),
            ErrorKind::Constraint => self.constraint.increment(),
            ErrorKind::Corrupt => self.corrupt.increment(),
            ErrorKind::Defect => self.defect.increment(),
        }
    }
}

impl Group for StoreMetrics {
    fn write(&self, page: &mut Page) {
        let Connections { idle, open, max, waiters } =
            self.pool.get().map_or_else(Connections::default, |pool| pool());
        let count = |count: usize| i64::try_from(count).unwrap_or(i64::MAX);
        page.gauges(
            "keystile_store_connections",
            "Connections to PostgreSQL",
            [
                (vec![("state", "idle")], count(idle)),
                (vec![("state", "in_use")], count(open.saturating_sub(idle))),
            ],
        );
        page.gauge("keystile_store_connections_max", "Most connections to PostgreSQL", count(max));
        page.gauge(
            "keystile_store_connection_waiters",
            "Calls that wait for a connection to PostgreSQL",
            count(waiters),
        );
        page.gauge(
            "keystile_store_write_waiters",
            "Changes that wait for their turn to write",
            self.write_waiters.get(),
        );
        let calls = self.calls.read().unwrap_or_else(PoisonError::into_inner);
        page.histograms(
            "keystile_store_call_duration_seconds",
            "Time of one named call of the store",
            calls
                .iter()
                .map(|((call, kind), it)| (vec![("call", *call), ("kind", kind.as_str())], it.as_ref())),
        );
        page.counters(
            "keystile_store_errors_total",
            "Calls of the store that failed",
            [
                ("unavailable", &self.unavailable),
                ("overloaded", &self.overloaded),
                ("constraint", &self.constraint),
                ("corrupt", &self.corrupt),
                ("defect", &self.defect),
            ]
            .map(|(kind, it)| (vec![("kind", kind)], it.get())),
        );
    }
}
