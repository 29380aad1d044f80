//! `keystile budgets create`

use std::process::ExitCode;

use clap::{Args, ValueEnum};

use super::show_mutation;
use crate::cli::client::Client;
use crate::cli::money::parse_micros;
use crate::cli::output::Output;
use crate::grpc::pb;
use crate::grpc::pb::budget::{Enforcement, Subject};

const EXAMPLES: &str = "\
Examples:
  keystile budgets create --key-id 17 --period monthly --amount 100.00 --warning 80.00
  keystile budgets create --user-id 4 --period total --amount 25 --soft --name trial
  keystile budgets create --user-id 4 --period daily --amount 5 --model 'gpt-4o*' --default-estimate 0.01";

/// Creates a budget of a key, or of all keys of an owner together
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Create {
    #[command(flatten)]
    of: Of,
    /// Over what time the amount counts; calendar periods are in UTC
    #[arg(long, value_name = "PERIOD", value_enum)]
    period: Period,
    /// The limit: 100 or 100.00
    #[arg(long, value_name = "AMOUNT", value_parser = parse_micros)]
    amount: i64,
    /// Warn rather than deny at the limit
    #[arg(long)]
    soft: bool,
    /// Warn from so much spent and reserved, at most the limit
    #[arg(long, value_name = "AMOUNT", value_parser = parse_micros)]
    warning: Option<i64>,
    /// Model that it counts, exact or a prefix that ends in *; may be repeated [default: all]
    #[arg(long = "model", value_name = "PATTERN")]
    models: Vec<String>,
    /// Reserve so much for a request without an estimate
    #[arg(long, value_name = "AMOUNT", value_parser = parse_micros)]
    default_estimate: Option<i64>,
    /// Deny a request without an estimate
    #[arg(long)]
    require_estimate: bool,
    /// Name of the budget, at most 100 characters
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    name: String,
    /// A UUID of your own: repeated within 24 hours, the command answers with the same budget
    #[arg(long, value_name = "UUID", default_value = "", hide_default_value = true)]
    request_id: String,
    /// Check everything, create nothing
    #[arg(long, visible_alias = "dry-run")]
    validate_only: bool,
}

/// Whose it is.
#[derive(Args, Clone, Debug)]
#[group(required = true, multiple = false)]
struct Of {
    /// Of this key
    #[arg(long, value_name = "KEY")]
    key_id: Option<i64>,
    /// Of all keys of this owner together
    #[arg(long, value_name = "OWNER")]
    user_id: Option<i64>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum Period {
    /// The budget's whole life
    Total,
    /// Midnight to midnight
    Daily,
    /// Monday to Monday
    Weekly,
    /// The first of a month to the first of the next
    Monthly,
    /// New Year to New Year
    Yearly,
}

impl From<Period> for pb::budget::Period {
    fn from(period: Period) -> Self {
        match period {
            Period::Total => Self::Total,
            Period::Daily => Self::Daily,
            Period::Weekly => Self::Weekly,
            Period::Monthly => Self::Monthly,
            Period::Yearly => Self::Yearly,
        }
    }
}

impl Create {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let answer = client.budgets().create_budget(self.to_request()).await;
        let code = show_mutation(answer, client, output)?;
        if self.validate_only {
            output.note("The budget would be created like this; nothing was created.");
        }
        Ok(code)
    }

    fn to_request(&self) -> pb::CreateBudgetRequest {
        let Of { key_id, user_id } = self.of;
        let enforcement = if self.soft { Enforcement::Soft } else { Enforcement::Hard };
        let budget = pb::Budget {
            subject: key_id.map(Subject::KeyId).or(user_id.map(Subject::UserId)),
            display_name: self.name.clone(),
            limit_micros: Some(self.amount),
            period: pb::budget::Period::from(self.period).into(),
            enforcement: enforcement.into(),
            warning_micros: self.warning,
            models: self.models.clone(),
            default_estimate_micros: self.default_estimate.unwrap_or_default(),
            require_estimate: self.require_estimate,
            ..Default::default()
        };
        pb::CreateBudgetRequest {
            budget: Some(budget),
            request_id: self.request_id.clone(),
            validate_only: self.validate_only,
        }
    }
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        create: Create,
    }

    fn parse(args: &[&str]) -> Result<pb::CreateBudgetRequest, clap::Error> {
        let fixed = ["create", "--period=weekly", "--amount=7.5"];
        Program::try_parse_from(fixed.iter().chain(args)).map(|program| program.create.to_request())
    }

    #[test]
    fn every_flag_reaches_the_request() {
        let request = parse(&[
            "--key-id=17",
            "--soft",
            "--warning=5",
            "--model=o3",
            "--model=gpt*",
            "--default-estimate=0.01",
            "--require-estimate",
            "--name=n",
            "--request-id=r",
            "--dry-run",
        ]);
        let budget = pb::Budget {
            subject: Some(Subject::KeyId(17)),
            display_name: "n".into(),
            limit_micros: Some(7_500_000),
            period: pb::budget::Period::Weekly.into(),
            enforcement: Enforcement::Soft.into(),
            warning_micros: Some(5_000_000),
            models: vec!["o3".into(), "gpt*".into()],
            default_estimate_micros: 10_000,
            require_estimate: true,
            ..Default::default()
        };
        let expected =
            pb::CreateBudgetRequest { budget: Some(budget), request_id: "r".into(), validate_only: true };
        assert_eq!(request.unwrap(), expected);
    }

    #[test]
    fn a_budget_is_of_a_key_or_of_an_owner() {
        let subject = |args: &[&str]| parse(args).unwrap().budget.unwrap().subject;
        assert_eq!(subject(&["--user-id=0"]), Some(Subject::UserId(0)));
        assert!(parse(&[]).is_err());
        assert!(parse(&["--user-id=4", "--key-id=17"]).is_err());
    }
}
