//! A perfect sliding log: when a key's requests were admitted.
//!
//! As the central limiter it decides; beside the replicas it checks them.

use std::collections::VecDeque;

/// The admissions of a key within the last window. Times are nanoseconds and never go back.
#[derive(Debug)]
pub struct Log {
    most: usize,
    window: u64,
    times: VecDeque<u64>,
}

impl Log {
    /// None yet; of at most `most` in any interval of length `window`.
    pub fn new(most: usize, window: u64) -> Self {
        Self { most, window, times: VecDeque::new() }
    }

    /// Drops what lies outside (`now` − window, `now`].
    fn forget(&mut self, now: u64) {
        while self.times.front().is_some_and(|time| time.saturating_add(self.window) <= now) {
            self.times.pop_front();
        }
    }

    /// Whether the rule allows one more at `now`.
    pub fn has_room(&mut self, now: u64) -> bool {
        self.forget(now);
        self.times.len() < self.most
    }

    /// Admits at `now` if the rule allows.
    pub fn admit(&mut self, now: u64) -> bool {
        let has_room = self.has_room(now);
        if has_room {
            self.times.push_back(now);
        }
        has_room
    }

    /// One was admitted at `now`, whatever the rule says; whether the rule still holds.
    pub fn note(&mut self, now: u64) -> bool {
        self.forget(now);
        self.times.push_back(now);
        self.times.len() <= self.most
    }

    /// How many lie in the window, and the most that may.
    pub fn fullness(&self) -> (usize, usize) {
        (self.times.len(), self.most)
    }
}
