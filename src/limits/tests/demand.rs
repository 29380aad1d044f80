//! How much is asked for ahead.

use crate::limits::demand::Demand;
use crate::limits::{Need, OwnTime};

const SECOND: OwnTime = 1_000_000_000;

fn requests(requests: i64) -> Need {
    Need { requests, tokens: 0 }
}

#[test]
fn what_was_used_in_a_second_and_a_quarter_more_is_asked_for() {
    let mut demand = Demand::default();
    demand.ahead(SECOND, Need::default());
    assert!(!demand.is_active());
    demand.note(Need { requests: 10, tokens: 400 });
    assert!(demand.is_active());
    let ahead = demand.ahead(SECOND + SECOND / 2, requests(4));
    assert_eq!(ahead, Need { requests: 21, tokens: 1_000 });
    assert!(!demand.is_active());
}

#[test]
fn a_rise_is_followed_at_once_and_a_fall_halfway() {
    let mut demand = Demand::default();
    let mut now = SECOND;
    demand.ahead(now, Need::default());
    let mut asked = Vec::new();
    for used in [8, 80, 40, 0] {
        now += SECOND;
        demand.note(requests(used));
        asked.push(demand.ahead(now, Need::default()).requests);
    }
    assert_eq!(asked, [10, 100, 75, 0], "where nothing is used, nothing is asked for");
}

#[test]
fn one_request_after_a_long_time_asks_for_few_more() {
    let mut demand = Demand::default();
    demand.note(requests(1));
    assert_eq!(demand.ahead(3_600 * SECOND, Need::default()), requests(0));
    demand.note(requests(1));
    // 20 ms at least: at most 50 in a second, of which 16 are asked for.
    assert_eq!(demand.ahead(3_600 * SECOND + 1, Need::default()), requests(16));
}

#[test]
fn what_is_in_hand_is_not_asked_for_and_nothing_overflows() {
    let mut demand = Demand::default();
    demand.note(requests(i64::MAX));
    assert_eq!(demand.ahead(1, requests(i64::MAX)).requests, i64::MAX);
    demand.note(requests(3));
    assert_eq!(demand.ahead(2, requests(i64::MAX)).requests, 0);
}
