//! How many loads of each asker may come to nothing.
//!
//! A token that is nobody's costs a statement, and whoever sends others' tokens cannot know them. So each asker may have
//! some such loads at once, which come back evenly. While he has none left, what is not in memory is refused for him: not
//! denied, since nothing is known of it. What is in memory is not touched by that, and nor are other askers.
//!
//! Who has asked for some in vain lately can wait for the next ones, a moment each ([`Fruitless::patience`]): they go
//! together then, and the database and the threads behind it are woken a few times a second and not for each.
//!
//! A load counts when it has come to nothing. Of somebody who has few left it counts when it begins, and is given back
//! if it finds a key: else many would begin before the first has ended.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use super::fair_queue::Asker;

/// How many one has at once, as a time: so much of what comes back.
const AT_ONCE: Duration = Duration::from_secs(4);
/// Who owes more than this has few left.
const FEW_LEFT: Duration = Duration::from_secs(2);
/// Who owes more than this has patience.
const SOME_GONE: Duration = Duration::from_millis(400);
/// How much.
const PATIENCE: Duration = Duration::from_millis(20);
/// More askers than this are counted together.
const ASKERS_MAX: usize = 10_000;

/// Counts fruitless loads by asker.
#[derive(Debug)]
pub(super) struct Fruitless {
    /// One load comes back after so long.
    again_after: Duration,
    /// When an asker has all of his back.
    full_at: Mutex<HashMap<Asker, Instant>>,
}

impl Fruitless {
    /// So many a second may come to nothing, at least one.
    pub(super) fn new(per_second: u32) -> Arc<Self> {
        let again_after = Duration::from_secs(1) / per_second.max(1);
        Arc::new(Self { again_after, full_at: Mutex::default() })
    }

    /// Whether an asker has none left.
    pub(super) fn is_spent(&self, asker: Asker, now: Instant) -> bool {
        self.owed(asker, now) + self.again_after > AT_ONCE
    }

    /// How long a load for an asker may wait for others before it begins.
    ///
    /// Whoever is not known yet has none, and nor has the service: it would be others who wait for what some asked for.
    pub(super) fn patience(&self, asker: Asker, now: Instant) -> Duration {
        let is_known = matches!(asker, Asker::Caller(_));
        if is_known && self.owed(asker, now) > SOME_GONE { PATIENCE } else { Duration::ZERO }
    }

    /// Counts a load that begins, if its asker has few left.
    pub(super) fn presume(self: &Arc<Self>, asker: Asker, now: Instant) -> Option<Presumed> {
        if self.owed(asker, now) <= FEW_LEFT {
            return None;
        }
        self.count(asker, now);
        Some(Presumed { by: Arc::clone(self), asker, is_right: false })
    }

    /// A load came to nothing.
    pub(super) fn note(&self, asker: Asker, presumed: Option<Presumed>, now: Instant) {
        match presumed {
            Some(mut presumed) => presumed.is_right = true,
            None => self.count(asker, now),
        }
    }

    fn owed(&self, asker: Asker, now: Instant) -> Duration {
        let full_at = self.full_at();
        let lane = lane(&full_at, asker);
        full_at.get(&lane).map_or(Duration::ZERO, |full_at| full_at.saturating_duration_since(now))
    }

    fn count(&self, asker: Asker, now: Instant) {
        // The service's own are for nobody.
        if asker == Asker::Service {
            return;
        }
        let mut full_at = self.full_at();
        if full_at.len() >= ASKERS_MAX {
            full_at.retain(|_, full_at| *full_at > now);
        }
        let lane = lane(&full_at, asker);
        let full_at = full_at.entry(lane).or_insert(now);
        *full_at = (*full_at).max(now) + self.again_after;
    }

    fn give_back(&self, asker: Asker) {
        let mut full_at = self.full_at();
        let lane = lane(&full_at, asker);
        if let Some(full_at) = full_at.get_mut(&lane) {
            *full_at = full_at.checked_sub(self.again_after).unwrap_or(*full_at);
        }
    }

