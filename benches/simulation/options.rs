//! What to simulate, from the command line.

use std::time::Duration;

use clap::{Parser, ValueEnum};
use keystile::limits::Window;
use serde::Serialize;

/// Simulates rate limits on many replicas, in virtual time
///
/// Lists, by commas, make a cell of each combination. A cell is one line of JSON on stdout; the table for people goes to
/// stderr.
#[derive(Clone, Debug, Parser)]
#[command(name = "simulation", max_term_width = 110)]
pub struct Options {
    /// Replicas
    #[arg(long, default_value_t = 100)]
    pub replicas: usize,
    /// Keys, all of them with a limit on requests
    #[arg(long, default_value_t = 100_000)]
    pub keys: u32,
    /// Requests a second, over all replicas
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [50_000.0])]
    pub rate: Vec<f64>,
    /// How requests spread over keys: evenly, or by Zipf's law with exponent 1
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', default_value = "even,zipf")]
    pub popularity: Vec<Popularity>,
    /// To how many replicas the requests of one key go
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 3, 100])]
    pub sticky: Vec<usize>,
    /// Limits, by what is asked for: ten times as much, a tenth more, half
    #[arg(long, value_name = "KIND,…", value_delimiter = ',', default_value = "far,near,below")]
    pub limits: Vec<Limits>,
    /// The window of the limits
    #[arg(long, default_value = "minute")]
    pub window: Length,
    /// Virtual seconds that are measured
    #[arg(long, value_name = "SECONDS", default_value_t = 62)]
    pub seconds: u64,
    /// Virtual seconds before that; in the first half of them keys begin to be asked about
    #[arg(long, value_name = "SECONDS", default_value_t = 93)]
    pub warm_up: u64,
    /// Time on the network between a replica and the store, one way, in microseconds
    #[arg(long, value_name = "µs", default_value_t = 250)]
    pub network: u64,
    /// Cores of the store
    #[arg(long, default_value_t = 16)]
    pub cores: usize,
    /// CPU of the store for a group, whatever its size, in microseconds
    #[arg(long, value_name = "µs", default_value_t = 200)]
    pub group_cpu: u64,
    /// CPU of the store for each row of a group that is locked, read and written, in microseconds
    #[arg(long, value_name = "µs", default_value_t = 12)]
    pub row_cpu: u64,
    /// Time that the store's disk takes to make a commit last, in microseconds
    #[arg(long, value_name = "µs", default_value_t = 1_000)]
    pub flush: u64,
    /// Another seed, other traffic
    #[arg(long, default_value_t = 1)]
    pub seed: u64,
    /// Given by `cargo bench`
    #[arg(long, hide = true)]
    pub bench: bool,
}

/// How requests spread over keys.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Popularity {
    /// Each key as often as any other.
    Even,
    /// By rank: 1, 1/2, 1/3, …
    Zipf,
}

impl Popularity {
    /// The exponent of Zipf's law.
    pub fn exponent(self) -> f64 {
        match self {
            Self::Even => 0.0,
            Self::Zipf => 1.0,
        }
    }
}

/// Limits by what is asked for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Limits {
    /// Ten times as much.
    Far,
    /// A tenth more.
    Near,
    /// Half.
    Below,
}

impl Limits {
    /// By what the demand is multiplied.
    pub fn factor(self) -> f64 {
        match self {
            Self::Far => 10.0,
            Self::Near => 1.1,
            Self::Below => 0.5,
        }
    }
}

/// A window, for the command line.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "snake_case")]
pub enum Length {
    /// 60 s.
    Minute,
    /// 3 600 s.
    Hour,
}

impl Length {
    /// The rule's window.
    pub fn window(self) -> Window {
        match self {
            Self::Minute => Window::Minute,
            Self::Hour => Window::Hour,
        }
    }
}

/// What things take.
#[derive(Clone, Copy, Debug)]
pub struct Costs {
    /// One way, in nanoseconds.
    pub network: u64,
    /// Cores of the store.
    pub cores: usize,
    /// CPU nanoseconds of a group.
    pub group: u64,
    /// CPU nanoseconds of a row.
    pub row: u64,
    /// Nanoseconds of a flush.
    pub flush: u64,
}

/// One cell.
#[derive(Clone, Debug)]
pub struct Plan {
    /// Replicas.
    pub replicas: usize,
    /// Keys.
    pub keys: u32,
    /// Requests a second.
    pub rate: f64,
    /// How they spread over keys.
    pub popularity: Popularity,
    /// How many replicas a key's requests go to.
    pub sticky: usize,
    /// The limits.
    pub limits: Limits,
    /// Their window.
    pub window: Length,
    /// How long it is simulated before it is measured.
    pub warm_up: Duration,
    /// How long it is measured.
    pub measured: Duration,
    /// What things take.
    pub costs: Costs,
    /// Of the traffic, and of pauses.
    pub seed: u64,
}

impl Options {
    /// The cells, in the order of the table.
    pub fn plans(&self) -> Vec<Plan> {
        let mut plans = Vec::new();
        for rate in &self.rate {
            for popularity in &self.popularity {
                for limits in &self.limits {
                    plans.extend(self.sticky.iter().map(|sticky| Plan {
                        rate: *rate,
                        popularity: *popularity,
                        limits: *limits,
                        sticky: (*sticky).clamp(1, self.replicas.max(1)),
                        ..self.plan()
                    }));
                }
            }
        }
        plans
    }

    fn plan(&self) -> Plan {
        Plan {
            replicas: self.replicas.max(1),
            keys: self.keys.max(1),
            rate: 0.0,
            popularity: Popularity::Even,
            sticky: 1,
            limits: Limits::Far,
            window: self.window,
            warm_up: Duration::from_secs(self.warm_up),
            measured: Duration::from_secs(self.seconds.max(1)),
            costs: Costs {
                network: nanos(self.network),
                cores: self.cores.max(1),
                group: nanos(self.group_cpu),
                row: nanos(self.row_cpu),
                flush: nanos(self.flush),
            },
            seed: self.seed,
        }
    }
}

fn nanos(micros: u64) -> u64 {
    micros.saturating_mul(1_000)
}
