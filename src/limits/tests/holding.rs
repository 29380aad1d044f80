//! What a replica holds, step by step.

use super::terms;
use crate::limits::{
    Answer, Ask, Holding, LEASE_MAX, Metric, Need, OwnTime, Return, Row, RowTime, Stock, Taken, Terms, Want,
    Window, answer,
};

const SECOND: OwnTime = 1_000_000_000;
/// A row's time at which sub-buckets of all windows begin.
const BEGIN: RowTime = 1_700_006_400_000_000;

fn per_minute(most: i64) -> Terms {
    terms([Some(most), None, None, None, None, None])
}

/// A row whose clock shows [`BEGIN`] when replicas' clocks show 10 s.
struct Store {
    row: Row,
    terms: Terms,
}

impl Store {
    fn new(terms: Terms) -> Self {
        Self { row: Row::default(), terms }
    }

    fn visit(&mut self, ask: &Ask, now: OwnTime) -> Answer {
        let now = BEGIN + i64::try_from(now / 1_000).unwrap() - 10_000_000;
        let answer = answer(self.row.clone(), now, self.terms, ask);
        if answer.is_changed {
            self.row = answer.row.clone();
        }
        answer
    }

    /// To the row and back in no time.
    fn stocks(&mut self, holding: &mut Holding, needed: Need, now: OwnTime) -> ([Option<Stock>; 2], u64) {
        let (ask, drops) = holding.ask(needed, now);
        let answer = self.visit(&ask, now);
        (holding.answered(&answer, now, now, needed, drops), drops)
    }

    fn fill(&mut self, holding: &mut Holding, needed: Need, now: OwnTime) {
        let (stocks, drops) = self.stocks(holding, needed, now);
        holding.keep(stocks, drops, now);
    }

    fn free(&self) -> i64 {
        self.row.free(Metric::Requests, &self.terms).unwrap()
    }
}

fn requests(requests: i64) -> Need {
    Need { requests, tokens: 0 }
}

fn take(holding: &mut Holding, need: Need, now: OwnTime) -> Option<Taken> {
    let Want::Here(position) = holding.want(need, now) else { return None };
    holding.take(position, need, now)
}

#[test]
fn an_answer_that_was_asked_for_before_a_drop_leaves_no_refusal() {
    let (mut store, mut holding, now) = (Store::new(per_minute(0)), Holding::default(), 10 * SECOND);
    let (ask, drops) = holding.ask(requests(1), now);
    let answer = store.visit(&ask, now);
    holding.drop_all(now);
    let stocks = holding.answered(&answer, now, now, requests(1), drops);
    assert!(holding.refusal(requests(1), &answer).is_some());
    holding.keep(stocks, drops, now);
    assert_eq!(holding.want(requests(1), now), Want::Ask);
}

