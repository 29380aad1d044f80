//! What can be measured, each for itself: `--scenario` names it.
//!
//! A scenario starts the servers that it needs, and has ended them when it returns.

mod cold;
pub mod compare;
mod echo_side;
mod exactness;
mod first_limited;
mod flood;
mod growth;
mod hot;
mod imported;
mod keys;
mod latency;
mod limits;
mod revoke;
mod skew;
mod together;
mod work;

use clap::ValueEnum;

use crate::failure::Failure;
use crate::options::Plan;
use crate::report;

/// One of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Scenario {
    /// Calls a second beside the echo servers.
    Compare,
    /// The times of calls at half of the echo's load, beside the echo.
    OpenLoop,
    /// One heavy connection and three light ones against four even ones.
    Skew,
    /// Many keys against few.
    Keys,
    /// BatchAuthorize against Authorize.
    Batch,
    /// AuthorizeStream against Authorize.
    Stream,
    /// Keys that were never seen before; imported keys before and after their first use.
    Cold,
    /// Wrong tokens beside good traffic.
    Flood,
    /// From RevokeKey to refused everywhere, on three replicas.
    Revoke,
    /// Decisions a second and times against keys and connections, as charts.
    Growth,
    /// Keys with limits against keys without.
    Limits,
    /// One key that all traffic is about, with limits and without, on one replica and on three.
    Hot,
    /// The times of requests that wait for allowance.
    FirstLimited,
    /// What PostgreSQL does for keys with limits, beside an upsert for each request.
    Work,
    /// Whether limits hold across replicas in each cell of a matrix. Exit code 1: in one they did not.
    Exactness,
}

impl std::fmt::Display for Scenario {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let value = self.to_possible_value();
        f.write_str(value.as_ref().map_or("", |value| value.get_name()))
    }
}

/// Measures what the plan names, in its order.
///
/// # Errors
/// What kept it from being measured; the servers have ended all the same.
pub async fn run(plan: &Plan) -> Result<(), Failure> {
    report::plan(plan);
    for scenario in &plan.scenarios {
        eprintln!("throughput: scenario {scenario}");
        match scenario {
            Scenario::Compare => compare::run(plan).await?,
            Scenario::OpenLoop => latency::run(plan).await?,
            Scenario::Skew => skew::run(plan).await?,
            Scenario::Keys => keys::run(plan).await?,
            Scenario::Batch => together::batch(plan).await?,
            Scenario::Stream => together::stream(plan).await?,
            Scenario::Cold => cold::run(plan).await?,
            Scenario::Flood => flood::run(plan).await?,
            Scenario::Revoke => revoke::run(plan).await?,
            Scenario::Growth => growth::run(plan).await?,
            Scenario::Limits => limits::run(plan).await?,
            Scenario::Hot => hot::run(plan).await?,
            Scenario::FirstLimited => first_limited::run(plan).await?,
            Scenario::Work => work::run(plan).await?,
            Scenario::Exactness => exactness::run(plan).await?,
        }
    }
    Ok(())
}
