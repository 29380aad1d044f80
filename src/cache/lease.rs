//! What follows from what was read of the change log: the rules of following, without a database or a clock.
//!
//! - Lines are applied only where they are all there, one for each revision, up to the head that was read with them.
//!   Anything else (another epoch, a head that went back, a gap, too many) drops everything and begins at that head.
//! - Trust moves only with a renewal of the replica's row, and only where every line up to the head that the renewal
//!   read is applied: it holds from the instant **before** the renewal. A mere look never moves it.
//! - What was applied is said in the row at once, by a statement that says nothing else: it moves no trust, and is no sign
//!   of life. After a new beginning that is done by a renewal, since nothing is trusted before one.
//! - A replica whose row is gone trusts nothing. It registers under another id, and reads the head only then: whoever
//!   did not see its row before may have promised something that it has to know.

use std::time::Duration;

use crate::clock::BootTime;
use crate::metrics::Restart;
use crate::policy::Revision;
use crate::storage::ReadAt;
use crate::storage::changes::Line;
use crate::storage::following::{LINES_MAX, News};

/// What is to be done with the cache.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing has changed.
    Nothing,
    /// These lines are new, and there are no others up to the revision.
    Apply(Vec<Line>, Revision),
    /// Drop everything and begin here.
    Restart(ReadAt, Restart),
    /// Trust nothing.
    Distrust,
}

/// What is to be done next.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Next {
    /// Register under a new id, then read the head.
    Register,
    /// Renew the row, at once.
    Renew,
    /// Say in the row what is applied, at once.
    Publish,
    /// Look whether there is something new.
    Look,
    /// Wait until the next renewal is due, or somebody is in a hurry.
    Wait,
}

/// What follows. In this order: the effect, then the trust, then what is next.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) effect: Effect,
    /// Until when the cache may be trusted then; `None` leaves that as it is.
    pub(super) trust_until: Option<BootTime>,
    pub(super) next: Next,
}

/// How far a replica has followed, and whether it has a row.
#[derive(Debug)]
pub(super) struct Lease {
    staleness: Duration,
    /// What is applied; `None` while it has no row.
    applied: Option<ReadAt>,
    /// Why it has none.
    why: Restart,
}

impl Lease {
    /// Of a replica that starts, and may go on deciding for `staleness` after a renewal.
    pub(super) fn new(staleness: Duration) -> Self {
        Self { staleness, applied: None, why: Restart::Start }
    }

    /// What is applied; `None` where it has to register first.
    pub(super) fn applied(&self) -> Option<ReadAt> {
        self.applied
    }

    /// Its row was committed, and **after that** `head` was read.
    pub(super) fn registered(&mut self, head: ReadAt) -> Verdict {
        self.applied = Some(head);
        Verdict { effect: Effect::Restart(head, self.why), trust_until: None, next: Next::Renew }
    }

    /// Its row was renewed by a transaction that began after `began`, and read this; `None`: the row is gone.
    pub(super) fn renewed(&mut self, began: BootTime, news: Option<News>) -> Verdict {
        let Some((head, lines)) = news else { return self.fenced() };
        let effect = self.take(head, lines);
        let trusted = Some(began.plus(self.staleness));
        match effect {
            Effect::Nothing => Verdict { effect, trust_until: trusted, next: Next::Wait },
            Effect::Apply(..) => Verdict { effect, trust_until: trusted, next: Next::Publish },
            // The row does not say yet where it is now.
            Effect::Restart(..) | Effect::Distrust => {
                Verdict { effect, trust_until: None, next: Next::Renew }
            }
        }
    }

    /// It has looked, and read this.
    pub(super) fn looked(&mut self, (head, lines): News) -> Verdict {
        let effect = self.take(head, lines);
        let next = match effect {
            Effect::Nothing => Next::Wait,
            Effect::Apply(..) => Next::Publish,
            Effect::Restart(..) | Effect::Distrust => Next::Renew,
        };
        Verdict { effect, trust_until: None, next }
    }

    /// Its row says what is applied, if the row `is_there`.
    pub(super) fn published(&mut self, is_there: bool) -> Verdict {
        if !is_there {
            return self.fenced();
        }
        Verdict { effect: Effect::Nothing, trust_until: None, next: Next::Wait }
    }

    /// Its row is gone.
    fn fenced(&mut self) -> Verdict {
        (self.applied, self.why) = (None, Restart::Fenced);
        Verdict { effect: Effect::Distrust, trust_until: None, next: Next::Register }
    }

