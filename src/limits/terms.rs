//! Who is limited, in what, and by how much.

use super::Window;
use crate::policy::{KeyId, RateLimits, RateWindows, UserId};

/// Whose limits they are: a row of counters belongs to one.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Subject {
    /// A key's own.
    Key(KeyId),
    /// Those of an owner, over all his keys.
    Owner(UserId),
}

/// What is counted.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Metric {
    /// Admitted requests.
    Requests,
    /// Model tokens: estimated when a request is admitted.
    Tokens,
}

/// Which of the limits of a subject.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Limit {
    /// What is counted.
    pub metric: Metric,
    /// Over how long.
    pub window: Window,
}

impl Limit {
    /// All that there can be: requests before tokens, shorter windows before longer ones.
    pub const ALL: [Self; 6] = [
        Self { metric: Metric::Requests, window: Window::Minute },
        Self { metric: Metric::Requests, window: Window::Hour },
        Self { metric: Metric::Requests, window: Window::Day },
        Self { metric: Metric::Tokens, window: Window::Minute },
        Self { metric: Metric::Tokens, window: Window::Hour },
        Self { metric: Metric::Tokens, window: Window::Day },
    ];
}

/// The limits of a subject, in the order of [`Limit::ALL`]; `None` is no limit.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
pub struct Terms([Option<i64>; 6]);

impl From<RateLimits> for Terms {
    fn from(limits: RateLimits) -> Self {
        let RateLimits { requests, tokens } = limits;
        let RateWindows { per_minute, per_hour, per_day } = requests;
        let [a, b, c] = [per_minute, per_hour, per_day];
        let RateWindows { per_minute, per_hour, per_day } = tokens;
        Self([a, b, c, per_minute, per_hour, per_day])
    }
}

impl Terms {
    /// The limits that there are.
    pub fn iter(&self) -> impl Iterator<Item = (Limit, i64)> {
        Limit::ALL.into_iter().zip(self.0).filter_map(|(limit, most)| Some((limit, most?)))
    }

    /// Whether nothing is limited.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.0.iter().all(Option::is_none)
    }

    /// One of them.
    #[must_use]
    pub fn get(&self, limit: Limit) -> Option<i64> {
        self.iter().find(|(it, _)| *it == limit).map(|(_, most)| most)
    }

    /// Whether a metric is limited in any window.
    #[must_use]
    pub fn limits(&self, metric: Metric) -> bool {
        self.iter().any(|(limit, _)| limit.metric == metric)
    }

    /// The shortest window that is limited: its sub-buckets bound how long units may be held.
    #[must_use]
    pub fn shortest(&self) -> Option<Window> {
        self.iter().map(|(limit, _)| limit.window).min()
    }

    /// A share of each limit for one of so many replicas, rounded down; what is limited stays limited.
    #[must_use]
    pub fn share(&self, replicas: i64) -> Self {
        Self(self.0.map(|most| most.map(|most| most / replicas.max(1))))
    }
}

/// Units of both metrics.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Need {
    /// Requests.
    pub requests: i64,
    /// Tokens.
    pub tokens: i64,
}

impl Need {
    /// One request of so many tokens.
    #[must_use]
    pub const fn request(tokens: i64) -> Self {
        Self { requests: 1, tokens }
    }

    /// Of one metric.
    #[must_use]
    pub const fn of(self, metric: Metric) -> i64 {
        match metric {
            Metric::Requests => self.requests,
            Metric::Tokens => self.tokens,
        }
    }

    /// Both together.
    #[must_use]
    pub const fn plus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_add(other.requests),
            tokens: self.tokens.saturating_add(other.tokens),
        }
    }

    /// What is left, at least nothing.
    #[must_use]
    pub fn minus(self, other: Self) -> Self {
        Self {
            requests: self.requests.saturating_sub(other.requests).max(0),
            tokens: self.tokens.saturating_sub(other.tokens).max(0),
        }
    }

    /// The smaller of each.
    #[must_use]
    pub fn min(self, other: Self) -> Self {
        Self { requests: self.requests.min(other.requests), tokens: self.tokens.min(other.tokens) }
    }

    /// Whether it is nothing.
    #[must_use]
    pub const fn is_zero(self) -> bool {
        self.requests == 0 && self.tokens == 0
    }
}
