//! Configuration: what `keystile` can be told by flags and environment variables.
//!
//! One file a section; each setting's flag, variable, default and bound stand on top of its file and in
//! `--help`. The rules that all settings share:
//!
//! - A flag wins over its variable, a variable over the default.
//! - An empty variable counts as unset ([`environment`]).
//! - Secrets may also lie in a file that `<VARIABLE>_FILE` names ([`environment`]).
//! - Variables that Kubernetes injects for a service called `keystile` (`KEYSTILE_PORT*`,
//!   `KEYSTILE_SERVICE_*`) are nobody's setting: no name here may start so.
//! - What one value alone must satisfy is checked where it is parsed; what takes several values, or a look
//!   at a file, is checked by the section's `validate`. Faults are collected and told all at once.
//!
//! What does not belong here: acting on a setting.

mod audit;
pub(crate) mod database;
mod decisions;
mod drain;
mod duration;
pub mod environment;
mod fault;
mod log;
mod serve;
mod telemetry;
mod tls;
mod tokens;

pub use audit::{Audit, AuditRetention};
pub use database::{Database, POOL_SIZE_MAX, POOL_SIZE_MIN};
pub use decisions::Decisions;
pub use drain::Drain;
pub use fault::{Fault, Faults};
pub use log::{Log, LogFormat};
pub use serve::Serve;
pub use telemetry::{OpsListen, SlowCall, Telemetry};
pub use tls::{ClientAuth, ClientCaller, Tls, TlsFiles};
pub use tokens::{BCRYPT_QUEUE_MAX, BCRYPT_THREADS_MAX, Tokens};

#[cfg(test)]
mod tests;
