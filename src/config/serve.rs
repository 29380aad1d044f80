//! Everything that `keystile serve` can be told.
//!
//! | flag | variable | default | bound |
//! |---|---|---|---|
//! | `--listen` | `KEYSTILE_LISTEN` | `127.0.0.1:50051` | an IP address and a port |
//! | `--no-auth` | `KEYSTILE_NO_AUTH` | false | only where `--listen` is a loopback address |
//! | `--bootstrap-token-file` | `KEYSTILE_BOOTSTRAP_TOKEN_FILE` | none | |

use std::net::SocketAddr;
use std::path::PathBuf;

use clap::Args;
use clap::builder::BoolishValueParser;

use super::fault::unreadable_file;
use super::{
    Audit, Cache, ConfigFile, Connections, Database, Decisions, Drain, Effective, Fault, Faults, Freshness,
    Log, Telemetry, Tls, Tokens,
};

/// The variable that says where gRPC is served.
pub const LISTEN: &str = "KEYSTILE_LISTEN";

/// Settings of the service.
#[derive(Args, Clone, Debug)]
pub struct Serve {
    /// The configuration file.
    #[command(flatten)]
    pub config_file: ConfigFile,

    /// Address and port to serve gRPC on
    #[arg(long, value_name = "ADDRESS:PORT", env = LISTEN, default_value = "127.0.0.1:50051",
          value_parser = listen_address)]
    pub listen: SocketAddr,

    /// Let every caller do everything; only where --listen is a loopback address
    #[arg(long, env = "KEYSTILE_NO_AUTH", value_parser = BoolishValueParser::new())]
    pub no_auth: bool,

    /// File with the first administrator's token, which is taken in if there is no administrator yet
    #[arg(long, value_name = "FILE", env = "KEYSTILE_BOOTSTRAP_TOKEN_FILE")]
    pub bootstrap_token_file: Option<PathBuf>,

    /// Connections.
    #[command(flatten)]
    pub connections: Connections,

    /// TLS.
    #[command(flatten)]
    pub tls: Tls,

    /// The database.
    #[command(flatten)]
    pub database: Database,

    /// Tokens.
    #[command(flatten)]
    pub tokens: Tokens,

    /// Decisions.
    #[command(flatten)]
    pub decisions: Decisions,

    /// Freshness.
    #[command(flatten)]
    pub freshness: Freshness,

    /// Keys in memory.
    #[command(flatten)]
    pub cache: Cache,

    /// The end.
    #[command(flatten)]
    pub drain: Drain,

    /// The audit log.
    #[command(flatten)]
    pub audit: Audit,

    /// The log.
    #[command(flatten)]
    pub log: Log,

    /// Metrics and traces.
    #[command(flatten)]
    pub telemetry: Telemetry,

    /// All of these with where each came from, for whoever looks on.
    #[arg(skip)]
    pub effective: Effective,
}

impl Serve {
    /// Checks what takes more than one value alone, in every section.
    ///
    /// # Errors
    /// Every fault at once.
    pub fn validate(&self) -> Result<(), Faults> {
        let mut faults = Vec::new();
        if self.no_auth && !self.listen.ip().to_canonical().is_loopback() {
            let problem = format!(
                "lets every caller do everything, so it works on a loopback address only; {} can be \
                 reached from other machines",
                self.listen
            );
            faults.push(Fault::new("KEYSTILE_NO_AUTH", problem));
        }
        if let Some(path) = &self.bootstrap_token_file {
            faults.extend(unreadable_file("KEYSTILE_BOOTSTRAP_TOKEN_FILE", path));
        }
        faults.extend(self.tls.faults(self.listen));
        faults.extend(self.database.faults());
        faults.extend(self.tokens.faults());
        faults.extend(self.cache.faults());
        faults.extend(self.telemetry.faults([Some(self.listen), self.tls.health_listen]));
        Faults::check(faults)
    }
}

pub(super) fn listen_address(text: &str) -> Result<SocketAddr, String> {
    text.parse()
        .map_err(|_| "must be an IP address and a port, as in 127.0.0.1:50051 or [::]:50051".to_owned())
}
