//! Refused attempts to administer, for the audit log: noted on the way, written off it.
//!
//! A caller that is known and refused may try again as often as it likes, so that what is kept and written is
//! bounded: the same attempt is one line at first, and then one line a minute with how often it was made.
//! [`KINDS_MAX`] different attempts are kept at a time; more are counted, and said in the log and by a metric.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::clock::monotonic_now;
use crate::metrics::ServiceMetrics;
use crate::storage::audit::{RefusedAttempts, insert_refused};
use crate::storage::changes::Actor;
use crate::storage::{StorageError, Store};

/// At most so many different attempts are kept at a time.
const KINDS_MAX: usize = 1_000;
/// A repeated attempt is written so often.
const REPEAT_EVERY: Duration = Duration::from_secs(60);
const WRITE_EVERY: Duration = Duration::from_secs(1);

/// A refused attempt.
#[derive(Clone, Debug)]
pub struct Refusal {
    /// Who, from where.
    pub actor: Actor,
    /// Which method was called: `KeyService/RevokeKey`.
    pub method: String,
    /// Which resource, where that is known; else empty.
    pub resource: String,
    /// The reason of the error that was answered.
    pub reason: String,
}

/// What makes two attempts the same.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
struct Kind {
    actor: String,
    peer_address: String,
    method: String,
    resource: String,
    reason: String,
}

#[derive(Clone, Debug)]
struct Seen {
    /// Of the first attempt that is not written yet.
    request_id: String,
    unwritten: u64,
    written_at: Option<Instant>,
}

#[derive(Debug, Default)]
struct Kept {
    kinds: HashMap<Kind, Seen>,
    dropped: u64,
}

/// Refused attempts that are not written yet.
#[derive(Debug, Default)]
pub struct Refusals {
    kept: Mutex<Kept>,
    metrics: Arc<ServiceMetrics>,
}

impl Refusals {
    /// None yet; what is not kept is counted in `metrics`.
    #[must_use]
    pub fn measured(metrics: Arc<ServiceMetrics>) -> Self {
        Self { metrics, ..Self::default() }
    }

    /// Notes an attempt. Waits for nothing.
    pub fn note(&self, refusal: Refusal) {
        let Refusal { actor, method, resource, reason } = refusal;
        let Actor { name, peer_address, request_id, answer_by: _ } = actor;
        let kind = Kind { actor: name, peer_address, method, resource, reason };
        self.add(kind, request_id, 1);
    }

    fn add(&self, kind: Kind, request_id: String, count: u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let is_full = kept.kinds.len() >= KINDS_MAX;
        match kept.kinds.get_mut(&kind) {
            Some(seen) => {
                if seen.unwritten == 0 {
                    seen.request_id = request_id;
                }
                seen.unwritten = seen.unwritten.saturating_add(count);
            }
            None if is_full => {
                kept.dropped = kept.dropped.saturating_add(count);
                self.metrics.refusals_dropped.add(count);
            }
            None => {
                let seen = Seen { request_id, unwritten: count, written_at: None };
                kept.kinds.insert(kind, seen);
            }
        }
    }

    /// What is to be written at `now`; what is written long ago is forgotten.
    fn take_due(&self, now: Instant, is_last: bool) -> (Vec<(Kind, RefusedAttempts)>, u64) {
        let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
        let mut due = Vec::new();
        kept.kinds.retain(|kind, seen| {
            let is_long_ago = seen.written_at.is_none_or(|at| now.duration_since(at) >= REPEAT_EVERY);
            if seen.unwritten == 0 {
                return !is_long_ago;
            }
            if is_long_ago || is_last {
                due.push((kind.clone(), attempts(kind, seen)));
                (seen.unwritten, seen.written_at) = (0, Some(now));
            }
            true
        });
        (due, std::mem::take(&mut kept.dropped))
    }

    /// Keeps what could not be written, to be written as soon as it can be.
    fn give_back(&self, due: Vec<(Kind, RefusedAttempts)>) {
        for (kind, attempts) in due {
            self.add(kind.clone(), attempts.actor.request_id, attempts.count);
            let mut kept = self.kept.lock().unwrap_or_else(PoisonError::into_inner);
            if let Some(seen) = kept.kinds.get_mut(&kind) {
                seen.written_at = None;
            }
        }
    }

