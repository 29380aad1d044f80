//! How decisions are made.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--observe` | `KEYSTILE_OBSERVE` | none | a list, by commas, of ips, endpoints, scopes, permissions, models, chatbots, rate_limits, budgets |

use clap::Args;

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
