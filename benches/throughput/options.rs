//! What to measure, from the command line.

use std::path::PathBuf;
use std::time::Duration;

use clap::builder::{BoolishValueParser, PossibleValue};
use clap::{Parser, ValueEnum};
use serde::Serialize;

use crate::cells::{CellOptions, Matrix};
use crate::scenarios::Scenario;

/// Measured time and pairs of a whole run: enough that the median stands still.
const PAIRS: usize = 7;
const MEASURED: Duration = Duration::from_secs(5);
const WARM_UP: Duration = Duration::from_secs(1);
/// Calls under way at once on each connection.
const STREAMS: usize = 16;
/// The same of a quick run: enough to see that everything works.
const QUICK_PAIRS: usize = 2;
const QUICK_MEASURED: Duration = Duration::from_secs(1);
const QUICK_WARM_UP: Duration = Duration::from_millis(300);

/// Drives Keystile, and a bare tonic echo server in turns with it, and compares them
///
/// Each result is one line of JSON on stdout; the text for people goes to stderr.
#[derive(Debug, Parser)]
#[command(name = "throughput", max_term_width = 110)]
pub struct Options {
    /// Two pairs of one second: a smoke test, whose numbers mean little
    #[arg(long, env = "KEYSTILE_BENCH_QUICK", value_parser = BoolishValueParser::new())]
    quick: bool,
    /// What to measure, one after the other
    #[arg(long, value_name = "SCENARIO,…", value_delimiter = ',', default_values_t = [Scenario::Compare])]
    scenario: Vec<Scenario>,
    /// Numbers of connections to compare with [default: compare: the rows of its table; open-loop: 8,64]
    #[arg(long, value_name = "N,…", value_delimiter = ',', value_parser = connections)]
    connections: Option<Vec<usize>>,
    /// Calls under way at once on each connection, 1 to 200 [default: compare: the rows of its table; else 16]
    #[arg(long, value_name = "N", value_parser = streams)]
    streams: Option<usize>,
    /// What compare compares with [default: the rows of its table]
    #[arg(long, value_name = "ECHO,…", value_delimiter = ',')]
    echo: Option<Vec<EchoKind>>,
    /// Pairs of one measurement of each side [default: 7; quick: 2]
    #[arg(long, value_name = "N", value_parser = pairs)]
    pairs: Option<usize>,
    /// Measured seconds of each [default: 5; quick: 1]
    #[arg(long, value_name = "SECONDS", value_parser = seconds)]
    seconds: Option<Duration>,
    /// Threads of the client [default: half of the cores]
    #[arg(long, value_name = "N", value_parser = connections)]
    threads: Option<usize>,
    /// Directory of the charts that growth draws [default: docs/performance; quick: target/performance]
    #[arg(long, value_name = "DIR")]
    charts: Option<PathBuf>,
    /// The program that is measured as Keystile [default: the one that was built with the benchmark]
    #[arg(long, value_name = "PATH")]
    pub server_binary: Option<PathBuf>,
    #[command(flatten)]
    cells: CellOptions,
    /// Set by `cargo bench`
    #[arg(long, hide = true)]
    pub bench: bool,
    /// Be one of the servers
    #[arg(long, hide = true)]
    pub role: Option<Role>,
    /// Bytes of an echo server's answer
    #[arg(long, hide = true, default_value_t = 0)]
    pub answer_bytes: usize,
    /// Bytes of a header more in an echo server's answer, name and value
    #[arg(long, hide = true, default_value_t = 0)]
    pub filler_bytes: usize,
}

/// One comparison.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Row {
    /// With what.
    pub echo: EchoKind,
    /// Connections.
    pub connections: usize,
    /// Calls under way at once on each.
    pub streams: usize,
}

/// The rows of a comparison that nobody asked for in particular, in an order that needs each echo server once.
const ROWS: [Row; 6] = [
    Row { echo: EchoKind::Default, connections: 8, streams: 16 },
    Row { echo: EchoKind::Default, connections: 64, streams: 16 },
    Row { echo: EchoKind::Default, connections: 1, streams: 1 },
    Row { echo: EchoKind::Default, connections: 1, streams: 64 },
    Row { echo: EchoKind::Frame, connections: 8, streams: 16 },
    Row { echo: EchoKind::Frame, connections: 64, streams: 16 },
];

