//! Windows and their sub-buckets.

/// A time of a row: microseconds since 1970, on the database's clock.
pub type RowTime = i64;

/// A time of a replica: nanoseconds on its own monotonic clock.
pub type OwnTime = u64;

/// What `KEYSTILE_MINUTE_SECONDS` says when the program is built: a shorter minute, for measuring over many windows
/// in little time. Never set for a program that serves.
const MINUTE_SECONDS: i64 = match option_env!("KEYSTILE_MINUTE_SECONDS") {
    Some(text) => digits(text.as_bytes()),
    None => 60,
};

const fn digits(text: &[u8]) -> i64 {
    let (mut number, mut rest) = (0, text);
    while let [digit @ b'0'..=b'9', after @ ..] = rest {
        number = number * 10 + value(*digit);
        rest = after;
    }
    // Sub-buckets are whole microseconds, and those of the hour have to end where some of the minute do.
    assert!(
        rest.is_empty() && number > 0 && number <= 60 && number % 3 == 0 && 3_600 % number == 0,
        "see KEYSTILE_MINUTE_SECONDS"
    );
    number
}

const fn value(digit: u8) -> i64 {
    // `i64::from` is not const yet.
    let (mut number, mut at) = (0, b'0');
    while at < digit {
        at += 1;
        number += 1;
    }
    number
}

/// A length of time over which a limit counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Window {
    /// 60 seconds, in 30 sub-buckets.
    Minute,
    /// 3600 seconds, in 30 sub-buckets.
    Hour,
    /// 86400 seconds, in 24 sub-buckets.
    Day,
}

impl Window {
    /// From the shortest.
    pub const ALL: [Self; 3] = [Self::Minute, Self::Hour, Self::Day];

    /// As people call it.
    #[must_use]
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Minute => "minute",
            Self::Hour => "hour",
            Self::Day => "day",
        }
    }

    /// Whether this program was built with a shorter minute.
    #[must_use]
    pub const fn is_shortened() -> bool {
        MINUTE_SECONDS != 60
    }

    /// Its length, in microseconds.
    #[must_use]
    pub const fn length(self) -> i64 {
        match self {
            Self::Minute => MINUTE_SECONDS * 1_000_000,
            Self::Hour => 3_600_000_000,
            Self::Day => 86_400_000_000,
        }
    }

    /// How many sub-buckets it has.
    #[must_use]
    pub const fn buckets(self) -> i64 {
        match self {
            Self::Minute | Self::Hour => 30,
            Self::Day => 24,
        }
    }

    /// Length of a sub-bucket, in microseconds.
    #[must_use]
    pub const fn width(self) -> i64 {
        self.length() / self.buckets()
    }

    /// The absolute number of the sub-bucket that `time` lies in.
    #[must_use]
    pub const fn bucket(self, time: RowTime) -> i64 {
        time.div_euclid(self.width())
    }

    /// When a sub-bucket ends; the next one begins there.
    #[must_use]
    pub const fn end(self, bucket: i64) -> RowTime {
        bucket.saturating_add(1).saturating_mul(self.width())
    }

    /// From when on what was used in a sub-bucket does not count any more.
    #[must_use]
    pub const fn leaves(self, bucket: i64) -> RowTime {
        self.end(bucket).saturating_add(self.length())
    }
}
