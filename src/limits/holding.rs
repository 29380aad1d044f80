//! What a replica holds of one subject.
//!
//! - Stocks are used from the oldest. What is left of one when its time is over is swapped out and given back once, with
//!   the next question or soon by itself.
//! - While requests wait for an answer of the row, newcomers wait behind them: first come, first served.
//! - A refusal is remembered until there may be room, at most [`LEASE_MAX`].
//! - Stocks are renewed while they are used: before they run out, and before their time is over.

use super::demand::Demand;
use super::refusal::LEASE_NANOS;
use super::stock::Exchange;
use super::{Answer, Ask, Metric, Need, OwnTime, Refusal, Return, RowTime, Shortage, Standing, Stock};

/// What is left is given back by itself so long after its time, where much is free: most often a question comes first
/// that takes it along, and the row is written once less.
const RETURN_LATER: OwnTime = 2_000_000_000;
/// Much is free where at least this part of every limit is.
const MUCH: i64 = 4;
/// A stock is renewed when less than this part of it is left …
const LOW_PART: i64 = 8;
/// … or less than this part of [`LEASE_MAX`].
const LATE_PART: OwnTime = 4;

/// What came of wanting units.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Want {
    /// They are there, in this stock.
    Here(usize),
    /// The row would not give them.
    Refused(Refusal),
    /// The row has to be asked.
    Ask,
}

/// Units that were used: where they were debited.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Taken {
    /// The row's, then.
    pub generation: i64,
    /// Where, on the row's time line.
    pub at: RowTime,
    /// How many; of a metric that was not limited, none.
    pub units: Need,
}

/// What a replica holds of one subject.
#[derive(Debug, Default)]
pub struct Holding {
    stocks: Vec<Stock>,
    /// To be given back, the first from `return_at` on.
    returns: Vec<Return>,
    return_at: OwnTime,
    refusal: Option<Refusal>,
    demand: Demand,
    standings: Vec<Standing>,
    exchange: Option<Exchange>,
    /// Requests that wait for the row.
    waiting: u32,
    /// It is about to be asked for.
    is_asked: bool,
    /// It is about to be asked for since stocks in use run out.
    renews: bool,
    /// How often everything was dropped: what was asked for before is not kept.
    drops: u64,
    /// What `drops` was when everything was forgotten last: what was asked for before is not given back either …
    forgotten: u64,
    /// … nor are units that were taken of what was debited up to here.
    spent_to: RowTime,
    /// The newest place of which anything was given.
    newest: RowTime,
}

impl Holding {
    /// What there is for a need at `now`. Units that others wait for are not there.
    pub fn want(&mut self, need: Need, now: OwnTime) -> Want {
        self.expire(now);
        if self.waiting > 0 {
            return Want::Ask;
        }
        if let Some(position) = self.stocks.iter().position(|stock| stock.has(need, now)) {
            return Want::Here(position);
        }
        match self.refusal {
            // What is in hand in pieces may be enough once it is back, but not for more than the limit.
            Some(refusal) if refusal.is_of(need, now) => {
                let Shortage { limit, most, .. } = refusal.shortage;
                let may_be_enough = need.of(limit.metric) <= most && self.has_pieces(&refusal);
                if may_be_enough { Want::Ask } else { Want::Refused(refusal) }
            }
            _ => Want::Ask,
        }
    }

    fn has_pieces(&self, refusal: &Refusal) -> bool {
        let metric = refusal.shortage.limit.metric;
        // Or others have just given it up.
        let mut units = self.stocks.iter().map(Stock::left).chain(self.returns.iter().map(|back| back.units));
        units.any(|units| units.of(metric) > 0)
    }

    /// Where a refusal is due although some of what is in the way is in hand, in stocks of which none is enough: gives
    /// that up, to be given back with the next question. Whether there was anything.
    pub fn gives_up_pieces(&mut self, refusal: &Refusal, now: OwnTime) -> bool {
        if refusal.shortage.room_at.is_none() || !self.has_pieces(refusal) {
            return false;
        }
        self.give_up_stocks();
        self.return_at = now;
        true
    }

    fn give_up_stocks(&mut self) {
        for mut stock in std::mem::take(&mut self.stocks) {
            if let Some(back) = stock.empty() {
                self.returns.push(back);
            }
        }
    }

    /// Uses what [`Holding::want`] has found, without anything in between.
    pub fn take(&mut self, position: usize, need: Need, now: OwnTime) -> Option<Taken> {
        let stock = self.stocks.get_mut(position)?;
        let taken = taken_of(stock, need, now)?;
        self.demand.note(need);
        Some(taken)
    }

    /// Whether a request that has waited finds units at `now`, in what it has waited for or else in hand.
    #[must_use]
    pub fn has(&self, stocks: &[Option<Stock>], need: Need, now: OwnTime) -> bool {
        stocks.iter().flatten().chain(&self.stocks).any(|stock| stock.has(need, now))
    }

