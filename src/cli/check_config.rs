//! `keystile check-config`: says what `keystile serve` would be told, and every fault of it at once.

use std::process::ExitCode;

use clap::Args;

use super::output::{Format, Output};
use super::table::properties;
use crate::config::{ClientAuth, LogFormat, Serve};

const EXAMPLES: &str = "\
Examples:
  keystile check-config
  KEYSTILE_LISTEN=0.0.0.0:50051 keystile check-config

Exit code: 0 without faults, 2 with some.";

/// Says what `serve` would be told by flags and environment, or all that is wrong with it
#[derive(Args, Clone, Debug)]
#[command(after_help = EXAMPLES)]
pub struct CheckConfig {
    /// What `serve` would be told.
    #[command(flatten)]
    pub serve: Serve,
}

impl CheckConfig {
    /// Shows the configuration, which has been validated. Secrets are only said to be there.
    ///
    /// # Errors
    /// What writing fails with.
    pub fn run(&self) -> anyhow::Result<ExitCode> {
        let Serve {
            listen,
            no_auth,
            bootstrap_token_file,
            tls,
            database,
            tokens,
            decisions,
            audit,
            log,
            telemetry,
            ..
        } = &self.serve;
        let path = |path: &Option<std::path::PathBuf>| {
            path.as_ref().map_or("none".to_owned(), |path| path.display().to_string())
        };
        let observe: Vec<_> = decisions.observe.iter().map(|check| check.to_string()).collect();
        let client_callers: Vec<_> = tls.client_callers.iter().map(ToString::to_string).collect();
        let client_auth = match tls.client_auth() {
            None => "none",
            Some(ClientAuth::Required) => "required",
            Some(ClientAuth::Optional) => "optional",
        };
        let text = properties([
            ("listen", listen.to_string()),
            ("no-auth", no_auth.to_string()),
            ("bootstrap-token-file", path(bootstrap_token_file)),
            ("tls-cert-file", path(&tls.cert_file)),
            ("tls-key-file", path(&tls.key_file)),
            ("tls-client-ca-file", path(&tls.client_ca_file)),
            ("tls-client-auth", client_auth.to_owned()),
            (
                "tls-client-caller",
                if client_callers.is_empty() { "none".to_owned() } else { client_callers.join(",") },
            ),
            ("health-listen", tls.health_listen.map_or("none".to_owned(), |address| address.to_string())),
            (
                "database-url",
                if database.database_url.is_some() { "given" } else { "none: embedded" }.to_owned(),
            ),
            ("data-dir", database.data_dir.display().to_string()),
            ("auto-migrate", database.auto_migrate.to_string()),
            ("pool-size", database.pool_size.to_string()),
            ("peppers-file", path(&tokens.peppers_file)),
            ("bcrypt-cost", tokens.bcrypt_cost.get().to_string()),
            ("token-brand", tokens.brand.to_string()),
            ("bcrypt-threads", tokens.bcrypt_threads.to_string()),
            ("bcrypt-queue", tokens.bcrypt_queue.to_string()),
            ("observe", if observe.is_empty() { "none".to_owned() } else { observe.join(",") }),
            ("audit-retention", audit.retention.to_string()),
            ("log", log.filter.clone()),
            ("log-format", if log.format == LogFormat::Json { "json" } else { "pretty" }.to_owned()),
            ("slow-call", telemetry.slow_call.to_string()),
            ("ops-listen", telemetry.ops_listen.to_string()),
            ("otlp-endpoint", telemetry.otlp_endpoint.clone().unwrap_or_else(|| "none".to_owned())),
            ("otlp-sampling", telemetry.otlp_sampling.to_string()),
            ("otlp-service-name", telemetry.otlp_service_name.clone()),
        ]);
        Output::of_process(Format::Table).show(&text)?;
        Ok(ExitCode::SUCCESS)
    }
}
