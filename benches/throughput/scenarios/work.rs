//! What PostgreSQL does for a million decisions about keys with limits, of which 10 000 are active; beside what it does where
//! each request is counted by an upsert of its own, in the same run and as many times.
//!
//! Keystile's work grows with keys that are active in a second, not with requests: its rate stands beside it. What it does for
//! keys without limits, whose uses are counted too, stands beside it as well. What is done while nobody asks is measured
//! first and taken off all three.

use std::sync::Arc;
use std::time::{Duration, Instant};

use keystile::clock::monotonic_now;
use serde::Serialize;
use tokio::time::sleep;

use crate::admin::Admin;
use crate::client::Target;
use crate::database::Database;
use crate::drive::Load;
use crate::failure::Failure;
use crate::options::Plan;
use crate::question::{Order, Question};
use crate::replicas::Replicas;
use crate::round::run_dry;
use crate::side::{heading, line};
use crate::sql::{Sql, Work, per_second, upserts};
use crate::statistics::{float, rounded};
use crate::subject::{FAR_AWAY, Gateway};
use crate::tokens::Tokens;

const CONNECTIONS: usize = 8;
const KEYS: usize = 10_000;
const REQUESTS: usize = 1_000_000;
const QUICK_REQUESTS: usize = 20_000;
/// Sessions that count: enough that their commits share writes to the disk.
const SESSIONS: usize = 32;
/// Until every session has told what it did: PostgreSQL has idle ones do that after ten seconds.
const SETTLE: Duration = Duration::from_secs(11);
const QUICK_SETTLE: Duration = Duration::from_secs(2);

/// Of one of them.
#[derive(Serialize)]
struct Side {
    requests_per_second: f64,
    postgres_cpu_seconds_per_million: f64,
    per_million: Work,
}

#[derive(Serialize)]
struct Result {
    keys: usize,
    requests: usize,
    sessions: usize,
    idle_per_second: Work,
    /// Without limits: what is done for the counts of uses.
    unlimited: Side,
    limited: Side,
    upserts: Side,
}

/// One Keystile, and who looks at its database.
struct Scene<'a> {
    plan: &'a Plan,
    replicas: Replicas,
    sql: Sql,
    settle: Duration,
}

/// What was read at an end of a measurement.
#[derive(Clone, Copy)]
struct Reading {
    work: Work,
    postgres: Duration,
    at: Instant,
}

/// What was done between two readings.
struct Done {
    work: Work,
    postgres: f64,
    seconds: f64,
}

/// Measures.
///
/// # Errors
/// What kept it from being measured.
pub async fn run(plan: &Plan) -> std::result::Result<(), Failure> {
    let requests = plan.size(REQUESTS, QUICK_REQUESTS);
    let replicas = Replicas::start(1).await?;
    let (address, administrator) = (replicas.first()?.address(), replicas.administrator.expose());
    let unlimited = Gateway::make(address, administrator).await?;
    let mut admin = Admin::connect(address, administrator).await?;
    let limited = unlimited.limited(&mut admin, FAR_AWAY).await?;
    let mut database = Database::open(&replicas.url()?).await?;
    let unlimited_tokens = Arc::new(database.write(unlimited.key_id, KEYS).await?.tokens);
    let limited_tokens = Arc::new(database.write(limited.key_id, KEYS).await?.tokens);
    let sql = Sql::open(&replicas.url()?).await?;
    sql.make_counters().await?;
    let settle = if plan.quick { QUICK_SETTLE } else { SETTLE };
    let scene = Scene { plan, replicas, sql, settle };
    // Each key is in memory, and each counter is there, before anything is measured.
    let url = scene.replicas.url()?;
    scene.ask(&unlimited, &unlimited_tokens, KEYS).await?;
    scene.ask(&limited, &limited_tokens, KEYS).await?;
    upserts(&url, SESSIONS, KEYS, KEYS).await?;
    let idle = scene.between(sleep_for(settle)).await?.1;
    let done = scene.between(scene.ask(&unlimited, &unlimited_tokens, requests)).await?;
    let unlimited = side(requests, &done, &idle);
    let done = scene.between(scene.ask(&limited, &limited_tokens, requests)).await?;
    let limited = side(requests, &done, &idle);
    let done = scene.between(upserts(&url, SESSIONS, KEYS, requests)).await?;
    let upserts = side(requests, &done, &idle);
    let idle_per_second = idle.work.times(1.0 / idle.seconds);
    let (keys, sessions) = (KEYS, SESSIONS);
    let result = Result { keys, requests, sessions, idle_per_second, unlimited, limited, upserts };
    report(&result)
}

