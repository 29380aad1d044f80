//! Rate limits.

use super::time;
use crate::grpc::pb;
use crate::grpc::violations::Violations;
use crate::limits::{LimitStatus, Metric, Whose, Window};
use crate::policy::{RATE_LIMIT_MAX, RateLimits, RateWindows};

/// Rate limits for a message.
#[must_use]
pub fn rate_limits(limits: RateLimits) -> pb::RateLimits {
    let windows = |windows: RateWindows| pb::RateLimitWindows {
        per_minute: windows.per_minute,
        per_hour: windows.per_hour,
        per_day: windows.per_day,
    };
    pb::RateLimits { requests: Some(windows(limits.requests)), tokens: Some(windows(limits.tokens)) }
}

/// How a limit stands.
#[must_use]
pub fn status(status: &LimitStatus) -> pb::RateLimitStatus {
    use pb::rate_limit_status as status_pb;
    let LimitStatus { whose, limit, most, remaining, reset_after } = *status;
    let metric = match limit.metric {
        Metric::Requests => status_pb::Metric::Requests,
        Metric::Tokens => status_pb::Metric::Tokens,
    };
    let subject = match whose {
        Whose::Keys => status_pb::Subject::Key,
        Whose::Owners => status_pb::Subject::Owner,
    };
    pb::RateLimitStatus {
        metric: metric.into(),
        window: Some(time::seconds(window_seconds(limit.window))),
        limit: most,
        remaining: Some(remaining),
        reset_after: Some(time::duration(reset_after)),
        subject: subject.into(),
    }
}

/// What a window is called by.
const fn window_seconds(window: Window) -> i64 {
    match window {
        Window::Minute => 60,
        Window::Hour => 3_600,
        Window::Day => 86_400,
    }
}

/// Rate limits from a message.
pub fn read_rate_limits(
    violations: &mut Violations,
    field: &str,
    limits: Option<pb::RateLimits>,
) -> Option<RateLimits> {
    let pb::RateLimits { requests, tokens } = limits?;
    Some(RateLimits {
        requests: read_windows(violations, &format!("{field}.requests"), requests),
        tokens: read_windows(violations, &format!("{field}.tokens"), tokens),
    })
}

fn read_windows(
    violations: &mut Violations,
    field: &str,
    windows: Option<pb::RateLimitWindows>,
) -> RateWindows {
    let pb::RateLimitWindows { per_minute, per_hour, per_day } = windows.unwrap_or_default();
    let mut check = |name: &str, limit: Option<i64>| {
        if limit.is_some_and(|limit| !(0..=RATE_LIMIT_MAX).contains(&limit)) {
            violations.add(format!("{field}.{name}"), format!("must be 0 to {RATE_LIMIT_MAX}"));
        }
        limit
    };
    RateWindows {
        per_minute: check("per_minute", per_minute),
        per_hour: check("per_hour", per_hour),
        per_day: check("per_day", per_day),
    }
}
