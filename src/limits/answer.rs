//! The debit: what a row gives to a replica that asks.

use super::{LEASE_MAX, Metric, Need, Return, Row, RowTime, Standing, Terms};

/// Of what is free beyond what requests wait for, at most this part goes to one replica: near the limit, what is held
/// shrinks to what is needed, so that the last unit is usable by any replica.
const SHARE: i64 = 4;

/// What a replica asks of a row.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Ask {
    /// What waiting requests need, all together.
    pub needed: Need,
    /// What is expected to be needed within [`LEASE_MAX`] besides.
    pub ahead: Need,
    /// What was debited before and is not used.
    pub returns: Vec<Return>,
}

/// Units that were debited at one place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Part {
    /// Where they were debited, on the row's time line.
    pub at: RowTime,
    /// From then on they may not be used any more, on the row's time line.
    pub end: RowTime,
    /// How many; of a metric that is not limited, none.
    pub units: Need,
}

/// What a row answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Answer {
    /// The row after the debit.
    pub row: Row,
    /// The limits that it was made under.
    pub terms: Terms,
    /// For the sub-bucket of the row's time, then for the next one.
    pub parts: [Option<Part>; 2],
    /// Whether the row has to be stored.
    pub is_changed: bool,
}

/// Debits what is asked for, as far as the rule allows: for every window and metric, what counts and the debit together
/// are at most the limit. `now` was read from the database's clock after the row was locked, `terms` in the same
/// transaction.
#[must_use]
pub fn answer(row: Row, now: RowTime, terms: Terms, ask: &Ask) -> Answer {
    debit(row, now, terms, ask, |_| ask.needed)
}

/// As [`answer`], where the needs of the waiting requests are known one by one, in the order of coming: nothing is debited
/// for those that do not fit. Else a request for more than there is would take what there is from everybody.
#[must_use]
pub fn answer_in_turn(row: Row, now: RowTime, terms: Terms, ask: &Ask, needs: &[Need]) -> Answer {
    debit(row, now, terms, ask, |row| {
        let room = |metric| row.free(metric, &terms).unwrap_or(i64::MAX);
        let (requests, tokens) = (room(Metric::Requests), room(Metric::Tokens));
        needs.iter().fold(Need::default(), |sum, need| {
            let more = sum.plus(*need);
            if more.requests <= requests && more.tokens <= tokens { more } else { sum }
        })
    })
}

fn debit(mut row: Row, now: RowTime, terms: Terms, ask: &Ask, needed: impl FnOnce(&Row) -> Need) -> Answer {
    let generation = row.generation();
    row.advance(now, &terms);
    // A row's time alone, and what does not count any more, is no reason to write it.
    let mut is_changed = row.generation() != generation;
    for back in &ask.returns {
        is_changed |= row.give_back(back);
    }
    let mut parts = [None, None];
    let needed = needed(&row);
    let granted = grant(&row, &terms, needed, ask.ahead);
    if let (Some(shortest), Some(units)) = (terms.shortest(), granted) {
        let time = row.time();
        let end = shortest.end(shortest.bucket(time));
        // What is expected beyond the end of the sub-bucket is debited where it will be used.
        let lease = i64::try_from(LEASE_MAX.as_micros()).unwrap_or(i64::MAX);
        let here = end.saturating_sub(time).clamp(0, lease);
        let later = part_of(units.minus(needed), lease.saturating_sub(here), lease);
        let now = Part { at: time, end, units: units.minus(later) };
        // Near the limit nothing is set aside that a request could use now.
        let later = if is_much_free(&row, &terms, units) { later } else { Need::default() };
        let next = Part { at: end, end: shortest.end(shortest.bucket(end)), units: later };
        for part in [now, next].into_iter().filter(|part| !part.units.is_zero()) {
            row.debit(part.at, part.units);
            is_changed = true;
        }
        // Requests that need nothing of what is limited are admitted by the first, even where it is empty.
        parts = [Some(now), Some(next).filter(|next| !next.units.is_zero())];
    }
    Answer { row, terms, parts, is_changed }
}

/// How many units of each metric; `None` where no request may be admitted, whatever it needs.
fn grant(row: &Row, terms: &Terms, needed: Need, ahead: Need) -> Option<Need> {
    let free = |metric| row.free(metric, terms);
    // More is used of one metric than may be: nothing is admitted, whatever it needs of the other.
    if [Metric::Requests, Metric::Tokens].into_iter().filter_map(free).any(|free| free < 0) {
        return None;
    }
    let of = |metric| match free(metric) {
        None => 0,
        Some(free) => {
            let needed = needed.of(metric).clamp(0, free);
            let beyond = free.saturating_sub(needed) / SHARE;
            needed.saturating_add(ahead.of(metric).clamp(0, beyond))
        }
    };
    let units = Need { requests: of(Metric::Requests), tokens: of(Metric::Tokens) };
    // Tokens without a request are of no use to anybody.
    let no_requests = terms.limits(Metric::Requests) && units.requests == 0;
    (!no_requests).then_some(units)
}

/// Whether a good part of every limit is free after this debit.
fn is_much_free(row: &Row, terms: &Terms, units: Need) -> bool {
    let is_of = |standing: Standing| {
        standing.free.saturating_sub(units.of(standing.limit.metric)) >= standing.most / SHARE
    };
    row.standings(terms).all(is_of)
}

fn part_of(units: Need, share: i64, whole: i64) -> Need {
    let of = |units: i64| {
        let part = i128::from(units) * i128::from(share) / i128::from(whole.max(1));
        i64::try_from(part).unwrap_or_default()
    };
    Need { requests: of(units.requests), tokens: of(units.tokens) }
}
