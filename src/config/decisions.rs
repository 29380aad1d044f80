//! How decisions are made.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--limits-without-store` | `KEYSTILE_LIMITS_WITHOUT_STORE` | `refuse` | refuse, or local-share |
//! | `--observe` | `KEYSTILE_OBSERVE` | none | a list, by commas, of ips, endpoints, scopes, permissions, models, chatbots, rate_limits, budgets |

use clap::{Args, ValueEnum};

use crate::leases::WithoutStore;
use crate::policy::{Check, CheckSet};

/// Settings of decisions.
#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Decisions")]
pub struct Decisions {
    /// Checks to report but not enforce, for every key: rate_limits,endpoints, say
    ///
    /// Any of ips, endpoints, scopes, permissions, models, chatbots, rate_limits, budgets, separated by
    /// commas. What would have been denied is told in `observed_reason`. For the change from a system that
    /// never enforced them.
    #[arg(long, value_name = "CHECKS", env = "KEYSTILE_OBSERVE", default_value = "",
          hide_default_value = true, value_parser = checks)]
    pub observe: CheckSet,

    /// What limited requests get while the database is away and nothing is in hand: refuse, or local-share
    ///
    /// refuse: they are not decided, UNAVAILABLE. local-share: each replica goes on by itself, with every rate limit
    /// divided by the number of replicas; then limits are not exact until the database is back.
    #[arg(long, value_name = "HOW", env = "KEYSTILE_LIMITS_WITHOUT_STORE", default_value = "refuse")]
    pub limits_without_store: LimitsWithoutStore,
}

/// See [`Decisions::limits_without_store`].
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum LimitsWithoutStore {
    /// They are not decided.
    Refuse,
    /// By a share of each limit.
    LocalShare,
}

impl Decisions {
    /// As the leases call it.
    #[must_use]
    pub const fn without_store(&self) -> WithoutStore {
        match self.limits_without_store {
            LimitsWithoutStore::Refuse => WithoutStore::Refuse,
            LimitsWithoutStore::LocalShare => WithoutStore::LocalShare,
        }
    }
}

fn checks(text: &str) -> Result<CheckSet, String> {
    let mut names = text.split(',').map(str::trim).filter(|name| !name.is_empty());
    names.try_fold(CheckSet::EMPTY, |checks, name| match Check::parse(name) {
        Some(check) => Ok(checks.with(check)),
        None => Err(format!("{name} is no check; the checks are {}", all_checks())),
    })
}

fn all_checks() -> String {
    Check::ALL.map(Check::as_str).join(", ")
}