    fn full_at(&self) -> MutexGuard<'_, HashMap<Asker, Instant>> {
        self.full_at.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// A load that was counted when it began. However it ends, it is given back, unless it is noted that it came to nothing.
#[derive(Debug)]
pub(super) struct Presumed {
    by: Arc<Fruitless>,
    asker: Asker,
    is_right: bool,
}

impl Drop for Presumed {
    fn drop(&mut self) {
        if !self.is_right {
            self.by.give_back(self.asker);
        }
    }
}

/// Where an asker is counted.
fn lane(full_at: &HashMap<Asker, Instant>, asker: Asker) -> Asker {
    let has_place = full_at.len() < ASKERS_MAX || full_at.contains_key(&asker);
    if has_place { asker } else { Asker::Unknown }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock::monotonic_now;

    const ONE: Asker = Asker::Caller(1);
    const TWO: Asker = Asker::Caller(2);

    fn left(fruitless: &Fruitless, asker: Asker, now: Instant) -> usize {
        let mut left = 0;
        while !fruitless.is_spent(asker, now) {
            fruitless.note(asker, None, now);
            left += 1;
        }
        left
    }

    #[test]
    fn each_asker_has_some_at_once_that_come_back_evenly() {
        let (fruitless, now) = (Fruitless::new(100), monotonic_now());
        assert_eq!(left(&fruitless, ONE, now), 400);
        assert_eq!(left(&fruitless, TWO, now), 400, "each has his own");
        assert_eq!(left(&fruitless, ONE, now + Duration::from_millis(9)), 0);
        assert_eq!(left(&fruitless, ONE, now + Duration::from_millis(50)), 5);
        assert_eq!(left(&fruitless, ONE, now + Duration::from_secs(60)), 400, "never more");
    }

    #[test]
    fn what_was_under_way_is_owed() {
        let (fruitless, now) = (Fruitless::new(100), monotonic_now());
        (0..450).for_each(|_| fruitless.note(ONE, None, now));
        assert!(fruitless.is_spent(ONE, now + Duration::from_millis(509)));
        assert!(!fruitless.is_spent(ONE, now + Duration::from_millis(510)));
    }

    #[test]
    fn of_somebody_who_has_few_left_loads_count_from_their_beginning_and_are_given_back() {
        let (fruitless, now) = (Fruitless::new(100), monotonic_now());
        for _ in 0..=200 {
            assert!(fruitless.presume(ONE, now).is_none(), "he has many left");
            fruitless.note(ONE, None, now);
        }
        let before = fruitless.owed(ONE, now);
        let (fruitful, vain) = (fruitless.presume(ONE, now), fruitless.presume(ONE, now));
        assert!(fruitful.is_some() && vain.is_some());
        assert_eq!(fruitless.owed(ONE, now), before + 2 * fruitless.again_after);
        fruitless.note(ONE, vain, now);
        assert_eq!(fruitless.owed(ONE, now), before + 2 * fruitless.again_after, "it is not counted twice");
        drop(fruitful);
        assert_eq!(fruitless.owed(ONE, now), before + fruitless.again_after);
    }

    #[test]
    fn a_caller_who_has_asked_for_some_in_vain_lately_has_patience_and_nobody_else() {
        let (fruitless, now) = (Fruitless::new(100), monotonic_now());
        for asker in [ONE, Asker::Unknown] {
            (0..40).for_each(|_| fruitless.note(asker, None, now));
            assert_eq!(fruitless.patience(asker, now), Duration::ZERO, "a few are nothing");
            (0..40).for_each(|_| fruitless.note(asker, None, now));
        }
        assert_eq!(fruitless.patience(ONE, now), PATIENCE);
        for asker in [TWO, Asker::Unknown, Asker::Service] {
            assert_eq!(fruitless.patience(asker, now), Duration::ZERO);
        }
        assert_eq!(
            fruitless.patience(ONE, now + Duration::from_millis(400)),
            Duration::ZERO,
            "it was long ago"
        );
    }

    #[test]
    fn the_services_own_are_not_counted_and_askers_beyond_the_bound_share() {
        let (fruitless, now) = (Fruitless::new(1), monotonic_now());
        fruitless.note(Asker::Service, None, now);
        assert!(fruitless.full_at().is_empty());
        for id in 0..i64::try_from(ASKERS_MAX).unwrap() {
            fruitless.note(Asker::Caller(id), None, now);
        }
        assert_eq!(left(&fruitless, Asker::Caller(-1), now), 4);
        assert!(fruitless.is_spent(Asker::Caller(-2), now), "they have some together");
        let later = now + AT_ONCE;
        fruitless.note(Asker::Caller(-2), None, later);
        assert_eq!(fruitless.full_at().len(), 1, "those that have all of theirs back need no place");
    }
}
