//! What was measured of one side of a scenario, and the lines that say it.
//!
//! - `rps`: decisions (or echoes) a second. `p50_us`, `p99_us`: of calls; in an open loop from the instant that the
//!   schedule names, and of calls without an answer as long as they were waited for. `cpu_us_per_decision`: of the
//!   server's process; `postgres_cpu_us_per_decision`: of its database.
//! - `client_share`: of the CPU of client, server and database together, the client's. `others_cpus`: CPUs kept busy by
//!   what is no part of the benchmark, at the worst.
//! - `shed_rps`: calls a second that were refused with `RESOURCE_EXHAUSTED`, where that is right. `unanswered`: calls of
//!   all rounds that had no answer when the time was up.

use serde::Serialize;

use crate::failure::Failure;
use crate::round::Round;
use crate::statistics::{Spread, float};

/// Of the machine, what others may use for the numbers to mean something.
const OTHERS_SHARE_MAX: f64 = 0.05;

/// All rounds of one side.
#[derive(Clone, Debug, Serialize)]
pub struct Side {
    /// Decisions a second.
    pub rps: Spread,
    /// Half of the calls took at most so long.
    pub p50_us: Spread,
    /// 99 per cent of the calls took at most so long.
    pub p99_us: Spread,
    cpu_us_per_decision: Spread,
    postgres_cpu_us_per_decision: Spread,
    client_share: Spread,
    #[serde(serialize_with = "crate::statistics::short")]
    others_cpus: f64,
    shed_rps: Spread,
    unanswered: usize,
    rounds: usize,
}

/// A line of JSON.
#[derive(Serialize)]
struct Line<'a, T> {
    bench: &'static str,
    scenario: &'a str,
    #[serde(flatten)]
    result: &'a T,
}

impl Side {
    /// Of at least one round.
    ///
    /// # Errors
    /// There was none.
    pub fn of(rounds: &[Round]) -> Result<Self, Failure> {
        let spread = |value: fn(&Round) -> f64| {
            Spread::of(rounds.iter().map(value)).ok_or(Failure::Unusable("nothing was measured"))
        };
        Ok(Self {
            rps: spread(|round| round.rps)?,
            p50_us: spread(|round| round.p50_us)?,
            p99_us: spread(|round| round.p99_us)?,
            cpu_us_per_decision: spread(|round| round.cpu_us)?,
            postgres_cpu_us_per_decision: spread(|round| round.postgres_us)?,
            client_share: spread(|round| round.client_share)?,
            others_cpus: spread(|round| round.others_cpus)?.max,
            shed_rps: spread(|round| round.shed_rps)?,
            unanswered: rounds.iter().map(|round| round.unanswered).sum(),
            rounds: rounds.len(),
        })
    }

    /// For people.
    pub fn say(&self, name: &str) {
        let Self { rps, p50_us, p99_us, cpu_us_per_decision, client_share, .. } = self;
        eprintln!(
            "  {name}: {} decisions/s, p50 {} µs, p99 {} µs",
            rps.text(0),
            p50_us.text(0),
            p99_us.text(0)
        );
        let shed = if self.shed_rps.max > 0.0 {
            format!(", {} calls/s shed", self.shed_rps.text(0))
        } else {
            String::new()
        };
        let unanswered = if self.unanswered > 0 {
            format!(", {} calls unanswered", self.unanswered)
        } else {
            String::new()
        };
        eprintln!(
            "    {} µs of CPU a decision; the client takes {:.0} % of the CPU used; others kept {:.2} CPUs busy{}{}{}",
            cpu_us_per_decision.text(1),
            client_share.median * 100.0,
            self.others_cpus,
            distrust(self.others_cpus),
            shed,
            unanswered
        );
    }
}

/// What to think of the numbers if others kept so many CPUs busy.
pub fn distrust(others_cpus: f64) -> &'static str {
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let is_much = others_cpus > OTHERS_SHARE_MAX * float(cpus);
    if is_much { ": too many for these numbers to say much" } else { "" }
}

/// The ratio of decisions a second, round by round.
///
/// # Errors
/// There were no rounds.
pub fn rps_ratio(above: &[Round], below: &[Round]) -> Result<Spread, Failure> {
    ratio(above, below, |round| round.rps)
}

/// The ratio of p99, round by round.
///
/// # Errors
/// There were no rounds.
pub fn p99_ratio(above: &[Round], below: &[Round]) -> Result<Spread, Failure> {
    ratio(above, below, |round| round.p99_us)
}

fn ratio(above: &[Round], below: &[Round], value: fn(&Round) -> f64) -> Result<Spread, Failure> {
    let pairs = above.iter().map(value).zip(below.iter().map(value));
    Spread::of_ratios(pairs).ok_or(Failure::Unusable("nothing was measured"))
}

/// Says what is measured now.
pub fn heading(text: &str) {
    eprintln!("{text}:");
}

/// Says a ratio.
pub fn say_ratio(what: &str, ratio: &Spread) {
    eprintln!("  {what}: {}", ratio.text(4));
}

/// Writes a result as a line of JSON.
///
/// # Errors
/// It cannot be written so.
pub fn line(scenario: &str, result: &impl Serialize) -> Result<(), Failure> {
    let line = serde_json::to_string(&Line { bench: "hot", scenario, result })
        .map_err(|_| Failure::Unusable("the result cannot be written as JSON"))?;
    println!("{line}");
    Ok(())
}
