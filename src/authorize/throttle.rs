//! How often proofs by bcrypt may fail that begin with the same prefix.
//!
//! A prefix is no secret, and each wrong token with one whose secrets have no digest yet costs bcrypt up to eight runs.
//! So each prefix has [`FAILED_PROOFS_MAX`] runs, of which one comes back every [`PROOF_AGAIN_AFTER`]; a proof that
//! succeeds gives all of them back. What has none left is refused, not denied: nothing was decided about the token.
//!
//! Digests are looked up without any of this: whoever knows a prefix cannot lock out a key that has been used once.

use std::collections::HashMap;
use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

/// Runs of bcrypt that may fail for a prefix at once.
pub const FAILED_PROOFS_MAX: u32 = 24;
/// One of them comes back after so long.
pub const PROOF_AGAIN_AFTER: Duration = Duration::from_secs(1);
/// At most so many prefixes are counted one by one; those beyond share a count.
pub const PREFIXES_MAX: usize = 10_000;

/// Counts failed proofs by prefix.
#[derive(Debug, Default)]
pub(super) struct Throttle(Mutex<Counts>);

#[derive(Debug, Default)]
struct Counts {
    /// When all runs of a prefix are back. None lies in the past for long.
    full_at: HashMap<String, Instant>,
    /// The same for all prefixes for which there was no place.
    others_full_at: Option<Instant>,
}

impl Throttle {
    /// Whether a prefix has a run left.
    pub(super) fn has_left(&self, prefix: &str, now: Instant) -> bool {
        let counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        counts.full_at.get(prefix).is_none_or(|full_at| after_one_more(*full_at, now).is_some())
    }

    /// Takes a run for a prefix; false where there is none.
    pub(super) fn take(&self, prefix: &str, now: Instant) -> bool {
        let mut counts = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Counts { full_at, others_full_at } = &mut *counts;
        if let Some(full_at) = full_at.get_mut(prefix) {
            return take(full_at, now);
        }
        if full_at.len() >= PREFIXES_MAX {
            full_at.retain(|_, full_at| *full_at > now);
        }
        if full_at.len() >= PREFIXES_MAX {
            return take(others_full_at.get_or_insert(now), now);
        }
        take(full_at.entry(prefix.to_owned()).or_insert(now), now)
    }

    /// A proof has succeeded: all runs of the prefix are back.
    pub(super) fn clear(&self, prefix: &str) {
        self.0.lock().unwrap_or_else(PoisonError::into_inner).full_at.remove(prefix);
    }
}

fn take(full_at: &mut Instant, now: Instant) -> bool {
    let after = after_one_more(*full_at, now);
    *full_at = after.unwrap_or(*full_at);
    after.is_some()
}

/// When all runs are back if one more is taken now; `None` where none is left.
fn after_one_more(full_at: Instant, now: Instant) -> Option<Instant> {
    let after = full_at.max(now) + PROOF_AGAIN_AFTER;
    (after.saturating_duration_since(now) <= PROOF_AGAIN_AFTER * FAILED_PROOFS_MAX).then_some(after)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;

    fn taken(throttle: &Throttle, prefix: &str, now: Instant) -> usize {
        (0..1_000).take_while(|_| throttle.take(prefix, now)).count()
    }

    #[test]
    fn a_prefix_has_so_many_runs_and_gets_them_back_one_by_one() {
        let (throttle, now) = (Throttle::default(), clock::monotonic_now());
        assert!(throttle.has_left("sk-older", now));
        assert_eq!(taken(&throttle, "sk-older", now), 24);
        assert!(!throttle.has_left("sk-older", now) && throttle.has_left("sk-other", now));
        assert_eq!(taken(&throttle, "sk-other", now), 24, "each has its own");
        assert_eq!(taken(&throttle, "sk-older", now + Duration::from_millis(999)), 0);
        assert_eq!(taken(&throttle, "sk-older", now + Duration::from_secs(1)), 1);
        assert_eq!(taken(&throttle, "sk-older", now + Duration::from_secs(4)), 3);
        assert_eq!(taken(&throttle, "sk-older", now + Duration::from_secs(1_000)), 24, "never more");
    }

    #[test]
    fn a_proof_that_succeeds_gives_them_back() {
        let (throttle, now) = (Throttle::default(), clock::monotonic_now());
        taken(&throttle, "sk-older", now);
        throttle.clear("sk-older");
        assert_eq!(taken(&throttle, "sk-older", now), 24);
    }

    #[test]
    fn prefixes_beyond_the_bound_share_a_count_until_others_have_all_of_theirs_back() {
        let (throttle, now) = (Throttle::default(), clock::monotonic_now());
        for number in 0..PREFIXES_MAX {
            assert!(throttle.take(&number.to_string(), now));
        }
        assert_eq!(taken(&throttle, "one more", now) + taken(&throttle, "and another", now), 24);
        assert_eq!(throttle.0.lock().unwrap().full_at.len(), PREFIXES_MAX);
        assert_eq!(taken(&throttle, "one more", now + PROOF_AGAIN_AFTER), 24, "there is a place again");
        assert_eq!(throttle.0.lock().unwrap().full_at.len(), 1);
    }
}
