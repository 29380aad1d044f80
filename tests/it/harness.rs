//! What every test starts from: one PostgreSQL cluster for the run, one database a test, and the service
//! on it, in this process ([`App`]) or in one of its own ([`Process`]).

mod app;
mod cluster;
mod process;

pub use app::{App, AppBuilder, Bearer, Client, denial, status_reason, violated_fields};
pub use cluster::{TestDatabase, sql};
pub use process::Process;
