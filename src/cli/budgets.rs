//! `keystile budgets`: keeps budgets of keys and owners.

mod create;
mod list;
mod render;
mod update;

use std::process::ExitCode;

use clap::{Args, Subcommand};
use tonic::{Response, Status};

use super::DENIED;
use super::client::{Client, ClientArgs};
use super::confirm::ConfirmArgs;
use super::json::to_json;
use super::output::{Format, Output, OutputArgs};
use super::watch::{Shown, WatchArgs};
use crate::grpc::pb;

const GET_EXAMPLES: &str = "\
Examples:
  keystile budgets get 3
  keystile budgets get 3 --watch
  keystile budgets get 3 -o json | jq .budget.spent_micros";
const DELETE_EXAMPLES: &str = "\
Examples:
  keystile budgets delete 3
  keystile budgets delete 3 --yes";
const RESET_EXAMPLES: &str = "\
Examples:
  keystile budgets reset 3
  keystile budgets reset 3 --yes";

/// Creates, shows, changes, resets and deletes budgets of keys and owners
///
/// Amounts are decimals of the account currency, with at most 6 decimals. This version keeps budgets and does not enforce
/// them. The caller's token needs the scope keystile.read for list and get, keystile.admin for the rest.
#[derive(Args, Clone, Debug)]
pub struct Budgets {
    #[command(subcommand)]
    command: Command,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Clone, Debug, Subcommand)]
enum Command {
    Create(create::Create),
    List(list::List),
    Get(Get),
    Update(update::Update),
    Reset(Reset),
    Delete(Delete),
}

/// Shows a budget with what is spent and reserved of it
#[derive(Args, Clone, Debug)]
#[command(after_help = GET_EXAMPLES)]
struct Get {
    /// The budget
    #[arg(value_name = "BUDGET")]
    budget_id: i64,
    #[command(flatten)]
    watch: WatchArgs,
}

/// Sets what is spent in the current period to 0; what is reserved stays
///
/// On a terminal it says how much that is, and asks first.
#[derive(Args, Clone, Debug)]
#[command(after_help = RESET_EXAMPLES)]
struct Reset {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

/// Deletes a budget with its balances, for good
///
/// On a terminal it asks first.
#[derive(Args, Clone, Debug)]
#[command(after_help = DELETE_EXAMPLES)]
struct Delete {
    #[command(flatten)]
    which: Which,
    #[command(flatten)]
    confirm: ConfirmArgs,
}

#[derive(Args, Clone, Debug)]
struct Which {
    /// The budget
    #[arg(value_name = "BUDGET")]
    budget_id: i64,
    /// Change only what you have seen: the budget's etag from `budgets get`
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
}

impl Budgets {
    /// Does it.
    ///
    /// # Errors
    /// What the person needs to know.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        let client = &self.client.connect(output).await?;
        match &self.command {
            Command::Create(create) => create.run(client, output).await,
            Command::List(list) => list.run(client, output).await,
            Command::Get(get) => get.run(client, output).await,
            Command::Update(update) => update.run(client, output).await,
            Command::Reset(reset) => reset.run(client, output).await,
            Command::Delete(delete) => delete.run(client, output).await,
        }
    }
}

impl Get {
    async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let (format, look) = (output.format(), output.look());
        let ask = async || {
            let answer = read(client, self.budget_id).await?;
            let text = match format {
                Format::Json => format!("{:#}", to_json("GetBudgetResponse", &answer)?),
                Format::Table => {
                    answer.budget.as_ref().map(|budget| render::details(budget, look)).unwrap_or_default()
                }
            };
            Ok(Shown { text, note: String::new() })
        };
        self.watch.show(output, ask).await?;
        Ok(ExitCode::SUCCESS)
    }
}

impl Reset {
    async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let Which { budget_id, etag } = self.which.clone();
        if !self.which.agreed("Set what is spent to 0 of", self.confirm, client, output).await? {
            return Ok(ExitCode::from(DENIED));
        }
        let answer = client.budgets().reset_budget(pb::ResetBudgetRequest { budget_id, etag }).await;
        show_mutation(answer, client, output)
    }
}

impl Delete {
    async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let Which { budget_id, etag } = self.which.clone();
        if !self.which.agreed("Delete", self.confirm, client, output).await? {
            return Ok(ExitCode::from(DENIED));
        }
        let answer = client.budgets().delete_budget(pb::DeleteBudgetRequest { budget_id, etag }).await;
        let code = show_mutation(answer, client, output)?;
        output.note(&format!("Budget {budget_id} is deleted; this is what it was."));
        Ok(code)
    }
}

impl Which {
    /// Whether to do it, by the word of whoever sits there. The question says what it is about.
    async fn agreed(
        &self,
        verb: &str,
        confirm: ConfirmArgs,
        client: &Client,
        output: &mut Output,
    ) -> anyhow::Result<bool> {
        if !confirm.would_ask() {
            return Ok(true);
        }
        let budget = read(client, self.budget_id).await?.budget.unwrap_or_default();
        Ok(confirm.agreed(&question(verb, &budget), output)?)
    }
}

fn question(verb: &str, budget: &pb::Budget) -> String {
    format!("{verb} budget {} of {}, {}?", budget.budget_id, render::subject(budget), render::spent(budget))
}

async fn read(client: &Client, budget_id: i64) -> anyhow::Result<pb::GetBudgetResponse> {
    let answer = client.budgets().get_budget(pb::GetBudgetRequest { budget_id }).await;
    Ok(answer.map_err(|status| client.failure(&status))?.into_inner())
}

fn show_mutation(
    answer: Result<Response<pb::BudgetMutationResponse>, Status>,
    client: &Client,
    output: &mut Output,
) -> anyhow::Result<ExitCode> {
    let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
    let look = output.look();
    match output.format() {
        Format::Json => output.show_json(&to_json("BudgetMutationResponse", &answer)?)?,
        Format::Table => {
            let budget = answer.budget.as_ref().map(|budget| render::details(budget, look));
            output.show(&budget.unwrap_or_default())?;
        }
    }
    super::keys::note_propagation(output, answer.propagation.as_ref());
    Ok(ExitCode::SUCCESS)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_question_says_whose_budget_it_is_and_how_much_is_spent() {
        let budget = pb::Budget {
            budget_id: 3,
            subject: Some(pb::budget::Subject::UserId(4)),
            limit_micros: Some(100_000_000),
            period: pb::budget::Period::Monthly.into(),
            spent_micros: 12_500_000,
            ..Default::default()
        };
        assert_eq!(question("Delete", &budget), "Delete budget 3 of owner 4, 12.50 of 100.00 monthly?");
    }
}
