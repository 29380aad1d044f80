//! `keystile introspect`: what the holder of a token may know about its key.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::DENIED;
use super::authorize::warnings;
use super::bar::standings;
use super::client::ClientArgs;
use super::json::to_json;
use super::keys::details;
use super::output::{Format, Output, OutputArgs, Tone};
use super::read_token::read_token;
use crate::grpc::pb;
use crate::grpc::pb::authorize_response::Reason;
use crate::grpc::pb::rate_limit_status::Subject;

const EXAMPLES: &str = "\
Examples:
  keystile introspect < user.token
  keystile introspect --judged-token-file user.token -o json | jq .key.models

Exit code: 0 the token can be used, 1 it cannot, 2 there is no answer.";

/// Shows the key of a token as its holder may see it, and how the rate limits of it and of its owner stand
///
/// The token is read from stdin, or from --judged-token-file. Nothing is charged or counted. The caller's own
/// token is that of a key with the scope keystile.authorize.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Introspect {
    /// File with the token [default: stdin]
    #[arg(long, value_name = "FILE")]
    judged_token_file: Option<PathBuf>,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl Introspect {
    /// Asks, and answers by the exit code.
    ///
    /// # Errors
    /// What the person needs to know.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        let token = read_token("judged", self.judged_token_file.as_deref(), output)?;
        let client = self.client.connect(output).await?;
        let answer = client.authorize().introspect_key(pb::IntrospectKeyRequest { token }).await;
        let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
        match output.format() {
            Format::Json => output.show_json(&to_json("IntrospectKeyResponse", &answer)?)?,
            Format::Table => output.show(&shown(&answer, output))?,
        }
        let usable = answer.reason() == Reason::Unspecified;
        Ok(if usable { ExitCode::SUCCESS } else { ExitCode::from(DENIED) })
    }
}

fn shown(answer: &pb::IntrospectKeyResponse, output: &Output) -> String {
    let mut text = match answer.reason() {
        Reason::Unspecified => output.paint(Tone::Good, "USABLE"),
        reason => format!("{} {}", output.paint(Tone::Bad, "NOT USABLE"), reason.as_str_name()),
    };
    if let Some(key) = &answer.key {
        text.push_str(&format!("\n{}", details(key, output.look())));
    }
    text.push_str(&standings(&answer.rate_limits, Subject::Key, output.look()));
    text.push_str(&warnings(&answer.warnings));
    text
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::output::Written;
    use crate::grpc::pb::rate_limit_status::Metric;

    #[test]
    fn a_token_is_usable_or_says_why_not() {
        let output = Output::to(Format::Table, Written::default(), Written::default());
        let limit = pb::RateLimitStatus {
            metric: Metric::Requests.into(),
            window: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            limit: 5,
            remaining: Some(5),
            reset_after: None,
            subject: Subject::Owner.into(),
        };
        let usable = pb::IntrospectKeyResponse {
            key: Some(pb::Key { key_id: 17, display_name: "ci".into(), ..Default::default() }),
            rate_limits: vec![limit],
            ..Default::default()
        };
        assert_eq!(
            shown(&usable, &output),
            "USABLE\nkey      17\nowner    0\nname     ci\nexpires  never\n\n\
             owner's requests / day  [--------------------]  0 of 5 used"
        );
        let invalid = pb::IntrospectKeyResponse { reason: Reason::KeyInvalid.into(), ..Default::default() };
        assert_eq!(shown(&invalid, &output), "NOT USABLE KEY_INVALID");
    }
}
