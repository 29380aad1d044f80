//! What every test starts from: one PostgreSQL cluster for the run, one database a test, and the service
//! on it, in this process ([`App`]) or in one of its own ([`Process`]).

mod app;
mod cluster;
mod http;
mod own_cluster;
mod process;
mod proxy;

use std::time::Duration;

pub use app::{App, Bearer, Client, connect, denial, judged_key, new_token, status_reason, violated_fields};
pub use cluster::{TestDatabase, lines, number, socket};
pub use http::{get, request};
pub use own_cluster::{OwnCluster, Standby};
pub use process::Process;
pub use proxy::Proxy;

/// How long a condition is waited for: only a test that would fail waits so long.
const WAIT_MAX: Duration = Duration::from_secs(60);

/// Waits until a condition holds that something else brings about.
pub async fn eventually(what: &str, mut condition: impl AsyncFnMut() -> bool) {
    let held = async {
        while !condition().await {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(WAIT_MAX, held).await.unwrap_or_else(|_| panic!("never: {what}"));
}
