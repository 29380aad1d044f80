//! One call, as it is remembered.

use std::time::{Duration, Instant};

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
    /// From then to its answer; for one without an answer, to the end of waiting, so that it took at least so long.
    pub took: Duration,
    /// How it ended.
    pub end: End,
}

impl Call {
    /// When its answer came.
    pub fn answered(&self) -> Instant {
        self.asked + self.took
    }
}
