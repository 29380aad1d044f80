//! How long does a page of ListKeys take, with a million keys?
//!
//! A private PostgreSQL and the service on it in this process; pages of 50 by gRPC over loopback, one after another:
//! every filter in the default order, every order without a filter, and what is hard. Each case goes through pages by
//! their tokens, and begins anew with another value.
//!
//! `cargo bench --bench listing` prints a table; `-- --keys 100000` takes fewer keys. No number is judged here: look at
//! p99.
#![allow(clippy::print_stdout, clippy::print_stderr, reason = "a benchmark's answer is what it prints")]

mod cases;
mod keys;

use std::time::Duration;

use anyhow::Context as _;
use clap::Parser;
use keystile::clock::{Clock, monotonic_now};
use keystile::config::Serve;
use keystile::embedded::{Cluster, Options};
use keystile::grpc::pb;
use keystile::grpc::pb::key_service_client::KeyServiceClient;
use keystile::server::Running;
use tonic::transport::{Channel, Endpoint};

use cases::Case;

/// Pages that are measured of each case.
const PAGES: usize = 100;
/// Pages before a case begins anew.
const RUN: usize = 10;

#[derive(Parser)]
struct Plan {
    /// Keys to list
    #[arg(long, default_value_t = 1_000_000)]
    keys: i64,
    /// Only cases whose names hold this
    #[arg(long, default_value = "")]
    only: String,
    /// Given by `cargo bench`
    #[arg(long)]
    bench: bool,
}

#[derive(Parser)]
struct Arguments {
    #[command(flatten)]
    serve: Serve,
}

fn main() -> anyhow::Result<()> {
    let plan = Plan::parse();
    if !plan.bench {
        eprintln!("listing: nothing measured; run it with `cargo bench --bench listing`");
        return Ok(());
    }
    let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build()?;
    runtime.block_on(measure(&plan))
}

async fn measure(plan: &Plan) -> anyhow::Result<()> {
    let dir = tempfile::tempdir()?;
    let options = Options { data_dir: dir.path().join("pg"), durable: false, max_connections: 20 };
    let cluster = Cluster::start(options).await?;
    let url = cluster.url("postgres");
    let started = monotonic_now();
    keys::migrate(&url).await?;
    keys::insert(&url, plan.keys).await?;
    eprintln!("listing: {} keys in {:.0} s", plan.keys, started.elapsed().as_secs_f64());
    let database = format!("--database-url={url}");
    let arguments = ["listing", "--listen=127.0.0.1:0", "--no-auth", "--allow-data-loss", &database];
    let running = Running::start(&Arguments::parse_from(arguments).serve, Clock::System).await?;
    let channel = Endpoint::from_shared(format!("http://{}", running.address()))?.connect().await?;
    println!("{:<44} {:>9} {:>9} {:>9} {:>9}", "pages of 50", "keys/page", "p50 ms", "p99 ms", "max ms");
    for case in cases::all(plan.keys).into_iter().filter(|case| case.name.contains(&plan.only)) {
        let (mut times, keys) = run(&channel, &case).await.with_context(|| case.name.clone())?;
        times.sort_unstable();
        let at = |percent: usize| times.get((times.len() * percent / 100).min(times.len() - 1));
        let ms = |time: Option<&Duration>| time.map_or(0.0, |time| time.as_secs_f64() * 1_000.0);
        let [p50, p99, max] = [at(50), at(98), at(100)].map(ms);
        let keys = f64::from(u32::try_from(keys)?) / f64::from(u32::try_from(times.len())?);
        println!("{:<44} {keys:>9.1} {p50:>9.1} {p99:>9.1} {max:>9.1}", case.name);
    }
    running.stop().await?;
    cluster.stop().await?;
    Ok(())
}

/// The time of each page, and how many keys there were in all.
async fn run(channel: &Channel, case: &Case) -> anyhow::Result<(Vec<Duration>, usize)> {
    let mut client = KeyServiceClient::new(channel.clone());
    let (mut times, mut keys) = (Vec::with_capacity(PAGES), 0);
    let (mut filter, mut page_token) = ((case.filter)(0), String::new());
    // Plans, caches and connections are warm after some.
    for n in 0..PAGES + RUN {
        if n % RUN == 0 {
            filter = (case.filter)(i64::try_from(n / RUN)?);
            page_token.clear();
        }
        let request = pb::ListKeysRequest {
            filter: Some(filter.clone()),
            order_by: case.order.clone(),
            page_token: std::mem::take(&mut page_token),
            page_size: 50,
        };
        let asked = monotonic_now();
        let answer = client.list_keys(request).await?.into_inner();
        if n >= RUN {
            times.push(asked.elapsed());
            keys += answer.keys.len();
        }
        page_token = answer.next_page_token;
    }
    Ok((times, keys))
}
