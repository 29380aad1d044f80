//! `keystile authorize`: asks for one decision from the shell.

use std::ffi::OsString;
use std::fs::File;
use std::io::{self, BufRead, IsTerminal, Read};
use std::os::unix::ffi::OsStringExt;
use std::path::PathBuf;
use std::process::ExitCode;
use std::time::Duration;

use clap::{Args, ValueEnum};
use prost::bytes::Bytes;

use super::DENIED;
use super::client::ClientArgs;
use super::failure::Failure;
use super::json::to_json;
use super::money::parse_micros;
use super::output::{Format, Output, OutputArgs, plain};
use super::table::{properties, summary};
use super::time::{format_seconds, format_timestamp, parse_duration};
use crate::grpc::pb;
use crate::grpc::pb::authorize_request::Dimension;
use crate::grpc::pb::authorize_response::{Decision, Reason};

/// More than a server takes in one message.
const TOKEN_BYTES_MAX: u64 = 4 << 20;
const SHOWN: usize = 10;
const EXAMPLES: &str = "\
Examples:
  keystile authorize --model gpt-4o --endpoint /v1/chat/completions --method POST < user.token
  keystile authorize --judged-token-file user.token --not-applicable model,chatbot
  if keystile authorize --scope chat.completions < user.token >/dev/null; then echo yes; fi

Exit code: 0 allowed, 1 denied, 2 no decision was made.";

/// Asks whether a key may do something
///
/// The judged token is read from stdin, or from --judged-token-file; never from a flag, which other users of
/// the machine could see. The caller's own token (--token-file, KEYSTILE_TOKEN) is that of a key with the
/// scope keystile.authorize. Rate limits and budgets are stored but not enforced yet:
/// a warning names each.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Authorize {
    /// File with the token of the key that is judged [default: stdin]
    #[arg(long, value_name = "FILE")]
    judged_token_file: Option<PathBuf>,
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
    /// Path of the request
    #[arg(long, value_name = "PATH", default_value = "", hide_default_value = true)]
    endpoint: OsString,
    /// HTTP method of the request, upper-case
    #[arg(long, value_name = "METHOD", default_value = "", hide_default_value = true)]
    method: OsString,
    /// Chatbot that would be called
    #[arg(long, value_name = "ID", default_value = "", hide_default_value = true)]
    chatbot: OsString,
    /// Address of the end user
    #[arg(long, value_name = "ADDRESS", default_value = "", hide_default_value = true)]
    client_ip: OsString,
    /// Scope that is needed; may be repeated
    #[arg(long = "scope", value_name = "SCOPE")]
    scopes: Vec<String>,
    /// Permission that is needed; may be repeated
    #[arg(long = "permission", value_name = "NAME")]
    permissions: Vec<String>,
    /// What the request has nothing of, by commas: model, endpoint, chatbot
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',')]
    not_applicable: Vec<NotApplicable>,
    /// Model tokens that it is expected to use
    #[arg(long, value_name = "N")]
    estimated_tokens: Option<i64>,
    /// What it is expected to cost: 0.25
    #[arg(long, value_name = "AMOUNT", value_parser = parse_micros)]
    estimated_cost: Option<i64>,
    /// How long a reservation is held, 1s to 24h [default: 10m]
    #[arg(long, value_name = "LENGTH", value_parser = parse_duration)]
    reservation_ttl: Option<Duration>,
    /// Your id of the request, for usage and logs
    #[arg(long, value_name = "TEXT", default_value = "", hide_default_value = true)]
    request_id: String,
    /// Decide, but charge and count nothing
    #[arg(long)]
    dry_run: bool,
    /// Decide from state at least as new as this revision
    #[arg(long, value_name = "N", default_value_t = 0, hide_default_value = true)]
    min_revision: i64,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
enum NotApplicable {
    Model,
    Endpoint,
    Chatbot,
}

impl Authorize {
    /// Asks, and answers by the exit code.
    ///
    /// # Errors
    /// What the person needs to know; no decision was made.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        let token = self.judged_token(output)?;
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

    fn judged_token(&self, output: &mut Output) -> anyhow::Result<Bytes> {
        let mut token = Vec::new();
        let read = match &self.judged_token_file {
            Some(path) => File::open(path)
                .and_then(|file| file.take(TOKEN_BYTES_MAX).read_to_end(&mut token))
                .map_err(|error| format!("Cannot read the judged token from {}: {error}.", path.display())),
            None if io::stdin().is_terminal() => {
                output.note("Reading the judged token from the terminal; end it with Enter.");
                let line = io::stdin().lock().take(TOKEN_BYTES_MAX).read_until(b'\n', &mut token);
                line.map_err(|error| format!("Cannot read the judged token from the terminal: {error}."))
            }
            None => {
                let all = io::stdin().lock().take(TOKEN_BYTES_MAX).read_to_end(&mut token);
                all.map_err(|error| format!("Cannot read the judged token from stdin: {error}."))
            }
        };
        read.map_err(Failure::new)?;
        Ok(Bytes::copy_from_slice(without_newline(&token)))
    }
}

impl Question {
    fn with_token(&self, token: Bytes) -> anyhow::Result<pb::AuthorizeRequest> {
        let bytes = |text: &OsString| Bytes::from(text.clone().into_vec());
        let ttl = self.reservation_ttl.map(prost_types::Duration::try_from).transpose();
        Ok(pb::AuthorizeRequest {
            token,
            model: bytes(&self.model),
            endpoint: bytes(&self.endpoint),
            method: bytes(&self.method),
            chatbot_id: bytes(&self.chatbot),
            client_ip: bytes(&self.client_ip),
            scopes: self.scopes.clone(),
            permissions: self.permissions.clone(),
            not_applicable: self.not_applicable.iter().map(|it| Dimension::from(*it).into()).collect(),
            estimated_tokens: self.estimated_tokens,
            estimated_cost_micros: self.estimated_cost,
            reservation_ttl: ttl.map_err(|_| Failure::new("--reservation-ttl is too long."))?,
            request_id: self.request_id.clone(),
            dry_run: self.dry_run,
            min_revision: self.min_revision,
        })
    }
}

impl From<NotApplicable> for Dimension {
    fn from(it: NotApplicable) -> Self {
        match it {
            NotApplicable::Model => Self::Model,
            NotApplicable::Endpoint => Self::Endpoint,
            NotApplicable::Chatbot => Self::Chatbot,
        }
    }
}

/// A file and a terminal end a line; a token does not hold that.
fn without_newline(token: &[u8]) -> &[u8] {
    let token = token.strip_suffix(b"\n").unwrap_or(token);
    token.strip_suffix(b"\r").unwrap_or(token)
}

fn shown(answer: &pb::AuthorizeResponse, output: &Output) -> String {
    let verdict = match answer.decision() {
        Decision::Allow => output.good("ALLOW"),
        Decision::Deny => format!("{} {}", output.bad("DENY"), answer.reason().as_str_name()),
        Decision::Unspecified => String::new(),
    };
    let key = answer.key.clone().unwrap_or_default();
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
    if answer.key.is_some() {
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
    let mut text = format!("{verdict}\n{}", properties(rows));
    for warning in &answer.warnings {
        text.push_str(&format!("\nwarning: {}: {}", warning.kind().as_str_name(), plain(&warning.message)));
    }
    text
}

#[cfg(test)]
mod tests;
