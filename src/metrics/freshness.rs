//! How the replica follows the changes, and how changes come to the replicas.

use std::fmt;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::cells::Counter;
use super::histogram::{Histogram, Scale};
use super::page::{Group, Page};
use crate::policy::Revision;

/// Why everything was dropped from memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Restart {
    /// The replica started.
    Start,
    /// Its row was taken away.
    Fenced,
    /// The database goes on from another history.
    Epoch,
    /// The newest revision is older than one that was applied.
    Backwards,
    /// A line of the change log is missing.
    Gap,
    /// There were too many new lines.
    Behind,
}

impl Restart {
    /// All.
    pub const ALL: [Self; 6] =
        [Self::Start, Self::Fenced, Self::Epoch, Self::Backwards, Self::Gap, Self::Behind];

    /// Its name.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Start => "start",
            Self::Fenced => "fenced",
            Self::Epoch => "epoch",
            Self::Backwards => "backwards",
            Self::Gap => "gap",
            Self::Behind => "behind",
        }
    }
}

/// What came of a renewal of the replica's row.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Renewal {
    /// It was renewed.
    Done,
    /// The row was gone.
    Fenced,
    /// It, or a look between two, failed.
    Failed,
}

/// Following and propagation.
pub struct FreshnessMetrics {
    applied: AtomicI64,
    trust: OnceLock<Box<dyn Fn() -> Duration + Send + Sync>>,
    renewed: Counter,
    fenced: Counter,
    failed: Counter,
    renewals: Histogram,
    restarts: [Counter; Restart::ALL.len()],
    complete: Histogram,
    incomplete: Histogram,
    /// Rows of other replicas that were taken away because they were dead.
    pub collected: Counter,
}

impl Default for FreshnessMetrics {
    fn default() -> Self {
        let calls = || Histogram::new(Scale::CALLS);
        Self {
            applied: AtomicI64::new(0),
            trust: OnceLock::new(),
            renewed: Counter::default(),
            fenced: Counter::default(),
            failed: Counter::default(),
            renewals: calls(),
            restarts: Default::default(),
            complete: calls(),
            incomplete: calls(),
            collected: Counter::default(),
        }
    }
}

impl fmt::Debug for FreshnessMetrics {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("FreshnessMetrics").field("applied", &self.applied).finish_non_exhaustive()
    }
}

impl FreshnessMetrics {
    /// Asks this for how long memory may be trusted, whenever the page is written. The first one told counts.
    pub fn watch_trust(&self, trust: impl Fn() -> Duration + Send + Sync + 'static) {
        self.trust.get_or_init(|| Box::new(trust));
    }

    /// Every change up to this one is applied.
    pub fn set_applied(&self, revision: Revision) {
        self.applied.store(revision.get(), Ordering::Relaxed);
    }

    /// Counts a renewal.
    pub fn count(&self, renewal: Renewal) {
        match renewal {
            Renewal::Done => self.renewed.increment(),
            Renewal::Fenced => self.fenced.increment(),
            Renewal::Failed => self.failed.increment(),
        }
    }

    /// Counts how long a renewal took that did not fail.
    pub fn took(&self, took: Duration) {
        self.renewals.observe(took);
    }

    /// Counts that everything was dropped.
    pub fn count_restart(&self, why: Restart) {
        if let Some((_, counter)) = Restart::ALL.iter().zip(&self.restarts).find(|(it, _)| **it == why) {
            counter.increment();
        }
    }

    /// Counts how long a change was waited for.
    pub fn propagated(&self, took: Duration, is_complete: bool) {
        if is_complete { self.complete.observe(took) } else { self.incomplete.observe(took) }
    }
}

impl Group for FreshnessMetrics {
    fn write(&self, page: &mut Page) {
        page.gauge(
            "keystile_applied_revision",
            "The newest change that nothing older is decided than",
            self.applied.load(Ordering::Relaxed),
        );
        page.gauge_of_seconds(
            "keystile_trust_seconds",
            "How long the replica may go on deciding without following the changes",
            self.trust.get().map_or(Duration::ZERO, |trust| trust()).as_secs_f64(),
        );
        page.counters(
            "keystile_renewals_total",
            "Renewals of the replica's row",
            [("ok", &self.renewed), ("fenced", &self.fenced), ("error", &self.failed)]
                .map(|(outcome, it)| (vec![("outcome", outcome)], it.get())),
        );
        page.histograms(
            "keystile_renewal_duration_seconds",
            "Time of one renewal that did not fail",
            [(Vec::new(), &self.renewals)],
        );
        page.counters(
            "keystile_restarts_total",
            "Everything in memory was dropped",
            Restart::ALL
                .iter()
                .zip(&self.restarts)
                .map(|(why, it)| (vec![("cause", why.as_str())], it.get())),
        );
        page.histograms(
            "keystile_propagation_duration_seconds",
            "Time from a change's commit until it was known to have come everywhere, or was not waited for any more",
            [
                (vec![("outcome", "complete")], &self.complete),
                (vec![("outcome", "incomplete")], &self.incomplete),
            ],
        );
        page.counter(
            "keystile_replicas_collected_total",
            "Replicas that died without a word and are not waited for any more",
            self.collected.get(),
        );
    }
}
