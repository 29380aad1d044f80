//! Histories that are right and histories that are broken: the checker tells them apart.

use std::time::Duration;

use super::checker::{Wrong, breaches};
use super::history::{Change, History, Outcome, Promise, Request, Revision, Time, Timeline};
use super::world::{Grant, Question, Stop};

const ALLOW: Option<&str> = None;
const REVOKED: Option<&str> = Some("KEY_REVOKED");

/// Key 0 is asked about, at these times in milliseconds.
struct Told {
    history: History,
}

fn at(ms: u64) -> Time {
    Duration::from_millis(ms)
}

/// From this revision on, on the first timeline.
fn told(base: Revision) -> Told {
    let timelines = vec![Timeline { from: Time::ZERO, base }];
    Told { history: History { timelines, requests: Vec::new(), changes: Vec::new() } }
}

impl Told {
    fn promotion(mut self, from: u64, base: Revision) -> Self {
        self.history.timelines.push(Timeline { from: at(from), base });
        self
    }

    /// A change on the newest timeline that took a revision and got no answer.
    fn unanswered(mut self, stop: Stop, is_on: bool, asked: u64, took: Revision) -> Self {
        let timeline = self.history.timelines.len() - 1;
        let change = Change {
            timeline,
            stop,
            is_on,
            asked: at(asked),
            took: Some(took),
            promised: None,
            is_refused: false,
        };
        self.history.changes.push(change);
        self
    }

    /// The same, and it is certain from a time on.
    fn change(self, stop: Stop, is_on: bool, asked: u64, took: Revision, from: u64) -> Self {
        let mut told = self.unanswered(stop, is_on, asked, took);
        let promise = Promise { revision: took, from: at(from), is_complete: true };
        told.history.changes.last_mut().unwrap().promised = Some(promise);
        told
    }

    /// Key 0 is revoked at revision 11, asked for at 100, certain at 200.
    fn revoked(self) -> Self {
        self.change(Stop::Revoked(0), true, 100, 11, 200)
    }

    fn request(mut self, sent: u64, answered: u64, outcome: Outcome) -> Self {
        let question = Question { key: 0, needs: Grant::ALL.into() };
        let request = Request { replica: 0, question, sent: at(sent), answered: at(answered), outcome };
        self.history.requests.push(request);
        self
    }

    fn decided(self, sent: u64, answered: u64, answer: Option<&str>, revision: Revision) -> Self {
        let answer = answer.map(str::to_owned);
        self.request(sent, answered, Outcome::Decided { answer, revision: Some(revision) })
    }

    fn decided_silently(self, sent: u64, answered: u64, answer: Option<&str>) -> Self {
        let answer = answer.map(str::to_owned);
        self.request(sent, answered, Outcome::Decided { answer, revision: None })
    }

    /// What is wrong, request by request.
    fn wrongs(&self) -> Vec<Wrong> {
        breaches(&self.history).into_iter().map(|breach| breach.wrong).collect()
    }

    fn expect_right(&self) {
        assert_eq!(self.wrongs(), []);
    }
}

#[test]
fn a_late_allow_is_a_breach_and_an_early_one_is_none() {
    let stale = Wrong::Stale { certain: 11, fits: 10 };
    let low = Wrong::RevisionTooLow { certain: 11, told: 10 };
    // Sent before it was certain: either answer is right, however late it comes.
    told(10).revoked().decided(199, 900, ALLOW, 10).decided(199, 210, REVOKED, 11).expect_right();
    told(10).revoked().decided_silently(150, 160, ALLOW).expect_right();
    // Sent at the same moment is not after.
    told(10).revoked().decided(200, 210, ALLOW, 10).expect_right();
    assert_eq!(told(10).revoked().decided(201, 210, ALLOW, 10).wrongs(), [low]);
    assert_eq!(told(10).revoked().decided(201, 210, ALLOW, 11).wrongs(), std::slice::from_ref(&stale));
    assert_eq!(told(10).revoked().decided_silently(201, 210, ALLOW).wrongs(), [stale]);
    told(10).revoked().decided(201, 210, REVOKED, 11).decided_silently(201, 210, REVOKED).expect_right();
}

#[test]
fn what_is_certain_by_a_time_binds_from_that_time_on() {
    let told = |sent| {
        let mut told = told(10).revoked().decided_silently(sent, sent + 5, ALLOW);
        let from = at(2500);
        told.history.changes[0].promised = Some(Promise { revision: 11, from, is_complete: false });
        told
    };
    told(2499).expect_right();
    assert_eq!(told(2501).wrongs(), [Wrong::Stale { certain: 11, fits: 10 }]);
}

#[test]
fn a_change_without_an_answer_may_or_may_not_be_seen() {
    let told = || told(10).unanswered(Stop::Revoked(0), true, 100, 11);
    told().decided(500, 510, ALLOW, 10).decided(500, 510, REVOKED, 11).expect_right();
    assert_eq!(
        told().decided_silently(50, 90, REVOKED).wrongs(),
        [Wrong::NeverSo { certain: 10, newest: 10 }],
        "before it was asked for"
    );
}

#[test]
fn a_repetition_that_changes_nothing_promises_what_it_tells() {
    let mut told = told(10).unanswered(Stop::Revoked(0), true, 100, 11);
    let promised = Some(Promise { revision: 11, from: at(300), is_complete: true });
    let repeated = Change {
        timeline: 0,
        stop: Stop::Revoked(0),
        is_on: true,
        asked: at(250),
        took: None,
        promised,
        is_refused: false,
    };
    told.history.changes.push(repeated);
    let told = told.decided_silently(290, 310, ALLOW).decided_silently(301, 310, ALLOW);
    assert_eq!(told.wrongs(), [Wrong::Stale { certain: 11, fits: 10 }]);
}

