//! Which cells of the matrix of exactness are measured, from the command line.

use std::time::Duration;

use clap::{Args, ValueEnum};
use serde::Serialize;

/// Of the skewed clients, so many per cent ask the first replica.
const HEAVY_PER_CENT: usize = 90;

/// The choice of cells.
#[derive(Clone, Debug, Args)]
#[command(next_help_heading = "Cells of exactness")]
pub struct CellOptions {
    /// Numbers of replicas
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 3, 5], value_parser = replicas)]
    replicas: Vec<usize>,
    /// Limits, in requests a minute
    #[arg(long, value_name = "N,…", value_delimiter = ',', default_values_t = [1, 10, 1_000, 100_000], value_parser = limit)]
    limits: Vec<u32>,
    /// How clients spread over the replicas
    #[arg(long, value_name = "LOAD,…", value_delimiter = ',', default_values_t = [Spreading::Even, Spreading::Skewed])]
    loads: Vec<Spreading>,
    /// What befalls the service meanwhile
    #[arg(long, value_name = "FAULT,…", value_delimiter = ',', default_values_t = [Fault::None, Fault::Kill, Fault::Restart])]
    faults: Vec<Fault>,
    /// How many windows a cell lasts, at least 3
    #[arg(long, value_name = "N", default_value_t = 4, value_parser = windows)]
    windows: u32,
    /// How long a minute is for the server: what it was built with (KEYSTILE_MINUTE_SECONDS), if not 60
    #[arg(long, value_name = "SECONDS", default_value_t = 60, value_parser = minute)]
    minute_seconds: u32,
}

/// The cells, and what they have in common.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Matrix {
    /// Those with equally many replicas stand together.
    pub cells: Vec<Cell>,
    /// What the server takes for a minute.
    pub window: Duration,
    /// Length of a cell.
    pub windows: u32,
}

/// One measurement.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize)]
pub struct Cell {
    /// Processes.
    pub replicas: usize,
    /// Requests in a window.
    pub limit: u32,
    /// How clients spread over the replicas.
    pub load: Spreading,
    /// What befalls the service meanwhile.
    pub fault: Fault,
}

/// How clients spread over the replicas.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Spreading {
    /// Equally many ask each.
    Even,
    /// The first is asked by 90 per cent. There is no such cell with one replica.
    Skewed,
}

/// What befalls the service.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, ValueEnum)]
#[serde(rename_all = "lowercase")]
pub enum Fault {
    /// Nothing.
    None,
    /// Every few seconds a replica is killed (SIGKILL) and started again.
    Kill,
    /// Every few seconds PostgreSQL is stopped, in order and by a crash in turns, and started again.
    Restart,
}

impl CellOptions {
    /// The cells that these options name.
    pub fn matrix(&self) -> Matrix {
        let mut cells = Vec::new();
        for replicas in &self.replicas {
            for fault in &self.faults {
                for load in self.loads.iter().filter(|load| **load == Spreading::Even || *replicas > 1) {
                    let cell =
                        |limit: &u32| Cell { replicas: *replicas, limit: *limit, load: *load, fault: *fault };
                    cells.extend(self.limits.iter().map(cell));
                }
            }
        }
        let window = Duration::from_secs(self.minute_seconds.into());
        Matrix { cells, window, windows: self.windows }
    }
}

impl Spreading {
    /// Which replica each client asks.
    pub fn replicas(self, clients: usize, replicas: usize) -> Vec<usize> {
        let replicas = replicas.max(1);
        let heavy = match self {
            Self::Skewed if replicas > 1 => (clients * HEAVY_PER_CENT).div_ceil(100),
            Self::Skewed | Self::Even => 0,
        };
        let (first, others) = if heavy > 0 { (1, replicas - 1) } else { (0, replicas) };
        let light = (0..clients.saturating_sub(heavy)).map(|client| first + client % others);
        std::iter::repeat_n(0, heavy).chain(light).collect()
    }
}

impl std::fmt::Display for Spreading {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

impl std::fmt::Display for Fault {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(self.to_possible_value().as_ref().map_or("", |value| value.get_name()))
    }
}

fn replicas(text: &str) -> Result<usize, String> {
    number(text, 1, 20)
}

fn limit(text: &str) -> Result<u32, String> {
    number(text, 1, 1_000_000)
}

fn windows(text: &str) -> Result<u32, String> {
    number(text, 3, 1_000)
}

fn minute(text: &str) -> Result<u32, String> {
    number(text, 1, 60)
}

fn number<N: std::str::FromStr + PartialOrd + std::fmt::Display>(
    text: &str,
    min: N,
    max: N,
) -> Result<N, String> {
    let number = text.parse().ok().filter(|number| (&min..=&max).contains(&number));
    number.ok_or_else(|| format!("must be a number from {min} to {max}"))
}
