//! One call, as it is remembered: small, and in memory that is written once, because remembering a million calls a second
//! takes CPU time from the server that is measured.

use std::time::{Duration, Instant};

/// Calls in a part of a [`Record`]: some pages.
const PART: usize = 4_096;

/// How a call ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum End {
    /// With a right answer.
    Answered,
    /// Refused, because the server has too much to do, where that is a right answer.
    Shed,
    /// Not before the measurement was over.
    Unanswered,
}

/// A call that was made, or was to be made.
#[derive(Clone, Copy, Debug)]
pub struct Call {
    /// When it was made; in an open loop, when it was to be made, however late it was.
    pub asked: Instant,
    /// Nanoseconds, in all bits but two, which say how it ended.
    took_and_end: u64,
}

impl Call {
    /// A call that took so long and ended so.
    pub fn new(asked: Instant, took: Duration, end: End) -> Self {
        let nanos = u64::try_from(took.as_nanos()).unwrap_or(u64::MAX).min(u64::MAX >> 2);
        let end = match end {
            End::Answered => 0,
            End::Shed => 1,
            End::Unanswered => 2,
        };
        Self { asked, took_and_end: nanos << 2 | end }
    }

    /// From when it was asked to its answer; for one without an answer, to the end of waiting, so that it took at least
    /// so long.
    pub fn took(&self) -> Duration {
        Duration::from_nanos(self.took_and_end >> 2)
    }

    /// How it ended.
    pub fn end(&self) -> End {
        match self.took_and_end & 3 {
            0 => End::Answered,
            1 => End::Shed,
            _ => End::Unanswered,
        }
    }

    /// When its answer came.
    pub fn answered(&self) -> Instant {
        self.asked + self.took()
    }
}

/// Calls as they end.
#[derive(Debug, Default)]
pub struct Record {
    full: Vec<Vec<Call>>,
    last: Vec<Call>,
}

impl Record {
    /// One more. What is recorded already is not moved.
    pub fn push(&mut self, call: Call) {
        if self.last.len() == PART {
            self.full.push(std::mem::take(&mut self.last));
        }
        if self.last.capacity() == 0 {
            self.last.reserve_exact(PART);
        }
        self.last.push(call);
    }

    /// How many.
    pub fn len(&self) -> usize {
        self.full.len() * PART + self.last.len()
    }

    /// All of them.
    pub fn into_calls(self) -> Vec<Call> {
        self.full.into_iter().flatten().chain(self.last).collect()
    }
}
