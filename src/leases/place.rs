//! How many requests wait at once.

use std::sync::atomic::Ordering;

use super::Leases;

/// So many requests wait at most, on both lanes; more are shed.
const WAITING_MAX: usize = 16_384;

/// A request's place among those that wait. There is room for another when it is dropped.
#[derive(Debug)]
pub(super) struct Place(Leases);

impl Place {
    /// `None` where too many wait.
    pub(super) fn take(leases: &Leases) -> Option<Self> {
        let waiting = &leases.0.waiting;
        let before = waiting.fetch_add(1, Ordering::Relaxed);
        let place = Self(leases.clone());
        (before < WAITING_MAX).then_some(place)
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        self.0.0.waiting.fetch_sub(1, Ordering::Relaxed);
    }
}
