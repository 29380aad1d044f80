//! What is seen of a database leads to the right findings.

use clap::{FromArgMatches, Parser};

use super::*;
use crate::cli::doctor::report::Level;
use crate::config::Serve;
use crate::storage::probe::TABLES;

#[derive(Debug, Parser)]
struct Program {
    #[command(flatten)]
    serve: Serve,
}

fn serve(args: &[&str]) -> Serve {
    use clap::CommandFactory;
    let command = Program::command().mut_args(|arg| arg.env(clap::builder::Resettable::Reset));
    let matches = command.try_get_matches_from(["keystile"].iter().chain(args)).unwrap();
    Serve::from_arg_matches(&matches).unwrap()
}

fn facts() -> ServerFacts {
    ServerFacts {
        version: 150_004,
        version_text: "15.4".into(),
        is_standby: false,
        is_read_only: false,
        fsync: true,
        full_page_writes: true,
        synchronous_commit: "on".into(),
        synchronous_standbys: String::new(),
        standbys: 0,
        role: "keystile".into(),
        is_superuser: false,
        connections_max: 97,
        connections: 3,
    }
}

fn levels(facts: &ServerFacts, args: &[&str], replicas: u32) -> Vec<(&'static str, Level)> {
    let serve = serve(args);
    let context = Context { serve: &serve, replicas, is_embedded: false };
    let mut report = Report::default();
    server(facts, &context, &mut report);
    report.findings().iter().map(|it| (it.check, it.level)).filter(|(_, level)| *level != Level::Ok).collect()
}

#[test]
fn a_healthy_server_has_only_good_findings() {
    assert_eq!(levels(&facts(), &[], 1), []);
    assert_eq!(levels(&ServerFacts { synchronous_commit: "off".into(), ..facts() }, &[], 1), []);
    let synchronous = ServerFacts { standbys: 2, synchronous_standbys: "a".into(), ..facts() };
    assert_eq!(levels(&synchronous, &[], 5), []);
}

#[test]
fn each_fault_is_found_by_its_check() {
    let cases = [
        (ServerFacts { version: 130_009, ..facts() }, ("version", Level::Fail)),
        (ServerFacts { is_standby: true, ..facts() }, ("primary", Level::Fail)),
        (ServerFacts { is_read_only: true, ..facts() }, ("primary", Level::Fail)),
        (ServerFacts { fsync: false, ..facts() }, ("durability", Level::Fail)),
        (ServerFacts { full_page_writes: false, ..facts() }, ("durability", Level::Fail)),
        (ServerFacts { standbys: 1, ..facts() }, ("standbys", Level::Warn)),
        (ServerFacts { synchronous_standbys: "a".into(), ..facts() }, ("standbys", Level::Warn)),
        (ServerFacts { is_superuser: true, ..facts() }, ("role", Level::Warn)),
        (ServerFacts { connections_max: 16, ..facts() }, ("connections", Level::Fail)),
    ];
    for (facts, found) in cases {
        assert_eq!(levels(&facts, &[], 1), [found], "{facts:?}");
    }
    let lossy = ServerFacts { fsync: false, ..facts() };
    assert_eq!(levels(&lossy, &["--allow-data-loss"], 1), [("durability", Level::Warn)]);
    assert_eq!(levels(&facts(), &["--pool-size=46"], 2), [("connections", Level::Fail)]);
}

#[test]
fn clocks_are_judged_by_what_is_certain() {
    let level = |offset_ms: i64, round_trip_ms: u64| {
        let round_trip = Duration::from_millis(round_trip_ms);
        let mut report = Report::default();
        clock(TimeAsked { round_trip, offset: TimeDelta::milliseconds(offset_ms) }, &mut report);
        report.findings()[0].level
    };
    assert_eq!(level(0, 1), Level::Ok);
    assert_eq!(level(1_400, 1_000), Level::Ok, "it may be a delay on one way only");
    assert_eq!(level(1_600, 1_000), Level::Warn);
    assert_eq!(level(-1_600, 1), Level::Warn);
    assert_eq!(level(-31_000, 1), Level::Fail);
}

