//! Flags of rate limits: the whole set of a new key, and changes of a set that there is.

use clap::Args;

use crate::grpc::pb;

/// Rate limits of a new key.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits (any given replaces all of the template's)")]
pub struct Limits {
    /// Requests in any 60 seconds
    #[arg(long, value_name = "N")]
    requests_per_minute: Option<i64>,
    /// Requests in any hour
    #[arg(long, value_name = "N")]
    requests_per_hour: Option<i64>,
    /// Requests in any 24 hours
    #[arg(long, value_name = "N")]
    requests_per_day: Option<i64>,
    /// Model tokens, input and output, in any 60 seconds
    #[arg(long, value_name = "N")]
    tokens_per_minute: Option<i64>,
    /// Model tokens in any hour
    #[arg(long, value_name = "N")]
    tokens_per_hour: Option<i64>,
    /// Model tokens in any 24 hours
    #[arg(long, value_name = "N")]
    tokens_per_day: Option<i64>,
    /// No rate limits, whatever the template has
    #[arg(long, conflicts_with_all = ["requests_per_minute", "requests_per_hour", "requests_per_day",
          "tokens_per_minute", "tokens_per_hour", "tokens_per_day"])]
    no_rate_limits: bool,
}

/// Changes of rate limits that there are: what is not given stays.
#[derive(Args, Clone, Debug, Default)]
#[command(next_help_heading = "Limits (what is not given stays; none takes one away)")]
pub struct LimitChanges {
    /// Requests in any 60 seconds
    #[arg(long, value_name = "N|none", value_parser = limit)]
    requests_per_minute: Option<Limit>,
    /// Requests in any hour
    #[arg(long, value_name = "N|none", value_parser = limit)]
    requests_per_hour: Option<Limit>,
    /// Requests in any 24 hours
    #[arg(long, value_name = "N|none", value_parser = limit)]
    requests_per_day: Option<Limit>,
    /// Model tokens, input and output, in any 60 seconds
    #[arg(long, value_name = "N|none", value_parser = limit)]
    tokens_per_minute: Option<Limit>,
    /// Model tokens in any hour
    #[arg(long, value_name = "N|none", value_parser = limit)]
    tokens_per_hour: Option<Limit>,
    /// Model tokens in any 24 hours
    #[arg(long, value_name = "N|none", value_parser = limit)]
    tokens_per_day: Option<Limit>,
    /// No rate limits at all
    #[arg(long, conflicts_with_all = ["requests_per_minute", "requests_per_hour", "requests_per_day",
          "tokens_per_minute", "tokens_per_hour", "tokens_per_day"])]
    no_rate_limits: bool,
}

/// A limit, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Limit(Option<i64>);

impl Limits {
    /// The set that is given; `None` leaves it to the template.
    pub fn to_rate_limits(&self) -> Option<pb::RateLimits> {
        let requests = windows(self.requests_per_minute, self.requests_per_hour, self.requests_per_day);
        let tokens = windows(self.tokens_per_minute, self.tokens_per_hour, self.tokens_per_day);
        let given = self.no_rate_limits || requests.is_some() || tokens.is_some();
        given.then_some(pb::RateLimits { requests, tokens })
    }
}

impl LimitChanges {
    /// Whether something is to be changed.
    pub fn is_given(&self) -> bool {
        !self.paths().is_empty()
    }

    /// Whether what there is counts: single limits are changed.
    pub fn keeps_the_rest(&self) -> bool {
        !self.no_rate_limits && self.is_given()
    }

    /// The paths of what is changed, in an update mask of a key.
    pub fn paths(&self) -> Vec<&'static str> {
        let changes = [
            ("rate_limits.requests.per_minute", self.requests_per_minute.is_some()),
            ("rate_limits.requests.per_hour", self.requests_per_hour.is_some()),
            ("rate_limits.requests.per_day", self.requests_per_day.is_some()),
            ("rate_limits.tokens.per_minute", self.tokens_per_minute.is_some()),
            ("rate_limits.tokens.per_hour", self.tokens_per_hour.is_some()),
            ("rate_limits.tokens.per_day", self.tokens_per_day.is_some()),
            ("rate_limits", self.no_rate_limits),
        ];
        changes.into_iter().filter(|(_, changed)| *changed).map(|(path, _)| path).collect()
    }

    /// The set after the changes.
    pub fn applied_to(&self, limits: Option<pb::RateLimits>) -> pb::RateLimits {
        if self.no_rate_limits {
            return pb::RateLimits::default();
        }
        let limits = limits.unwrap_or_default();
        let (requests, tokens) = (limits.requests.unwrap_or_default(), limits.tokens.unwrap_or_default());
        pb::RateLimits {
            requests: windows(
                changed(self.requests_per_minute, requests.per_minute),
                changed(self.requests_per_hour, requests.per_hour),
                changed(self.requests_per_day, requests.per_day),
            ),
            tokens: windows(
                changed(self.tokens_per_minute, tokens.per_minute),
                changed(self.tokens_per_hour, tokens.per_hour),
                changed(self.tokens_per_day, tokens.per_day),
            ),
        }
    }
}

fn changed(change: Option<Limit>, limit: Option<i64>) -> Option<i64> {
    change.map_or(limit, |Limit(changed)| changed)
}

fn limit(text: &str) -> Result<Limit, String> {
    if text == "none" {
        return Ok(Limit(None));
    }
    let number = text.parse().map_err(|_| format!("{text} is no limit; write a number, or none"))?;
    Ok(Limit(Some(number)))
}

fn windows(
    per_minute: Option<i64>,
    per_hour: Option<i64>,
    per_day: Option<i64>,
) -> Option<pb::RateLimitWindows> {
    let given = per_minute.is_some() || per_hour.is_some() || per_day.is_some();
    given.then_some(pb::RateLimitWindows { per_minute, per_hour, per_day })
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        changes: LimitChanges,
    }

    fn changes(args: &[&str]) -> LimitChanges {
        Program::try_parse_from(["limits"].iter().chain(args)).unwrap().changes
    }

    fn template() -> Option<pb::RateLimits> {
        Some(pb::RateLimits { requests: windows(Some(60), Some(3600), Some(86_400)), tokens: None })
    }

    #[test]
    fn a_changed_limit_leaves_the_others() {
        let changes =
            changes(&["--requests-per-minute=100", "--requests-per-day=none", "--tokens-per-hour=0"]);
        assert!(changes.keeps_the_rest());
        let limits = changes.applied_to(template());
        assert_eq!(limits.requests, windows(Some(100), Some(3600), None));
        assert_eq!(limits.tokens, windows(None, Some(0), None));
        assert_eq!(changes.applied_to(None).requests, windows(Some(100), None, None));
    }

    #[test]
    fn all_limits_are_taken_away_at_once() {
        let changes = changes(&["--no-rate-limits"]);
        assert!(changes.is_given() && !changes.keeps_the_rest());
        assert_eq!(changes.applied_to(template()), pb::RateLimits::default());
        assert!(Program::try_parse_from(["limits", "--no-rate-limits", "--tokens-per-day=1"]).is_err());
        assert!(Program::try_parse_from(["limits", "--tokens-per-day=many"]).is_err());
    }
}
