//! What an import did, for people and for programs.

use chrono::{DateTime, SecondsFormat, Utc};
use serde_json::{Value, json};

use crate::admin::Propagation;
use crate::admin::import::{Import, ImportReport};
use crate::cli::output::Look;
use crate::cli::table::{Cell, Column, columns, properties};

/// The counts, then every row that was not taken, then every warning.
pub(super) fn table(report: &ImportReport, import: Import) -> String {
    let dry_run = if import.dry_run { "yes: nothing was written" } else { "" };
    let counts = properties([
        ("dry run", dry_run.to_owned()),
        ("rows", report.rows.to_string()),
        ("inserted", report.inserted.to_string()),
        ("unchanged", report.unchanged.to_string()),
        ("applied", if import.sync { report.applied.to_string() } else { String::new() }),
        ("rejected", report.rejections.len().to_string()),
        ("warnings", report.warnings.len().to_string()),
        ("owners disabled", report.owners_disabled.len().to_string()),
        ("in force", in_force(report)),
    ]);
    let rejections = report.rejections.iter().map(|it| (it.kind.as_str(), it.sentence.as_str()));
    let warnings = report.warnings.iter().map(|it| (it.kind.as_str(), it.sentence.as_str()));
    let lists = [("REJECTED", found(rejections)), ("WARNING", found(warnings))];
    let lists = lists.into_iter().filter(|(_, rows)| !rows.is_empty());
    lists.fold(counts, |text, (kind, rows)| {
        let header = [Column::Whole(kind), Column::Whole("REASON")];
        format!("{text}\n\n{}", columns(Look::default(), &header, rows))
    })
}

/// Empty where nothing was changed.
fn in_force(report: &ImportReport) -> String {
    match report.propagation {
        None => String::new(),
        Some(Propagation::Complete) => "on every replica".to_owned(),
        Some(Propagation::Incomplete { certain_by, .. }) => {
            format!("on every replica from {} on", time(certain_by))
        }
    }
}

fn time(time: DateTime<Utc>) -> String {
    time.to_rfc3339_opts(SecondsFormat::Millis, true)
}

fn found<'a>(findings: impl Iterator<Item = (&'a str, &'a str)>) -> Vec<Vec<Cell>> {
    findings
        .map(|(kind, sentence)| vec![Cell::from(kind.to_owned()), Cell::from(sentence.to_owned())])
        .collect()
}

/// The same as one object; `complete` is false where the import ended early.
pub(super) fn json(report: &ImportReport, import: Import, complete: bool) -> Value {
    let rejections = report.rejections.iter().map(|it| {
        json!({ "key_id": it.key_id, "kind": it.kind.as_str(), "field": it.field, "reason": it.sentence })
    });
    let warnings = report.warnings.iter().map(|it| {
        json!({ "key_id": it.key_id, "kind": it.kind.as_str(), "field": it.field, "reason": it.sentence })
    });
    json!({
        "dry_run": import.dry_run,
        "complete": complete,
        "rows": report.rows,
        "inserted": report.inserted,
        "unchanged": report.unchanged,
        "applied": report.applied,
        "owners_disabled": report.owners_disabled.iter().map(|user_id| user_id.get()).collect::<Vec<_>>(),
        "rejections": rejections.collect::<Vec<_>>(),
        "warnings": warnings.collect::<Vec<_>>(),
        "propagation": report.propagation.map(|propagation| match propagation {
            Propagation::Complete => json!({ "complete": true }),
            Propagation::Incomplete { certain_by, .. } => {
                json!({ "complete": false, "certain_by": time(certain_by) })
            }
        }),
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::admin::enclava::{Options, Rejection, RejectionKind, Warning, WarningKind};
    use crate::policy::UserId;

    fn import() -> Import {
        Import { options: Options::default(), sync: false, dry_run: true, now: chrono::DateTime::UNIX_EPOCH }
    }

    fn report() -> ImportReport {
        let rejection = Rejection {
            key_id: 7,
            kind: RejectionKind::IdTaken,
            field: "id",
            sentence: "key 7: id: another key has it".to_owned(),
        };
        let warning = Warning {
            key_id: 8,
            kind: WarningKind::TagDropped,
            field: "tags",
            sentence: "key 8: tags: one\nis dropped".to_owned(),
        };
        ImportReport {
            rows: 3,
            inserted: 1,
            unchanged: 1,
            rejections: vec![rejection],
            warnings: vec![warning],
            owners_disabled: UserId::new(25).into_iter().collect(),
            propagation: Some(Propagation::Incomplete {
                certain_by: DateTime::UNIX_EPOCH,
                certain_after: Duration::ZERO,
            }),
            ..ImportReport::default()
        }
    }

    #[test]
    fn people_read_counts_and_every_reason() {
        let text = table(&report(), import());
        let expected = "\
dry run          yes: nothing was written
rows             3
inserted         1
unchanged        1
rejected         1
warnings         1
owners disabled  1
in force         on every replica from 1970-01-01T00:00:00.000Z on

REJECTED  REASON
ID_TAKEN  key 7: id: another key has it

WARNING      REASON
TAG_DROPPED  key 8: tags: one\u{fffd}is dropped";
        assert_eq!(text, expected);
        assert!(!table(&ImportReport::default(), import()).contains("REASON"));
        assert!(table(&report(), Import { sync: true, dry_run: false, ..import() }).contains("applied"));
    }

    #[test]
    fn programs_read_the_same() {
        let value = json(&report(), import(), false);
        assert_eq!(value["rejections"][0]["kind"], "ID_TAKEN");
        assert_eq!(value["warnings"][0]["key_id"], 8);
        assert_eq!(value["owners_disabled"], json!([25]));
        let propagation = json!({ "complete": false, "certain_by": "1970-01-01T00:00:00.000Z" });
        assert_eq!(value["propagation"], propagation);
        assert_eq!((&value["complete"], &value["dry_run"]), (&json!(false), &json!(true)));
    }
}
