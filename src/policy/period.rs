//! Calendar periods of budgets: computed from now, never stepped.

use chrono::{DateTime, Datelike as _, Days, Months, NaiveDate, NaiveTime, Utc};

use super::Period;

impl Period {
    /// Its name in the store.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Total => "total",
            Self::Daily => "daily",
            Self::Weekly => "weekly",
            Self::Monthly => "monthly",
            Self::Yearly => "yearly",
        }
    }

    /// The period of that name.
    #[must_use]
    pub fn parse(name: &str) -> Option<Self> {
        [Self::Total, Self::Daily, Self::Weekly, Self::Monthly, Self::Yearly]
            .into_iter()
            .find(|period| period.as_str() == name)
    }

    /// Start and end of the period that holds `now`: `start <= now < end`. A TOTAL budget's only period
    /// starts at the epoch and has no end. At the far end of the calendar there is no end either.
    #[must_use]
    pub fn bounds(self, now: DateTime<Utc>) -> (DateTime<Utc>, Option<DateTime<Utc>>) {
        let today = now.date_naive();
        let start = match self {
            Self::Total => None,
            Self::Daily => Some(today),
            Self::Weekly => {
                today.checked_sub_days(Days::new(u64::from(today.weekday().num_days_from_monday())))
            }
            Self::Monthly => today.with_day(1),
            Self::Yearly => today.with_day(1).and_then(|day| day.with_month(1)),
        };
        let Some(start) = start else { return (DateTime::UNIX_EPOCH, None) };
        let end = match self {
            Self::Total => None,
            Self::Daily => start.checked_add_days(Days::new(1)),
            Self::Weekly => start.checked_add_days(Days::new(7)),
            Self::Monthly => start.checked_add_months(Months::new(1)),
            Self::Yearly => start.checked_add_months(Months::new(12)),
        };
        (midnight(start), end.map(midnight))
    }
}

fn midnight(day: NaiveDate) -> DateTime<Utc> {
    day.and_time(NaiveTime::MIN).and_utc()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(text: &str) -> DateTime<Utc> {
        text.parse().unwrap()
    }

    #[test]
    fn a_period_holds_its_start_and_not_its_end() {
        let now = at("2024-02-29T23:59:59.999Z");
        for (period, start, end) in [
            (Period::Daily, "2024-02-29T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Period::Weekly, "2024-02-26T00:00:00Z", "2024-03-04T00:00:00Z"),
            (Period::Monthly, "2024-02-01T00:00:00Z", "2024-03-01T00:00:00Z"),
            (Period::Yearly, "2024-01-01T00:00:00Z", "2025-01-01T00:00:00Z"),
        ] {
            assert_eq!(period.bounds(now), (at(start), Some(at(end))), "{period:?}");
            assert_eq!(period.bounds(at(start)).0, at(start), "{period:?} starts a period");
            assert_eq!(period.bounds(at(end)).0, at(end), "{period:?} ends before its end");
        }
        assert_eq!(Period::Total.bounds(now), (DateTime::UNIX_EPOCH, None));
    }

    #[test]
    fn names_are_read_back() {
        for period in [Period::Total, Period::Daily, Period::Weekly, Period::Monthly, Period::Yearly] {
            assert_eq!(Period::parse(period.as_str()), Some(period));
        }
        assert_eq!(Period::parse("hourly"), None);
    }
}
