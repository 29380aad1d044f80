//! Flags of the rate limits of a new key. Any given replaces the template's whole set.

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

impl Limits {
    /// The set that is given; `None` leaves it to the template.
    pub fn to_rate_limits(&self) -> Option<pb::RateLimits> {
        let requests = windows(self.requests_per_minute, self.requests_per_hour, self.requests_per_day);
        let tokens = windows(self.tokens_per_minute, self.tokens_per_hour, self.tokens_per_day);
        let given = self.no_rate_limits || requests.is_some() || tokens.is_some();
        given.then_some(pb::RateLimits { requests, tokens })
    }
}

fn windows(
    per_minute: Option<i64>,
    per_hour: Option<i64>,
    per_day: Option<i64>,
) -> Option<pb::RateLimitWindows> {
    let given = per_minute.is_some() || per_hour.is_some() || per_day.is_some();
    given.then_some(pb::RateLimitWindows { per_minute, per_hour, per_day })
}
