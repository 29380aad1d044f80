//! What a comparison says, for people (stderr) and for programs (one line of JSON on stdout).
//!
//! - Every number is the median over the rounds; `…_min` and `…_max` are the extremes. `ratio` is the median
//!   of the pairs' ratios, not the ratio of the medians: what disturbs the machine disturbs both of a pair.
//! - `ratio`: Keystile's calls a second by the echo's. `cpu_ratio`: the echo's CPU time for a call by
//!   Keystile's (its own process, without PostgreSQL). At 1 they are alike; more is better for Keystile.
//! - `p99_us`, `cpu_us_per_call`: Keystile's, without PostgreSQL; the echo's are named `echo_…`.
//! - `decides`: where the client took more than half of the CPU that was used beside either server, calls a
//!   second say more about the client than about the server, and `cpu_ratio` decides; else `ratio`.
//! - `others_cpus`: CPUs kept busy by what is no part of the benchmark, at the worst. More than a few per
//!   cent of the machine, and the numbers say little.

use serde::Serialize;

use crate::client::{Answer, Target};

use crate::failure::Failure;
use crate::options::{EchoKind, Plan, Row};
use crate::round::Round;
use crate::scenarios::compare::{Comparison, Pair};
use crate::side::distrust;
use crate::statistics::{Spread, rounded};

/// Of the CPU of client and server together, what the client may take for calls a second to decide.
const CLIENT_SHARE_MAX: f64 = 0.5;

/// What decides.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
enum Decides {
    Ratio,
    CpuRatio,
}

/// The line of JSON. Its first nine fields are the contract.
#[derive(Debug, Serialize)]
struct Line {
    bench: &'static str,
    echo: EchoKind,
    connections: usize,
    streams: usize,
    echo_rps: f64,
    keystile_rps: f64,
    ratio: f64,
    p99_us: f64,
    cpu_us_per_call: f64,
    ratio_min: f64,
    ratio_max: f64,
    cpu_ratio: f64,
    cpu_ratio_min: f64,
    cpu_ratio_max: f64,
    decides: Decides,
    echo_p99_us: f64,
    echo_cpu_us_per_call: f64,
    postgres_cpu_us_per_call: f64,
    echo_client_share: f64,
    keystile_client_share: f64,
    others_cpus: f64,
    pairs: usize,
}

/// Says what is going to be measured.
pub fn plan(plan: &Plan) {
    eprintln!(
        "throughput: {} pairs of {:?} each, after {:?} of warm-up; {} client thread(s)",
        plan.pairs, plan.measured, plan.warm_up, plan.threads
    );
}

/// Says how large a call's messages are.
pub fn sizes(target: &Target, answer: &Answer) {
    eprintln!(
        "throughput: {} on {}: {} bytes asked; {} bytes answered, with {} bytes of metadata",
        target.name,
        target.address,
        target.question.message_bytes(),
        answer.message.len(),
        answer.metadata_bytes
    );
}

/// Says what came out of a comparison.
///
/// # Errors
/// It has no pairs.
pub fn comparison(comparison: &Comparison) -> Result<(), Failure> {
    let summary = Summary::of(comparison).ok_or(Failure::Unusable("nothing was measured"))?;
    let line = serde_json::to_string(&summary.line(comparison))
        .map_err(|_| Failure::Unusable("the comparison cannot be written as JSON"))?;
    eprintln!("{}", summary.text(comparison));
    println!("{line}");
    Ok(())
}

struct SideSummary {
    rps: Spread,
    p99_us: Spread,
    cpu_us: Spread,
    client_share: Spread,
}

struct Summary {
    echo: SideSummary,
    keystile: SideSummary,
    postgres_us: Spread,
    ratio: Spread,
    cpu_ratio: Spread,
    others_cpus: f64,
    decides: Decides,
}

impl SideSummary {
    fn of(rounds: impl Iterator<Item = Round> + Clone) -> Option<Self> {
        Some(Self {
            rps: Spread::of(rounds.clone().map(|round| round.rps))?,
            p99_us: Spread::of(rounds.clone().map(|round| round.p99_us))?,
            cpu_us: Spread::of(rounds.clone().map(|round| round.cpu_us))?,
            client_share: Spread::of(rounds.map(|round| round.client_share))?,
        })
    }

