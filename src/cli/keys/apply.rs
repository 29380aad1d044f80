//! `keystile keys apply`: makes keys as files say they are to be.
//!
//! `source` → `reading` → `wanted` (the files, strictly) and `present` (the server) → `plan`, which is pure →
//! `diff`, which is shown → `execute`. What a file does not name is left alone: keys, and fields of keys.

mod diff;
mod execute;
mod fault;
mod field;
mod plan;
mod present;
mod reading;
mod source;
mod token_dir;
mod wanted;

use std::io::{self, IsTerminal};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::Args;
use serde_json::{Value as Json, json};

use self::execute::Done;
use self::fault::Faults;
use self::plan::{Kind, Plan, plan};
use self::source::STDIN;
use crate::cli::client::Client;
use crate::cli::confirm;
use crate::cli::failure::Failure;
use crate::cli::output::{Format, Output, plain};
use crate::cli::{DENIED, FAILED};
use crate::clock::Clock;

const EXAMPLES: &str = "\
Examples:
  keystile keys apply -f keys.yaml --dry-run
  keystile keys apply -f keys.yaml --token-dir tokens
  keystile keys apply -f team-a.yaml -f team-b/ --token-dir tokens --yes

keys.yaml:
  keys:
    - user_id: 4
      name: ci
      template: default
      models: ['gpt-4o*', o3]
      expire_time: 2030-01-31T00:00:00Z
    - user_id: 4
      name: old-bot
      state: revoked

Exit code: 0 done, or nothing to do; 1 differences with --dry-run, or not agreed to; 2 something could not be done.";

/// Makes keys as files say they are to be: shows the difference, asks, then changes
///
/// A second run changes nothing. A key is found by key_id, else by user_id and name; keys and fields that
/// the files do not name are left alone.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Apply {
    /// File of keys in YAML, a directory of such files, or - for stdin; may be repeated
    #[arg(long = "file", short, value_name = "FILE", required = true)]
    files: Vec<PathBuf>,
    /// Show the difference and change nothing; the exit code is 1 where there is one
    #[arg(long)]
    dry_run: bool,
    /// Do not ask; needed where there is no terminal to ask on
    #[arg(long, short, conflicts_with = "dry_run")]
    yes: bool,
    /// Directory for the tokens of new keys: a new file each, for this user alone (0600)
    #[arg(long, value_name = "DIR")]
    token_dir: Option<PathBuf>,
}

impl Apply {
    /// Shows, asks, changes.
    ///
    /// # Errors
    /// What the person needs to know; then nothing was changed.
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        if self.files.iter().filter(|file| file.as_os_str() == STDIN).count() > 1 {
            return Err(Failure::new("-f - is given twice: there is one stdin.").into());
        }
        let wanted = wanted::read(&source::read(&self.files)?).map_err(told)?;
        let present = present::read(client, &wanted).await?;
        let plan = plan(&wanted, &present, Clock::System.now()).map_err(told)?;
        if self.dry_run || plan.is_empty() {
            show_plan(&plan, output)?;
            if plan.count(Kind::Create) > 0 && self.token_dir.is_none() {
                output.note("To create keys, name a directory for their tokens by --token-dir.");
            }
            return Ok(if plan.is_empty() { ExitCode::SUCCESS } else { ExitCode::from(DENIED) });
        }
        if plan.count(Kind::Create) > 0 && self.token_dir.is_none() {
            let failure = Failure::new(format!(
                "{} to create, and nowhere to keep the tokens: they are shown once, when a key is made.",
                keys(plan.count(Kind::Create))
            ));
            return Err(failure.next("Name a directory for them by --token-dir.").into());
        }
        if !self.is_agreed(&plan, output)? {
            return Ok(ExitCode::from(DENIED));
        }
        if let Some(dir) = &self.token_dir {
            token_dir::prepare(dir, &plan)?;
        }
        carry_out(client, &plan, self.token_dir.as_deref(), output).await
    }

    /// Shows the plan and asks, unless that was answered already.
    fn is_agreed(&self, plan: &Plan, output: &mut Output) -> anyhow::Result<bool> {
        // JSON has one document, the result; what people are asked about goes to stderr then.
        let text = diff::text(plan, output);
        match output.format() {
            Format::Table => output.show(&text)?,
            Format::Json if !self.yes => output.note(&text),
            Format::Json => {}
        }
        if self.yes {
            return Ok(true);
        }
        if !io::stdin().is_terminal() || !io::stderr().is_terminal() {
            let failure = Failure::new("There is no terminal to ask on; nothing was changed.");
            return Err(failure.next("Look with --dry-run, then change with --yes.").into());
        }
        Ok(confirm::ask("Change the keys like this?", &mut io::stdin().lock(), output)?)
    }
}

fn told(faults: Vec<fault::Fault>) -> anyhow::Error {
    match Faults::check(faults) {
        Err(faults) => faults.into(),
        Ok(()) => Failure::new("The files are refused without a reason.").into(),
    }
}

fn keys(count: usize) -> String {
    format!("{count} {}", if count == 1 { "key is" } else { "keys are" })
}

fn show_plan(plan: &Plan, output: &mut Output) -> io::Result<()> {
    match output.format() {
        Format::Table => output.show(&diff::text(plan, output)),
        Format::Json => {
            let entries: Vec<Json> = plan.entries.iter().map(diff::to_json).collect();
            output.show_json(&json!({ "keys": entries, "summary": summary(plan) }))
        }
    }
}

fn summary(plan: &Plan) -> Json {
    json!({
        "create": plan.count(Kind::Create),
        "change": plan.count(Kind::Change),
        "revoke": plan.count(Kind::Revoke),
        "delete": plan.count(Kind::Delete),
        "unchanged": plan.count(Kind::Unchanged),
    })
}

async fn carry_out(
    client: &Client,
    plan: &Plan,
    token_dir: Option<&Path>,
    output: &mut Output,
) -> anyhow::Result<ExitCode> {
    let mut results = Vec::new();
    let (mut made, mut failed) = (0_usize, 0_usize);
    for entry in &plan.entries {
        let done = execute::carry_out(client, entry, token_dir).await;
        match &done.failure {
            Some(failure) => {
                failed += 1;
                let head = plain(&format!("{}: {}", entry.place, entry.title()));
                output.note(&format!("{head}: {failure}"));
            }
            None if entry.kind() != Kind::Unchanged => {
                made += 1;
                if let Some(file) = done.token_file.as_ref().filter(|_| output.format() == Format::Table) {
                    output.note(&format!("{}: its token is in {}", plain(&entry.title()), file.display()));
                }
            }
            None => {}
        }
        results.push(with_result(diff::to_json(entry), &done));
    }
    let told = format!("{made} done, {failed} failed, {} unchanged", plan.count(Kind::Unchanged));
    match output.format() {
        Format::Json => {
            output.show_json(&json!({ "keys": results, "summary": summary(plan), "failed": failed }))?
        }
        Format::Table => output.show(&told)?,
    }
    if failed > 0 {
        output.note("Run the command again to see what is left to do.");
    }
    Ok(if failed == 0 { ExitCode::SUCCESS } else { ExitCode::from(FAILED) })
}

fn with_result(mut entry: Json, done: &Done) -> Json {
    if let Some(fields) = entry.as_object_mut() {
        fields.insert("key_id".into(), json!(done.key_id));
        fields.insert("done".into(), json!(done.failure.is_none()));
        fields.insert("failure".into(), json!(done.failure));
        fields
            .insert("token_file".into(), json!(done.token_file.as_ref().map(|it| it.display().to_string())));
    }
    entry
}
