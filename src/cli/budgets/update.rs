//! `keystile budgets update`
//!
//! The mask is made of the flags that are given.

use std::process::ExitCode;

use clap::Args;

use super::{Which, show_mutation};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::money::parse_micros;
use crate::cli::output::Output;
use crate::grpc::pb;
use crate::grpc::pb::budget::Enforcement;

const EXAMPLES: &str = "\
Examples:
  keystile budgets update 3 --amount 200.00 --warning 160.00
  keystile budgets update 3 --warning none --soft
  keystile budgets update 3 --no-require-estimate --default-estimate 0.01 --dry-run";

/// Changes terms of a budget; what is not given stays
///
/// Whose it is, its period and its models cannot be changed: create another budget.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Update {
    #[command(flatten)]
    which: Which,
    /// New limit: 100 or 100.00
    #[arg(long, value_name = "AMOUNT", value_parser = parse_micros)]
    amount: Option<i64>,
    /// Warn from so much spent and reserved, at most the limit; none: do not warn
    #[arg(long, value_name = "AMOUNT", value_parser = warning)]
    warning: Option<Warning>,
    /// Deny at the limit
    #[arg(long, conflicts_with = "soft")]
    hard: bool,
    /// Warn rather than deny at the limit
    #[arg(long)]
    soft: bool,
    /// Reserve so much for a request without an estimate
    #[arg(long, value_name = "AMOUNT", value_parser = parse_micros)]
    default_estimate: Option<i64>,
    /// Deny a request without an estimate
    #[arg(long, conflicts_with = "no_require_estimate")]
    require_estimate: bool,
    /// Let a request without an estimate pass
    #[arg(long)]
    no_require_estimate: bool,
    /// New name of the budget, at most 100 characters; may be empty
    #[arg(long, value_name = "TEXT")]
    name: Option<String>,
    /// Check everything, change nothing
    #[arg(long, visible_alias = "dry-run")]
    validate_only: bool,
}

/// A threshold, or that there is none.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Warning(Option<i64>);

fn warning(text: &str) -> Result<Warning, String> {
    if text == "none" { Ok(Warning(None)) } else { parse_micros(text).map(|micros| Warning(Some(micros))) }
}

impl Update {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let answer = client.budgets().update_budget(self.to_request()?).await;
        let code = show_mutation(answer, client, output)?;
        if self.validate_only {
            output.note("The budget would be changed to this; nothing was changed.");
        }
        Ok(code)
    }

    fn to_request(&self) -> anyhow::Result<pb::UpdateBudgetRequest> {
        let fields = [
            ("display_name", self.name.is_some()),
            ("limit_micros", self.amount.is_some()),
            ("enforcement", self.hard || self.soft),
            ("warning_micros", self.warning.is_some()),
            ("default_estimate_micros", self.default_estimate.is_some()),
            ("require_estimate", self.require_estimate || self.no_require_estimate),
        ];
        let given = fields.into_iter().filter(|(_, given)| *given);
        let paths: Vec<String> = given.map(|(path, _)| path.to_owned()).collect();
        if paths.is_empty() {
            let failure = Failure::new("Nothing to change is given.");
            return Err(failure.next("`keystile budgets update --help` shows what can be.").into());
        }
        let enforcement = if self.soft { Enforcement::Soft } else { Enforcement::Hard };
        let budget = pb::Budget {
            budget_id: self.which.budget_id,
            display_name: self.name.clone().unwrap_or_default(),
            limit_micros: self.amount,
            enforcement: enforcement.into(),
            warning_micros: self.warning.and_then(|Warning(warning)| warning),
            default_estimate_micros: self.default_estimate.unwrap_or_default(),
            require_estimate: self.require_estimate,
            ..Default::default()
        };
        Ok(pb::UpdateBudgetRequest {
            budget: Some(budget),
            update_mask: Some(prost_types::FieldMask { paths }),
            etag: self.which.etag.clone(),
            validate_only: self.validate_only,
        })
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        update: Update,
    }

    fn request(args: &[&str]) -> anyhow::Result<pb::UpdateBudgetRequest> {
        Program::try_parse_from(["update", "3"].iter().chain(args)).unwrap().update.to_request()
    }

    #[test]
    fn the_mask_names_what_is_given_and_nothing_else() {
        for (flag, path) in [
            ("--name=", "display_name"),
            ("--amount=0", "limit_micros"),
            ("--hard", "enforcement"),
            ("--soft", "enforcement"),
            ("--warning=1", "warning_micros"),
            ("--warning=none", "warning_micros"),
            ("--default-estimate=0", "default_estimate_micros"),
            ("--require-estimate", "require_estimate"),
            ("--no-require-estimate", "require_estimate"),
        ] {
            assert_eq!(request(&[flag]).unwrap().update_mask.unwrap().paths, [path], "{flag}");
        }
        assert!(request(&["--dry-run"]).unwrap_err().to_string().starts_with("Nothing to change"));
    }

    #[test]
    fn every_flag_reaches_the_request() {
        let args = ["--amount=2", "--warning=1.5", "--soft", "--default-estimate=1", "--require-estimate"];
        let asked = request(&[&args[..], &["--name=n", "--etag=e", "--dry-run"]].concat()).unwrap();
        let budget = pb::Budget {
            budget_id: 3,
            display_name: "n".into(),
            limit_micros: Some(2_000_000),
            enforcement: Enforcement::Soft.into(),
            warning_micros: Some(1_500_000),
            default_estimate_micros: 1_000_000,
            require_estimate: true,
            ..Default::default()
        };
        assert_eq!(asked.budget, Some(budget));
        assert_eq!((asked.etag.as_str(), asked.validate_only), ("e", true));
        let none = request(&["--warning=none", "--hard"]).unwrap().budget.unwrap();
        assert_eq!((none.warning_micros, none.enforcement()), (None, Enforcement::Hard));
    }
}