    /// What the lines between what is applied and `head` come to. From now on `head` is what is applied.
    fn take(&mut self, head: ReadAt, lines: Vec<Line>) -> Effect {
        let Some(before) = self.applied.replace(head) else { return Effect::Restart(head, self.why) };
        if head.epoch != before.epoch {
            return Effect::Restart(head, Restart::Epoch);
        }
        if head.revision < before.revision {
            return Effect::Restart(head, Restart::Backwards);
        }
        let behind = head.revision.get().saturating_sub(before.revision.get());
        if behind > LINES_MAX {
            return Effect::Restart(head, Restart::Behind);
        }
        let expected = before.revision.get().saturating_add(1)..=head.revision.get();
        if !lines.iter().map(|line| line.revision.get()).eq(expected) {
            return Effect::Restart(head, Restart::Gap);
        }
        if lines.is_empty() { Effect::Nothing } else { Effect::Apply(lines, head.revision) }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::storage::Epoch;

    const STALENESS: Duration = Duration::from_secs(30);
    const BEGAN: BootTime = BootTime::from_nanos(7);

    fn at(timeline: i64, revision: i64) -> ReadAt {
        ReadAt { epoch: Epoch::new(1, timeline), revision: Revision::new(revision).unwrap() }
    }

    fn lines(revisions: impl IntoIterator<Item = i64>) -> Vec<Line> {
        let line =
            |revision| Line { revision: Revision::new(revision).unwrap(), subject: None, adds_tokens: false };
        revisions.into_iter().map(line).collect()
    }

    /// A replica that follows from revision 10 of timeline 1.
    fn following() -> Lease {
        let mut lease = Lease::new(STALENESS);
        assert_eq!(lease.applied(), None);
        let verdict = lease.registered(at(1, 10));
        let effect = Effect::Restart(at(1, 10), Restart::Start);
        assert_eq!(
            verdict,
            Verdict { effect, trust_until: None, next: Next::Renew },
            "it trusts nothing yet"
        );
        lease
    }

    #[test]
    fn trust_holds_from_before_the_renewal_that_found_everything_applied() {
        let mut lease = following();
        let verdict = lease.renewed(BEGAN, Some((at(1, 10), Vec::new())));
        let trust_until = Some(BEGAN.plus(STALENESS));
        assert_eq!(verdict, Verdict { effect: Effect::Nothing, trust_until, next: Next::Wait });
    }

    #[test]
    fn what_a_renewal_applies_is_said_at_once() {
        let mut lease = following();
        let verdict = lease.renewed(BEGAN, Some((at(1, 12), lines(11..=12))));
        let effect = Effect::Apply(lines(11..=12), Revision::new(12).unwrap());
        let trust_until = Some(BEGAN.plus(STALENESS));
        assert_eq!(verdict, Verdict { effect, trust_until, next: Next::Publish });
        assert_eq!(lease.applied(), Some(at(1, 12)), "which is what is said");
    }

    #[test]
    fn a_look_applies_and_never_moves_the_trust() {
        let mut lease = following();
        let nothing = Verdict { effect: Effect::Nothing, trust_until: None, next: Next::Wait };
        assert_eq!(lease.looked((at(1, 10), Vec::new())), nothing);
        let effect = Effect::Apply(lines(11..=11), Revision::new(11).unwrap());
        let verdict = lease.looked((at(1, 11), lines(11..=11)));
        assert_eq!(verdict, Verdict { effect, trust_until: None, next: Next::Publish });
        assert_eq!(lease.looked((at(1, 11), Vec::new())), nothing, "once");
    }

    #[test]
    fn what_was_applied_is_said_without_moving_the_trust() {
        let mut lease = following();
        lease.looked((at(1, 11), lines(11..=11)));
        let nothing = Verdict { effect: Effect::Nothing, trust_until: None, next: Next::Wait };
        assert_eq!(lease.published(true), nothing);
        assert_eq!(lease.applied(), Some(at(1, 11)));
    }

    #[test]
    fn a_replica_whose_row_is_gone_distrusts_and_registers_anew() {
        let finds_out: [fn(&mut Lease) -> Verdict; 2] =
            [|lease| lease.renewed(BEGAN, None), |lease| lease.published(false)];
        for find_out in finds_out {
            let mut lease = following();
            let verdict = find_out(&mut lease);
            let expected = Verdict { effect: Effect::Distrust, trust_until: None, next: Next::Register };
            assert_eq!(verdict, expected);
            assert_eq!(lease.applied(), None);
            let again = lease.registered(at(1, 15));
            let effect = Effect::Restart(at(1, 15), Restart::Fenced);
            assert_eq!(again, Verdict { effect, trust_until: None, next: Next::Renew });
        }
    }

    #[test]
    fn whatever_is_not_every_line_up_to_the_head_begins_anew_without_trust() {
        let many = LINES_MAX + 1;
        for (head, found, why) in [
            (at(2, 11), lines(11..=11), Restart::Epoch),
            (at(2, 10), lines([]), Restart::Epoch),
            (at(1, 9), lines([]), Restart::Backwards),
            (at(1, 11), lines([]), Restart::Gap),
            (at(1, 12), lines([12]), Restart::Gap),
            (at(1, 12), lines([11]), Restart::Gap),
            (at(1, 13), lines([11, 13]), Restart::Gap),
            (at(1, 10), lines([11]), Restart::Gap),
            (at(1, 10 + many), lines(11..=10 + many), Restart::Behind),
        ] {
            let expected =
                Verdict { effect: Effect::Restart(head, why), trust_until: None, next: Next::Renew };
            let mut lease = following();
            assert_eq!(lease.renewed(BEGAN, Some((head, found.clone()))), expected, "{why:?}");
            assert_eq!(lease.applied(), Some(head), "{why:?}");
            assert_eq!(following().looked((head, found)), expected, "{why:?}");
            // From there it goes on as ever.
            let verdict = lease.renewed(BEGAN, Some((head, Vec::new())));
            assert_eq!(verdict.trust_until, Some(BEGAN.plus(STALENESS)), "{why:?}");
        }
        let all = lines(11..=10 + LINES_MAX);
        let verdict = following().looked((at(1, 10 + LINES_MAX), all.clone()));
        assert_eq!(verdict.effect, Effect::Apply(all, Revision::new(10 + LINES_MAX).unwrap()));
    }
}
