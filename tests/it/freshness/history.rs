//! What is recorded of a run: requests and changes on the one monotonic time line of the test process.

use std::time::Duration;

use super::world::{Answer, Question, Stop};

/// Since the run began.
pub type Time = Duration;

/// A change's place in the order of all changes.
pub type Revision = i64;

/// A request to decide.
#[derive(Clone, Debug)]
pub struct Request {
    /// Which replica was asked, by its place.
    pub replica: usize,
    pub question: Question,
    /// Just before it was sent.
    pub sent: Time,
    /// Just after its answer had come.
    pub answered: Time,
    pub outcome: Outcome,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Outcome {
    Decided {
        answer: Answer,
        /// What the decision rests on at least; `None` where it told none.
        revision: Option<Revision>,
    },
    /// No decision, and why. Never a breach.
    Failed(String),
}

/// A call that changes something.
#[derive(Clone, Debug)]
pub struct Change {
    /// The timeline of the database that it went to, by its place in [`History::timelines`].
    pub timeline: usize,
    pub stop: Stop,
    /// Whether it stops something or takes that back.
    pub is_on: bool,
    /// Just before it was sent.
    pub asked: Time,
    /// The revision that it took: none where nothing had to change, or where it failed.
    pub took: Option<Revision>,
    /// What its answer promises; `None` where there was no answer.
    pub promised: Option<Promise>,
    /// Answered with a refusal: the key is deleted, say.
    pub is_refused: bool,
}

/// From a time on, no replica decides from a state older than a revision.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Promise {
    pub revision: Revision,
    pub from: Time,
    /// Whether the answer said `complete`, rather than by when it would be certain.
    pub is_complete: bool,
}

/// One life of the database. A promotion begins another one, in which what the standby did not have never was.
#[derive(Clone, Copy, Debug)]
pub struct Timeline {
    /// When it began at the earliest.
    pub from: Time,
    /// The newest revision that it has from the one before; of the first, that of the state at the beginning.
    pub base: Revision,
}

/// Everything that was recorded. Nothing is stopped at the beginning.
#[derive(Clone, Debug)]
pub struct History {
    pub timelines: Vec<Timeline>,
    pub requests: Vec<Request>,
    pub changes: Vec<Change>,
}

impl History {
    /// The changes that a timeline has: its own, and those that it took over. By revision.
    pub fn line(&self, timeline: usize) -> Vec<&Change> {
        let mut line: Vec<&Change> = self
            .changes
            .iter()
            .filter(|change| change.took.is_some_and(|revision| self.has(timeline, change, revision)))
            .collect();
        line.sort_by_key(|change| change.took);
        line
    }

    /// Whether a timeline has this revision of the timeline of a change.
    pub fn has(&self, timeline: usize, change: &Change, revision: Revision) -> bool {
        let later = self.timelines.get(change.timeline + 1..=timeline);
        change.timeline <= timeline && later.is_none_or(|later| later.iter().all(|it| revision <= it.base))
    }
}
