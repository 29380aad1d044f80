//! How rate limits stand, a bar each: `requests / minute  [#######-------------]  21 of 60 used, whole again in 41 s`.
//!
//! - A bar tells no less than the truth: what is used at all fills a cell, and only what is used up fills all.
//! - Bars are of blocks where stdout is a terminal that has them, else of ASCII. Where a terminal has no room, bars are
//!   shorter, and then left out; words never are.

use std::time::Duration;

use super::output::{Look, Tone};
use super::table::{Cell, PADDING, properties_in};
use super::time::format_length;
use crate::grpc::pb;
use crate::grpc::pb::rate_limit_status::Subject;

/// Cells of a bar, where there is room.
const CELLS: usize = 20;
/// A shorter bar says nothing.
const CELLS_MIN: usize = 5;
/// Its brackets, and what stands between it and the words.
const AROUND: usize = 4;
/// So much of a limit used is worth a colour, in percent.
const HIGH: i128 = 80;

/// How limits stand, a line each, with an empty line before them; empty where there are none. `whose` is whose limits
/// need not be named.
#[must_use]
pub fn standings(limits: &[pb::RateLimitStatus], whose: Subject, look: Look) -> String {
    if limits.is_empty() {
        return String::new();
    }
    let lines: Vec<_> = limits.iter().map(|limit| (name(limit, whose), words(limit), limit)).collect();
    let longest = |text: fn(&(String, String, &pb::RateLimitStatus)) -> usize| lines.iter().map(text).max();
    let names = longest(|(name, ..)| name.chars().count()).unwrap_or_default();
    let words = longest(|(_, words, _)| words.chars().count()).unwrap_or_default();
    let cells = cells(look, names.saturating_add(words));
    let rows = lines.into_iter().map(|(name, words, limit)| match cells {
        Some(cells) => (name, Cell::toned(format!("{}  {words}", bar(limit, cells, look)), tone(limit))),
        None => (name, Cell::from(words)),
    });
    format!("\n\n{}", properties_in(look, rows))
}

/// How many cells there is room for beside so many characters.
fn cells(look: Look, beside: usize) -> Option<usize> {
    let Some(width) = look.width else { return Some(CELLS) };
    let taken = beside.saturating_add(AROUND).saturating_add(usize::from(PADDING));
    let room = usize::from(width).saturating_sub(taken).min(CELLS);
    (room >= CELLS_MIN).then_some(room)
}

fn name(limit: &pb::RateLimitStatus, whose: Subject) -> String {
    let seconds = limit.window.map(|window| window.seconds).unwrap_or_default();
    let window = match seconds {
        60 => "minute".to_owned(),
        3_600 => "hour".to_owned(),
        86_400 => "day".to_owned(),
        seconds => format!("{seconds} s"),
    };
    let owner = if limit.subject() == Subject::Owner && whose != Subject::Owner { "owner's " } else { "" };
    format!("{owner}{} / {window}", limit.metric().as_str_name().to_lowercase())
}

fn words(limit: &pb::RateLimitStatus) -> String {
    let most = limit.limit;
    let Some(used) = used(limit) else { return format!("{most}, what is used is not known") };
    if most == 0 {
        return "0: nothing is admitted".to_owned();
    }
    let reset = limit.reset_after.and_then(|it| Duration::try_from(it).ok());
    match reset.filter(|_| used > 0) {
        Some(reset) => format!("{used} of {most} used, whole again in {}", format_length(reset)),
        None => format!("{used} of {most} used"),
    }
}

/// What is used of it, 0 to all.
fn used(limit: &pb::RateLimitStatus) -> Option<i64> {
    let most = limit.limit.max(0);
    limit.remaining.map(|remaining| most.saturating_sub(remaining).clamp(0, most))
}

fn bar(limit: &pb::RateLimitStatus, cells: usize, look: Look) -> String {
    let (filled, free) = if look.blocks { ("█", "░") } else { ("#", "-") };
    let full = used(limit).map_or(0, |used| full_cells(used, limit.limit, cells));
    format!("[{}{}]", filled.repeat(full), free.repeat(cells.saturating_sub(full)))
}

/// How many of so many cells are full where `used` of `most` is: all of them only where nothing is left, and none only
/// where nothing is used.
fn full_cells(used: i64, most: i64, cells: usize) -> usize {
    if used >= most {
        return cells;
    }
    let all = i128::try_from(cells).unwrap_or_default();
    let nearest = (i128::from(used) * all * 2 + i128::from(most)) / (i128::from(most) * 2);
    let full = usize::try_from(nearest).unwrap_or_default();
    full.clamp(usize::from(used > 0), cells.saturating_sub(1))
}

