//! Amounts of money: decimals as people write them ⇄ micros (10⁻⁶ of the account currency). Exact, no floats.

const DECIMALS: usize = 6;
const MICROS_PER_UNIT: i64 = 1_000_000;

/// Parses `25`, `25.00` or `0.000001` to micros.
///
/// # Errors
/// A sentence, for anything but digits with at most 6 decimals, and above 9223372036854.775807.
pub fn parse_micros(text: &str) -> Result<i64, String> {
    let (whole, decimals) = match text.split_once('.') {
        Some((whole, decimals)) if !decimals.is_empty() => (whole, decimals),
        Some(_) => return Err(no_amount(text)),
        None => (text, ""),
    };
    if whole.is_empty() || !is_digits(whole) || !is_digits(decimals) {
        return Err(no_amount(text));
    }
    if decimals.len() > DECIMALS {
        return Err(format!("{text} has more than {DECIMALS} decimals, and would have to be rounded"));
    }
    let too_large = || format!("{text} is too large an amount");
    let whole: i64 = whole.parse().map_err(|_| too_large())?;
    let micros: i64 = format!("{decimals:0<DECIMALS$}").parse().map_err(|_| too_large())?;
    whole.checked_mul(MICROS_PER_UNIT).and_then(|whole| whole.checked_add(micros)).ok_or_else(too_large)
}

fn is_digits(text: &str) -> bool {
    text.bytes().all(|byte| byte.is_ascii_digit())
}

fn no_amount(text: &str) -> String {
    format!("{text} is no amount; write 25 or 25.00, without sign, unit or grouping")
}

/// Writes micros as a decimal with 2 to 6 decimals: as many as it takes to be exact.
#[must_use]
pub fn format_micros(micros: i64) -> String {
    let sign = if micros < 0 { "-" } else { "" };
    let magnitude = micros.unsigned_abs();
    let unit = MICROS_PER_UNIT.unsigned_abs();
    let text = format!("{sign}{}.{:0DECIMALS$}", magnitude / unit, magnitude % unit);
    let spare = text.bytes().rev().take(DECIMALS - 2).take_while(|byte| *byte == b'0').count();
    text.chars().take(text.len() - spare).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_exact() {
        for (text, micros) in [
            ("0", 0),
            ("25", 25_000_000),
            ("25.00", 25_000_000),
            ("0.1", 100_000),
            ("0.000001", 1),
            ("007.5", 7_500_000),
            // A double would lose the last digit.
            ("9007199254.740993", 9_007_199_254_740_993),
            ("9223372036854.775807", i64::MAX),
        ] {
            assert_eq!(parse_micros(text), Ok(micros), "{text}");
        }
    }

    #[test]
    fn what_is_no_amount_is_refused() {
        for text in
            ["", ".", "1.", ".5", "-1", "+1", "1,5", "1_000", "1e3", "1.2.3", "$5", "5 ", "٣", "NaN", "0x10"]
        {
            assert_eq!(parse_micros(text), Err(no_amount(text)), "{text:?}");
        }
        assert!(parse_micros("0.0000001").unwrap_err().contains("more than 6 decimals"));
        for text in ["9223372036854.775808", "9223372036855", "99999999999999999999"] {
            assert_eq!(parse_micros(text), Err(format!("{text} is too large an amount")));
        }
    }

    #[test]
    fn amounts_are_written_with_two_decimals_or_what_it_takes() {
        for (micros, text) in [
            (0, "0.00"),
            (25_000_000, "25.00"),
            (1_500_000, "1.50"),
            (1_234_000, "1.234"),
            (1, "0.000001"),
            (-10_000, "-0.01"),
            (i64::MAX, "9223372036854.775807"),
            (i64::MIN, "-9223372036854.775808"),
        ] {
            assert_eq!(format_micros(micros), text);
        }
    }

    proptest::proptest! {
        #[test]
        fn what_is_written_is_read_back(micros in 0..=i64::MAX) {
            assert_eq!(parse_micros(&format_micros(micros)), Ok(micros));
        }
    }
}
