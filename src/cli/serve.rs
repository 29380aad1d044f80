//! `keystile serve`: runs the service until it is told to stop.

use std::process::ExitCode;

use clap::Args;

use crate::{config, server, telemetry};

const EXAMPLES: &str = "\
Examples:
  keystile serve
  KEYSTILE_DATABASE_URL=postgres://keystile@db/keystile keystile serve --listen 0.0.0.0:50051

Without a database URL it runs a private PostgreSQL in its data directory, and writes the first
administrator's token to admin.token there.";

/// Runs the service until SIGTERM or SIGINT
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct ServeCommand {
    /// What it is told.
    #[command(flatten)]
    pub serve: config::Serve,
}

impl ServeCommand {
    /// Serves.
    ///
    /// # Errors
    /// Why it could not start, or ended.
    pub async fn run(self) -> anyhow::Result<ExitCode> {
        let telemetry = telemetry::init_service(&self.serve.log, &self.serve.telemetry)?;
        let effective = &self.serve.effective;
        tracing::info!(version = env!("CARGO_PKG_VERSION"), settings = %effective, "starting");
        for warning in &effective.warnings {
            tracing::warn!("{warning}");
        }
        let served = server::serve(self.serve).await;
        telemetry.stop().await;
        served?;
        Ok(ExitCode::SUCCESS)
    }
}
