//! `keystile import`: takes the keys of another system over, straight into the database.

mod report;

use std::convert::Infallible;
use std::process::ExitCode;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use secrecy::SecretString;

use super::failure::Failure;
use super::money::parse_micros;
use super::output::{Format, Output, OutputArgs, plain};
use crate::admin::enclava::{CostUnit, Options};
use crate::admin::import::{self, ImportReport, ImportStopped};
use crate::clock::Clock;
use crate::config::{ConfigFile, Database, Faults, Log};
use crate::policy::Micros;
use crate::server::open_database;
use crate::storage::Store;
use crate::storage::enclava_source::EnclavaSource;
use crate::telemetry;

/// The exit code when a row could not be taken.
const ROWS_REJECTED: u8 = 1;

const EXAMPLES: &str = "\
Examples:
  keystile import enclava --source-url postgres://reader@old-host/enclava --dry-run
  keystile import enclava --source-url postgres://reader@old-host/enclava --sync

Exit code: 0 when every row is here now, 1 when some could not be taken, 2 when the import could not be done.";

/// Takes the keys of another system over, with their ids, hashes, owners and totals
#[derive(Args, Clone, Debug)]
pub struct Import {
    /// From which system.
    #[command(subcommand)]
    pub source: Source,
}

/// A system that keys can be taken over from.
#[derive(Clone, Debug, Subcommand)]
pub enum Source {
    /// From the tables api_keys and users of Enclava, live
    Enclava(Enclava),
}

/// Arguments of `keystile import enclava`.
///
/// Keys that are there already are left untouched, so that an import can be repeated. A row that cannot be
/// taken is named with its reason, the others go on, and the exit code is 1.
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct Enclava {
    /// PostgreSQL of the other system; only read
    ///
    /// Give a URL with a password by KEYSTILE_IMPORT_SOURCE_URL, or by KEYSTILE_IMPORT_SOURCE_URL_FILE, which
    /// names a file that holds it.
    #[arg(long, value_name = "URL", env = "KEYSTILE_IMPORT_SOURCE_URL", hide_env_values = true,
          value_parser = secret)]
    pub source_url: SecretString,
    /// Say what would be done, and do nothing
    #[arg(long)]
    pub dry_run: bool,
    /// Apply rows that are newer than what is here; never revives a key
    #[arg(long)]
    pub sync: bool,
    /// Keep values that hold *, and networks: the other system matched them only literally, here they work
    #[arg(long)]
    pub keep_wildcards: bool,
    /// What 1 in the column total_cost is worth, as a decimal of the currency
    #[arg(long, value_name = "AMOUNT", default_value = "0.0001", value_parser = cost_unit)]
    pub total_cost_unit: Micros,
    /// The configuration file.
    #[command(flatten)]
    pub config_file: ConfigFile,
    /// The database.
    #[command(flatten)]
    pub database: Database,
    /// The log.
    #[command(flatten)]
    pub log: Log,
    /// How the report is written.
    #[command(flatten)]
    pub output: OutputArgs,
}

impl Import {
    /// Checks what takes more than one argument alone.
    ///
    /// # Errors
    /// Every fault.
    pub fn validate(&self) -> Result<(), Faults> {
        let Source::Enclava(enclava) = &self.source;
        enclava.database.validate()
    }

    /// Does it.
    ///
    /// # Errors
    /// What the person needs to know; the command could not be done.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let Source::Enclava(enclava) = self.source;
        telemetry::init(&enclava.log)?;
        let output = &mut Output::of_process(enclava.output.output);
        let database = open_database(&enclava.database).await.map_err(|error| failed(&error))?;
        let imported = enclava.run(&database.store, output).await;
        let closed = database.close().await.map_err(|error| failed(&error));
        let report = imported?;
        closed?;
        let rejected = !report.rejections.is_empty();
        Ok(if rejected { ExitCode::from(ROWS_REJECTED) } else { ExitCode::SUCCESS })
    }
}

impl Enclava {
    /// Imports into `store`, shows the report and returns it.
    async fn run(&self, store: &Store, output: &mut Output) -> anyhow::Result<ImportReport> {
        let mut source = EnclavaSource::open(&self.source_url).await.map_err(|error| failed(&error))?;
        let unit =
            CostUnit::from_micros(self.total_cost_unit.get()).context("a unit of 0 was let through")?;
        let wanted = import::Import {
            options: Options { keep_wildcards: self.keep_wildcards, total_cost_unit: unit },
            sync: self.sync,
            dry_run: self.dry_run,
            now: Clock::System.now(),
        };
        let bar = progress_bar(source.row_count());
        let done = import::import(store, &mut source, wanted, &mut |rows| bar.set_position(rows)).await;
        bar.finish_and_clear();
        let (report, stopped) = match done {
            Ok(report) => (report, None),
            Err(ImportStopped { so_far, cause }) => (*so_far, Some(cause)),
        };
        match output.format() {
            Format::Json => output.show_json(&report::json(&report, wanted, stopped.is_none()))?,
            Format::Table => output.show(&report::table(&report, wanted))?,
        }
        match stopped {
            None => Ok(report),
            Some(cause) => {
                let next = "What was taken until then stays; the same command goes on with the rest.";
                Err(failed(&cause).next(next).into())
            }
        }
    }
}

/// On stderr, and only where that is a terminal.
fn progress_bar(rows: u64) -> ProgressBar {
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} rows, {eta} left");
    let bar = ProgressBar::with_draw_target(Some(rows), ProgressDrawTarget::stderr());
    match style {
        Ok(style) => bar.with_style(style),
        Err(_) => bar,
    }
}

/// The words of a database may come from anywhere.
fn failed(error: &dyn std::error::Error) -> Failure {
    let sentence = plain(&error.to_string());
    Failure::new(format!("{}.", sentence.trim_end_matches('.')))
}

fn cost_unit(text: &str) -> Result<Micros, String> {
    let micros = parse_micros(text)?;
    Micros::new(micros).filter(|unit| unit.get() > 0).ok_or_else(|| "must be more than 0".to_owned())
}

/// Takes any text, so that no parse error can repeat a secret.
#[expect(clippy::unnecessary_wraps, reason = "the signature that clap asks of a parser")]
fn secret(text: &str) -> Result<SecretString, Infallible> {
    Ok(SecretString::from(text))
}
