//! `keystile keys rotate`

use std::mem;
use std::process::ExitCode;
use std::time::Duration;

use clap::Args;
use secrecy::SecretString;

use super::new_token::{Answer, TokenOut};
use super::{key_number, render};
use crate::cli::client::Client;
use crate::cli::failure::Failure;
use crate::cli::json::to_json;
use crate::cli::output::Output;
use crate::cli::time::{format_timestamp, parse_duration};
use crate::grpc::pb;

const EXAMPLES: &str = "\
Examples:
  keystile keys rotate 17 --grace 24h --token-out new.token
  keystile keys rotate 17 -o json | jq -r .token";

/// Gives a key a new token and shows it, once
///
/// The old token works on for the grace period; without one it ends at once.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Rotate {
    /// The key
    #[arg(value_name = "KEY", value_parser = key_number)]
    key_id: i64,
    /// How long the old token works on: 24h, at most 30d [default: not at all]
    #[arg(long, value_name = "LENGTH", value_parser = parse_duration)]
    grace: Option<Duration>,
    /// A UUID of your own: repeated within 24 hours, the command changes nothing more and tells no token
    #[arg(long, value_name = "UUID", default_value = "", hide_default_value = true)]
    request_id: String,
    /// Change only what you have seen: the key's etag from `keys get`
    #[arg(long, value_name = "ETAG", default_value = "", hide_default_value = true)]
    etag: String,
    #[command(flatten)]
    token_out: TokenOut,
}

impl Rotate {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let request = self.to_request()?;
        let place = self.token_out.prepare()?;
        let rotated = client.keys().rotate_key(request).await;
        let mut rotated = rotated.map_err(|status| client.failure(&status))?.into_inner();
        let token = SecretString::from(mem::take(&mut rotated.token));
        let json = to_json("RotateKeyResponse", &rotated)?;
        let pb::RotateKeyResponse { key, propagation, .. } = rotated;
        let until =
            key.as_ref().and_then(|key| key.previous_token_expire_time.as_ref()).map(format_timestamp);
        let without_token =
            "This rotation was done before by the same request id; its token was told then, and never again.";
        place.take(Answer { key, token, json, done: "rotated", without_token }, output)?;
        match until {
            Some(until) => output.note(&format!("The old token works until {until}.")),
            None => output.note("The old token works no more."),
        }
        render::note_propagation(output, propagation.as_ref());
        Ok(ExitCode::SUCCESS)
    }

    fn to_request(&self) -> anyhow::Result<pb::RotateKeyRequest> {
        let grace = self.grace.map(prost_types::Duration::try_from).transpose();
        Ok(pb::RotateKeyRequest {
            key_id: self.key_id,
            grace_period: grace.map_err(|_| Failure::new("--grace is too long."))?,
            etag: self.etag.clone(),
            request_id: self.request_id.clone(),
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
        rotate: Rotate,
    }

    #[test]
    fn every_flag_reaches_the_request() {
        let args = ["rotate", "17", "--grace=24h", "--request-id=r", "--etag=e", "--token-out=t"];
        let request = Program::try_parse_from(args).unwrap().rotate.to_request().unwrap();
        let expected = pb::RotateKeyRequest {
            key_id: 17,
            grace_period: Some(prost_types::Duration { seconds: 86_400, nanos: 0 }),
            etag: "e".into(),
            request_id: "r".into(),
        };
        assert_eq!(request, expected);
        let request = Program::try_parse_from(["rotate", "17"]).unwrap().rotate.to_request().unwrap();
        assert_eq!(request, pb::RotateKeyRequest { key_id: 17, ..Default::default() });
    }
}
