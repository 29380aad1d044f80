//! Configuration: what `keystile` can be told by flags, environment variables and a file.
//!
//! One file a section; each setting's flag, variable, default and bound stand on top of its file and in
//! `--help`, and `docs/configuration.md` is made from them. The rules that all settings share:
//!
//! - A flag wins over its variable, a variable over the configuration file, the file over the default ([`sources`]).
//! - An empty variable counts as unset ([`environment`]).
//! - Secrets may also lie in a file of their own ([`sources`]), and are shown redacted ([`effective`]).
//! - Variables that Kubernetes injects for a service called `keystile` (`KEYSTILE_PORT*`,
//!   `KEYSTILE_SERVICE_*`) are nobody's setting: no name here may start so.
//! - What one value alone must satisfy is checked where it is parsed; what takes several values, or a look
//!   at a file, is checked by the section's `validate`. Faults are collected and told all at once.
//!
//! What does not belong here: acting on a setting.

mod audit;
mod cache;
mod config_file;
mod connections;
pub(crate) mod database;
mod decisions;
mod drain;
mod duration;
pub mod effective;
pub mod environment;
mod fault;
mod file;
mod freshness;
mod log;
mod serve;
pub mod sources;
mod telemetry;
mod tls;
mod tokens;

pub use audit::{Audit, AuditRetention};
pub use cache::Cache;
pub use config_file::ConfigFile;
pub use connections::Connections;
pub use database::{Database, POOL_SIZE_MAX, POOL_SIZE_MIN};
pub use decisions::Decisions;
pub use drain::Drain;
pub use effective::Effective;
pub use fault::{Fault, Faults, problem_of};
pub use freshness::Freshness;
pub use log::{Log, LogFormat};
pub use serve::{LISTEN, Serve};
pub use telemetry::{OPS_LISTEN, OpsListen, SlowCall, Telemetry};
pub use tls::{ClientAuth, ClientCaller, HEALTH_LISTEN, Tls, TlsFiles};
pub use tokens::{BCRYPT_QUEUE_MAX, BCRYPT_THREADS_MAX, Tokens};

#[cfg(test)]
mod tests;
