//! An exact log of what was admitted, and the check of the rule on it.
//!
//! The rule is checked on two time lines, both in nanoseconds:
//!
//! - The **row's**: the row's time when the unit was debited, and what has passed since then until it was used. There the
//!   rule holds whatever the database's clock does.
//! - The **true** one. There it holds for intervals that are shorter than the window by what the clock was put forward,
//!   and by the microsecond that is its resolution.
//!
//! Limits change. Of any units that were used in an interval, one was debited last, and the limit of then holds for all.

use std::fmt;

use crate::limits::{Limit, Metric, Need, RowTime, Terms};

/// One visit to the row.
#[derive(Clone, Debug)]
pub struct Debit {
    pub row_time: RowTime,
    pub true_time: u64,
    /// What was in force.
    pub terms: Terms,
    /// How often it had been changed.
    pub version: u64,
    /// Which counting of each limit it belongs to; 0 where there is none. A limit that is added again counts anew.
    pub counting: [u32; 6],
    /// A failover lost it.
    pub is_lost: bool,
}

/// One use of units, or a charge of what was used.
#[derive(Clone, Debug)]
pub struct Entry {
    /// The replica, and which life of it.
    pub owner: (usize, u64),
    /// Its place in [`Log::debits`].
    pub debit: usize,
    pub generation: i64,
    /// Where its sub-bucket was debited.
    pub at: RowTime,
    pub true_time: u64,
    pub units: Need,
    /// Used whatever the limits were.
    pub is_charge: bool,
    /// Tokens that a later visit took back.
    pub surplus: Option<(usize, i64)>,
    /// Was not used after all.
    pub is_undone: bool,
}

#[derive(Clone, Debug, Default)]
pub struct Log {
    pub debits: Vec<Debit>,
    pub entries: Vec<Entry>,
    /// Debits at one place, where units of one were put back as if they were of the other.
    pub alike: Vec<(usize, usize)>,
}

/// More than the rule allows.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Breach {
    pub limit: Limit,
    pub most: i64,
    pub used: i128,
    pub line: &'static str,
}

impl fmt::Display for Breach {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { limit: Limit { metric, window }, most, used, line } = self;
        let window = window.as_str();
        write!(out, "{used} {metric:?} within one {window} on the {line} time line, of at most {most}")
    }
}

/// What one entry is to one limit.
struct Item {
    time: i64,
    debit: usize,
    units: i64,
    is_charge: bool,
    surplus: Option<(usize, i64)>,
}

impl Log {
    /// Where an entry lies on the row's time line.
    pub fn place(&self, entry: &Entry) -> i64 {
        let debit = &self.debits[entry.debit];
        debit.row_time * 1_000 + nanos(entry.true_time) - nanos(debit.true_time)
    }

    /// Checks the rule; `forward` is by how many microseconds the database's clock was put forward, all together.
    pub fn check(&self, forward: i64) -> Result<(), Breach> {
        for (index, limit) in Limit::ALL.into_iter().enumerate() {
            let length = limit.window.length() * 1_000;
            let place = |entry: &Entry| self.place(entry);
            self.check_line(index, limit, "row's", length, &place)?;
            let length = length - forward * 1_000 - 1_000;
            if length > 0 {
                let true_time = |entry: &Entry| nanos(entry.true_time);
                self.check_line(index, limit, "true", length, &true_time)?;
            }
        }
        Ok(())
    }

    fn check_line(
        &self,
        index: usize,
        limit: Limit,
        line: &'static str,
        length: i64,
        time: &dyn Fn(&Entry) -> i64,
    ) -> Result<(), Breach> {
        let mut countings: Vec<(u32, Vec<Item>)> = Vec::new();
        for entry in self.entries.iter().filter(|entry| !entry.is_undone) {
            let debit = &self.debits[entry.debit];
            let counting = debit.counting[index];
            let units = entry.units.of(limit.metric);
            if debit.is_lost || counting == 0 || units == 0 {
                continue;
            }
            let surplus = entry.surplus.filter(|_| limit.metric == Metric::Tokens);
            let item =
                Item { time: time(entry), debit: entry.debit, units, is_charge: entry.is_charge, surplus };
            match countings.iter_mut().find(|(it, _)| *it == counting) {
                Some((_, items)) => items.push(item),
                None => countings.push((counting, vec![item])),
            }
        }
        for (_, items) in &mut countings {
            let all: i128 = items.iter().map(|item| i128::from(item.units)).sum();
            let of_debit = |item: &Item| self.debits[item.debit].terms.get(limit);
            if items.iter().filter_map(of_debit).min().is_none_or(|least| all <= i128::from(least)) {
                continue;
            }
            items.sort_by_key(|item| item.time);
            for last in 0..items.len() {
                self.check_until(&items[..=last], limit, line, length)?;
            }
        }
        Ok(())
    }

    /// Every interval that ends with the last of these.
    fn check_until(
        &self,
        items: &[Item],
        limit: Limit,
        line: &'static str,
        length: i64,
    ) -> Result<(), Breach> {
        let end = items[items.len() - 1].time;
        let (mut sum, mut last_debit) = (0_i128, None);
        // What counts from a certain visit on.
        let mut later: Vec<(usize, i64)> = Vec::new();
        for item in items.iter().rev().take_while(|item| end - item.time <= length) {
            if item.is_charge {
                later.push((item.debit, item.units));
            } else {
                sum += i128::from(item.units);
                last_debit = last_debit.max(Some(item.debit));
            }
            later.extend(item.surplus.map(|(visit, units)| (visit, -units)));
            let Some(last_debit) = last_debit else { continue };
            let counts = later.iter().filter(|(visit, _)| *visit <= last_debit);
            let used = sum + counts.map(|(_, units)| i128::from(*units)).sum::<i128>();
            let most = self.debits[last_debit].terms.get(limit).unwrap_or(i64::MAX);
            if used > i128::from(most) {
                return Err(Breach { limit, most, used, line });
            }
        }
        Ok(())
    }
}

pub fn nanos(time: u64) -> i64 {
    i64::try_from(time).unwrap()
}
