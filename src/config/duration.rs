//! Lengths of time as people write them: `500ms`, `10s`, `2m`.

use std::time::Duration;

/// Reads a length of time that somebody waits for: at most ten minutes.
///
/// # Errors
/// As [`at_most`].
pub(super) fn up_to_ten_minutes(text: &str) -> Result<Duration, String> {
    at_most(text, Duration::from_secs(600))
}

/// Reads a length of time of at most `max`.
///
/// # Errors
/// One sentence that says what would be right.
pub(super) fn at_most(text: &str, max: Duration) -> Result<Duration, String> {
    let wanted = || format!("must be a length of time up to {}, as in 500ms, 10s or 2m", write(max));
    let digits = text.len() - text.trim_start_matches(|c: char| c.is_ascii_digit()).len();
    let (number, unit) = text.split_at_checked(digits).ok_or_else(wanted)?;
    let number: u64 = number.parse().map_err(|_| wanted())?;
    let length = match unit {
        "ms" => Some(Duration::from_millis(number)),
        "s" => Some(Duration::from_secs(number)),
        "m" => number.checked_mul(60).map(Duration::from_secs),
        // Nothing is the same in every unit.
        "" if number == 0 => Some(Duration::ZERO),
        _ => None,
    };
    length.filter(|length| *length <= max).ok_or_else(wanted)
}

/// Reads a length of time of at least `min` and at most `max`.
///
/// # Errors
/// One sentence that says what would be right.
pub(super) fn between(text: &str, min: Duration, max: Duration) -> Result<Duration, String> {
    let length = at_most(text, max).ok().filter(|length| *length >= min);
    length.ok_or_else(|| format!("must be a length of time from {} to {}, as in 10s", write(min), write(max)))
}

/// The shortest way to write a length of whole milliseconds.
pub(super) fn write(length: Duration) -> String {
    match (length.as_millis(), length.as_secs()) {
        (millis, _) if millis % 1000 != 0 => format!("{millis}ms"),
        (_, seconds) if seconds % 60 != 0 => format!("{seconds}s"),
        (_, seconds) => format!("{}m", seconds / 60),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lengths_have_a_unit_and_a_bound() {
        let max = Duration::from_secs(120);
        for (text, length) in [
            ("0", Duration::ZERO),
            ("0ms", Duration::ZERO),
            ("1ms", Duration::from_millis(1)),
            ("10s", Duration::from_secs(10)),
            ("2m", max),
            ("120000ms", max),
        ] {
            assert_eq!(at_most(text, max), Ok(length), "{text}");
        }
        let told = Err("must be a length of time up to 2m, as in 500ms, 10s or 2m".to_owned());
        for text in ["", "s", "10", "1.5s", "-1s", "121s", "3m", "1h", "1 s", "99999999999999999999s", "1é"]
        {
            assert_eq!(at_most(text, max), told, "{text}");
        }
        let min = Duration::from_secs(1);
        let told = Err("must be a length of time from 1s to 2m, as in 10s".to_owned());
        assert_eq!(between("1s", min, max), Ok(min));
        assert_eq!(between("2m", min, max), Ok(max));
        for text in ["0", "999ms", "121s", "x"] {
            assert_eq!(between(text, min, max), told, "{text}");
        }
        let told = at_most("x", Duration::from_millis(1500)).unwrap_err();
        assert!(told.contains("up to 1500ms"), "{told}");
    }
}
