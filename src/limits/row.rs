//! What the store keeps of a subject.
//!
//! Each limited window has counters by absolute sub-bucket. What is kept is what still counts: the sub-buckets that end
//! after `time − W`, up to the one that `time` lies in and, where units were debited ahead, the one after it.

use super::{Limit, Metric, Need, RowTime, Terms};

/// Counters of one limit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Ring {
    pub(super) limit: Limit,
    /// By sub-bucket, ascending; none is 0.
    pub(super) counts: Vec<(i64, i64)>,
}

impl Ring {
    fn sum(&self) -> i64 {
        self.counts.iter().fold(0, |sum: i64, (_, count)| sum.saturating_add(*count))
    }

    /// Drops what does not count any more at `time`.
    fn advance(&mut self, time: RowTime) {
        let window = self.limit.window;
        self.counts.retain(|(bucket, count)| *count > 0 && window.leaves(*bucket) > time);
    }

    fn add(&mut self, at: RowTime, units: i64) {
        if units <= 0 {
            return;
        }
        let bucket = self.limit.window.bucket(at);
        match self.counts.binary_search_by_key(&bucket, |(bucket, _)| *bucket) {
            Ok(position) => {
                if let Some((_, count)) = self.counts.get_mut(position) {
                    *count = count.saturating_add(units);
                }
            }
            Err(position) => self.counts.insert(position, (bucket, units)),
        }
    }

    /// Whether anything was there to take back.
    fn take_back(&mut self, at: RowTime, units: i64) -> bool {
        let bucket = self.limit.window.bucket(at);
        let Some((_, count)) = self.counts.iter_mut().find(|(it, _)| *it == bucket).filter(|_| units > 0)
        else {
            return false;
        };
        *count = count.saturating_sub(units).max(0);
        self.counts.retain(|(_, count)| *count > 0);
        true
    }

    /// From when on at most `room` of it counts; `None` where that is never.
    fn has_room_at(&self, room: i64) -> Option<RowTime> {
        if room < 0 {
            return None;
        }
        let mut sum = self.sum();
        let mut when = RowTime::MIN;
        for (bucket, count) in &self.counts {
            if sum <= room {
                break;
            }
            sum = sum.saturating_sub(*count);
            when = self.limit.window.leaves(*bucket);
        }
        Some(when)
    }
}

/// Units that were debited and not used.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Return {
    /// The row's, when they were debited.
    pub generation: i64,
    /// Where they were debited.
    pub at: RowTime,
    /// How many.
    pub units: Need,
}

/// How a limit stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Standing {
    /// Which limit.
    pub limit: Limit,
    /// The most in any window.
    pub most: i64,
    /// What may still be debited now; negative where reports have shown more than was estimated.
    pub free: i64,
    /// When all of the limit is free again if nothing else is used.
    pub reset: RowTime,
}

/// What stands in the way of a need.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Shortage {
    /// The limit that is in the way the longest.
    pub limit: Limit,
    /// What it is.
    pub most: i64,
    /// When there is room; `None` where the need is larger than the limit.
    pub room_at: Option<RowTime>,
}

/// Counters of a subject.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Row {
    /// Never goes back.
    pub(super) time: RowTime,
    /// One more whenever a limit is added that was not counted before.
    pub(super) generation: i64,
    pub(super) rings: Vec<Ring>,
}

impl Row {
    /// Its time.
    #[must_use]
    pub fn time(&self) -> RowTime {
        self.time
    }

    /// Its generation: units of another one are not taken back.
    #[must_use]
    pub fn generation(&self) -> i64 {
        self.generation
    }

    /// Comes to `now`, on the database's clock and read under the row's lock, and to the limits that are in force. A limit
    /// that was not counted before starts empty.
    pub fn advance(&mut self, now: RowTime, terms: &Terms) {
        self.time = self.time.max(now);
        self.rings.retain(|ring| terms.get(ring.limit).is_some());
        let time = self.time;
        self.rings.iter_mut().for_each(|ring| ring.advance(time));
        let mut is_new = false;
        for (limit, _) in terms.iter() {
            if let Err(position) = self.rings.binary_search_by_key(&limit, |ring| ring.limit) {
                self.rings.insert(position, Ring { limit, counts: Vec::new() });
                is_new = true;
            }
        }
        if is_new {
            self.generation = self.generation.saturating_add(1);
        }
    }

    fn used(&self, limit: Limit) -> i64 {
        self.rings.iter().find(|ring| ring.limit == limit).map_or(0, Ring::sum)
    }

    /// How many units of a metric the rule allows to debit now; `None` where it is not limited. Negative where more is
    /// used than the limit allows.
    #[must_use]
    pub fn free(&self, metric: Metric, terms: &Terms) -> Option<i64> {
        let of_metric = terms.iter().filter(|(limit, _)| limit.metric == metric);
        of_metric.map(|(limit, most)| most.saturating_sub(self.used(limit))).min()
    }

    /// Debits units where `at` lies. Whether the rule allows it is the caller's question.
    pub(super) fn debit(&mut self, at: RowTime, units: Need) {
        self.rings.iter_mut().for_each(|ring| ring.add(at, units.of(ring.limit.metric)));
    }

    /// Takes units back that were not used, and says whether that has changed anything. They are ignored if their
    /// sub-bucket has left the row or the row's generation is another one.
    pub fn give_back(&mut self, back: &Return) -> bool {
        let Return { generation, at, units } = *back;
        let take_back = |has: bool, ring: &mut Ring| ring.take_back(at, units.of(ring.limit.metric)) || has;
        generation == self.generation && self.rings.iter_mut().fold(false, take_back)
    }

    /// Charges tokens that have been used already, whatever the limits are.
    pub fn charge(&mut self, tokens: i64) {
        self.debit(self.time, Need { requests: 0, tokens });
    }

    /// How each limit stands.
    pub fn standings<'r>(&'r self, terms: &'r Terms) -> impl Iterator<Item = Standing> + 'r {
        terms.iter().map(move |(limit, most)| {
            let counts =
                self.rings.iter().find(|ring| ring.limit == limit).map(|ring| ring.counts.as_slice());
            let last = counts.and_then(<[_]>::last);
            let reset = last.map_or(self.time, |(bucket, _)| limit.window.leaves(*bucket));
            Standing { limit, most, free: most.saturating_sub(self.used(limit)), reset }
        })
    }

    /// What stands in the way of a need the longest; `None` where the rule allows it now.
    #[must_use]
    pub fn shortage(&self, need: Need, terms: &Terms) -> Option<Shortage> {
        let in_the_way = terms.iter().filter_map(|(limit, most)| {
            let ring = self.rings.iter().find(|ring| ring.limit == limit);
            let room = most.saturating_sub(need.of(limit.metric));
            if room >= 0 && ring.is_none_or(|ring| ring.sum() <= room) {
                return None;
            }
            let room_at = ring.map_or((room >= 0).then_some(self.time), |ring| ring.has_room_at(room));
            Some(Shortage { limit, most, room_at })
        });
        in_the_way.max_by_key(|shortage| shortage.room_at.unwrap_or(RowTime::MAX))
    }
}
