//! What a cell came to, and all cells together.

use std::time::Duration;

use serde::Serialize;

use super::clients::Log;
use super::{CLIENTS, nanoseconds};
use crate::admissions::{Admission, Fullest, PARTS, Steady, Verdict, seconds};
use crate::cells::{Cell, Fault, Matrix};
use crate::failure::Failure;
use crate::side::line;
use crate::statistics::{float, micros, percentile, rounded};

/// Of a cell.
#[derive(Serialize)]
pub struct Outcome {
    #[serde(flatten)]
    cell: Cell,
    window_seconds: u64,
    windows: u32,
    clients: usize,
    allowed: usize,
    denied: usize,
    /// Calls without a decision.
    errors: usize,
    first_error: Option<String>,
    /// Admissions that are certainly in one window, at most.
    most_in_a_window: usize,
    /// When the fullest window ended.
    fullest_ended_after_seconds: f64,
    /// Of admitted calls, from asking to the answer: a longer call says less about when it was admitted.
    allowed_p99_us: f64,
    /// Decisions a second in the steady time; below what the limit gives, nothing is tested.
    decided_per_second: f64,
    /// Of the limit, what was given out in the steady time.
    share: f64,
    /// The same by the rule of the service, where nothing befalls it.
    share_by_rule: f64,
    /// Replicas that were killed, or restarts of the database.
    befell: usize,
    verdict: Verdict,
}

/// Of all cells.
#[derive(Default, Serialize)]
pub struct Summary {
    cells: usize,
    hold: usize,
    broken: usize,
    not_tested: usize,
    too_little: usize,
}

/// The line of all cells.
#[derive(Serialize)]
struct Total<'a> {
    all_cells: &'a Summary,
}

impl Outcome {
    /// Of what clients saw.
    pub fn of(cell: Cell, matrix: &Matrix, steady: Steady, befell: usize, log: &Log) -> Self {
        let admissions = &log.admissions;
        let fullest = Fullest::of(admissions, nanoseconds(matrix.window));
        let share = steady.share(admissions, cell.limit);
        let judged = (cell.fault == Fault::None).then_some(share);
        let took = |admission: &Admission| Duration::from_nanos(admission.answered - admission.asked);
        let mut took: Vec<Duration> = admissions.iter().map(took).collect();
        Self {
            cell,
            window_seconds: matrix.window.as_secs(),
            windows: matrix.windows,
            clients: CLIENTS,
            allowed: admissions.len(),
            denied: log.denied,
            errors: log.errors,
            first_error: log.first_error.clone(),
            most_in_a_window: fullest.admissions,
            fullest_ended_after_seconds: rounded(seconds(fullest.ends)),
            allowed_p99_us: rounded(percentile(&mut took, 99).map_or(0.0, micros)),
            decided_per_second: rounded(float(log.decided_steadily) / seconds(steady.to - steady.after)),
            share: rounded(share),
            share_by_rule: rounded(f64::from(PARTS) / f64::from(PARTS + 1)),
            befell,
            verdict: Verdict::of(cell.limit, fullest, log.decided_steadily, &steady, judged),
        }
    }

    /// Says it.
    ///
    /// # Errors
    /// It cannot be written.
    pub fn report(&self) -> Result<(), Failure> {
        let Self { cell, allowed, denied, errors, most_in_a_window, share, share_by_rule, befell, .. } = self;
        let verdict = match self.verdict {
            Verdict::Holds => "holds",
            Verdict::Broken => "BROKEN",
            Verdict::NotTested => "not tested: too few decisions a second to reach it",
            Verdict::TooLittle => "holds, but too little was given out",
        };
        eprintln!("  at most {most_in_a_window} in a window, limit {}: {verdict}", cell.limit);
        eprintln!(
            "  {allowed} allowed, {denied} denied, {errors} errors; {:.0} decisions/s; ALLOW p99 {:.0} µs",
            self.decided_per_second, self.allowed_p99_us
        );
        let befell = match cell.fault {
            Fault::None => String::new(),
            Fault::Kill => format!("; {befell} kill(s)"),
            Fault::Restart => format!("; {befell} restart(s) of PostgreSQL"),
        };
        eprintln!("  {share:.3} of the limit given out, {share_by_rule:.3} by the rule{befell}");
        if let Some(error) = &self.first_error {
            eprintln!("  the first error: {error}");
        }
        if self.verdict == Verdict::TooLittle {
            eprintln!("  was the server built with a minute of {} s?", self.window_seconds);
        }
        line("exactness", self)
    }
}

impl Summary {
    /// One more cell.
    pub fn add(&mut self, outcome: &Outcome) {
        self.cells += 1;
        match outcome.verdict {
            Verdict::Holds => self.hold += 1,
            Verdict::Broken => self.broken += 1,
            Verdict::NotTested => self.not_tested += 1,
            Verdict::TooLittle => self.too_little += 1,
        }
    }

    /// Says it.
    ///
    /// # Errors
    /// Some cell does not hold, gave out too little, or tested nothing.
    pub fn report(&self) -> Result<(), Failure> {
        let Self { cells, hold, broken, not_tested, too_little } = self;
        eprintln!(
            "{cells} cells: {hold} hold, {broken} are broken, {too_little} gave out too little, {not_tested} tested nothing"
        );
        line("exactness", &Total { all_cells: self })?;
        if *broken > 0 {
            return Err(Failure::Broken(format!(
                "more than the limit was admitted in {broken} cells of {cells}"
            )));
        }
        if *too_little + *not_tested > 0 {
            return Err(Failure::Broken(format!(
                "of {cells} cells, {too_little} gave out too little and {not_tested} tested nothing"
            )));
        }
        Ok(())
    }
}
