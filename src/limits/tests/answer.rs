//! What a row gives to whom asks.

use super::terms;
use crate::limits::{Answer, Ask, Metric, Need, Part, Return, Row, RowTime, Terms, answer, answer_in_turn};

/// A row's time at which sub-buckets of all windows begin.
const BEGIN: RowTime = 1_700_006_400_000_000;
const SECOND: RowTime = 1_000_000;

fn requests(requests: i64) -> Need {
    Need { requests, tokens: 0 }
}

fn per_minute(most: i64) -> Terms {
    terms([Some(most), None, None, None, None, None])
}

fn needs(needed: Need) -> Ask {
    Ask { needed, ..Ask::default() }
}

fn units(answer: &Answer) -> [Need; 2] {
    answer.parts.map(|part| part.map_or(Need::default(), |part| part.units))
}

#[test]
fn what_is_needed_is_debited_up_to_what_is_free() {
    let answer = answer(Row::default(), BEGIN, per_minute(10), &needs(requests(7)));
    assert_eq!(answer.parts, [Some(Part { at: BEGIN, end: BEGIN + 2 * SECOND, units: requests(7) }), None]);
    assert_eq!((answer.is_changed, answer.row.free(Metric::Requests, &answer.terms)), (true, Some(3)));
    let again = crate::limits::answer(answer.row, BEGIN, answer.terms, &needs(requests(7)));
    assert_eq!((units(&again)[0], again.is_changed), (requests(3), true));
    let none = crate::limits::answer(again.row, BEGIN, again.terms, &needs(requests(7)));
    assert_eq!((none.parts, none.is_changed), ([None, None], false));
}

#[test]
fn of_what_is_free_a_quarter_at_most_is_given_ahead() {
    let ask = Ask { needed: requests(20), ahead: requests(1_000), returns: Vec::new() };
    let first = answer(Row::default(), BEGIN, per_minute(100), &ask);
    assert_eq!(units(&first), [requests(40), requests(0)]);
    let last = answer(first.row, BEGIN, first.terms, &Ask { needed: requests(58), ..ask });
    assert_eq!(units(&last), [requests(58), requests(0)], "of 2 no quarter is left");
}

#[test]
fn what_is_expected_after_the_end_of_the_sub_bucket_is_debited_there() {
    let ask = Ask { needed: requests(20), ahead: requests(100), returns: Vec::new() };
    let now = BEGIN + 2 * SECOND - SECOND / 4;
    let answer = answer(Row::default(), now, per_minute(1_000), &ask);
    let end = BEGIN + 2 * SECOND;
    let here = Part { at: now, end, units: requests(45) };
    let next = Part { at: end, end: end + 2 * SECOND, units: requests(75) };
    assert_eq!(answer.parts, [Some(here), Some(next)]);
    // Both count at once, and the second counts two seconds longer.
    let free_at = |time| {
        let mut row = answer.row.clone();
        row.advance(time, &answer.terms);
        row.free(Metric::Requests, &answer.terms).unwrap()
    };
    assert_eq!([free_at(now), free_at(end + 60 * SECOND - 1)], [880, 880]);
    assert_eq!([free_at(end + 60 * SECOND), free_at(end + 62 * SECOND)], [925, 1_000]);
}

#[test]
fn requests_that_need_nothing_of_what_is_limited_are_admitted() {
    let tokens = terms([None, None, None, Some(5), None, None]);
    let first = answer(Row::default(), BEGIN, tokens, &needs(Need::request(5)));
    let second = answer(first.row, BEGIN, tokens, &needs(Need::request(0)));
    assert_eq!(second.parts[0].map(|part| part.units), Some(Need::default()));
    assert!(!second.is_changed);
    // More tokens have been used than may be.
    let mut row = second.row;
    row.charge(1);
    let third = answer(row, BEGIN, tokens, &needs(Need::request(0)));
    assert_eq!(third.parts, [None, None]);
    assert!(third.row.shortage(Need::request(0), &tokens).is_some());
}

#[test]
fn nothing_is_debited_for_what_does_not_fit() {
    let tokens = terms([Some(10), None, None, Some(100), Some(150), None]);
    let all = [60, 70, 101, 40, 0, 1].map(Need::request);
    let sum = all.iter().fold(Need::default(), |sum, need| sum.plus(*need));
    let answer = answer_in_turn(Row::default(), BEGIN, tokens, &needs(sum), &all);
    assert_eq!(units(&answer), [Need { requests: 3, tokens: 100 }, Need::default()]);
    let next = answer_in_turn(answer.row, BEGIN + 62 * SECOND, tokens, &needs(sum), &all);
    assert_eq!(units(&next), [Need { requests: 3, tokens: 41 }, Need::default()]);
}

#[test]
fn tokens_are_not_debited_where_no_request_is_free() {
    let both = terms([Some(1), None, None, Some(100), None, None]);
    let first = answer(Row::default(), BEGIN, both, &needs(Need::request(1)));
    let second = answer(first.row, BEGIN, both, &needs(Need::request(1)));
    assert_eq!((second.parts, second.row.free(Metric::Tokens, &both)), ([None, None], Some(99)));
}

#[test]
fn every_window_counts() {
    let terms = terms([Some(4), Some(6), Some(7), None, None, None]);
    let mut row = Row::default();
    let mut given = Vec::new();
    for minutes in [0, 2, 4, 70, 72, 1_600] {
        let answer = answer(row, BEGIN + minutes * 60 * SECOND, terms, &needs(requests(9)));
        given.push(units(&answer)[0].requests);
        row = answer.row;
    }
    assert_eq!(given, [4, 2, 0, 1, 0, 4]);
}

#[test]
fn a_row_counts_what_is_given_back_as_free_for_the_same_question() {
    let first = answer(Row::default(), BEGIN, per_minute(5), &needs(requests(5)));
    let back = Return { generation: first.row.generation(), at: BEGIN, units: requests(2) };
    let ask = Ask { needed: requests(5), ahead: Need::default(), returns: vec![back] };
    assert_eq!(units(&answer(first.row, BEGIN, first.terms, &ask))[0], requests(2));
}

#[test]
fn a_lowered_limit_gives_nothing_until_less_is_used() {
    let first = answer(Row::default(), BEGIN, per_minute(9), &needs(requests(9)));
    let lowered = per_minute(3);
    let second = answer(first.row, BEGIN + SECOND, lowered, &needs(requests(1)));
    assert_eq!((second.parts, second.is_changed), ([None, None], false));
    let later = answer(second.row, BEGIN + 62 * SECOND, lowered, &needs(requests(9)));
    assert_eq!(units(&later)[0], requests(3));
}

#[test]
fn nothing_overflows() {
    let most = 1 << 31;
    let terms = terms([Some(most); 6]);
    let much = Need { requests: i64::MAX, tokens: i64::MAX };
    let ask = Ask { needed: much, ahead: much, returns: Vec::new() };
    let answer = answer(Row::default(), BEGIN, terms, &ask);
    assert_eq!(units(&answer)[0], Need { requests: most, tokens: most });
    let mut row = answer.row;
    (0..3).for_each(|_| row.charge(i64::MAX));
    assert!(row.free(Metric::Tokens, &terms).unwrap() < 0);
    assert_eq!(
        crate::limits::answer(row, i64::MAX, terms, &ask).parts[0].map(|part| part.at),
        Some(i64::MAX)
    );
}
