//! `keystile bootstrap`: makes the first administrator's token.

use std::path::PathBuf;
use std::process::ExitCode;

use clap::Args;
use secrecy::SecretString;

use super::failure::Failure;
use super::output::{Format, Output};
use super::token_file::TokenFile;
use crate::config::{ConfigFile, Database, Log, Tokens};
use crate::{server, telemetry};

const EXAMPLES: &str = "\
Examples:
  keystile bootstrap --out admin.token
  KEYSTILE_TOKEN_FILE=admin.token keystile keys list";

/// Makes the first administrator's token, straight in the database
///
/// The key belongs to the operator (owner 0) and has the scope keystile.admin.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Bootstrap {
    /// New file for the token, for this user alone (0600), instead of showing it
    #[arg(long, value_name = "FILE")]
    pub out: Option<PathBuf>,
    /// The configuration file.
    #[command(flatten)]
    pub config_file: ConfigFile,
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// Tokens.
    #[command(flatten)]
    pub tokens: Tokens,
    /// The log.
    #[command(flatten)]
    pub log: Log,
}

impl Bootstrap {
    /// Makes the token, and shows it or writes it to the new file.
    ///
    /// # Errors
    /// What the database or the file fails with; [`Failure`] where there is an administrator already.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        telemetry::init(&self.log)?;
        // The file first: a token that cannot be written would be lost.
        let file = self.out.as_deref().map(TokenFile::create).transpose()?;
        let Some(token) = server::bootstrap(&self.database, &self.tokens).await? else {
            let failure = Failure::new("There is an administrator already.");
            return Err(failure.next("Use his token to make more: keystile keys create.").into());
        };
        match file {
            Some(file) => {
                file.write(&SecretString::from(token.expose()))?;
                let out = self.out.unwrap_or_default();
                Output::of_process(Format::Table).note(&format!("The token is in {}.", out.display()));
            }
            None => Output::of_process(Format::Table).show(token.expose())?,
        }
        Ok(ExitCode::SUCCESS)
    }
}
