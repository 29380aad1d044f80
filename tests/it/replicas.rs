//! Several replicas on one database: how they follow its changes, and how they come and go.

mod following;
mod leases;
mod mutations;
mod propagation;
mod round_trips;

use keystile::grpc::pb;

use crate::harness::{App, Proxy, TestDatabase, eventually};

/// The first replica on a database, and others beside it.
struct Replicas {
    database: TestDatabase,
    first: App,
}

impl Replicas {
    async fn with<const N: usize>(flags: [&str; N]) -> Self {
        let database = TestDatabase::new().await;
        let first = App::builder().database(&database).flags(flags).start().await;
        Self { database, first }
    }

    async fn another<const N: usize>(&self, url: &str, flags: [&str; N]) -> App {
        let token = &self.first.admin_token;
        App::builder().database(&self.database).url(url).admin_token(token).flags(flags).start().await
    }

    /// A replica whose database can be made to hang.
    async fn behind_proxy<const N: usize>(&self, flags: [&str; N]) -> (Proxy, App) {
        let proxy = Proxy::before(&self.database).await;
        let app = self.another(&proxy.url, flags).await;
        (proxy, app)
    }

    /// Rows of replicas that fit.
    async fn count(&self, condition: &str) -> i64 {
        count(&self.database, condition).await
    }
}

async fn count(database: &TestDatabase, condition: &str) -> i64 {
    database.number(&format!("SELECT count(*) FROM replicas WHERE {condition}")).await
}

/// The value of a series of a replica's metrics.
fn metric(app: &App, series: &str) -> f64 {
    let page = app.running.metrics().page();
    let line = page.lines().find_map(|line| line.strip_prefix(series)?.strip_prefix(' '));
    line.unwrap_or_else(|| panic!("{series} is not there")).parse().unwrap()
}

/// A key whose changes are told of.
async fn key(app: &App) -> i64 {
    app.create_any().await.0.key_id
}

async fn revoke(app: &App, key_id: i64) -> (i64, pb::Propagation) {
    let revoke = pb::RevokeKeyRequest { key_id, ..Default::default() };
    let answer = app.keys().revoke_key(revoke).await.unwrap().into_inner();
    (answer.revision, answer.propagation.unwrap())
}

/// Waits until a replica decides again.
async fn until_trusted(app: &App) {
    eventually("trusted", async || metric(app, "keystile_trust_seconds") > 0.0).await;
}

/// Waits until a replica has applied a revision.
async fn until_applied(app: &App, revision: i64) {
    let revision = f64::from(i32::try_from(revision).unwrap());
    eventually("applied", async || metric(app, "keystile_applied_revision") >= revision).await;
}
