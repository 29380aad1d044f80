//! `keystile keys lookup`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::render;
use crate::cli::client::Client;
use crate::cli::json::to_json;
use crate::cli::output::{Format, Output};
use crate::cli::read_token::read_token;
use crate::grpc::pb;

const EXAMPLES: &str = "\
Examples:
  keystile keys lookup < leaked.token
  keystile keys lookup --leaked-token-file leaked.token -o json | jq .key.key_id | xargs keystile keys revoke";

/// Finds the key of a token, for a leaked token found somewhere
///
/// The token is read from stdin, or from --leaked-token-file; never from a flag, which other users of the
/// machine could see.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Lookup {
    /// File with the token that was found [default: stdin]
    #[arg(long, value_name = "FILE")]
    leaked_token_file: Option<PathBuf>,
}

impl Lookup {
    pub async fn run(&self, client: &Client, output: &mut Output) -> anyhow::Result<ExitCode> {
        let token = read_token("leaked", self.leaked_token_file.as_deref(), output)?;
        let answer = client.keys().lookup_key(pb::LookupKeyRequest { token }).await;
        let answer = answer.map_err(|status| client.failure(&status))?.into_inner();
        let look = output.look();
        match output.format() {
            Format::Json => output.show_json(&to_json("LookupKeyResponse", &answer)?)?,
            Format::Table => {
                let key = answer.key.as_ref().map(|key| render::details(key, look));
                output.show(&key.unwrap_or_default())?;
            }
        }
        Ok(ExitCode::SUCCESS)
    }
}