    /// Writes what is due. What could not be written is kept.
    async fn write(&self, store: &Store, is_last: bool) -> Result<(), StorageError> {
        let (due, dropped) = self.take_due(monotonic_now(), is_last);
        if dropped > 0 {
            tracing::warn!(attempts = dropped, "refused attempts of too many kinds; these are not recorded");
        }
        if due.is_empty() {
            return Ok(());
        }
        let lines: Vec<RefusedAttempts> = due.iter().map(|(_, attempts)| attempts.clone()).collect();
        let written = store
            .write("audit.insert_refused", move |session| {
                Box::pin(async move { insert_refused(session, &lines).await })
            })
            .await;
        if written.is_err() {
            self.give_back(due);
        }
        written
    }

    /// Writes once a second until told to stop, and then a last time.
    pub async fn keep_writing(&self, store: &Store, mut stop: watch::Receiver<bool>) {
        let mut tick = interval(WRITE_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let is_last = tokio::select! {
                _ = tick.tick() => false,
                // A dropped sender means the same as a sent stop.
                _ = stop.wait_for(|stop| *stop) => true,
            };
            if let Err(error) = self.write(store, is_last).await {
                tracing::warn!(error = %error, "refused attempts could not be recorded; they are kept");
            }
            if is_last {
                return;
            }
        }
    }
}

fn attempts(kind: &Kind, seen: &Seen) -> RefusedAttempts {
    let Kind { actor, peer_address, method, resource, reason } = kind.clone();
    RefusedAttempts {
        actor: Actor { name: actor, peer_address, request_id: seen.request_id.clone(), answer_by: None },
        action: method,
        resource,
        reason,
        count: seen.unwritten,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refusal(actor: &str, request_id: &str) -> Refusal {
        let actor = Actor {
            name: actor.into(),
            peer_address: "10.0.0.1".into(),
            request_id: request_id.into(),
            answer_by: None,
        };
        let reason = "CALLER_SCOPE_MISSING".into();
        Refusal { actor, method: "KeyService/RevokeKey".into(), resource: String::new(), reason }
    }

    fn counts(refusals: &Refusals, now: Instant, is_last: bool) -> Vec<(String, u64)> {
        let (due, _) = refusals.take_due(now, is_last);
        due.into_iter().map(|(_, line)| (line.actor.request_id, line.count)).collect()
    }

    #[test]
    fn a_repeated_attempt_is_one_line_at_first_and_then_one_a_minute() {
        let refusals = Refusals::default();
        let start = monotonic_now();
        refusals.note(refusal("key/1", "first"));
        refusals.note(refusal("key/1", "second"));
        assert_eq!(counts(&refusals, start, false), [("first".to_owned(), 2)]);
        for _ in 0..50 {
            refusals.note(refusal("key/1", "third"));
        }
        assert!(counts(&refusals, start + REPEAT_EVERY / 2, false).is_empty());
        refusals.note(refusal("key/1", "fourth"));
        assert_eq!(counts(&refusals, start + REPEAT_EVERY, false), [("third".to_owned(), 51)]);
        refusals.note(refusal("key/1", "fifth"));
        assert_eq!(counts(&refusals, start + REPEAT_EVERY, true), [("fifth".to_owned(), 1)], "at the end");
        assert!(counts(&refusals, start + REPEAT_EVERY * 3, false).is_empty());
        assert!(refusals.kept.lock().unwrap().kinds.is_empty(), "and is forgotten");
    }

    #[test]
    fn what_could_not_be_written_is_due_again_at_once() {
        let refusals = Refusals::default();
        let start = monotonic_now();
        refusals.note(refusal("key/1", "first"));
        let (due, _) = refusals.take_due(start, false);
        refusals.give_back(due);
        assert_eq!(counts(&refusals, start + WRITE_EVERY, false), [("first".to_owned(), 1)]);
        refusals.note(refusal("key/1", "second"));
        assert!(counts(&refusals, start + WRITE_EVERY * 2, false).is_empty(), "it is written now");
    }

    #[test]
    fn what_is_kept_is_bounded_and_the_rest_is_counted() {
        let refusals = Refusals::default();
        for n in 0..KINDS_MAX + 5 {
            refusals.note(refusal(&format!("key/{n}"), ""));
        }
        refusals.note(refusal("key/0", ""));
        let (due, dropped) = refusals.take_due(monotonic_now(), false);
        assert_eq!((due.len(), dropped), (KINDS_MAX, 5));
        assert_eq!(refusals.metrics.refusals_dropped.get(), 5);
    }
}