/// What is done in which order is up to the scenarios.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Plan {
    /// What to measure.
    pub scenarios: Vec<Scenario>,
    /// The comparisons.
    pub rows: Vec<Row>,
    /// Connections of the open loops, one measurement for each.
    pub connections: Vec<usize>,
    /// Calls under way at once on each connection, where a scenario has no numbers of its own.
    pub streams: usize,
    /// Pairs of each comparison.
    pub pairs: usize,
    /// Before each measurement, and not measured.
    pub warm_up: Duration,
    /// Length of each measurement.
    pub measured: Duration,
    /// Threads of the client.
    pub threads: usize,
    /// Few keys, too.
    pub quick: bool,
    /// Where charts are written.
    pub charts: PathBuf,
    /// The cells of exactness.
    pub matrix: Matrix,
}

impl Plan {
    /// The one or, in a quick run, the other.
    pub fn size(&self, whole: usize, quick: usize) -> usize {
        if self.quick { quick } else { whole }
    }
}

impl Options {
    /// The plan that these options make.
    pub fn plan(&self) -> Plan {
        let (pairs, measured, warm_up) = if self.quick {
            (QUICK_PAIRS, QUICK_MEASURED, QUICK_WARM_UP)
        } else {
            (PAIRS, MEASURED, WARM_UP)
        };
        let cores = std::thread::available_parallelism().map_or(1, usize::from);
        let charts = if self.quick { "target/performance" } else { "docs/performance" };
        let charts = || PathBuf::from(env!("CARGO_MANIFEST_DIR")).join(charts);
        Plan {
            scenarios: self.scenario.clone(),
            rows: self.rows(),
            connections: self.connections.clone().unwrap_or_else(|| vec![8, 64]),
            streams: self.streams.unwrap_or(STREAMS),
            pairs: self.pairs.unwrap_or(pairs),
            warm_up,
            measured: self.seconds.unwrap_or(measured),
            threads: self.threads.unwrap_or_else(|| (cores / 2).max(1)),
            quick: self.quick,
            charts: self.charts.clone().unwrap_or_else(charts),
            matrix: self.cells.matrix(),
        }
    }

    /// Those of the table, or what was asked for, in every combination.
    fn rows(&self) -> Vec<Row> {
        if self.connections.is_none() && self.streams.is_none() && self.echo.is_none() {
            return ROWS.to_vec();
        }
        let connections = self.connections.as_deref().unwrap_or(&[8, 64]);
        let echoes = self.echo.as_deref().unwrap_or(&[EchoKind::Default, EchoKind::Frame]);
        let streams = self.streams.unwrap_or(STREAMS);
        let of_echo = |echo: &EchoKind| {
            connections.iter().map(|n| Row { echo: *echo, connections: *n, streams }).collect::<Vec<_>>()
        };
        echoes.iter().flat_map(of_echo).collect()
    }
}

/// What Keystile is compared with.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum EchoKind {
    /// tonic as it comes, on tokio's default runtime.
    Default,
    /// The same service behind the settings and layers of Keystile's own server.
    Frame,
}

impl EchoKind {
    /// As in the JSON line.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Default => "default",
            Self::Frame => "frame",
        }
    }
}

impl std::fmt::Display for EchoKind {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.as_str())
    }
}

/// Which server a process is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Role {
    /// An echo server.
    Echo(EchoKind),
    /// `keystile serve`.
    Keystile,
}

impl Role {
    /// As in the option.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Echo(EchoKind::Default) => "echo-default",
            Self::Echo(EchoKind::Frame) => "echo-frame",
            Self::Keystile => "keystile",
        }
    }
}

impl ValueEnum for Role {
    fn value_variants<'a>() -> &'a [Self] {
        &[Self::Echo(EchoKind::Default), Self::Echo(EchoKind::Frame), Self::Keystile]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        Some(PossibleValue::new(self.as_str()))
    }
}

fn connections(text: &str) -> Result<usize, String> {
    number(text, 1024)
}

/// tonic takes at most 200 streams on a connection.
fn streams(text: &str) -> Result<usize, String> {
    number(text, 200)
}

fn pairs(text: &str) -> Result<usize, String> {
    number(text, 1000)
}

fn number(text: &str, max: usize) -> Result<usize, String> {
    let number = text.parse().ok().filter(|number| (1..=max).contains(number));
    number.ok_or_else(|| format!("must be a number from 1 to {max}"))
}

fn seconds(text: &str) -> Result<Duration, String> {
    let seconds = text.parse().ok().filter(|seconds| (0.1..=3600.0).contains(seconds));
    seconds.map(Duration::from_secs_f64).ok_or_else(|| "must be a number from 0.1 to 3600".to_owned())
}
