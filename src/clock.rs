//! The only reader of clocks.
//!
//! Everything that needs the time takes a [`Clock`], so that a test can decide what time it is.
//! Reading a clock anywhere else is refused by clippy (`clippy.toml`).

use std::sync::{Arc, Mutex, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, SubsecRound, TimeDelta, Utc};

/// A source of wall-clock time (UTC) that can be cloned freely.
#[derive(Clone, Debug, Default)]
pub enum Clock {
    /// The machine's clock.
    #[default]
    System,
    /// A clock that stands still until it is told to move. For tests.
    Manual(ManualClock),
}

impl Clock {
    /// The current time, read now, never cached; whole microseconds, because that is what PostgreSQL keeps:
    /// an answer then shows the time that a later one reads back.
    #[must_use]
    #[expect(clippy::disallowed_methods, reason = "this is the one place that reads the wall clock")]
    pub fn now(&self) -> DateTime<Utc> {
        match self {
            Self::System => Utc::now().trunc_subsecs(6),
            Self::Manual(clock) => clock.now(),
        }
    }
}

/// The monotonic clock, for measuring how long something took. Where something is waited for by it, a clock that stands
/// still while the machine sleeps only makes that wait longer: a replica is given up later. Nothing is trusted by it.
#[must_use]
#[expect(clippy::disallowed_methods, reason = "this is the one place that reads the monotonic clock")]
pub fn monotonic_now() -> Instant {
    Instant::now()
}

/// An instant since the machine started, on a clock that runs on while the machine or the process sleeps: for leases,
/// which must not seem longer to their holder than to anybody else. Setting the wall clock does not move it.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
pub struct BootTime(u64);

impl BootTime {
    /// Before everything.
    pub const ZERO: Self = Self(0);

    /// The time now, read now.
    #[must_use]
    pub fn now() -> Self {
        // Where there is no boot-time clock (macOS), the monotonic one runs on as well.
        #[cfg(target_os = "linux")]
        let id = rustix::time::ClockId::Boottime;
        #[cfg(not(target_os = "linux"))]
        let id = rustix::time::ClockId::Monotonic;
        let now = rustix::time::clock_gettime(id);
        let seconds = u64::try_from(now.tv_sec).unwrap_or_default();
        let nanos = u64::try_from(now.tv_nsec).unwrap_or_default();
        Self(seconds.saturating_mul(1_000_000_000).saturating_add(nanos))
    }

    /// Nanoseconds since the start.
    #[must_use]
    pub const fn as_nanos(self) -> u64 {
        self.0
    }

    /// The instant so many nanoseconds after the start.
    #[must_use]
    pub const fn from_nanos(nanos: u64) -> Self {
        Self(nanos)
    }

    /// So much later.
    #[must_use]
    pub fn plus(self, time: Duration) -> Self {
        Self(self.0.saturating_add(u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)))
    }

    /// How long after `earlier`; zero where it was not.
    #[must_use]
    pub const fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// How long ago that was.
#[must_use]
pub fn since(began: Instant) -> Duration {
    monotonic_now().saturating_duration_since(began)
}

/// A clock set by hand; clones share the same time.
#[derive(Clone, Debug)]
pub struct ManualClock(Arc<Mutex<DateTime<Utc>>>);

impl ManualClock {
    /// A clock that stands at `start`.
    #[must_use]
    pub fn new(start: DateTime<Utc>) -> Self {
        Self(Arc::new(Mutex::new(start)))
    }

    /// The time it stands at.
    #[must_use]
    pub fn now(&self) -> DateTime<Utc> {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Moves the clock by `delta`, which may be negative.
    pub fn advance(&self, delta: TimeDelta) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) += delta;
    }

    /// Sets the clock to `time`.
    pub fn set(&self, time: DateTime<Utc>) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = time;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A machine that has never slept cannot tell the clocks apart: there, it is seen under
    /// `unshare --time --boottime 1000`, and by the rule in `tests/architecture`.
    #[cfg(target_os = "linux")]
    #[test]
    fn boot_time_runs_on_while_the_machine_sleeps() {
        let read = || {
            let time = rustix::time::clock_gettime(rustix::time::ClockId::Boottime);
            u64::try_from(time.tv_sec).unwrap() * 1_000_000_000 + u64::try_from(time.tv_nsec).unwrap()
        };
        let (before, now, after) = (read(), BootTime::now().as_nanos(), read());
        assert!(before <= now && now <= after, "{before} {now} {after}");
    }
}
