//! What came of a cell: counts, and what follows from them.

use serde::Serialize;

use crate::options::{Length, Limits, Plan, Popularity};
use crate::replica::Decision;
use crate::traffic::{float, nanos_of};

/// Of the table for people.
pub const HEADING: &str = "\
popularity limits sticky    rate/s | utilised  central  refused  no need  undecided | waits  p50 ms  p99 ms | \
 rows/s  rows/req  groups/s  held/s   cores | fullest";

/// Counts over the measured time. Rows and groups are those that were committed in it.
#[derive(Debug, Default)]
pub struct Outcome {
    /// Requests that came.
    pub asked: u64,
    /// What the central limiter has admitted of them.
    pub central: u64,
    /// What the replicas have.
    pub admitted: u64,
    /// What they have refused.
    pub refused: u64,
    /// Of that, what the central limiter has admitted.
    pub refused_against_central: u64,
    /// Of that, what the rule would have allowed when it was refused, after what was admitted before.
    pub refused_with_room: u64,
    /// What they did not decide.
    pub undecided: u64,
    /// How long requests have waited for units, in microseconds; of those that have.
    pub waits: Vec<u32>,
    /// Transactions.
    pub groups: u64,
    /// Rows that were changed.
    pub rows: u64,
    /// Rows that another has held.
    pub held: u64,
    /// CPU nanoseconds of the store.
    pub busy: u64,
    /// Over all time: admissions that broke a limit.
    pub broken: u64,
    /// Over all time: the most of a limit that was admitted in a window.
    pub fullest: f64,
}

impl Outcome {
    /// A request was decided.
    pub fn note(&mut self, decision: Decision, is_central: bool, has_room: bool) {
        match decision {
            Decision::Admitted => self.admitted += 1,
            Decision::Refused => {
                self.refused += 1;
                self.refused_against_central += u64::from(is_central);
                self.refused_with_room += u64::from(has_room);
            }
            Decision::Undecided => self.undecided += 1,
            Decision::Waits => {}
        }
    }

    /// What it means.
    pub fn report(mut self, plan: &Plan) -> Report {
        let seconds = plan.measured.as_secs_f64();
        let by = |part: u64, whole: u64| rounded(float(part) / float(whole.max(1)), 1e5);
        let a_second = |count: u64| (float(count) / seconds).round();
        let asked = self.asked;
        Report {
            bench: "simulation",
            replicas: plan.replicas,
            keys: plan.keys,
            rate: plan.rate,
            popularity: plan.popularity,
            sticky: plan.sticky,
            limits: plan.limits,
            window: plan.window,
            cores: plan.costs.cores,
            utilisation: by(self.admitted, self.central),
            central_share: by(self.central, asked),
            refused_share: by(self.refused, asked),
            refused_against_central_share: by(self.refused_against_central, asked),
            refused_with_room_share: by(self.refused_with_room, asked),
            undecided_share: by(self.undecided, asked),
            waited_share: by(u64::try_from(self.waits.len()).unwrap_or(u64::MAX), asked),
            wait_p50_ms: percentile(&mut self.waits, 50),
            wait_p99_ms: percentile(&mut self.waits, 99),
            rows_per_second: a_second(self.rows),
            rows_per_request: by(self.rows, asked),
            groups_per_second: a_second(self.groups),
            held_per_second: a_second(self.held),
            cores_busy: rounded(float(self.busy) / float(nanos_of(plan.measured)), 1e2),
            fullest: rounded(self.fullest, 1e4),
            broken: self.broken,
        }
    }
}

/// A cell's result. Shares are of the requests that came.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Report {
    bench: &'static str,
    replicas: usize,
    keys: u32,
    rate: f64,
    popularity: Popularity,
    sticky: usize,
    limits: Limits,
    window: Length,
    cores: usize,
    /// Admissions by the central limiter's.
    pub utilisation: f64,
    central_share: f64,
    /// What was refused.
    pub refused_share: f64,
    refused_against_central_share: f64,
    refused_with_room_share: f64,
    /// What was not decided.
    pub undecided_share: f64,
    waited_share: f64,
    wait_p50_ms: f64,
    wait_p99_ms: f64,
    /// Row updates by requests.
    pub rows_per_request: f64,
    rows_per_second: f64,
    groups_per_second: f64,
    held_per_second: f64,
    cores_busy: f64,
    /// The most of a limit that was admitted in a window.
    pub fullest: f64,
    broken: u64,
}

impl Report {
    /// Whether every limit was kept in every window.
    pub fn is_kept(&self) -> bool {
        self.broken == 0
    }

    /// A line of the table.
    pub fn row(&self) -> String {
        format!(
            "{:<10} {:<6} {:>6} {:>9} | {:>8.3} {:>8.3} {:>8.4} {:>8.4} {:>10.4} | {:>5.3} {:>7.2} {:>7.2} | {:>7} {:>9.3} {:>9} {:>7} {:>6.2} | {:>7.3}{}",
            format!("{:?}", self.popularity).to_lowercase(),
            format!("{:?}", self.limits).to_lowercase(),
            self.sticky,
            self.rate,
            self.utilisation,
            self.central_share,
            self.refused_share,
            self.refused_with_room_share,
            self.undecided_share,
            self.waited_share,
            self.wait_p50_ms,
            self.wait_p99_ms,
            self.rows_per_second,
            self.rows_per_request,
            self.groups_per_second,
            self.held_per_second,
            self.cores_busy,
            self.fullest,
            if self.is_kept() { "" } else { " BROKEN" },
        )
    }

    /// One line.
    ///
    /// # Errors
    /// The serializer's.
    pub fn json(&self) -> serde_json::Result<String> {
        serde_json::to_string(self)
    }
}

/// In steps of 1/`steps`.
fn rounded(number: f64, steps: f64) -> f64 {
    (number * steps).round() / steps
}

/// What `percent` per cent do not exceed (nearest rank), in milliseconds; 0 where there are none.
pub fn percentile(micros: &mut [u32], percent: usize) -> f64 {
    let rank = (micros.len() * percent).div_ceil(100).max(1);
    if rank > micros.len() {
        return 0.0;
    }
    let (_, at_rank, _) = micros.select_nth_unstable(rank - 1);
    f64::from(*at_rank) / 1_000.0
}
