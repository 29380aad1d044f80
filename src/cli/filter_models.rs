//! `keystile filter-models`: which of these models may the holder of a token call?

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use prost::bytes::Bytes;

use super::DENIED;
use super::authorize::{Context, bytes};
use super::client::ClientArgs;
use super::failure::Failure;
use super::json::to_json;
use super::output::{Format, Output, OutputArgs, Tone, plain};
use super::read_token::read_token;
use crate::grpc::pb;
use crate::grpc::pb::authorize_response::{Decision, Reason};

const EXAMPLES: &str = "\
Examples:
  keystile filter-models gpt-4o gpt-4o-mini o3 < user.token
  keystile filter-models gpt-4o o3 --judged-token-file user.token --client-ip 10.0.0.7

Exit code: 0 the key may be used, for the models that are shown; 1 it is denied; 2 no decision was made.";

/// Shows which of some models a key may call
///
/// The judged token is read from stdin, or from --judged-token-file. Nothing is charged or counted. The
/// caller's own token is that of a key with the scope keystile.authorize.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct FilterModels {
    /// The models, at most 1000
    #[arg(value_name = "MODEL", required = true)]
    models: Vec<String>,
    /// File with the token of the key that is judged [default: stdin]
    #[arg(long, value_name = "FILE")]
    judged_token_file: Option<PathBuf>,
    #[command(flatten)]
    context: Context,
    #[command(flatten)]
    client: ClientArgs,
    #[command(flatten)]
    output: OutputArgs,
}

impl FilterModels {
    /// Asks, and answers by the exit code.
    ///
    /// # Errors
    /// What the person needs to know; no decision was made.
    pub async fn run(&self) -> anyhow::Result<ExitCode> {
        let output = &mut Output::of_process(self.output.output);
        let token = read_token("judged", self.judged_token_file.as_deref(), output)?;
        let client = self.client.connect(output).await?;
        let answer = client.authorize().filter_models(self.to_request(token)).await;
        let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
        match output.format() {
            Format::Json => output.show_json(&to_json("FilterModelsResponse", &answer)?)?,
            Format::Table => output.show(&shown(&answer, output))?,
        }
        match answer.decision() {
            Decision::Allow => {
                if answer.models.is_empty() {
                    output.note("The key may call none of these models.");
                }
                Ok(ExitCode::SUCCESS)
            }
            Decision::Deny => Ok(ExitCode::from(DENIED)),
            Decision::Unspecified => Err(Failure::new("The server's answer has no decision.").into()),
        }
    }

    fn to_request(&self, token: Bytes) -> pb::FilterModelsRequest {
        let context = &self.context;
        pb::FilterModelsRequest {
            token,
            endpoint: bytes(&context.endpoint),
            method: bytes(&context.method),
            chatbot_id: bytes(&context.chatbot),
            client_ip: bytes(&context.client_ip),
            scopes: context.scopes.clone(),
            permissions: context.permissions.clone(),
            not_applicable: context.not_applicable(),
            models: self.models.clone(),
            min_revision: context.min_revision,
            request_id: context.request_id.clone(),
        }
    }
}

/// The models, a line each; or the denial.
fn shown(answer: &pb::FilterModelsResponse, output: &Output) -> String {
    let mut text = if answer.decision() == Decision::Deny {
        let deny = output.paint(Tone::Bad, "DENY");
        format!("{deny} {}\nmessage      {}", answer.reason().as_str_name(), plain(&answer.message))
    } else {
        answer.models.iter().map(|model| plain(model)).collect::<Vec<_>>().join("\n")
    };
    if answer.observed_reason() != Reason::Unspecified {
        text.push_str(&format!(
            "\nobserved     {} was only observed",
            answer.observed_reason().as_str_name()
        ));
    }
    text
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::cli::output::Written;

    #[derive(Debug, Parser)]
    struct Program {
        #[command(flatten)]
        filter: FilterModels,
    }

    #[test]
    fn every_flag_reaches_the_question() {
        let args = [
            "filter-models",
            "a",
            "b",
            "--endpoint=/v1/chat",
            "--method=POST",
            "--chatbot=7",
            "--client-ip=10.0.0.7",
            "--scope=s",
            "--permission=p",
            "--not-applicable=endpoint",
            "--request-id=r",
            "--min-revision=9",
        ];
        let asked = Program::try_parse_from(args).unwrap().filter.to_request(Bytes::from_static(b"t"));
        let expected = pb::FilterModelsRequest {
            token: Bytes::from_static(b"t"),
            endpoint: Bytes::from_static(b"/v1/chat"),
            method: Bytes::from_static(b"POST"),
            chatbot_id: Bytes::from_static(b"7"),
            client_ip: Bytes::from_static(b"10.0.0.7"),
            scopes: vec!["s".into()],
            permissions: vec!["p".into()],
            not_applicable: vec![pb::authorize_request::Dimension::Endpoint.into()],
            models: vec!["a".into(), "b".into()],
            min_revision: 9,
            request_id: "r".into(),
        };
        assert!(asked == expected);
    }

    #[test]
    fn models_are_a_line_each_and_a_denial_its_reason() {
        let output = Output::to(Format::Table, Written::default(), Written::default());
        let allow = pb::FilterModelsResponse {
            decision: Decision::Allow.into(),
            models: vec!["a".into(), "b".into()],
            ..Default::default()
        };
        assert_eq!(shown(&allow, &output), "a\nb");
        let deny = pb::FilterModelsResponse {
            decision: Decision::Deny.into(),
            reason: Reason::KeyRevoked.into(),
            message: "The API key is revoked.".into(),
            ..Default::default()
        };
        assert_eq!(shown(&deny, &output), "DENY KEY_REVOKED\nmessage      The API key is revoked.");
    }
}
