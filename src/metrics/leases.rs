//! Rate limits: how requests were charged, and what it took.

use super::page::{Group, Page};
use std::sync::atomic::{AtomicI64, Ordering};

use super::cells::Counter;
use super::histogram::{Histogram, Scale};

/// Of what this replica holds of rate limits.
#[derive(Debug)]
pub struct LeaseMetrics {
    /// Requests charged with what was in hand.
    pub charged_at_once: Counter,
    /// Requests refused by what was remembered.
    pub refused_at_once: Counter,
    /// Requests charged after the store was asked.
    pub charged: Counter,
    /// Requests refused after the store was asked.
    pub refused: Counter,
    /// Requests decided by this replica's own share.
    pub local: Counter,
    /// Requests that were not decided, since the store was away.
    pub away: Counter,
    /// Requests that were not decided, since too many waited.
    pub shed: Counter,
    /// Groups whose outcome is unknown.
    pub failed_groups: Counter,
    /// Rows that groups have changed.
    pub rows: Counter,
    /// Keys and owners whose row another replica held.
    pub left: Counter,
    /// Keys and owners of groups.
    pub members: Histogram,
    /// Times of groups.
    pub durations: Histogram,
    waiting: AtomicI64,
    held: AtomicI64,
}

impl LeaseMetrics {
    /// So many requests wait, and of so many keys and owners something is held.
    pub fn look(&self, waiting: usize, held: usize) {
        self.waiting.store(i64::try_from(waiting).unwrap_or(i64::MAX), Ordering::Relaxed);
        self.held.store(i64::try_from(held).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

impl Default for LeaseMetrics {
    fn default() -> Self {
        Self {
            charged_at_once: Counter::default(),
            refused_at_once: Counter::default(),
            charged: Counter::default(),
            refused: Counter::default(),
            local: Counter::default(),
            away: Counter::default(),
            shed: Counter::default(),
            failed_groups: Counter::default(),
            rows: Counter::default(),
            left: Counter::default(),
            members: Histogram::new(Scale::MEMBERS),
            durations: Histogram::new(Scale::CALLS),
            waiting: AtomicI64::new(0),
            held: AtomicI64::new(0),
        }
    }
}

impl Group for LeaseMetrics {
    fn write(&self, page: &mut Page) {
        page.counters(
            "keystile_limited_requests_total",
            "Requests under rate limits, by what came of them and who knew",
            [
                ("charged", "memory", &self.charged_at_once),
                ("charged", "store", &self.charged),
                ("refused", "memory", &self.refused_at_once),
                ("refused", "store", &self.refused),
                ("local_share", "memory", &self.local),
                ("unavailable", "store", &self.away),
                ("shed", "memory", &self.shed),
            ]
            .map(|(outcome, by, it)| (vec![("outcome", outcome), ("by", by)], it.get())),
        );
        page.histograms(
            "keystile_limit_group_members",
            "Keys and owners of one group",
            [(Vec::new(), &self.members)],
        );
        page.histograms(
            "keystile_limit_group_duration_seconds",
            "Time of one group of debits",
            [(Vec::new(), &self.durations)],
        );
        page.counter(
            "keystile_limit_groups_failed_total",
            "Groups whose outcome is unknown",
            self.failed_groups.get(),
        );
        page.counter("keystile_limit_rows_total", "Rows of counters that were written", self.rows.get());
        page.counter(
            "keystile_limit_rows_held_total",
            "Rows of counters that somebody else held",
            self.left.get(),
        );
        page.gauge(
            "keystile_limit_waiting",
            "Requests that wait for units of their limits",
            self.waiting.load(Ordering::Relaxed),
        );
        page.gauge(
            "keystile_limits_held",
            "Keys and owners of which units are held",
            self.held.load(Ordering::Relaxed),
        );
    }
}