#[test]
fn an_answer_of_a_state_that_never_was_is_a_breach() {
    let told = || told(10).revoked();
    let never = Wrong::NeverSo { certain: 11, newest: 11 };
    assert_eq!(told().decided(201, 210, Some("OWNER_DISABLED"), 11).wrongs(), [never]);
    let future = Wrong::RevisionOfTheFuture { newest: 11, told: 12 };
    assert_eq!(told().decided(201, 210, REVOKED, 12).wrongs(), [future]);
    // Of another key's state.
    let other = Question { key: 1, needs: Grant::ALL.into() };
    let mut told = told().decided(201, 210, REVOKED, 11);
    told.history.requests[0].question = other;
    assert_eq!(told.wrongs(), [Wrong::NeverSo { certain: 11, newest: 11 }]);
}

#[test]
fn an_answer_that_tells_more_than_its_state_has_is_a_breach() {
    // Revoked, reactivated, both asked for and neither certain: every state is possible, but not by what it tells.
    let told =
        || told(10).unanswered(Stop::Revoked(0), true, 100, 11).unanswered(Stop::Revoked(0), false, 100, 12);
    for (answer, revision) in [(ALLOW, 10), (REVOKED, 10), (REVOKED, 11), (ALLOW, 11), (ALLOW, 12)] {
        told().decided(150, 160, answer, revision).expect_right();
    }
    let stale = Wrong::Stale { certain: 12, fits: 11 };
    assert_eq!(told().decided(150, 160, REVOKED, 12).wrongs(), [stale]);
}

#[test]
fn no_decision_is_no_breach() {
    let failed = Outcome::Failed("UNAVAILABLE".to_owned());
    told(10).revoked().request(201, 210, failed).expect_right();
}

#[test]
fn owners_grants_and_deletions_decide_in_the_order_of_the_checks() {
    let stops = [
        (Stop::Without(0, Grant::Model), "MODEL_NOT_ALLOWED"),
        (Stop::Without(0, Grant::Scope), "SCOPE_MISSING"),
        (Stop::Without(0, Grant::Endpoint), "ENDPOINT_NOT_ALLOWED"),
        (Stop::Disabled(0), "OWNER_DISABLED"),
        (Stop::Revoked(0), "KEY_REVOKED"),
        (Stop::Deleted(0), "KEY_INVALID"),
    ];
    let mut right = told(0);
    let mut late = told(0);
    let mut expected = Vec::new();
    for ((stop, reason), n) in stops.into_iter().zip(1..) {
        let ms = 100 * u64::try_from(n).unwrap();
        right = right.change(stop, true, ms, n, ms + 10).decided(ms + 11, ms + 20, Some(reason), n);
        late = late.change(stop, true, ms, n, ms + 10).decided_silently(ms + 11, ms + 20, ALLOW);
        expected.push(Wrong::Stale { certain: n, fits: 0 });
    }
    right.expect_right();
    assert_eq!(late.wrongs(), expected);
    // A request that does not need what was taken away is allowed; and the other owner's keys go on.
    let mut told = told(0).change(Stop::Without(0, Grant::Model), true, 10, 1, 20).decided(30, 40, ALLOW, 1);
    told.history.requests[0].question.needs.remove(&Grant::Model);
    told.expect_right();
    let mut told = self::told(0).change(Stop::Disabled(0), true, 10, 1, 20).decided(30, 40, ALLOW, 1);
    told.history.requests[0].question.key = 2;
    told.expect_right();
    told.history.requests[0].question.key = 1;
    assert_eq!(told.wrongs(), [Wrong::Stale { certain: 1, fits: 0 }]);
}

/// Revision 12 was certain and is lost: the standby had 11.
fn failed_over() -> Told {
    told(10)
        .change(Stop::Disabled(0), true, 50, 11, 60)
        .change(Stop::Disabled(0), false, 100, 12, 110)
        .promotion(1000, 11)
}

#[test]
fn what_a_failover_lost_may_be_absent_and_nothing_else() {
    let disabled = Some("OWNER_DISABLED");
    failed_over().decided(1100, 1110, disabled, 11).decided(1100, 1110, ALLOW, 12).expect_right();
    // Before the promotion nothing could be lost.
    let low = Wrong::RevisionTooLow { certain: 12, told: 11 };
    assert_eq!(failed_over().decided(500, 510, disabled, 11).wrongs(), [low]);
    // The change that the standby had is not lost.
    let low = Wrong::RevisionTooLow { certain: 11, told: 10 };
    assert_eq!(failed_over().decided(1100, 1110, ALLOW, 10).wrongs(), [low]);
    let never = Wrong::NeverSo { certain: 11, newest: 11 };
    assert_eq!(failed_over().decided(1100, 1110, REVOKED, 11).wrongs(), [never]);
}

#[test]
fn the_old_timeline_ends_where_a_change_of_the_new_one_is_certain() {
    // Revision 12 once more, another change: a replica that goes by the number alone would not see it.
    let told = || failed_over().change(Stop::Revoked(0), true, 1200, 12, 1300);
    told().decided(1250, 1310, ALLOW, 12).decided(1301, 1310, REVOKED, 12).expect_right();
    let never = Wrong::Stale { certain: 12, fits: 10 };
    assert_eq!(told().decided(1301, 1310, ALLOW, 12).wrongs(), [never]);
    let stale = Wrong::Stale { certain: 12, fits: 11 };
    assert_eq!(told().decided(1301, 1310, Some("OWNER_DISABLED"), 12).wrongs(), [stale]);
}
