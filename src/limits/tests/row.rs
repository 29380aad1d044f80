//! Counters of a subject, by hand.

use super::terms;
use crate::limits::{Limit, Metric, Need, Return, Row, RowTime, Terms, Window};

/// A row's time at which sub-buckets of all windows begin.
const BEGIN: RowTime = 1_700_006_400_000_000;
const SECOND: RowTime = 1_000_000;

fn requests(requests: i64) -> Need {
    Need { requests, tokens: 0 }
}

/// After `units` at [`BEGIN`].
fn row(terms: &Terms, units: Need) -> Row {
    let mut row = Row::default();
    row.advance(BEGIN, terms);
    row.debit(BEGIN, units);
    row
}

fn per_minute(most: i64) -> Terms {
    terms([Some(most), None, None, None, None, None])
}

#[test]
fn sub_buckets_fill_their_windows_and_lie_within_those_of_longer_ones() {
    for window in Window::ALL {
        assert_eq!(window.width() * window.buckets(), window.length());
        let bucket = window.bucket(BEGIN + 5);
        assert_eq!(window.end(bucket), BEGIN + window.width());
        assert_eq!(window.leaves(bucket), BEGIN + window.width() + window.length());
        assert_eq!([-1, 0, window.width() - 1].map(|time| window.bucket(time)), [-1, 0, 0]);
    }
    for [shorter, longer] in [[Window::Minute, Window::Hour], [Window::Hour, Window::Day]] {
        assert_eq!(longer.width() % shorter.width(), 0);
    }
}

#[test]
fn the_sub_bucket_that_the_window_begins_in_counts_whole() {
    let terms = per_minute(5);
    let mut row = row(&terms, requests(5));
    row.advance(BEGIN + 62 * SECOND - 1, &terms);
    assert_eq!(row.free(Metric::Requests, &terms), Some(0));
    row.advance(BEGIN + 62 * SECOND, &terms);
    assert_eq!(row.free(Metric::Requests, &terms), Some(5));
}

#[test]
fn its_time_does_not_go_back() {
    let terms = per_minute(5);
    let mut row = row(&terms, requests(5));
    row.advance(BEGIN - 3_600 * SECOND, &terms);
    assert_eq!((row.time(), row.free(Metric::Requests, &terms)), (BEGIN, Some(0)));
}

#[test]
fn the_scarcest_limit_of_a_metric_tells_what_is_free() {
    let terms = terms([Some(5), Some(9), None, Some(100), None, None]);
    let mut row = row(&terms, Need { requests: 3, tokens: 130 });
    assert_eq!(row.free(Metric::Requests, &terms), Some(2));
    assert_eq!(row.free(Metric::Tokens, &terms), Some(-30));
    row.advance(BEGIN + 70 * SECOND, &terms);
    row.debit(row.time(), requests(5));
    assert_eq!(row.free(Metric::Requests, &terms), Some(0));
    row.advance(BEGIN + 140 * SECOND, &terms);
    assert_eq!(row.free(Metric::Requests, &terms), Some(1));
    assert_eq!(row.free(Metric::Tokens, &per_minute(5)), None);
}

#[test]
fn what_comes_back_counts_no_more_if_it_counts_still() {
    let terms = terms([Some(5), Some(9), None, None, None, None]);
    let mut row = row(&terms, requests(5));
    let back = |generation, units| Return { generation, at: BEGIN, units: requests(units) };
    assert!(!row.give_back(&back(0, 5)), "another generation");
    assert!(row.give_back(&back(1, 2)));
    assert_eq!(row.free(Metric::Requests, &terms), Some(2));
    // It has left the minute and not the hour.
    row.advance(BEGIN + 70 * SECOND, &terms);
    assert_eq!(row.free(Metric::Requests, &terms), Some(5));
    row.debit(row.time(), requests(3));
    assert!(row.give_back(&back(1, 1)));
    assert_eq!(row.free(Metric::Requests, &terms), Some(2));
    let free: Vec<i64> = row.standings(&terms).map(|standing| standing.free).collect();
    assert_eq!(free, [2, 4]);
    row.advance(BEGIN + 3_720 * SECOND, &terms);
    assert!(!row.give_back(&back(1, 1)) && !row.give_back(&back(1, 0)));
}

#[test]
fn a_limit_that_is_added_begins_empty_in_a_generation_of_its_own() {
    let mut row = row(&per_minute(5), requests(5));
    assert_eq!(row.generation(), 1);
    let both = terms([Some(5), Some(5), None, None, None, None]);
    row.advance(BEGIN, &both);
    assert_eq!(row.generation(), 2);
    let hour = terms([None, Some(5), None, None, None, None]);
    row.advance(BEGIN, &hour);
    assert_eq!((row.generation(), row.free(Metric::Requests, &hour)), (2, Some(5)));
    row.advance(BEGIN, &both);
    assert_eq!((row.generation(), row.free(Metric::Requests, &both)), (3, Some(5)));
    row.advance(BEGIN, &terms([Some(7), Some(1), None, None, None, None]));
    assert_eq!(row.generation(), 3, "another number is the same limit");
}

#[test]
fn the_limit_that_is_in_the_way_the_longest_says_when_there_is_room() {
    let terms = terms([Some(5), Some(6), None, Some(100), None, None]);
    let mut row = row(&terms, Need { requests: 3, tokens: 0 });
    row.advance(BEGIN + 4 * SECOND, &terms);
    row.debit(row.time(), Need { requests: 2, tokens: 60 });
    let shortage = |need: Need| row.shortage(need, &terms).map(|it| (it.limit, it.most, it.room_at));
    let limit = |metric, window| Limit { metric, window };
    let minute = limit(Metric::Requests, Window::Minute);
    assert_eq!(shortage(Need::request(40)), Some((minute, 5, Some(BEGIN + 62 * SECOND))));
    let hour = limit(Metric::Requests, Window::Hour);
    assert_eq!(shortage(requests(2)), Some((hour, 6, Some(BEGIN + 3_720 * SECOND))));
    let tokens = limit(Metric::Tokens, Window::Minute);
    assert_eq!(shortage(Need { requests: 0, tokens: 41 }), Some((tokens, 100, Some(BEGIN + 66 * SECOND))));
    assert_eq!(shortage(Need { requests: 1, tokens: 101 }), Some((tokens, 100, None)));
    assert_eq!(shortage(requests(0)), None);
}

#[test]
fn a_charge_counts_whatever_the_limit_is_and_stands_in_the_way_of_all() {
    let terms = terms([None, None, None, Some(10), None, None]);
    let mut row = row(&terms, Need { requests: 0, tokens: 8 });
    row.charge(5);
    let standing = row.standings(&terms).next().unwrap();
    assert_eq!((standing.free, standing.reset), (-3, BEGIN + 62 * SECOND));
    assert_eq!(row.shortage(requests(1), &terms).and_then(|it| it.room_at), Some(BEGIN + 62 * SECOND));
}
