//! The data directory of the private PostgreSQL: whether it is there, whom it is open to, whether it is served.

use std::fs::{self, Metadata};
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use secrecy::SecretString;

use super::report::Report;
use crate::embedded;
use crate::server::TOKEN_FILE;

const CHECK: &str = "data directory";
const DATABASE: &str = "database";

/// Looks at the directory; returns the URL of its database where a server is running there.
pub fn examine(data_dir: &Path, report: &mut Report) -> Option<SecretString> {
    match fs::metadata(data_dir) {
        Ok(metadata) => modes(data_dir, &metadata, report),
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            report.ok(CHECK, format!("{} is made by the first `keystile serve`", data_dir.display()));
        }
        Err(error) => report.fail(
            CHECK,
            format!("{} cannot be read: {error}", data_dir.display()),
            "Run the command as the user that `keystile serve` runs as.",
        ),
    }
    match embedded::attach_url(data_dir, embedded::DATABASE) {
        Ok(Some(url)) => return Some(SecretString::from(url)),
        Ok(None) => not_running(report),
        Err(error) => report.fail(
            DATABASE,
            format!("the private PostgreSQL cannot be looked at: {error}"),
            "Run the command as the user that `keystile serve` runs as.",
        ),
    }
    None
}

fn not_running(report: &mut Report) {
    match embedded::find_server_programs() {
        Ok(programs) => {
            report
                .ok("programs", format!("PostgreSQL {} in {}", programs.major, programs.postgres.display()));
        }
        Err(error) => report.fail("programs", error.to_string(), ""),
    }
    report.skip(
        DATABASE,
        "the private PostgreSQL is not running: start `keystile serve`, and run this again beside it",
    );
}

fn modes(data_dir: &Path, metadata: &Metadata, report: &mut Report) {
    let before = report.clone();
    if !metadata.is_dir() {
        report.fail(
            CHECK,
            format!("{} is no directory", data_dir.display()),
            "Name another by KEYSTILE_DATA_DIR.",
        );
        return;
    }
    // Whoever may write here may put a database of their own in the place of ours.
    open_to(data_dir, 0o022, "others may write to", "go-w", report);
    open_to(&data_dir.join("pg"), 0o077, "others may enter", "go-rwx", report);
    open_to(&data_dir.join(TOKEN_FILE), 0o077, "others may read the administrator's token in", "600", report);
    if *report == before {
        report.ok(CHECK, format!("{} is closed to others", data_dir.display()));
    }
}

/// A finding where the file is there and any of `bits` is set.
fn open_to(path: &Path, bits: u32, what: &str, mode: &str, report: &mut Report) {
    let Ok(metadata) = fs::metadata(path) else { return };
    if metadata.permissions().mode() & bits != 0 {
        let path = path.display();
        report.fail(CHECK, format!("{what} {path}"), format!("Close it: chmod {mode} {path}"));
    }
}

#[cfg(test)]
mod tests {
    use std::fs::Permissions;

    use super::*;
    use crate::cli::doctor::report::Level;

    #[test]
    fn what_is_open_to_others_is_told_with_its_remedy() {
        let dir = tempfile::tempdir().unwrap();
        let set = |path: &Path, mode: u32| fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        let found = || {
            let mut report = Report::default();
            assert!(examine(dir.path(), &mut report).is_none());
            report.findings().iter().filter(|it| it.check == CHECK).cloned().collect::<Vec<_>>()
        };
        set(dir.path(), 0o711);
        let token = dir.path().join(TOKEN_FILE);
        fs::write(&token, "").unwrap();
        set(&token, 0o600);
        assert_eq!(found().iter().map(|it| it.level).collect::<Vec<_>>(), [Level::Ok]);

        set(&token, 0o640);
        set(dir.path(), 0o777);
        let found = found();
        assert_eq!(found.iter().map(|it| it.level).collect::<Vec<_>>(), [Level::Fail, Level::Fail]);
        assert!(found[1].advice.contains("chmod 600"), "{found:?}");
    }

    #[test]
    fn a_directory_that_is_not_there_yet_is_no_fault() {
        let mut report = Report::default();
        assert!(examine(Path::new("/nowhere/keystile"), &mut report).is_none());
        assert_eq!(report.findings()[0].level, Level::Ok);
        assert_eq!(report.findings().last().unwrap().level, Level::Skip);
    }
}
