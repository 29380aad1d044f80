//! `keystile authorize`: asks for decisions from the shell.

mod batch;
mod context;

use std::ffi::OsString;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use prost::bytes::Bytes;

pub(super) use self::context::{Context, bytes};

use super::DENIED;
use super::client::ClientArgs;
use super::failure::Failure;
use super::json::to_json;
use super::money::parse_micros;
use super::output::{Format, Output, OutputArgs, Tone, plain};
use super::read_token::read_token;
use super::table::{Cell, properties_in, summary};
use super::time::{format_seconds, format_timestamp, parse_duration};
use crate::grpc::convert::authorize::judged_key;
use crate::grpc::pb;
use crate::grpc::pb::authorize_response::{Decision, Reason};

const SHOWN: usize = 10;
const EXAMPLES: &str = "\
Examples:
  keystile authorize --model gpt-4o --endpoint /v1/chat/completions --method POST < user.token
  keystile authorize --judged-token-file user.token --not-applicable model,chatbot
  if keystile authorize --scope chat.completions < user.token >/dev/null; then echo yes; fi
  keystile authorize --batch questions.jsonl

Exit code: 0 allowed, 1 denied, 2 no decision was made; of several answers the worst.";

/// Asks whether a key may do something
///
/// The judged token is read from stdin, or from --judged-token-file; never from a flag, which other users of
/// the machine could see. The caller's own token (--token-file, KEYSTILE_TOKEN) is that of a key with the
/// scope keystile.authorize. Rate limits are charged, unless --dry-run is given. Budgets are stored but not
/// enforced yet: a warning says so.
///
/// --batch asks many questions, a line each: {"token": "ks_…", "model": "gpt-4o", "scopes": ["chat.completions"]},
/// by the names of the contract's AuthorizeRequest.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Authorize {
    /// File with the token of the key that is judged [default: stdin]
    #[arg(long, value_name = "FILE")]
    judged_token_file: Option<PathBuf>,
    /// Ask every question of this file, a JSON object a line; - is stdin
    #[arg(long, value_name = "FILE", conflicts_with_all = ["judged_token_file", "model",
          "Context", "estimated_tokens", "estimated_cost", "reservation_ttl", "dry_run"])]
    batch: Option<PathBuf>,
    #[command(flatten)]
    question: Question,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

#[derive(Args, Clone, Debug)]
#[command(next_help_heading = "Question")]
struct Question {
    /// Model that would be called
    #[arg(long, value_name = "MODEL", default_value = "", hide_default_value = true)]
    model: OsString,
    #[command(flatten)]
    context: Context,
    /// Model tokens that it is expected to use
    #[arg(long, value_name = "N")]
    estimated_tokens: Option<i64>,
    /// What it is expected to cost: 0.25
    #[arg(long, value_name = "AMOUNT", value_parser = parse_micros)]
    estimated_cost: Option<i64>,
    /// How long a reservation is held, 1s to 24h [default: 10m]
    #[arg(long, value_name = "LENGTH", value_parser = parse_duration)]
    reservation_ttl: Option<Duration>,
    /// Decide, but charge and count nothing
    #[arg(long)]
    dry_run: bool,
}

impl Authorize {
    /// Asks, and answers by the exit code.
    ///
    /// # Errors
    /// What the person needs to know; no decision was made.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        if let Some(file) = &self.batch {
            return batch::ask(file, &self.client.connect(output).await?, output).await;
        }
        let token = read_token("judged", self.judged_token_file.as_deref(), output)?;
        let client = self.client.connect(output).await?;
        let answer = client.authorize().authorize(self.question.with_token(token)?).await;
        let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
        match output.format() {
            Format::Json => output.show_json(&to_json("AuthorizeResponse", &answer)?)?,
            Format::Table => output.show(&shown(&answer, output))?,
        }
        match answer.decision() {
            Decision::Allow => Ok(ExitCode::SUCCESS),
            Decision::Deny => Ok(ExitCode::from(DENIED)),
            Decision::Unspecified => Err(Failure::new("The server's answer has no decision.").into()),
        }
    }
}

impl Question {
    fn with_token(&self, token: Bytes) -> anyhow::Result<pb::AuthorizeRequest> {
        let ttl = self.reservation_ttl.map(prost_types::Duration::try_from).transpose();
        let context = &self.context;
        Ok(pb::AuthorizeRequest {
            token,
            model: bytes(&self.model),
            endpoint: bytes(&context.endpoint),
            method: bytes(&context.method),
            chatbot_id: bytes(&context.chatbot),
            client_ip: bytes(&context.client_ip),
            scopes: context.scopes.clone(),
            permissions: context.permissions.clone(),
            not_applicable: context.not_applicable(),
            estimated_tokens: self.estimated_tokens,
            estimated_cost_micros: self.estimated_cost,
            reservation_ttl: ttl.map_err(|_| Failure::new("--reservation-ttl is too long."))?,
            request_id: context.request_id.clone(),
            dry_run: self.dry_run,
            min_revision: context.min_revision,
        })
    }
}

fn shown(answer: &pb::AuthorizeResponse, output: &Output) -> String {
    let verdict = match answer.decision() {
        Decision::Allow => output.paint(Tone::Good, "ALLOW"),
        Decision::Deny => format!("{} {}", output.paint(Tone::Bad, "DENY"), answer.reason().as_str_name()),
        Decision::Unspecified => String::new(),
    };
    let observed = match answer.observed_reason() {
        Reason::Unspecified => String::new(),
        reason => format!("{} was only observed", reason.as_str_name()),
    };
    let retry_after = answer.retry_after.and_then(|it| Duration::try_from(it).ok());
    let mut rows = vec![
        ("message", answer.message.clone()),
        ("http status", answer.http_status.to_string()),
        ("retry after", retry_after.map(format_seconds).unwrap_or_default()),
        ("observed", observed),
    ];
    if let Some(key) = judged_key(answer) {
        rows.extend([
            ("key", format!("{} {}", key.key_id, key.display_name)),
            ("owner", key.user_id.to_string()),
            ("prefix", key.key_prefix),
            ("expires", key.expire_time.as_ref().map_or("never".to_owned(), format_timestamp)),
            ("scopes", summary(&key.scopes, SHOWN)),
            ("permissions", summary(&key.permissions, SHOWN)),
            ("tags", summary(&key.tags, SHOWN)),
        ]);
    }
    rows.push(("authorization", answer.authorization_id.clone()));
    rows.push(("revision", answer.revision.to_string()));
    let rows = rows.into_iter().map(|(name, value)| (name, Cell::from(value)));
    let mut text = format!("{verdict}\n{}", properties_in(output.look(), rows));
    text.push_str(&warnings(&answer.warnings));
    text
}

/// Warnings, a line each, with a newline before each.
pub(super) fn warnings(warnings: &[pb::Warning]) -> String {
    let lines = warnings.iter();
    lines.map(|it| format!("\nwarning: {}: {}", it.kind().as_str_name(), plain(&it.message))).collect()
}

#[cfg(test)]
mod tests;