fn access() -> Access {
    Access {
        role: "keystile".into(),
        schema: Some("public".into()),
        may_create: true,
        present: TABLES.iter().map(|(table, _)| (*table).to_owned()).collect(),
        missing_rights: Vec::new(),
    }
}

#[test]
fn a_schema_that_is_not_this_programs_is_told_with_what_to_do() {
    let status = |applied: &[&str], pending: &[&str], unknown: &[&str]| {
        let all = |names: &[&str]| names.iter().map(|&name| name.to_owned()).collect();
        let oldest_needed = Some("1".to_owned());
        SchemaStatus { applied: all(applied), pending: all(pending), unknown: all(unknown), oldest_needed }
    };
    let judged = |status: &SchemaStatus, migrates: bool, access: &Access| {
        let mut report = Report::default();
        let whole = schema(status, migrates, access, &mut report);
        let finding = report.findings()[0].clone();
        assert_eq!(
            whole,
            finding.level == Level::Ok || !status.unknown.is_empty() && finding.level == Level::Warn
        );
        (finding.level, finding.advice)
    };
    let whole = status(&["1"], &[], &[]);
    assert_eq!(judged(&whole, false, &access()), (Level::Ok, String::new()));
    let behind = status(&["1"], &["2"], &[]);
    assert_eq!(judged(&behind, false, &access()), (Level::Fail, "Run `keystile migrate`.".into()));
    assert_eq!(judged(&behind, true, &access()).0, Level::Warn);
    let closed = Access { may_create: false, ..access() };
    assert!(judged(&behind, true, &closed).1.contains("with a role that owns the database"));
    let ahead = status(&["1", "9"], &[], &["9"]);
    assert_eq!(judged(&ahead, true, &access()).0, Level::Warn);
    for needed in [None, Some("9".to_owned()), Some("7".to_owned())] {
        let beyond = SchemaStatus { oldest_needed: needed, ..ahead.clone() };
        assert_eq!(judged(&beyond, true, &access()).0, Level::Fail);
    }
    let both = status(&["1", "9"], &["2"], &["9"]);
    assert_eq!(judged(&both, true, &access()).0, Level::Fail, "two lines that have parted");
    let torn = Access { present: vec!["owners".into()], ..access() };
    assert_eq!(judged(&whole, true, &torn), (Level::Fail, "Restore the database from a backup.".into()));
    assert!(judged(&status(&[], &["1"], &[]), true, &torn).1.contains("or name an empty one"));
}

#[test]
fn missing_rights_are_told_by_table() {
    let found = |access: &Access, may: bool, prunes_audit: bool| {
        let further = FurtherRights { may_prune_changes: may, may_prune_audit: may, may_import: may };
        let mut report = Report::default();
        rights(access, further, prunes_audit, &mut report);
        report.findings().iter().map(|it| (it.level, it.advice.clone())).collect::<Vec<_>>()
    };
    assert_eq!(found(&access(), true, true), [(Level::Ok, String::new())]);
    let missing = ["INSERT on owners", "UPDATE on owners", "SELECT on peppers"].map(str::to_owned).into();
    let told = found(&Access { missing_rights: missing, ..access() }, true, true);
    let advice = "As the table's owner: GRANT INSERT, UPDATE ON owners TO keystile.".to_owned();
    assert_eq!((&told[0], told.len()), (&(Level::Fail, advice), 2));
    assert_eq!(found(&access(), false, true).iter().map(|it| it.0).collect::<Vec<_>>(), [Level::Warn; 3]);
    assert_eq!(found(&access(), false, false).len(), 2, "lines that are kept for ever may be protected");
    assert_eq!(found(&Access { schema: None, ..access() }, true, true)[0].0, Level::Fail);
}

#[test]
fn lengths_of_time_are_shown_in_tenths_of_milliseconds() {
    assert_eq!(millis(Duration::from_micros(456)), "0.4 ms");
    assert_eq!(millis(Duration::from_micros(12_345)), "12.3 ms");
    assert_eq!(millis(Duration::from_secs(2)), "2000.0 ms");
}
