//! The newest lines of the change log, which the fill rule looks at.
//!
//! They are kept for some seconds; a load that has read an older state than they begin with is repeated.

use std::collections::VecDeque;
use std::time::Duration;

use super::ReadAt;
use crate::clock::BootTime;
use crate::policy::{KeyId, Revision, UserId};
use crate::storage::Epoch;
use crate::storage::changes::{Line, Subject};

/// Longer than a load may take.
const KEPT: Duration = Duration::from_secs(10);
/// More than so many are not kept.
const LINES_MAX: usize = 65_536;

#[derive(Debug)]
pub(super) struct Recent {
    epoch: Epoch,
    /// Every line after this revision is here.
    floor: Revision,
    lines: VecDeque<(BootTime, Line)>,
}

impl Recent {
    /// Nothing is known of what was before.
    pub(super) fn starting_at(head: ReadAt) -> Self {
        Self { epoch: head.epoch, floor: head.revision, lines: VecDeque::new() }
    }

    pub(super) fn remember(&mut self, lines: &[Line], now: BootTime) {
        self.lines.extend(lines.iter().map(|line| (now, *line)));
        while let Some((learned, line)) = self.lines.front()
            && (now.since(*learned) > KEPT || self.lines.len() > LINES_MAX)
        {
            self.floor = line.revision;
            self.lines.pop_front();
        }
    }

    /// Whether a key that was read then is still so, as far as is known.
    pub(super) fn holds_of_key(&self, read: ReadAt, key_id: KeyId, user_id: UserId) -> bool {
        self.holds(read, |line| match line.subject {
            Some(Subject::Key(changed)) => changed == key_id,
            Some(Subject::Owner(changed)) => changed == user_id,
            None => true,
        })
    }

    /// Whether a token that was nobody's then is still nobody's, as far as is known.
    pub(super) fn holds_of_unknown(&self, read: ReadAt) -> bool {
        self.holds(read, |line| line.adds_tokens || line.subject.is_none())
    }

    fn holds(&self, read: ReadAt, changes_it: impl Fn(&Line) -> bool) -> bool {
        if read.epoch != self.epoch || read.revision < self.floor {
            return false;
        }
        // The newest are at the end, and a load has mostly read the newest state.
        let since = self.lines.iter().rev().map(|(_, line)| line);
        !since.take_while(|line| line.revision > read.revision).any(changes_it)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EPOCH: Epoch = Epoch::new(7, 1);

    fn revision(number: i64) -> Revision {
        Revision::new(number).unwrap()
    }

    fn line(number: i64, subject: Option<Subject>, adds_tokens: bool) -> Line {
        Line { revision: revision(number), subject, adds_tokens }
    }

    fn key(id: i64) -> KeyId {
        KeyId::new(id).unwrap()
    }

    fn user(id: i64) -> UserId {
        UserId::new(id).unwrap()
    }

    fn at(number: i64) -> ReadAt {
        ReadAt { epoch: EPOCH, revision: revision(number) }
    }

    fn recent(lines: &[Line]) -> Recent {
        let mut recent = Recent::starting_at(at(100));
        recent.remember(lines, BootTime::from_nanos(1));
        recent
    }

    #[test]
    fn a_key_that_was_read_before_its_own_line_is_too_old() {
        let recent = recent(&[line(101, Some(Subject::Key(key(1))), false)]);
        assert!(!recent.holds_of_key(at(100), key(1), user(1)));
        assert!(recent.holds_of_key(at(101), key(1), user(1)));
        assert!(recent.holds_of_key(at(100), key(2), user(1)));
    }

    #[test]
    fn a_line_of_the_owner_or_of_everything_counts_too() {
        let of_owner = recent(&[line(101, Some(Subject::Owner(user(5))), false)]);
        assert!(!of_owner.holds_of_key(at(100), key(1), user(5)));
        assert!(of_owner.holds_of_key(at(101), key(1), user(5)));
        assert!(of_owner.holds_of_key(at(100), key(1), user(6)));
        let of_all = recent(&[line(101, None, false)]);
        assert!(!of_all.holds_of_key(at(100), key(1), user(6)));
        assert!(!of_all.holds_of_unknown(at(100)));
    }

    #[test]
    fn nobodys_token_is_too_old_only_where_tokens_came() {
        let recent = recent(&[
            line(101, Some(Subject::Key(key(1))), false),
            line(102, Some(Subject::Key(key(2))), true),
            line(103, Some(Subject::Key(key(1))), false),
        ]);
        assert!(!recent.holds_of_unknown(at(100)));
        assert!(!recent.holds_of_unknown(at(101)));
        assert!(recent.holds_of_unknown(at(102)));
    }

    #[test]
    fn what_was_read_before_the_beginning_or_in_another_epoch_is_too_old() {
        let recent = recent(&[]);
        assert!(recent.holds_of_key(at(100), key(1), user(1)));
        assert!(!recent.holds_of_key(at(99), key(1), user(1)));
        assert!(!recent.holds_of_unknown(at(99)));
        let elsewhere = ReadAt { epoch: Epoch::new(7, 2), revision: revision(200) };
        assert!(!recent.holds_of_key(elsewhere, key(1), user(1)));
        assert!(!recent.holds_of_unknown(elsewhere));
    }

    #[test]
    fn lines_are_forgotten_with_time_and_with_number_and_older_reads_are_too_old_then() {
        let mut recent = recent(&[line(101, Some(Subject::Key(key(1))), false)]);
        let later = BootTime::from_nanos(1).plus(KEPT + Duration::from_nanos(1));
        recent.remember(&[line(102, Some(Subject::Key(key(2))), false)], later);
        assert!(!recent.holds_of_key(at(100), key(3), user(1)), "line 101 is forgotten");
        assert!(recent.holds_of_key(at(101), key(3), user(1)));
        let many: Vec<Line> = (103..).take(LINES_MAX).map(|it| line(it, None, false)).collect();
        recent.remember(&many, later);
        assert_eq!(recent.lines.len(), LINES_MAX);
        assert!(!recent.holds_of_unknown(at(101)));
    }
}