    /// Uses what [`Holding::has`] has found, without anything in between.
    pub fn take_late(&mut self, stocks: &mut [Option<Stock>], need: Need, now: OwnTime) -> Option<Taken> {
        let stock = stocks.iter_mut().flatten().chain(&mut self.stocks).find(|stock| stock.has(need, now))?;
        let taken = taken_of(stock, need, now)?;
        self.demand.note(need);
        Some(taken)
    }

    /// Takes back what was taken and will not be used. What was taken before everything was forgotten counts as spent.
    pub fn put_back(&mut self, taken: &Taken, now: OwnTime) {
        let Taken { generation, at, units } = *taken;
        if at <= self.spent_to || units.is_zero() {
            return;
        }
        // Several may be of one place.
        let is_its = |stock: &&mut Stock| {
            (stock.generation(), stock.at()) == (generation, at) && stock.can_put_back(units, now)
        };
        match self.stocks.iter_mut().find(is_its) {
            Some(stock) => stock.put_back(units),
            None => self.keep_return(Return { generation, at, units }, now),
        }
    }

    /// Whether the row should be asked now, since stocks that are in use run out. True once: then it is to be asked.
    pub fn claims_renewal(&mut self, now: OwnTime) -> bool {
        if self.is_asked || !self.demand.is_active() || !self.runs_out(now) {
            return false;
        }
        self.is_asked = true;
        self.renews = true;
        true
    }

    fn runs_out(&self, now: OwnTime) -> bool {
        let Some(last) = self.stocks.last() else { return true };
        let is_late = last.until().saturating_sub(now) < LEASE_NANOS / LATE_PART;
        let low = |metric| {
            let of = |get: fn(&Stock) -> Need| {
                self.stocks.iter().fold(0, |sum: i64, stock| sum.saturating_add(get(stock).of(metric)))
            };
            let (left, given) = (of(Stock::left), of(Stock::given));
            given >= LOW_PART && left < given / LOW_PART
        };
        // Near the limit there is nothing to be renewed with: whoever needs units asks for them.
        (is_late || low(Metric::Requests) || low(Metric::Tokens)) && !self.is_short(now)
    }

    fn is_short(&self, now: OwnTime) -> bool {
        // A request that is refused for its size alone says nothing of others.
        self.refusal.is_some_and(|refusal| refusal.is_remembered(now) && refusal.is_of_all())
    }

    /// A request waits for the row from now on, or does not any more.
    pub fn count_waiting(&mut self, waits: bool) {
        self.waiting = if waits { self.waiting.saturating_add(1) } else { self.waiting.saturating_sub(1) };
    }

    /// Puts the question to the row, where waiting requests need so much. What is to be given back goes with it: if the
    /// question's outcome is unknown, it counts as spent. The number says which answer may be kept.
    pub fn ask(&mut self, needed: Need, now: OwnTime) -> (Ask, u64) {
        self.expire(now);
        self.is_asked = false;
        let is_in_use = std::mem::take(&mut self.renews) || !needed.is_zero();
        let left = self.stocks.iter().fold(Need::default(), |sum, stock| sum.plus(stock.left()));
        // Whoever only gives back needs nothing.
        let ahead = if is_in_use { self.demand.ahead(now, left) } else { Need::default() };
        (Ask { needed, ahead, returns: std::mem::take(&mut self.returns) }, self.drops)
    }

    /// Takes back a question that was not put: what it was to give back is still held.
    pub fn unasked(&mut self, ask: Ask, drops: u64, now: OwnTime) {
        if self.remembers(drops) {
            ask.returns.into_iter().for_each(|back| self.keep_return(back, now));
        }
    }

    /// Notes what the row has answered to [`Holding::ask`], and gives the stocks that are to be used from, first that of the
    /// waiting requests. What is left of them then goes to [`Holding::keep`].
    pub fn answered(
        &mut self,
        answer: &Answer,
        sent: OwnTime,
        received: OwnTime,
        asked: Need,
        drops: u64,
    ) -> [Option<Stock>; 2] {
        let exchange = Exchange { sent, received, row_time: answer.row.time() };
        self.standings.clear();
        self.standings.extend(answer.row.standings(&answer.terms));
        self.exchange = Some(exchange);
        let granted = answer.parts.iter().flatten().fold(Need::default(), |sum, part| sum.plus(part.units));
        let missed = asked.minus(granted);
        let free = answer.row.free(Metric::Tokens, &answer.terms).filter(|_| missed.tokens > 0);
        // The least that the row does not give now.
        let least = Need { requests: 1, tokens: free.map_or(0, |free| free.max(0).saturating_add(1)) };
        self.refusal = (answer.row.shortage(Need::request(0), &answer.terms))
            .or_else(|| answer.row.shortage(least, &answer.terms))
            // Of limits that may have changed since it was asked for, nothing is remembered.
            .filter(|_| drops == self.drops)
            .map(|shortage| Refusal::of(answer, shortage, exchange));
        self.newest = answer.parts.iter().flatten().fold(self.newest, |newest, part| newest.max(part.at));
        if answer.terms.is_empty() {
            let all = super::Part { at: exchange.row_time, end: i64::MAX, units: Need::default() };
            return [Some(Stock::of(answer, &all, &exchange)), None];
        }
        answer.parts.map(|part| part.map(|part| Stock::of(answer, &part, &exchange)))
    }

