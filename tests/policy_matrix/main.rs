//! The decision table, row by row, as a reviewed golden file: `tests/policy_matrix/matrix.golden`.
//!
//! A row is a key, a request and the decision, all in words (`notation.rs`); the rows come from `scenarios.rs`.
//! `UPDATE_GOLDEN=1 cargo test --test policy_matrix` writes the file anew: read what `git diff` shows before it is
//! committed, since this file is what the decision is meant to be.

#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "a test may fail by panicking"
)]

mod notation;
mod scenarios;

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;

use keystile::policy::{Check, Decision, Reason, evaluate};

use crate::notation::{now, parse_key, parse_request};
use crate::scenarios::{Row, Section, sections};

const HEADER: &str = r##"# The decision of `keystile::policy::evaluate`, checks 1 to 10, written by tests/policy_matrix (see its main.rs).
#
# RATE_LIMITED and BUDGET_EXCEEDED (checks 11 and 12) are not decided by `evaluate` and so occur in the list of
# reasons only: they charge, which comes after everything here has allowed.
#
# key:      what differs from a key that is active, has ANY in each rule, and no scopes or permissions granted.
# request:  what it gives; everything else is absent. `-` is nothing, `""` and `[]` are the empty text, \xNN is a
#           byte, {x*257} is 257 times x.
# decision: ALLOW or the reason of the denial, with the scope or permission lacking; then what was only observed.
"##;

#[test]
fn every_decision_is_the_reviewed_one() {
    let golden_path = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/policy_matrix/matrix.golden");
    let actual = render();
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&golden_path, &actual).unwrap();
        return;
    }
    let golden = std::fs::read_to_string(&golden_path).expect("UPDATE_GOLDEN=1 writes the golden file");
    assert!(golden == actual, "decisions differ from the golden file:\n{}", difference(&golden, &actual));
}

#[test]
fn every_reason_of_evaluate_and_every_observable_check_has_a_row() {
    let rows: Vec<Row> = sections().into_iter().flat_map(|section| section.rows).collect();
    let mut denied = BTreeSet::new();
    let mut observed = BTreeSet::new();
    let mut allowed = 0;
    for row in &rows {
        with_decision(row, |decision| {
            denied.extend(decision.denied);
            observed.extend(decision.observed);
            allowed += usize::from(decision.is_allowed());
        });
    }
    let decided = |reason: &Reason| !matches!(reason.check(), Some(Check::RateLimits | Check::Budgets));
    let evaluated: BTreeSet<Reason> = Reason::ALL.into_iter().filter(decided).collect();
    assert_eq!(denied, evaluated);
    assert_eq!(observed, evaluated.into_iter().filter(|reason| reason.check().is_some()).collect());
    assert!(allowed > 0);
}

#[test]
fn no_scenario_is_written_twice() {
    let mut seen = BTreeSet::new();
    for section in sections() {
        for row in section.rows {
            assert!(seen.insert((row.key.clone(), row.request.clone())), "{}: {row:?}", section.title);
        }
    }
}

fn with_decision<T>(row: &Row, read: impl FnOnce(Decision<'_>) -> T) -> T {
    let key = parse_key(&row.key);
    let request = parse_request(&row.request);
    read(evaluate(&key, &request.borrow(), now()))
}

fn render() -> String {
    let mut out = HEADER.to_owned();
    out.push_str("\n== Reasons, in the order of their checks\n");
    for (number, reason) in [1, 2, 3, 4, 5, 6, 6, 7, 8, 9, 10, 11, 12].into_iter().zip(Reason::ALL) {
        let check = reason.check().map_or("-", Check::as_str);
        let (status, message) = (reason.http_status(), reason.message());
        writeln!(out, "{number:>2}  {:<20}  {check:<11}  {status}  {message}", reason.as_str()).unwrap();
    }
    for section in sections() {
        render_section(&mut out, &section);
    }
    out
}

fn render_section(out: &mut String, section: &Section) {
    let width = |column: fn(&Row) -> &str| section.rows.iter().map(|row| column(row).chars().count()).max();
    let key_width = width(|row| &row.key).unwrap_or(0);
    let request_width = width(|row| &row.request).unwrap_or(0);
    writeln!(out, "\n== {}", section.title).unwrap();
    for row in &section.rows {
        let decision = with_decision(row, in_words);
        writeln!(out, "{:<key_width$}  |  {:<request_width$}  |  {decision}", row.key, row.request).unwrap();
    }
}

fn in_words(decision: Decision<'_>) -> String {
    let mut words = decision.denied.map_or("ALLOW", Reason::as_str).to_owned();
    if let Some(missing) = decision.missing {
        write!(words, " [{missing}]").unwrap();
    }
    if let Some(observed) = decision.observed {
        write!(words, ", observed {observed}").unwrap();
    }
    words
}

/// The lines that differ, without the common beginning and end.
fn difference(golden: &str, actual: &str) -> String {
    let (golden, actual): (Vec<_>, Vec<_>) = (golden.lines().collect(), actual.lines().collect());
    let head = golden.iter().zip(&actual).take_while(|(one, other)| one == other).count();
    let (golden, actual) = (&golden[head..], &actual[head..]);
    let tail = golden.iter().rev().zip(actual.iter().rev()).take_while(|(one, other)| one == other).count();
    let mut out = format!("from line {}:\n", head + 1);
    if golden.len() == actual.len() {
        for (one, other) in golden.iter().zip(actual).filter(|(one, other)| one != other) {
            write!(out, "- {one}\n+ {other}\n").unwrap();
        }
        return out;
    }
    let lines = |sign: char, lines: &[&str]| {
        lines[..lines.len() - tail].iter().map(|line| format!("{sign} {line}\n")).collect::<String>()
    };
    out + &lines('-', golden) + &lines('+', actual)
}