#[test]
fn what_was_forgotten_is_not_given_back() {
    let (mut store, mut holding, now) = (Store::new(per_minute(100)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(10), now);
    let taken = take(&mut holding, requests(1), now).unwrap();
    // One more answer is under way when everything is forgotten.
    let (stocks, drops) = store.stocks(&mut holding, requests(10), now + 1);
    holding.forget();
    holding.keep(stocks, drops, now + 1);
    assert_eq!(holding.want(requests(1), now + 1), Want::Ask);
    holding.put_back(&taken, now + 1);
    assert!(!holding.claims_return(now + 9 * SECOND));
    assert_eq!(holding.ask(requests(1), now + 9 * SECOND).0.returns, []);
}

#[test]
fn neither_what_is_held_nor_what_is_owed_is_given_back_when_it_is_forgotten() {
    let (mut store, mut holding, now) = (Store::new(per_minute(100)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(10), now);
    assert!(!holding.claims_return(now + SECOND) && !holding.is_idle(now + SECOND), "owed");
    let (stocks, drops) = store.stocks(&mut Holding::default(), requests(10), now + SECOND);
    holding.keep(stocks, drops, now + SECOND);
    assert!(matches!(holding.want(requests(1), now + SECOND), Want::Here(_)), "held");
    holding.forget();
    assert!(!holding.claims_return(now + 9 * SECOND) && holding.is_idle(now + 9 * SECOND));
}

#[test]
fn what_was_taken_before_everything_was_forgotten_is_not_put_into_what_came_later() {
    let (mut store, mut holding, now) = (Store::new(per_minute(100)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(1), now);
    let taken = take(&mut holding, requests(1), now).unwrap();
    holding.forget();
    // The other database counts from the same time on, in the same generation.
    let mut store = Store::new(per_minute(1));
    store.fill(&mut holding, requests(1), now);
    assert!(take(&mut holding, requests(1), now).is_some());
    holding.put_back(&taken, now);
    assert!(take(&mut holding, requests(1), now).is_none());
}

#[test]
fn of_a_metric_that_was_not_limited_nothing_is_given_back() {
    let (mut store, mut holding, now) = (Store::new(per_minute(5)), Holding::default(), 10 * SECOND);
    let only_ahead = Ask { needed: requests(5), ..Ask::default() };
    store.visit(&only_ahead, now);
    // The row is not written where there is no limit, and counts on when there is one again.
    store.terms = terms([None; 6]);
    store.fill(&mut holding, Need::request(7), now);
    let taken = take(&mut holding, Need::request(7), now).unwrap();
    assert_eq!(taken.units, Need::default());
    holding.put_back(&taken, now + 2 * SECOND);
    assert!(!holding.claims_return(now + 9 * SECOND));
    holding.drop_all(now);
    store.terms = per_minute(5);
    store.fill(&mut holding, Need::default(), now);
    assert_eq!(store.free(), 0);
}

#[test]
fn the_oldest_stock_is_used_first() {
    let (mut store, mut holding, now) = (Store::new(per_minute(100)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(2), now);
    store.fill(&mut holding, requests(2), now + SECOND / 2);
    let at = |taken: Option<Taken>| taken.map(|taken| taken.at);
    let mut take = || at(take(&mut holding, requests(1), now + SECOND / 2));
    assert_eq!(
        [take(), take(), take(), take(), take()],
        [Some(BEGIN), Some(BEGIN), Some(BEGIN + 500_000), Some(BEGIN + 500_000), None]
    );
}

#[test]
fn a_stock_ends_a_second_after_it_was_asked_for_and_its_rest_goes_back_once() {
    let (mut store, mut holding, now) = (Store::new(per_minute(8)), Holding::default(), 10 * SECOND);
    let (ask, drops) = holding.ask(requests(8), now);
    let answer = store.visit(&ask, now + SECOND / 4);
    let stocks = holding.answered(&answer, now, now + SECOND / 2, requests(8), drops);
    holding.keep(stocks, drops, now + SECOND / 2);
    assert!(take(&mut holding, requests(5), now + SECOND - 1).is_some());
    assert!(take(&mut holding, requests(1), now + SECOND).is_none());
    // Little is free: it goes back at once.
    assert!(holding.claims_return(now + SECOND) && !holding.claims_return(now + SECOND));
    let back = Return { generation: 1, at: BEGIN + 250_000, units: requests(3) };
    let (ask, _) = holding.ask(Need::default(), now + SECOND);
    assert_eq!(ask.returns, [back]);
    let answer = store.visit(&ask, now + SECOND);
    assert_eq!((answer.is_changed, store.free()), (true, 3));
    assert!(!holding.claims_return(now + 9 * SECOND));
    assert_eq!(holding.ask(Need::default(), now + 9 * SECOND).0.returns, []);
}

#[test]
fn a_stock_ends_with_its_sub_bucket() {
    let (mut store, mut holding) = (Store::new(per_minute(8)), Holding::default());
    let now = 12 * SECOND - SECOND / 10;
    store.fill(&mut holding, requests(8), now);
    assert!(take(&mut holding, requests(1), 12 * SECOND - 1).is_some());
    assert!(take(&mut holding, requests(1), 12 * SECOND).is_none());
}

#[test]
fn where_much_is_free_the_rest_waits_for_a_question() {
    let (mut store, mut holding, now) = (Store::new(per_minute(100)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(2), now);
    assert!(!holding.claims_return(now + SECOND) && !holding.is_idle(now + SECOND));
    assert!(!holding.claims_return(now + 3 * SECOND - 1) && holding.claims_return(now + 3 * SECOND));
    assert!(!holding.is_idle(now + 3 * SECOND));
    assert_eq!(holding.ask(Need::default(), now + 3 * SECOND).0.returns.len(), 1);
    assert!(holding.is_idle(now + 3 * SECOND));
}

#[test]
fn units_of_the_next_sub_bucket_may_be_used_before_it_begins() {
    let (mut store, mut holding) = (Store::new(per_minute(10_000)), Holding::default());
    let now = 12 * SECOND - SECOND / 5;
    store.fill(&mut holding, requests(100), now - SECOND / 10);
    (0..100).for_each(|_| assert!(take(&mut holding, requests(1), now).is_some()));
    assert!(holding.claims_renewal(now));
    let (ask, drops) = holding.ask(Need::default(), now);
    let answer = store.visit(&ask, now + SECOND / 20);
    let stocks = holding.answered(&answer, now, now + SECOND / 10, Need::default(), drops);
    let [Some(here), Some(next)] = stocks else { panic!("{answer:?}") };
    assert_eq!((here.until(), next.until()), (now + 3 * SECOND / 20, now + SECOND));
    assert_eq!(next.at(), Window::Minute.end(Window::Minute.bucket(here.at())));
    holding.keep([None, Some(next)], drops, now + SECOND / 10);
    assert!(take(&mut holding, requests(1), now + SECOND / 10).is_some());
    assert!(take(&mut holding, requests(1), now + SECOND - 1).is_some());
    assert!(take(&mut holding, requests(1), now + SECOND).is_none());
}

#[test]
fn newcomers_wait_behind_those_who_wait() {
    let (mut store, mut holding, now) = (Store::new(per_minute(100)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(5), now);
    holding.count_waiting(true);
    assert_eq!(holding.want(requests(1), now), Want::Ask);
    holding.count_waiting(false);
    assert_eq!(holding.want(requests(1), now), Want::Here(0));
}

#[test]
fn a_refusal_is_remembered_until_there_may_be_room() {
    let (mut store, mut holding, now) = (Store::new(per_minute(5)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(5), now);
    assert!(take(&mut holding, requests(5), now).is_some());
    let Want::Refused(refusal) = holding.want(requests(1), now) else { panic!("it is not refused") };
    assert_eq!(refusal.retry_after(Need::request(1), now).unwrap().as_secs(), 62);
    assert!(!holding.is_idle(now + SECOND - 1) && !holding.claims_renewal(now));
    assert!(matches!(holding.want(requests(1), now + SECOND - 1), Want::Refused(_)));
    assert_eq!(holding.want(requests(1), now + SECOND), Want::Ask);
    // Shortly before there is room, not beyond it.
    let later = 72 * SECOND - SECOND / 5;
    store.fill(&mut holding, requests(1), later);
    assert!(matches!(holding.want(requests(1), 72 * SECOND - 1), Want::Refused(_)));
    assert_eq!(holding.want(requests(1), 72 * SECOND), Want::Ask);
}

#[test]
fn a_refusal_of_tokens_leaves_room_for_fewer() {
    let terms = terms([Some(10), None, None, Some(10), None, None]);
    let (mut store, mut holding, now) = (Store::new(terms), Holding::default(), 10 * SECOND);
    store.visit(&Ask { needed: Need::request(8), ..Ask::default() }, now);
    let (ask, drops) = holding.ask(Need::request(20), now);
    let answer = store.visit(&ask, now);
    let stocks = holding.answered(&answer, now, now, Need::request(20), drops);
    assert_eq!(
        holding.refusal(Need::request(20), &answer).and_then(|it| it.retry_after(Need::request(20), now)),
        None
    );
    holding.keep(stocks, drops, now);
    // What is in hand may be enough together with what else comes back.
    assert_eq!(holding.want(Need::request(3), now), Want::Ask);
    assert!(take(&mut holding, Need::request(2), now).is_some());
    assert!(matches!(holding.want(Need::request(3), now), Want::Refused(_)));
    assert_eq!(holding.want(Need::request(0), now), Want::Ask);
}

#[test]
fn what_is_larger_than_the_limit_is_refused_and_leaves_what_is_in_hand() {
    let terms = terms([None, None, None, Some(10), None, None]);
    let (mut store, mut holding, now) = (Store::new(terms), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, Need::request(9), now);
    let (ask, drops) = holding.ask(Need::request(11), now);
    let answer = store.visit(&ask, now);
    let stocks = holding.answered(&answer, now, now, ask.needed, drops);
    let refusal = holding.refusal(Need::request(11), &answer).unwrap();
    assert!(!holding.gives_up_pieces(&refusal, now));
    holding.keep(stocks, drops, now);
    assert!(matches!(holding.want(Need::request(11), now), Want::Refused(_)));
    let refusal = holding.refusal(Need::request(10), &answer).unwrap();
    assert_eq!(holding.want(Need::request(10), now), Want::Ask);
    assert!(matches!(holding.want(Need::request(9), now), Want::Here(_)));
    // Together they are enough, once they are back.
    assert!(holding.gives_up_pieces(&refusal, now) && holding.claims_return(now));
    store.fill(&mut holding, Need::request(10), now);
    assert!(matches!(holding.want(Need::request(10), now), Want::Here(_)));
}

#[test]
fn stocks_in_use_are_renewed_before_they_run_out() {
    let (mut store, mut holding, now) = (Store::new(per_minute(1_000)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(80), now);
    assert!(!holding.claims_renewal(now + SECOND - 1), "nothing was used");
    assert!(take(&mut holding, requests(70), now).is_some());
    assert!(!holding.claims_renewal(now + SECOND / 2));
    assert!(take(&mut holding, requests(1), now).is_some());
    assert!(holding.claims_renewal(now) && !holding.claims_renewal(now));
    store.fill(&mut holding, Need::default(), now);
    assert!(take(&mut holding, requests(1), now).is_some());
    assert!(!holding.claims_renewal(now) && holding.claims_renewal(now + 4 * SECOND / 5));
}

#[test]
fn what_is_put_back_can_be_used_again_once() {
    let (mut store, mut holding, now) = (Store::new(per_minute(4)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(4), now);
    let taken = take(&mut holding, requests(1), now).unwrap();
    assert!(take(&mut holding, requests(3), now).is_some());
    holding.put_back(&taken, now);
    let taken = take(&mut holding, requests(1), now).unwrap();
    assert!(take(&mut holding, requests(1), now).is_none());
    holding.put_back(&taken, now + SECOND);
    holding.claims_return(now + SECOND);
    let units = holding.ask(Need::default(), now + SECOND).0.returns;
    assert_eq!(units.iter().map(|back| back.units.requests).sum::<i64>(), 1);
}

#[test]
fn what_is_put_back_is_not_lost_where_two_stocks_are_of_one_place() {
    let (mut store, mut holding, now) = (Store::new(per_minute(100)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(1), now);
    let first = take(&mut holding, requests(1), now).unwrap();
    store.fill(&mut holding, requests(1), now);
    let second = take(&mut holding, requests(1), now).unwrap();
    assert_eq!(first, second);
    holding.put_back(&second, now);
    holding.put_back(&first, now);
    holding.drop_all(now);
    let returns = holding.ask(Need::default(), now).0.returns;
    store.visit(&Ask { returns, ..Ask::default() }, now);
    assert_eq!(store.free(), 100);
}

#[test]
fn a_drop_gives_everything_back_at_once_and_keeps_nothing_that_was_asked_for_before() {
    let (mut store, mut holding, now) = (Store::new(per_minute(100)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(10), now);
    let (stocks, drops) = store.stocks(&mut holding, requests(10), now);
    assert_eq!(store.free(), 80);
    holding.drop_all(now);
    holding.keep(stocks, drops, now);
    assert!(take(&mut holding, requests(1), now).is_none());
    assert!(holding.claims_return(now));
    store.fill(&mut holding, Need::default(), now);
    assert_eq!(store.free(), 100);
}

#[test]
fn standings_count_what_is_in_hand_as_free() {
    let (mut store, mut holding, now) = (Store::new(per_minute(100)), Holding::default(), 10 * SECOND);
    store.fill(&mut holding, requests(10), now);
    assert!(take(&mut holding, requests(3), now).is_some());
    let standing = holding.standings().next().unwrap();
    assert_eq!((standing.most, standing.free, standing.reset), (100, 97, BEGIN + 62_000_000));
    assert_eq!(holding.until(standing.reset, now + SECOND).as_secs(), 61);
    assert_eq!(LEASE_MAX.as_secs(), 1);
}