    /// The refusal of a need by the row's answer; `None` where the row would give it.
    #[must_use]
    pub fn refusal(&self, need: Need, answer: &Answer) -> Option<Refusal> {
        let exchange = self.exchange?;
        Some(Refusal::of(answer, answer.row.shortage(need, &answer.terms)?, exchange))
    }

    /// Keeps stocks that [`Holding::ask`] number `drops` was for. To be called after every [`Holding::answered`].
    pub fn keep(&mut self, stocks: [Option<Stock>; 2], drops: u64, now: OwnTime) {
        if drops < self.forgotten {
            self.returns.clear();
            self.spent_to = self.newest;
            return;
        }
        self.stocks.retain(|stock| !stock.left().is_zero());
        for mut stock in stocks.into_iter().flatten() {
            if drops == self.drops && now < stock.until() {
                self.stocks.push(stock);
            } else if let Some(back) = stock.empty() {
                self.keep_return(back, now);
            }
        }
    }

    /// Gives up what is not usable any more.
    fn expire(&mut self, now: OwnTime) {
        if self.stocks.iter().all(|stock| now < stock.until()) {
            return;
        }
        let (over, rest): (Vec<Stock>, Vec<Stock>) =
            self.stocks.drain(..).partition(|stock| now >= stock.until());
        self.stocks = rest;
        for mut stock in over {
            if let Some(back) = stock.empty() {
                self.keep_return(back, now);
            }
        }
    }

    fn keep_return(&mut self, back: Return, now: OwnTime) {
        let is_much_free = self.standings.iter().all(|standing| standing.free >= standing.most / MUCH);
        let at = if is_much_free { now.saturating_add(RETURN_LATER) } else { now };
        self.return_at = if self.returns.is_empty() { at } else { self.return_at.min(at) };
        self.returns.push(back);
    }

    /// Whether something is to be given back to the row now. True once: then it is to be asked.
    pub fn claims_return(&mut self, now: OwnTime) -> bool {
        self.expire(now);
        let is_due = !self.returns.is_empty() && self.return_at <= now && !self.is_asked;
        self.is_asked |= is_due;
        is_due
    }

    /// Gives everything up, to be given back now: the limits may have changed. Whether there is anything.
    pub fn drop_all(&mut self, now: OwnTime) -> bool {
        self.drops = self.drops.wrapping_add(1);
        self.refusal = None;
        self.renews = false;
        self.give_up_stocks();
        self.return_at = now;
        !self.returns.is_empty()
    }

    /// Whether what was asked for by question number `drops` is still to be given back: nothing has been forgotten since.
    #[must_use]
    pub fn remembers(&self, drops: u64) -> bool {
        drops >= self.forgotten
    }

    /// Forgets everything, without giving it back: the row may be another one.
    pub fn forget(&mut self) {
        self.drops = self.drops.wrapping_add(1);
        self.forgotten = self.drops;
        self.spent_to = self.newest;
        self.stocks.clear();
        self.returns.clear();
        self.refusal = None;
    }

    /// Whether nothing is held, owed or waited for.
    #[must_use]
    pub fn is_idle(&self, now: OwnTime) -> bool {
        self.stocks.is_empty()
            && self.returns.is_empty()
            && self.waiting == 0
            && !self.is_asked
            && !self.is_short(now)
    }

    /// How the limits stand as far as this replica knows: what the row had left, what is in hand, and what is to be given
    /// back.
    pub fn standings(&self) -> impl Iterator<Item = Standing> + '_ {
        let left = self.stocks.iter().fold(Need::default(), |sum, stock| sum.plus(stock.left()));
        let left = self.returns.iter().fold(left, |sum, back| sum.plus(back.units));
        self.standings.iter().map(move |standing| Standing {
            // What is to be given back may have left the window since.
            free: standing.free.saturating_add(left.of(standing.limit.metric)).min(standing.most),
            ..*standing
        })
    }

    #[cfg(test)]
    pub(super) fn stocks(&self) -> &[Stock] {
        &self.stocks
    }

    /// How long it takes from `now` until the row's clock is past `time`, about.
    #[must_use]
    pub fn until(&self, time: RowTime, now: OwnTime) -> std::time::Duration {
        self.exchange.map_or(std::time::Duration::ZERO, |exchange| exchange.until(time, now))
    }
}

fn taken_of(stock: &mut Stock, need: Need, now: OwnTime) -> Option<Taken> {
    let units = stock.limited(need);
    stock.take(need, now).then(|| Taken { generation: stock.generation(), at: stock.at(), units })
}
