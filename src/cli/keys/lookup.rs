//! `keystile keys lookup`

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;

use super::render;
use crate::cli::client::Client;
use crate::cli::failure::Failure;
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
        alone(&token)?;
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

/// Whether it may be a token: a line of a log is none, though one may be in it.
fn alone(token: &[u8]) -> Result<(), Failure> {
    if token.iter().any(u8::is_ascii_whitespace) {
        return Err(Failure::new("This is no token (it has spaces): give the token alone."));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn text_around_a_token_is_told() {
        assert_eq!(alone(b"ks_abc"), Ok(()));
        for text in ["token: ks_abc", "ks_abc ", "ks_abc\nks_def"] {
            let told = alone(text.as_bytes()).unwrap_err().to_string();
            assert_eq!(told, "This is no token (it has spaces): give the token alone.");
        }
    }
}
