//! Decisions, the tokens that they begin with, and the uses that they count.

use std::sync::atomic::{AtomicI64, Ordering};
use std::time::Duration;

use super::cells::Counter;
use super::histogram::{Histogram, Scale};
use super::page::{Group, Page};
use crate::policy::{Reason, Revision};

/// Reasons of decisions.
const REASONS: usize = Reason::ALL.len();

/// Decisions and what belongs to them.
#[derive(Debug)]
pub struct DecisionMetrics {
    allowed: Counter,
    denied: [Counter; REASONS],
    observed: [Counter; REASONS],
    allow_durations: Histogram,
    deny_durations: Histogram,
    error_durations: Histogram,
    /// Proofs of tokens that are judged.
    pub judged: ProofMetrics,
    /// Proofs of tokens of callers.
    pub callers: ProofMetrics,
    /// Imported secrets that got their digest.
    pub digests_stored: Counter,
    revision: AtomicI64,
    uses_pending: AtomicI64,
    /// Writes of uses.
    pub flushes: Counter,
    /// Writes of uses that failed.
    pub failed_flushes: Counter,
    /// Uses that were not counted.
    pub dropped_uses: Counter,
}

impl Default for DecisionMetrics {
    fn default() -> Self {
        let durations = || Histogram::new(Scale::DECISIONS);
        Self {
            allowed: Counter::default(),
            denied: Default::default(),
            observed: Default::default(),
            allow_durations: durations(),
            deny_durations: durations(),
            error_durations: durations(),
            judged: ProofMetrics::default(),
            callers: ProofMetrics::default(),
            digests_stored: Counter::default(),
            revision: AtomicI64::new(0),
            uses_pending: AtomicI64::new(0),
            flushes: Counter::default(),
            failed_flushes: Counter::default(),
            dropped_uses: Counter::default(),
        }
    }
}

/// How a proof ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ProofOutcome {
    /// The key was found by the token's digest.
    Digest,
    /// bcrypt proved it.
    Bcrypt,
    /// It is nobody's.
    Unknown,
    /// It cannot be anybody's: the store was not asked.
    Malformed,
}

/// Proofs of tokens.
#[derive(Debug, Default)]
pub struct ProofMetrics {
    digest: Counter,
    bcrypt: Counter,
    unknown: Counter,
    malformed: Counter,
}

impl ProofMetrics {
    /// Counts a proof.
    pub fn count(&self, outcome: ProofOutcome) {
        match outcome {
            ProofOutcome::Digest => self.digest.increment(),
            ProofOutcome::Bcrypt => self.bcrypt.increment(),
            ProofOutcome::Unknown => self.unknown.increment(),
            ProofOutcome::Malformed => self.malformed.increment(),
        }
    }

    fn series(&self) -> [(&'static str, u64); 4] {
        [
            ("digest", self.digest.get()),
            ("bcrypt", self.bcrypt.get()),
            ("unknown", self.unknown.get()),
            ("malformed", self.malformed.get()),
        ]
    }
}

impl DecisionMetrics {
    /// Counts a decision: denied for this reason, or else allowed; and what observe mode let pass.
    pub fn count(&self, denied: Option<Reason>, observed: Option<Reason>) {
        match denied {
            None => self.allowed.increment(),
            Some(reason) => count_reason(&self.denied, reason),
        }
        if let Some(reason) = observed {
            count_reason(&self.observed, reason);
        }
    }

    /// Counts how long a decision took: whether it was allowed, or `None` where none was made.
    pub fn took(&self, allowed: Option<bool>, took: Duration) {
        match allowed {
            Some(true) => self.allow_durations.observe(took),
            Some(false) => self.deny_durations.observe(took),
            None => self.error_durations.observe(took),
        }
    }

    /// A revision was seen.
    pub fn saw(&self, revision: Revision) {
        // Mostly it is known already, and reading disturbs nobody.
        if self.revision.load(Ordering::Relaxed) < revision.get() {
            self.revision.fetch_max(revision.get(), Ordering::Relaxed);
        }
    }

    /// So many keys have uses that are not written.
    pub fn set_uses_pending(&self, keys: usize) {
        self.uses_pending.store(i64::try_from(keys).unwrap_or(i64::MAX), Ordering::Relaxed);
    }
}

fn count_reason(counters: &[Counter; REASONS], reason: Reason) {
    if let Some((_, counter)) = Reason::ALL.iter().zip(counters).find(|(it, _)| **it == reason) {
        counter.increment();
    }
}

fn by_reason(counters: &[Counter; REASONS]) -> impl Iterator<Item = (&'static str, u64)> {
    Reason::ALL.into_iter().map(Reason::as_str).zip(counters.iter().map(Counter::get))
}

impl Group for DecisionMetrics {
    fn write(&self, page: &mut Page) {
        let denied = by_reason(&self.denied).map(|(reason, count)| ("DENY", reason, count));
        page.counters(
            "keystile_decisions_total",
            "Decisions, by what was decided and why",
            [("ALLOW", "NONE", self.allowed.get())]
                .into_iter()
                .chain(denied)
                .map(|(decision, reason, count)| (vec![("decision", decision), ("reason", reason)], count)),
        );
        page.counters(
            "keystile_decisions_observed_total",
            "Decisions that an observed check would have denied",
            by_reason(&self.observed).map(|(reason, count)| (vec![("reason", reason)], count)),
        );
        page.histograms(
            "keystile_decision_duration_seconds",
            "Time of one decision, without gRPC",
            [
                (vec![("decision", "ALLOW")], &self.allow_durations),
                (vec![("decision", "DENY")], &self.deny_durations),
                (vec![("decision", "ERROR")], &self.error_durations),
            ],
        );
        page.counters(
            "keystile_token_proofs_total",
            "Tokens looked up, by whose they were and how that ended",
            [("judged", &self.judged), ("caller", &self.callers)].into_iter().flat_map(|(token, proofs)| {
                let series = proofs.series().into_iter();
                series.map(move |(outcome, count)| (vec![("token", token), ("outcome", outcome)], count))
            }),
        );
        page.counter(
            "keystile_digests_stored_total",
            "Imported secrets that got their digest after their first proof by bcrypt",
            self.digests_stored.get(),
        );
        page.gauge(
            "keystile_change_revision",
            "The newest change that this replica has seen",
            self.revision.load(Ordering::Relaxed),
        );
        page.gauge(
            "keystile_uses_pending_keys",
            "Keys with uses that are not written yet",
            self.uses_pending.load(Ordering::Relaxed),
        );
        page.counters(
            "keystile_uses_flushes_total",
            "Writes of uses",
            [("ok", &self.flushes), ("error", &self.failed_flushes)]
                .map(|(outcome, it)| (vec![("outcome", outcome)], it.get())),
        );
        page.counter("keystile_uses_dropped_total", "Uses that were not counted", self.dropped_uses.get())
    }
}
