//! Calls that took too long, and how many lines they may have: when everything is slow, the log must not become
//! one more reason.

use std::sync::{Mutex, PoisonError};
use std::time::{Duration, Instant};

use crate::clock;

/// At most so many lines a second.
const LINES_MAX: u32 = 10;
const WINDOW: Duration = Duration::from_secs(1);

/// From when on a call is slow, and the lines so far.
#[derive(Debug)]
pub(super) struct SlowCalls {
    threshold: Duration,
    lines: Mutex<Lines>,
}

#[derive(Debug)]
struct Lines {
    window_began: Instant,
    written: u32,
    /// Since the last line.
    left_out: u64,
}

impl SlowCalls {
    pub(super) fn new(threshold: Duration) -> Self {
        let lines = Lines { window_began: clock::monotonic_now(), written: 0, left_out: 0 };
        Self { threshold, lines: Mutex::new(lines) }
    }

    pub(super) fn threshold(&self) -> Duration {
        self.threshold
    }

    /// Whether one more may be logged; then, how many were not since the last one that was.
    pub(super) fn may_log(&self) -> Option<u64> {
        self.lines.lock().unwrap_or_else(PoisonError::into_inner).take(clock::monotonic_now())
    }
}

impl Lines {
    fn take(&mut self, now: Instant) -> Option<u64> {
        if now.saturating_duration_since(self.window_began) >= WINDOW {
            (self.window_began, self.written) = (now, 0);
        }
        if self.written < LINES_MAX {
            self.written = self.written.saturating_add(1);
            return Some(std::mem::take(&mut self.left_out));
        }
        self.left_out = self.left_out.saturating_add(1);
        None
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_too_much_is_counted_and_told_with_the_next_line() {
        let began = clock::monotonic_now();
        let mut lines = Lines { window_began: began, written: 0, left_out: 0 };
        let at = |millis: u64| began + Duration::from_millis(millis);
        let taken = |lines: &mut Lines, millis: u64, count: u64| {
            (0..count).filter_map(|_| lines.take(at(millis))).collect::<Vec<_>>()
        };
        assert_eq!(taken(&mut lines, 0, 30), [0; 10]);
        assert_eq!(taken(&mut lines, 999, 5), [0; 0]);
        assert_eq!(taken(&mut lines, 1_000, 3), [25, 0, 0]);
    }
}
