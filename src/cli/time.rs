//! Instants and lengths of time: as people write them ⇄ as the contract has them. All instants are UTC.

use std::time::Duration;

use chrono::{DateTime, SecondsFormat, TimeDelta, Utc};
use prost_types::Timestamp;

/// The most days that a call of the contract takes: ten years.
const DAYS_MAX: i32 = 3650;

/// When something ends: at an instant, or so long from now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Expiry {
    /// At this instant.
    At(DateTime<Utc>),
    /// This long after the command is given.
    In(Duration),
}

impl Expiry {
    /// Parses `90d`, `12h` (see [`parse_duration`]) or an RFC 3339 instant, `2030-01-31T00:00:00Z`.
    ///
    /// # Errors
    /// A sentence that shows how to write one.
    pub fn parse(text: &str) -> Result<Self, String> {
        if let Ok(instant) = DateTime::parse_from_rfc3339(text) {
            return Ok(Self::At(instant.with_timezone(&Utc)));
        }
        parse_duration(text).map(Self::In).map_err(|_| {
            format!(
                "{text} is no time; write a length as in 90d or 12h, or an instant as in 2030-01-31T00:00:00Z"
            )
        })
    }

    /// Parses an instant that is looked at rather than set: what [`Self::parse`] takes, `now`, and `0s`, which is now
    /// too.
    ///
    /// # Errors
    /// A sentence that shows how to write one.
    pub fn parse_when(text: &str) -> Result<Self, String> {
        let number = text.trim_end_matches(|letter: char| letter.is_ascii_alphabetic());
        let is_zero = !number.is_empty() && number.bytes().all(|digit| digit == b'0');
        let unit = text.strip_prefix(number).unwrap_or_default();
        if text == "now" || (is_zero && parse_duration(&format!("1{unit}")).is_ok()) {
            return Ok(Self::In(Duration::ZERO));
        }
        Self::parse(text)
    }

    /// The instant, a length counted back from `now`. `None` if it is beyond the calendar.
    #[must_use]
    pub fn before(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::At(instant) => Some(instant),
            Self::In(length) => now.checked_sub_signed(TimeDelta::from_std(length).ok()?),
        }
    }

    /// The instant, a length counted from `now`. `None` if it is beyond the calendar.
    #[must_use]
    pub fn after(self, now: DateTime<Utc>) -> Option<DateTime<Utc>> {
        match self {
            Self::At(instant) => Some(instant),
            Self::In(length) => now.checked_add_signed(TimeDelta::from_std(length).ok()?),
        }
    }
}

/// Parses a whole number with a unit: `ms`, `s`, `m`, `h`, `d` (24 hours) or `w` (7 days).
///
/// # Errors
/// A sentence that shows how to write one; also for 0.
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    let refusal =
        || format!("{text} is no length of time; write a number and one of ms, s, m, h, d, w, as in 90d");
    let digits = text.bytes().take_while(u8::is_ascii_digit).count();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(refusal)?;
    let number: u64 = number.parse().map_err(|_| refusal())?;
    let unit_ms: u64 = match unit {
        "ms" => 1,
        "s" => 1_000,
        "m" => 60_000,
        "h" => 3_600_000,
        "d" => 86_400_000,
        "w" => 604_800_000,
        _ => return Err(refusal()),
    };
    let ms = number.checked_mul(unit_ms).filter(|ms| *ms > 0).ok_or_else(refusal)?;
    Ok(Duration::from_millis(ms))
}

/// Parses a number of days, `90` or `90d`.
///
/// # Errors
/// A sentence, for anything but 1 to 3650.
pub fn parse_days(text: &str) -> Result<i32, String> {
    let days = text.strip_suffix('d').unwrap_or(text);
    let days = days.parse().ok().filter(|days| (1..=DAYS_MAX).contains(days));
    days.ok_or_else(|| format!("{text} is no number of days; write 1 to {DAYS_MAX}, as in 90d"))
}

/// An instant as the contract has it.
#[must_use]
pub fn to_timestamp(instant: DateTime<Utc>) -> Timestamp {
    // A leap second (nanoseconds from 10^9 on) has no place in a Timestamp: its last nanosecond stands for it.
    let nanos = i32::try_from(instant.timestamp_subsec_nanos().min(999_999_999)).unwrap_or(0);
    Timestamp { seconds: instant.timestamp(), nanos }
}

/// An instant for a person: `2030-01-31 12:00:00Z`; `?` for one that is out of the calendar.
#[must_use]
pub fn format_timestamp(timestamp: &Timestamp) -> String {
    u32::try_from(timestamp.nanos)
        .ok()
        .and_then(|nanos| DateTime::from_timestamp(timestamp.seconds, nanos))
        .map_or_else(|| "?".to_owned(), |instant| instant.to_rfc3339_opts(SecondsFormat::Secs, true))
        .replace('T', " ")
}

/// An instant for a narrow column: `2030-01-31 12:00Z`.
#[must_use]
pub fn format_minutes(timestamp: &Timestamp) -> String {
    let text = format_timestamp(timestamp);
    match text.rsplit_once(':') {
        Some((minutes, _)) => format!("{minutes}Z"),
        None => text,
    }
}