impl Scene<'_> {
    /// Asks so many times, in turns about all keys; how long that took.
    async fn ask(
        &self,
        gateway: &Gateway,
        tokens: &Arc<Tokens>,
        requests: usize,
    ) -> std::result::Result<Duration, Failure> {
        let server = self.replicas.first()?;
        let order = Order::rounds(tokens.len(), requests);
        let question = Arc::new(Question::about(gateway, server.address(), tokens, order)?);
        let target = Target { name: server.name(), address: server.address(), question };
        let began = monotonic_now();
        run_dry(self.plan, &Load::closed(&target, CONNECTIONS, self.plan.streams)).await?;
        Ok(monotonic_now() - began)
    }

    /// Does something, and says what the database did for it, until all of it is told.
    async fn between<T>(
        &self,
        work: impl Future<Output = std::result::Result<T, Failure>>,
    ) -> std::result::Result<(T, Done), Failure> {
        sleep(self.settle).await;
        self.sql.checkpoint().await?;
        let before = self.read().await?;
        let done = work.await?;
        sleep(self.settle).await;
        let after = self.read().await?;
        let postgres = after.postgres.saturating_sub(before.postgres).as_secs_f64();
        let seconds = (after.at - before.at).as_secs_f64();
        Ok((done, Done { work: after.work - before.work, postgres, seconds }))
    }

    async fn read(&self) -> std::result::Result<Reading, Failure> {
        let work = self.sql.work().await?;
        let postgres = self.replicas.meter().read()?.postgres;
        Ok(Reading { work, postgres, at: monotonic_now() })
    }
}

async fn sleep_for(time: Duration) -> std::result::Result<(), Failure> {
    sleep(time).await;
    Ok(())
}

/// For a million requests, without what is done anyway.
fn side(requests: usize, (took, done): &(Duration, Done), idle: &Done) -> Side {
    let (idle_part, millions) = (done.seconds / idle.seconds, float(requests) / 1e6);
    Side {
        requests_per_second: per_second(requests, *took),
        postgres_cpu_seconds_per_million: rounded((done.postgres - idle.postgres * idle_part) / millions),
        per_million: (done.work - idle.work.times(idle_part)).times(1.0 / millions),
    }
}

fn report(result: &Result) -> std::result::Result<(), Failure> {
    heading(&format!("{} requests about {KEYS} keys: PostgreSQL, for a million", result.requests));
    let sides = [
        ("keys without limits", &result.unlimited),
        ("keys with limits", &result.limited),
        ("upserts", &result.upserts),
    ];
    for (name, side) in sides {
        let Work { transactions, rows_changed, wal_bytes } = side.per_million;
        eprintln!(
            "  {name}: {transactions:.0} transactions, {rows_changed:.0} rows changed, {:.1} MiB of log, {:.2} s of CPU; \
             at {:.0} requests/s",
            wal_bytes / f64::from(1 << 20),
            side.postgres_cpu_seconds_per_million,
            side.requests_per_second
        );
    }
    let Work { transactions, rows_changed, wal_bytes } = result.idle_per_second;
    eprintln!(
        "  taken off, for each second: {transactions:.1} transactions, {rows_changed:.1} rows changed, {:.1} KiB of log",
        wal_bytes / 1024.0
    );
    line("work", result)
}
