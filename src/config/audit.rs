//! How long the audit log is kept.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--audit-retention` | `KEYSTILE_AUDIT_RETENTION` | `400d` | `1d` to `36500d`, or `never` |

use std::fmt;

use clap::Args;

/// Longest retention but for ever: a hundred years, about.
const DAYS_MAX: i32 = 36_500;

/// Settings of the audit log.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Audit log")]
pub struct Audit {
    /// How long lines of the audit log are kept: days, as in 400d, or never to remove any
    #[arg(long = "audit-retention", value_name = "DAYS", env = "KEYSTILE_AUDIT_RETENTION", default_value = "400d",
          value_parser = AuditRetention::parse)]
    pub retention: AuditRetention,
}

/// Days, or for ever.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct AuditRetention(Option<i32>);

impl AuditRetention {
    /// `400d`; `never` keeps all. 0 is refused: it could mean either end.
    ///
    /// # Errors
    /// What it must be.
    pub fn parse(text: &str) -> Result<Self, String> {
        if text == "never" {
            return Ok(Self(None));
        }
        let days = text.strip_suffix('d').and_then(|days| days.parse().ok());
        let days = days.filter(|days| (1..=DAYS_MAX).contains(days));
        days.map(|days| Self(Some(days)))
            .ok_or_else(|| format!("must be a number of days from 1d to {DAYS_MAX}d, as in 400d, or never"))
    }

    /// So many days; `None` keeps all.
    #[must_use]
    pub const fn days(self) -> Option<i32> {
        self.0
    }
}

impl fmt::Display for AuditRetention {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0 {
            Some(days) => write!(out, "{days}d"),
            None => out.write_str("never"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::AuditRetention;

    #[test]
    fn a_retention_is_days_or_never() {
        let parse = |text: &str| AuditRetention::parse(text).map(AuditRetention::days);
        assert_eq!(parse("400d"), Ok(Some(400)));
        assert_eq!(parse("36500d"), Ok(Some(36_500)));
        assert_eq!(parse("never"), Ok(None));
        for bad in ["", "d", "0", "0d", "400", "-1d", "36501d", "1.5d", "1h", "Never", "99999999999d"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
        assert_eq!(AuditRetention::parse("400d").unwrap().to_string(), "400d");
    }
}
