//! Which answers of a history the invariant does not allow.
//!
//! A decision must be that of a state between two bounds, on one timeline of the database:
//!
//! - at least as new as every change that was certain before the request was sent, and as the revision that the answer
//!   tells, which itself may not be older than what was certain;
//! - not newer than the newest change that had been asked for when the answer came.
//!
//! A replica may go on with an older timeline's states, which a failover has taken away, until a change of the newer one
//! is certain. What was certain on the older one and is lost may then be absent; nothing else may.

use super::history::{Change, History, Outcome, Request, Revision, Time};
use super::world::{Answer, World};

/// An answer that should not have been.
#[derive(Clone, Debug)]
pub struct Breach {
    pub request: Request,
    pub wrong: Wrong,
}

/// What is wrong with it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrong {
    /// The newest state that would give this answer is older than what was certain.
    Stale { certain: Revision, fits: Revision },
    /// The revision that it tells is older than what was certain.
    RevisionTooLow { certain: Revision, told: Revision },
    /// Nobody had asked for the revision that it tells.
    RevisionOfTheFuture { newest: Revision, told: Revision },
    /// No state that was possible gives this answer.
    NeverSo { certain: Revision, newest: Revision },
}

/// One timeline, and the state after each of its changes.
struct Line<'h> {
    from: Time,
    /// Revision, when it was asked for, the state after it. The first is the state at the beginning.
    states: Vec<(Revision, Time, World)>,
    /// Changes whose answers promise something of this timeline.
    promising: Vec<&'h Change>,
    /// When the first change is certain that no other timeline has.
    own_from: Option<Time>,
    /// The oldest state that this timeline alone has.
    base: Revision,
}

/// Where the state of a decision must lie.
struct Bounds {
    certain: Revision,
    newest: Revision,
}

impl<'h> Line<'h> {
    fn new(history: &'h History, at: usize) -> Self {
        let mut world = World::default();
        let mut states = vec![(history.timelines[0].base, Time::ZERO, world.clone())];
        for change in history.line(at) {
            world.set(change.stop, change.is_on);
            states.push((change.took.unwrap(), change.asked, world.clone()));
        }
        let promising: Vec<&Change> = history
            .changes
            .iter()
            .filter(|it| it.promised.is_some_and(|promise| history.has(at, it, promise.revision)))
            .collect();
        let timeline = history.timelines[at];
        let own = promising.iter().filter(|change| change.timeline == at);
        let own = own.filter_map(|change| change.promised).filter(|promise| promise.revision > timeline.base);
        let own_from = own.map(|promise| promise.from).min();
        Self { from: timeline.from, states, promising, own_from, base: timeline.base }
    }

    fn bounds(&self, request: &Request) -> Bounds {
        let promises = self.promising.iter().filter_map(|change| change.promised);
        let certain = promises.filter(|it| it.from < request.sent).map(|it| it.revision).max();
        let asked = self.states.iter().filter(|(_, asked, _)| *asked <= request.answered);
        let newest = asked.map(|(revision, ..)| *revision).max();
        // What was taken over may be newer than any change that is known.
        Bounds {
            certain: certain.unwrap_or(self.base).max(self.base),
            newest: newest.unwrap_or(self.base).max(self.base),
        }
    }

    /// Whether a state within these bounds, both included, gives the answer.
    fn gives(&self, request: &Request, answer: &Answer, from: Revision, to: Revision) -> bool {
        self.newest_that_fits(request, answer, to).is_some_and(|fits| fits >= from)
    }

    /// The newest revision up to `to` whose state gives the answer.
    fn newest_that_fits(&self, request: &Request, answer: &Answer, to: Revision) -> Option<Revision> {
        let mut last = to;
        for (revision, _, world) in self.states.iter().rev().filter(|(revision, ..)| *revision <= to) {
            if world.answer(&request.question) == *answer {
                return Some(last);
            }
            last = revision - 1;
        }
        None
    }
}

/// Every breach, in the order of the requests.
pub fn breaches(history: &History) -> Vec<Breach> {
    let lines: Vec<Line<'_>> = (0..history.timelines.len()).map(|at| Line::new(history, at)).collect();
    let wrong = |request: &Request| {
        let Outcome::Decided { answer, revision } = &request.outcome else { return None };
        let mut wrongs = Vec::new();
        for (at, line) in lines.iter().enumerate() {
            let is_over =
                lines[at + 1..].iter().any(|it| it.own_from.is_some_and(|from| from < request.sent));
            if !is_over && line.from <= request.answered {
                wrongs.push(judge(line, request, answer, *revision)?);
            }
        }
        // Of the newest timeline: what the older ones say is of the past.
        wrongs.pop()
    };
    let breach = |request: &Request| wrong(request).map(|wrong| Breach { request: request.clone(), wrong });
    history.requests.iter().filter_map(breach).collect()
}

/// What is wrong with an answer as one of this timeline; `None`: nothing.
fn judge(line: &Line<'_>, request: &Request, answer: &Answer, told: Option<Revision>) -> Option<Wrong> {
    let Bounds { certain, newest } = line.bounds(request);
    if let Some(told) = told {
        if told < certain {
            return Some(Wrong::RevisionTooLow { certain, told });
        }
        if told > newest {
            return Some(Wrong::RevisionOfTheFuture { newest, told });
        }
    }
    let from = told.unwrap_or(certain);
    if line.gives(request, answer, from, newest) {
        return None;
    }
    Some(match line.newest_that_fits(request, answer, newest) {
        Some(fits) => Wrong::Stale { certain: from, fits },
        None => Wrong::NeverSo { certain, newest },
    })
}
