//! Times and lengths of time.

use chrono::{DateTime, TimeDelta, Utc};
use prost_types::{Duration, Timestamp};

use crate::grpc::violations::Violations;

/// The latest time that protobuf can say: 9999-12-31T23:59:59.999999999Z.
const SECONDS_MAX: i64 = 253_402_300_799;
/// The earliest: 0001-01-01T00:00:00Z.
const SECONDS_MIN: i64 = -62_135_596_800;

/// A time for a message.
#[must_use]
pub fn timestamp(time: DateTime<Utc>) -> Timestamp {
    let nanos = i32::try_from(time.timestamp_subsec_nanos()).unwrap_or(999_999_999);
    Timestamp { seconds: time.timestamp(), nanos }
}

/// A length of time in whole seconds for a message.
#[must_use]
pub fn seconds(seconds: i64) -> Duration {
    Duration { seconds, nanos: 0 }
}

/// A length of time for a message; what protobuf cannot say is as long as it can.
#[must_use]
pub fn duration(time: std::time::Duration) -> Duration {
    let nanos = i32::try_from(time.subsec_nanos()).unwrap_or(999_999_999);
    Duration { seconds: i64::try_from(time.as_secs()).unwrap_or(i64::MAX), nanos }
}

/// A time from a message, cut to microseconds (what the store keeps).
pub fn read_timestamp(
    violations: &mut Violations,
    field: &str,
    value: Option<Timestamp>,
) -> Option<DateTime<Utc>> {
    let value = value?;
    let nanos = u32::try_from(value.nanos).ok().filter(|nanos| *nanos < 1_000_000_000);
    let in_range = (SECONDS_MIN..=SECONDS_MAX).contains(&value.seconds);
    let time = nanos
        .filter(|_| in_range)
        .and_then(|nanos| DateTime::from_timestamp(value.seconds, nanos / 1_000 * 1_000));
    violations.require(field, time, "must be a time between the years 1 and 9999")
}

/// A length of time from a message, where one is given.
pub fn read_duration(violations: &mut Violations, field: &str, value: Option<Duration>) -> Option<TimeDelta> {
    let value = value?;
    let delta = TimeDelta::try_seconds(value.seconds)
        .and_then(|seconds| seconds.checked_add(&TimeDelta::nanoseconds(i64::from(value.nanos))));
    let same_sign = i64::from(value.nanos).signum() * value.seconds.signum() >= 0;
    let nanos_fit = value.nanos.unsigned_abs() < 1_000_000_000;
    violations.require(field, delta.filter(|_| same_sign && nanos_fit), "must be a valid duration")
}
