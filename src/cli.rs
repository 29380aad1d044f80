//! The command line: one file a command, and the admin client that most of them share.
//!
//! - `parse` reads arguments and environment; `output` alone writes; `failure` words what went wrong.
//! - Tokens never come from arguments, which other users of the machine can see.
//! - Exit codes are a contract (`exit`): 0 done (allowed, serving), 1 no (denied, not serving), 2 it could not be done;
//!   above them, why a service could not start or ended.
//!
//! What does not belong here: deciding anything. A client command asks the server.

mod audit;
mod authorize;
mod bar;
mod bootstrap;
mod budgets;
mod check_config;
mod client;
mod completions;
mod confirm;
mod doctor;
mod exit;
mod failure;
mod filter_models;
mod health;
mod import;
mod introspect;
mod json;
mod keys;
mod migrate;
mod money;
mod output;
mod owners;
mod pages;
mod parse;
mod read_token;
mod serve;
mod table;
mod time;
mod token_file;
mod version;
mod watch;

use std::ffi::OsString;
use std::process::ExitCode;
use std::time::Duration;

use anyhow::Context;
use clap::{CommandFactory, Parser, Subcommand};
use tokio::runtime;

pub use self::bootstrap::Bootstrap;
pub use self::failure::Failure;
pub use self::import::{Enclava, Import, Source};
pub use self::migrate::Migrate;
pub use self::token_file::TokenFile;

use self::exit::FAILED;
use self::output::{Format, Output};
use self::parse::Stop;
use crate::config::{Faults, Serve};

/// What work on threads of its own gets to end, once the command has.
const LAST_THREADS_MAX: Duration = Duration::from_secs(1);

/// The exit code of a decision that denies.
const DENIED: u8 = 1;
/// The exit code of a probe of a server that does not serve.
const NOT_SERVING: u8 = 1;

/// Keystile answers for other services: may this API key do this, now? It also keeps the keys.
#[derive(Debug, Parser)]
#[command(
    name = "keystile",
    version,
    max_term_width = 110,
    after_help = "\
A first session:
  keystile serve
  keystile keys create --user-id 4 --name first --template default --token-out first.token
  keystile authorize --model gpt-4o --judged-token-file first.token"
)]
struct Cli {
    #[command(subcommand)]
    command: Command,
}

#[derive(Debug, Subcommand)]
enum Command {
    CheckConfig(Box<check_config::CheckConfig>),
    Doctor(Box<doctor::Doctor>),
    Serve(Box<serve::ServeCommand>),
    Migrate(Box<Migrate>),
    Bootstrap(Box<Bootstrap>),
    Health(health::Health),
    Keys(keys::Keys),
    Owners(Box<owners::Owners>),
    Budgets(Box<budgets::Budgets>),
    Audit(audit::Audit),
    Authorize(Box<authorize::Authorize>),
    FilterModels(Box<filter_models::FilterModels>),
    Introspect(introspect::Introspect),
    Import(Box<Import>),
    Completions(completions::Completions),
    #[command(name = "man")]
    ManPages(completions::ManPages),
    Version(version::Version),
}

impl Command {
    /// Checks what takes more than one argument alone.
    fn validate(&self) -> Result<(), Faults> {
        match self {
            Self::CheckConfig(check_config) => check_config.serve.validate(),
            Self::Serve(serve) => serve.serve.validate(),
            Self::Migrate(migrate) => migrate.database.validate(),
            Self::Bootstrap(bootstrap) => {
                bootstrap.database.validate()?;
                bootstrap.tokens.validate()
            }
            Self::Import(import) => import.validate(),
            // It tells faults of the configuration among its findings.
            Self::Doctor(_) => Ok(()),
            Self::Health(_)
            | Self::Keys(_)
            | Self::Owners(_)
            | Self::Budgets(_)
            | Self::Audit(_)
            | Self::Authorize(_)
            | Self::FilterModels(_)
            | Self::Introspect(_)
            | Self::Completions(_)
            | Self::ManPages(_)
            | Self::Version(_) => Ok(()),
        }
    }