/// A length of time for a person: `1.5 s`, `27 s`, to the millisecond.
#[must_use]
pub fn format_seconds(length: Duration) -> String {
    match (length.as_secs(), length.subsec_millis()) {
        (seconds, 0) => format!("{seconds} s"),
        (seconds, millis) => {
            let decimals = format!("{millis:03}");
            format!("{seconds}.{} s", decimals.trim_end_matches('0'))
        }
    }
}

/// A length of time that is ahead, for a person who waits: `41 s`, `12 min`, `1 h 57 min`; never less than it is.
#[must_use]
pub fn format_length(length: Duration) -> String {
    let seconds = length.as_secs().saturating_add(u64::from(length.subsec_nanos() > 0));
    let minutes = seconds.div_ceil(60);
    match seconds {
        0..=120 => format!("{seconds} s"),
        121..=3_600 => format!("{minutes} min"),
        _ if minutes % 60 == 0 => format!("{} h", minutes / 60),
        _ => format!("{} h {} min", minutes / 60, minutes % 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn instant(text: &str) -> DateTime<Utc> {
        DateTime::parse_from_rfc3339(text).unwrap().to_utc()
    }

    #[test]
    fn lengths_have_a_unit() {
        for (text, seconds) in
            [("1s", 1), ("5m", 300), ("12h", 43_200), ("90d", 7_776_000), ("2w", 1_209_600), ("3000ms", 3)]
        {
            assert_eq!(parse_duration(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        for text in [
            "",
            "90",
            "d",
            "0d",
            "-1d",
            "1.5h",
            "1 d",
            "1y",
            "1M",
            "99999999999999999999d",
            "20000000000000w",
            "é",
        ] {
            assert!(parse_duration(text).is_err(), "{text}");
        }
    }

    #[test]
    fn an_expiry_is_an_instant_or_a_length_after() {
        let now = instant("2030-01-31T12:00:00.5Z");
        let expiry = |text: &str| Expiry::parse(text).unwrap().after(now);
        assert_eq!(expiry("1d"), Some(instant("2030-02-01T12:00:00.5Z")));
        assert_eq!(expiry("2031-01-01T02:00:00+02:00"), Some(instant("2031-01-01T00:00:00Z")));
        assert_eq!(expiry("500000000d"), None);
        let back = |text: &str| Expiry::parse(text).unwrap().before(now);
        assert_eq!(back("1d"), Some(instant("2030-01-30T12:00:00.5Z")));
        assert_eq!(back("2031-01-01T00:00:00Z"), Some(instant("2031-01-01T00:00:00Z")));
        assert_eq!(back("500000000d"), None);
        for text in ["2031-01-01", "2031-01-01T00:00:00", "tomorrow", "90"] {
            assert!(Expiry::parse(text).unwrap_err().contains("2030-01-31T00:00:00Z"), "{text}");
        }
    }

    #[test]
    fn now_can_be_looked_at_and_not_set() {
        for text in ["now", "0s", "0d", "00ms"] {
            assert_eq!(Expiry::parse_when(text), Ok(Expiry::In(Duration::ZERO)), "{text}");
            assert!(Expiry::parse(text).is_err(), "{text}");
        }
        assert_eq!(Expiry::parse_when("1d"), Expiry::parse("1d"));
        for text in ["", "0", "0x", "s", "then"] {
            assert!(Expiry::parse_when(text).is_err(), "{text}");
        }
    }

    #[test]
    fn instants_are_shown_in_utc_to_the_second() {
        let shown = |text: &str| format_timestamp(&to_timestamp(instant(text)));
        assert_eq!(shown("2030-01-31T12:00:00.999Z"), "2030-01-31 12:00:00Z");
        assert_eq!(format_minutes(&to_timestamp(instant("2030-01-31T12:00:59Z"))), "2030-01-31 12:00Z");
        assert_eq!(shown("1969-12-31T23:59:59.5Z"), "1969-12-31 23:59:59Z");
        assert_eq!(
            to_timestamp(instant("1969-12-31T23:59:59.5Z")),
            Timestamp { seconds: -1, nanos: 500_000_000 }
        );
        assert_eq!(format_timestamp(&Timestamp { seconds: i64::MAX, nanos: 0 }), "?");
        assert_eq!(format_timestamp(&Timestamp { seconds: 0, nanos: -1 }), "?");
    }

    #[test]
    fn days_are_whole_and_at_most_ten_years() {
        assert_eq!((parse_days("90d"), parse_days("1"), parse_days("3650d")), (Ok(90), Ok(1), Ok(3650)));
        for text in ["", "d", "0", "0d", "3651", "-1", "1.5d", "2w", "99999999999d"] {
            assert!(parse_days(text).is_err(), "{text}");
        }
    }

    #[test]
    fn lengths_ahead_are_rounded_up() {
        for (ms, text) in [
            (0, "0 s"),
            (1, "1 s"),
            (40_100, "41 s"),
            (120_000, "120 s"),
            (120_001, "3 min"),
            (3_600_000, "60 min"),
            (3_600_001, "1 h 1 min"),
            (7_200_000, "2 h"),
            (86_460_000, "24 h 1 min"),
        ] {
            assert_eq!(format_length(Duration::from_millis(ms)), text, "{ms}");
        }
    }

    #[test]
    fn lengths_are_shown_to_the_millisecond() {
        for (ms, text) in [(0, "0 s"), (1500, "1.5 s"), (27_000, "27 s"), (2, "0.002 s"), (1_010, "1.01 s")] {
            assert_eq!(format_seconds(Duration::from_millis(ms)), text);
        }
    }
}