    fn text(&self, name: &str) -> String {
        let Self { rps, p99_us, cpu_us, client_share } = self;
        format!(
            "  {name:<9}{:>9.0} calls/s ({:.0} to {:.0}), p99 {:.0} µs ({:.0} to {:.0}), \
             {:.1} µs of CPU a call ({:.1} to {:.1}); the client takes {:.0} % of the CPU used",
            rps.median,
            rps.min,
            rps.max,
            p99_us.median,
            p99_us.min,
            p99_us.max,
            cpu_us.median,
            cpu_us.min,
            cpu_us.max,
            client_share.median * 100.0
        )
    }
}

impl Summary {
    fn of(comparison: &Comparison) -> Option<Self> {
        let pairs = comparison.pairs.iter();
        let echo = SideSummary::of(pairs.clone().map(|pair| pair.echo))?;
        let keystile = SideSummary::of(pairs.clone().map(|pair| pair.keystile))?;
        let client_share = echo.client_share.median.max(keystile.client_share.median);
        let worst = |pair: &Pair| pair.echo.others_cpus.max(pair.keystile.others_cpus);
        Some(Self {
            postgres_us: Spread::of(pairs.clone().map(|pair| pair.keystile.postgres_us))?,
            ratio: Spread::of_ratios(pairs.clone().map(|pair| (pair.keystile.rps, pair.echo.rps)))?,
            cpu_ratio: Spread::of_ratios(pairs.clone().map(|pair| (pair.echo.cpu_us, pair.keystile.cpu_us)))?,
            others_cpus: Spread::of(pairs.map(worst))?.max,
            decides: if client_share > CLIENT_SHARE_MAX { Decides::CpuRatio } else { Decides::Ratio },
            echo,
            keystile,
        })
    }

    fn line(&self, comparison: &Comparison) -> Line {
        Line {
            bench: "throughput",
            echo: comparison.row.echo,
            connections: comparison.row.connections,
            streams: comparison.row.streams,
            echo_rps: rounded(self.echo.rps.median),
            keystile_rps: rounded(self.keystile.rps.median),
            ratio: rounded(self.ratio.median),
            p99_us: rounded(self.keystile.p99_us.median),
            cpu_us_per_call: rounded(self.keystile.cpu_us.median),
            ratio_min: rounded(self.ratio.min),
            ratio_max: rounded(self.ratio.max),
            cpu_ratio: rounded(self.cpu_ratio.median),
            cpu_ratio_min: rounded(self.cpu_ratio.min),
            cpu_ratio_max: rounded(self.cpu_ratio.max),
            decides: self.decides,
            echo_p99_us: rounded(self.echo.p99_us.median),
            echo_cpu_us_per_call: rounded(self.echo.cpu_us.median),
            postgres_cpu_us_per_call: rounded(self.postgres_us.median),
            echo_client_share: rounded(self.echo.client_share.median),
            keystile_client_share: rounded(self.keystile.client_share.median),
            others_cpus: rounded(self.others_cpus),
            pairs: comparison.pairs.len(),
        }
    }

    fn text(&self, comparison: &Comparison) -> String {
        let Row { echo, connections, streams } = comparison.row;
        let (ratio, cpu) = (&self.ratio, &self.cpu_ratio);
        let decides = match self.decides {
            Decides::Ratio => "calls a second decide",
            Decides::CpuRatio => "the client takes more than half of the CPU: the CPU ratio decides",
        };
        let lines = [
            format!("{echo} echo, {connections} connection(s) of {streams} stream(s):"),
            self.echo.text("echo"),
            self.keystile.text("keystile"),
            format!("  PostgreSQL takes {:.1} µs of CPU a call besides", self.postgres_us.median),
            format!(
                "  ratio {:.4} ({:.4} to {:.4}), CPU ratio {:.4} ({:.4} to {:.4}): {decides}",
                ratio.median, ratio.min, ratio.max, cpu.median, cpu.min, cpu.max
            ),
            format!("  others kept at most {:.2} CPUs busy{}", self.others_cpus, distrust(self.others_cpus)),
        ];
        lines.join("\n")
    }
}