    /// What `serve` is told, or would be.
    fn serve_mut(&mut self) -> Option<&mut Serve> {
        match self {
            Self::CheckConfig(check_config) => Some(&mut check_config.serve),
            Self::Serve(serve) => Some(&mut serve.serve),
            _ => None,
        }
    }

    /// Whether its exit codes say more than that something failed: `exit::SAYING_MORE`.
    fn says_more(&self) -> bool {
        matches!(self, Self::CheckConfig(_) | Self::Serve(_) | Self::Migrate(_) | Self::Bootstrap(_))
    }

    async fn run(self) -> anyhow::Result<ExitCode> {
        match self {
            Self::CheckConfig(check_config) => check_config.run(),
            Self::Doctor(doctor) => doctor.run().await,
            Self::Serve(serve) => serve.run().await,
            Self::Migrate(migrate) => migrate.run().await,
            Self::Bootstrap(bootstrap) => bootstrap.run().await,
            Self::Health(health) => health.run().await,
            Self::Keys(keys) => keys.run().await,
            Self::Owners(owners) => owners.run().await,
            Self::Budgets(budgets) => budgets.run().await,
            Self::Audit(audit) => audit.run().await,
            Self::Authorize(authorize) => authorize.run().await,
            Self::FilterModels(filter_models) => filter_models.run().await,
            Self::Introspect(introspect) => introspect.run().await,
            Self::Import(import) => import.run().await,
            Self::Completions(completions) => completions.run(definition()),
            Self::ManPages(man) => man.run(definition()),
            Self::Version(version) => version.run(),
        }
    }
}

/// Every command with its arguments and help, as the program parses them: for manuals, and for tests.
#[must_use]
pub fn definition() -> clap::Command {
    Cli::command()
}

/// Runs the program with `args`, its own name first, to its exit code.
pub fn run(args: impl IntoIterator<Item = OsString>) -> ExitCode {
    let args: Vec<_> = args.into_iter().collect();
    let (words, code) = match parse::parse(&args) {
        Ok(cli) => {
            let says_more = cli.command.says_more();
            match run_command(cli.command) {
                Ok(code) => return code,
                Err(error) if says_more => (worded(&error), exit::code_of(&error)),
                Err(error) => (worded(&error), FAILED),
            }
        }
        Err(Stop::Clap(error)) => return show_clap(&error),
        Err(Stop::Arguments(faults)) => (faults.to_string(), FAILED),
        Err(Stop::Settings(faults)) => (faults.to_string(), exit::SETTINGS),
    };
    Output::of_process(Format::Table).note(&format!("error: {words}"));
    ExitCode::from(code)
}

fn run_command(command: Command) -> anyhow::Result<ExitCode> {
    let runtime =
        runtime::Builder::new_multi_thread().enable_all().build().context("cannot start threads")?;
    let done = runtime.block_on(command.run());
    // Work on a thread of its own that hangs (a file of a network volume, a name that is looked up) must not hold up
    // the end: nobody waits for it any more.
    runtime.shutdown_timeout(LAST_THREADS_MAX);
    done
}

/// Help and version to stdout, everything else to stderr, in colour where that is wanted.
fn show_clap(error: &clap::Error) -> ExitCode {
    // A reader that has gone away does not want the help any more.
    let _unread = error.print();
    if error.use_stderr() { ExitCode::from(FAILED) } else { ExitCode::SUCCESS }
}

/// A failure that was foreseen is worded already; any other tells its causes.
fn worded(error: &anyhow::Error) -> String {
    match error.downcast_ref::<Failure>() {
        Some(failure) => failure.to_string(),
        None => chain(error),
    }
}

/// An error and its causes, each once: many errors word their cause themselves.
fn chain(error: &anyhow::Error) -> String {
    let mut words = error.to_string();
    for cause in error.chain().skip(1) {
        let cause = cause.to_string();
        if !words.contains(&cause) {
            words = format!("{words}: {cause}");
        }
    }
    words
}

#[cfg(test)]
mod tests;