fn tone(limit: &pb::RateLimitStatus) -> Option<Tone> {
    let used = used(limit)?;
    if used >= limit.limit {
        return Some(Tone::Bad);
    }
    (i128::from(used) * 100 >= i128::from(limit.limit) * HIGH).then_some(Tone::Over)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::grpc::pb::rate_limit_status::Metric;

    const PIPE: Look = Look { colour: false, width: None, blocks: false };

    fn seconds(seconds: i64) -> Option<prost_types::Duration> {
        Some(prost_types::Duration { seconds, nanos: 0 })
    }

    fn limit(subject: Subject, window: i64, limit: i64, remaining: i64) -> pb::RateLimitStatus {
        pb::RateLimitStatus {
            metric: Metric::Requests.into(),
            window: seconds(window),
            limit,
            remaining: Some(remaining),
            reset_after: seconds(41),
            subject: subject.into(),
        }
    }

    fn shown(limits: &[pb::RateLimitStatus], look: Look) -> String {
        standings(limits, Subject::Key, look).trim_start().to_owned()
    }

    #[test]
    fn each_limit_has_a_line_with_a_bar() {
        let tokens = pb::RateLimitStatus {
            metric: Metric::Tokens.into(),
            reset_after: seconds(7_000),
            ..limit(Subject::Owner, 86_400, 1_000, 1)
        };
        let limits = [limit(Subject::Key, 60, 60, 39), limit(Subject::Key, 3_600, 1_000, 1_000), tokens];
        assert_eq!(
            standings(&limits, Subject::Key, PIPE),
            "

requests / minute     [#######-------------]  21 of 60 used, whole again in 41 s
requests / hour       [--------------------]  0 of 1000 used
owner's tokens / day  [###################-]  999 of 1000 used, whole again in 1 h 57 min"
        );
        let blocks = Look { blocks: true, ..PIPE };
        assert_eq!(
            shown(&limits[..1], blocks),
            "requests / minute  [███████░░░░░░░░░░░░░]  21 of 60 used, whole again in 41 s"
        );
        assert_eq!(standings(&[], Subject::Key, PIPE), "");
    }

    #[test]
    fn an_owner_that_is_looked_at_is_not_named() {
        let limits = [limit(Subject::Owner, 60, 4, 4)];
        let text = standings(&limits, Subject::Owner, PIPE);
        assert_eq!(text, "\n\nrequests / minute  [--------------------]  0 of 4 used");
    }

    #[test]
    fn a_limit_of_nothing_and_one_that_is_not_known_say_so() {
        assert_eq!(
            shown(&[limit(Subject::Key, 60, 0, 0)], PIPE),
            "requests / minute  [####################]  0: nothing is admitted"
        );
        let unknown = pb::RateLimitStatus { remaining: None, ..limit(Subject::Key, 7, 5, 0) };
        assert_eq!(
            shown(&[unknown], PIPE),
            "requests / 7 s  [--------------------]  5, what is used is not known"
        );
    }

    #[test]
    fn a_bar_gives_way_to_the_words() {
        let shown = |width| shown(&[limit(Subject::Key, 60, 60, 39)], Look { width: Some(width), ..PIPE });
        assert!(shown(200).contains("[#######-------------]"), "{}", shown(200));
        assert_eq!(shown(67), "requests / minute  [####------]  21 of 60 used, whole again in 41 s");
        assert_eq!(shown(67).chars().count(), 67);
        assert_eq!(shown(61), "requests / minute  21 of 60 used, whole again in 41 s");
    }

    #[test]
    fn what_is_nearly_and_what_is_used_up_has_a_colour() {
        let look = Look { colour: true, ..PIPE };
        let painted = |remaining| shown(&[limit(Subject::Key, 60, 10, remaining)], look);
        assert!(painted(0).contains("\u{1b}[31m"), "{}", painted(0));
        assert!(painted(2).contains("\u{1b}[33m"), "{}", painted(2));
        assert!(!painted(3).contains('\u{1b}'), "{}", painted(3));
    }

    proptest! {
        #[test]
        fn a_bar_is_empty_and_full_only_where_that_is_true(
            most in any::<i64>(), remaining in any::<i64>(), cells in CELLS_MIN..=CELLS,
        ) {
            let limit = limit(Subject::Key, 60, most, remaining);
            let text = bar(&limit, cells, PIPE);
            prop_assert_eq!(text.chars().count(), cells + 2);
            let used = used(&limit).unwrap();
            prop_assert_eq!(!text.contains('#'), used == 0 && most > 0);
            prop_assert_eq!(!text.contains('-'), used >= most);
        }

        #[test]
        fn a_bar_does_not_shrink_with_use(most in 1..1_000_000_000_000_i64, used in 0..1_000_000_000_000_i64) {
            let used = used.min(most - 1);
            prop_assert!(full_cells(used, most, CELLS) <= full_cells(used + 1, most, CELLS));
        }
    }
}
