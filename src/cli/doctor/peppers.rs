//! Whether the peppers of the configuration are those that the stored digests were made under.

use std::fs;
use std::path::Path;

use secrecy::ExposeSecret;
use secrecy::zeroize::Zeroizing;

use super::report::Report;
use crate::storage::inspection::{self, DigestCount};
use crate::storage::{Session, StorageError, peppers};
use crate::token::{Pepper, PepperId, PepperMark, Peppers};

const CHECK: &str = "peppers";

/// Looks at the peppers' file, or at the pepper in the database, and at the marks of stored digests.
///
/// # Errors
/// What the database refuses.
pub async fn examine(
    file: Option<&Path>,
    session: &mut Session,
    report: &mut Report,
) -> Result<(), StorageError> {
    let peppers = match file {
        Some(path) => of_file(path, report),
        None => of_database(session, report).await?,
    };
    let Some(peppers) = peppers else { return Ok(()) };
    let marks: Vec<&str> = peppers.iter().flat_map(Peppers::marks).map(PepperMark::as_str).collect();
    judge(&marks, &inspection::digest_counts(session).await?, report);
    Ok(())
}

fn of_file(path: &Path, report: &mut Report) -> Option<Option<Peppers>> {
    let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| error.to_string());
    match text.and_then(|text| Peppers::parse_file(&text).map_err(|error| error.to_string())) {
        Ok(peppers) => Some(Some(peppers)),
        Err(error) => {
            report.fail(
                CHECK,
                format!("{} is of no use: {error}", path.display()),
                "Put back the file with the peppers that this installation had before.",
            );
            None
        }
    }
}

/// `Some(None)`: there is none yet.
async fn of_database(
    session: &mut Session,
    report: &mut Report,
) -> Result<Option<Option<Peppers>>, StorageError> {
    let Some(secret) = inspection::database_pepper(session).await? else { return Ok(Some(None)) };
    let pepper = PepperId::parse(peppers::DATABASE_PEPPER_ID).ok();
    let pepper = pepper.and_then(|id| Pepper::new(id, secret.expose_secret()).ok());
    match pepper.and_then(|pepper| Peppers::new(pepper, Vec::new()).ok()) {
        Some(peppers) => Ok(Some(Some(peppers))),
        None => {
            report.fail(
                CHECK,
                "the pepper in the database is too short",
                "Restore the table peppers from a backup.",
            );
            Ok(None)
        }
    }
}

/// `marks`: of the peppers that there are, the current one first; `digests`: what is stored, by mark.
fn judge(marks: &[&str], digests: &[DigestCount], report: &mut Report) {
    let id_of = |mark: &str| mark.split_once('~').map(|(id, _)| id.to_owned()).unwrap_or_default();
    let looked_at: i64 = digests.iter().map(|count| count.digests).sum();
    let unknown: Vec<&DigestCount> = digests.iter().filter(|it| !marks.contains(&it.mark.as_str())).collect();
    for DigestCount { mark, digests } in &unknown {
        let id = id_of(mark);
        let again = "their tokens are proven by bcrypt once more, which is slow";
        if marks.iter().any(|known| id_of(known) == id) {
            report.fail(
                CHECK,
                format!(
                    "{digests} of {looked_at} digests were made under another pepper of the id {id}: {again}"
                ),
                "Put back the pepper that had this id, and give the new one an id of its own.",
            );
        } else {
            report.warn(
                CHECK,
                format!("{digests} of {looked_at} digests were made under the pepper {id}, which is missing: {again}"),
                "If there still is that pepper, put it into the peppers file beside the current one.",
            );
        }
    }
    if !unknown.is_empty() {
        return;
    }
    match marks.first() {
        Some(current) => {
            let current = id_of(current);
            report.ok(
                CHECK,
                format!("{current} is current; {looked_at} digests looked at, none without its pepper"),
            );
        }
        None => report.ok(CHECK, "none yet: the first start makes one in the database"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::doctor::report::Level;

    fn judged(marks: &[&str], digests: &[(&str, i64)]) -> Vec<(Level, String)> {
        let digests: Vec<_> = digests
            .iter()
            .map(|(mark, digests)| DigestCount { mark: (*mark).into(), digests: *digests })
            .collect();
        let mut report = Report::default();
        judge(marks, &digests, &mut report);
        report.findings().iter().map(|finding| (finding.level, finding.what.clone())).collect()
    }

    #[test]
    fn digests_without_their_pepper_are_told() {
        assert_eq!(judged(&[], &[])[0].0, Level::Ok);
        assert_eq!(judged(&["a~1"], &[("a~1", 3)])[0].0, Level::Ok);
        assert_eq!(judged(&["b~1", "a~1"], &[("a~1", 3), ("b~1", 1)]).len(), 1);
        let lost = judged(&["b~1"], &[("b~1", 3), ("a~1", 1)]);
        assert_eq!(lost[0].0, Level::Warn);
        assert!(
            lost[0].1.starts_with("1 of 4 digests were made under the pepper a, which is missing"),
            "{lost:?}"
        );
        let replaced = judged(&["a~2"], &[("a~1", 3)]);
        assert_eq!(replaced[0].0, Level::Fail);
        assert!(replaced[0].1.contains("another pepper of the id a"), "{replaced:?}");
        assert_eq!(judged(&[], &[("database~1", 1)])[0].0, Level::Warn);
    }
}
