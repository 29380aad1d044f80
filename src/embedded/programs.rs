//! Finds PostgreSQL's server programs on this machine.
//!
//! In this order: where `pg_config` says, the PATH, then the places where distributions put server programs
//! beside the PATH, newest version first. Half installations (a client, or `pg_config` of the development
//! files) are passed over.

use std::cmp::Reverse;
use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use super::error::EmbeddedError;

/// The oldest major version of PostgreSQL that Keystile runs on.
pub const MAJOR_MIN: u32 = 14;

/// Directories that hold one directory a version: (where, its name up to the version, from there to `bin`).
const WELL_KNOWN: [(&str, &str, &str); 9] = [
    ("/usr/lib/postgresql", "", "bin"),                       // Debian, Ubuntu
    ("/usr", "pgsql-", "bin"),                                // PGDG on Fedora, RHEL
    ("/usr/lib", "postgresql", "bin"),                        // openSUSE
    ("/usr/libexec", "postgresql", ""),                       // Alpine
    ("/opt/homebrew/opt", "postgresql@", "bin"),              // Homebrew, Apple silicon
    ("/usr/local/opt", "postgresql@", "bin"),                 // Homebrew, Intel
    ("/home/linuxbrew/.linuxbrew/opt", "postgresql@", "bin"), // Homebrew, Linux
    ("/Applications/Postgres.app/Contents/Versions", "", "bin"), // Postgres.app
    ("/Library/PostgreSQL", "", "bin"),                       // EDB's installer
];

/// The server programs of one PostgreSQL installation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ServerPrograms {
    /// Makes a cluster.
    pub initdb: PathBuf,
    /// Serves it.
    pub postgres: PathBuf,
    /// Their major version, at least [`MAJOR_MIN`].
    pub major: u32,
}

/// The server programs that a new cluster would be made with.
///
/// # Errors
/// [`EmbeddedError::ProgramsMissing`], which says what to install.
pub fn find_server_programs() -> Result<ServerPrograms, EmbeddedError> {
    find_for(None)
}

/// The server programs for a cluster of this major version, or for a new one.
pub(super) fn find_for(cluster: Option<(u32, PathBuf)>) -> Result<ServerPrograms, EmbeddedError> {
    let path = env::var_os("PATH").unwrap_or_default();
    let on_path: Vec<PathBuf> = env::split_paths(&path).filter(|dir| dir.is_absolute()).collect();
    let mut dirs: Vec<PathBuf> = on_path.iter().filter_map(|dir| pg_config_bindir(dir)).collect();
    dirs.extend(on_path);
    let roots = WELL_KNOWN.map(|(root, prefix, bin)| (PathBuf::from(root), prefix, bin));
    dirs.extend(versioned_dirs(&roots));
    choose(&dirs, cluster)
}

/// The first fit installation, or why none is fit.
fn choose(dirs: &[PathBuf], cluster: Option<(u32, PathBuf)>) -> Result<ServerPrograms, EmbeddedError> {
    let mut too_old = Vec::new();
    for programs in dirs.iter().filter_map(|dir| programs_in(dir)) {
        if programs.major < MAJOR_MIN {
            too_old.push(format!("{} in {}", programs.major, programs.postgres.display()));
        } else if cluster.as_ref().is_none_or(|(major, _)| programs.major == *major) {
            return Ok(programs);
        }
    }
    if let Some((major, cluster_dir)) = cluster {
        return Err(EmbeddedError::OtherMajor { major, cluster_dir });
    }
    let found = if too_old.is_empty() { String::new() } else { format!(" (only {})", too_old.join(", ")) };
    Err(EmbeddedError::ProgramsMissing { found })
}

/// The programs in a directory, with links resolved: both of the same installation, or none.
fn programs_in(dir: &Path) -> Option<ServerPrograms> {
    let postgres = dir.join("postgres").canonicalize().ok().filter(|path| path.is_file())?;
    let initdb = postgres.with_file_name("initdb");
    if !initdb.is_file() {
        return None;
    }
    let output = Command::new(&postgres).arg("--version").output().ok()?;
    let major = parse_major(&String::from_utf8_lossy(&output.stdout))?;
    Some(ServerPrograms { initdb, postgres, major })
}

/// From `postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)`, also `18beta1`.
fn parse_major(version: &str) -> Option<u32> {
    let number = version.split_once("(PostgreSQL) ")?.1;
    let digits = number.split(|c: char| !c.is_ascii_digit()).next()?;
    digits.parse().ok()
}

/// Where the `pg_config` in this directory says that programs are.
fn pg_config_bindir(dir: &Path) -> Option<PathBuf> {
    let pg_config = dir.join("pg_config");
    if !pg_config.is_file() {
        return None;
    }
    let output =
        Command::new(pg_config).arg("--bindir").output().ok().filter(|output| output.status.success())?;
    let bindir = PathBuf::from(String::from_utf8(output.stdout).ok()?.trim());
    bindir.is_absolute().then_some(bindir)
}

/// The directories of all versions below these roots, newest version first.
fn versioned_dirs(roots: &[(PathBuf, &str, &str)]) -> Vec<PathBuf> {
    let mut found: Vec<(Reverse<u32>, PathBuf)> = Vec::new();
    for (root, prefix, bin) in roots {
        // Most of them don't exist on any one machine.
        let Ok(entries) = fs::read_dir(root) else { continue };
        for entry in entries.flatten() {
            let name = entry.file_name();
            let version = name.to_str().and_then(|name| name.strip_prefix(prefix)).and_then(leading_number);
            if let Some(version) = version {
                found.push((Reverse(version), entry.path().join(bin)));
            }
        }
    }
    found.sort();
    found.into_iter().map(|(_, dir)| dir).collect()
}

/// 15 of `15`, 9 of `9.6`; Postgres.app's `latest` is none.
fn leading_number(text: &str) -> Option<u32> {
    text.split('.').next().and_then(|digits| digits.parse().ok())
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::os::unix::fs::{PermissionsExt, symlink};

    use super::*;

    fn write_script(path: &Path, prints: &str) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, format!("#!/bin/sh\necho '{prints}'\n")).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
        // Another test's fork may hold the file open for writing for a moment more.
        while let Err(error) = Command::new(path).output() {
            assert_eq!(error.kind(), io::ErrorKind::ExecutableFileBusy, "{error}");
        }
    }

    fn install(bin: &Path, version: &str) -> PathBuf {
        write_script(&bin.join("postgres"), &format!("postgres (PostgreSQL) {version} (Debian {version}-1)"));
        write_script(&bin.join("initdb"), "");
        bin.canonicalize().unwrap()
    }

    #[test]
    fn versions_are_read_from_the_program() {
        assert_eq!(parse_major("postgres (PostgreSQL) 15.18 (Debian 15.18-0+deb12u1)\n"), Some(15));
        assert_eq!(parse_major("postgres (PostgreSQL) 18beta1\n"), Some(18));
        assert_eq!(parse_major("postgres (PostgreSQL) 9.6.24\n"), Some(9));
        assert_eq!(parse_major("something else"), None);
    }

    #[test]
    fn the_newest_of_the_well_known_places_comes_first() {
        let temp = tempfile::tempdir().unwrap();
        let root = temp.path().join("postgresql");
        for version in ["9.6", "13", "14", "17", "latest"] {
            fs::create_dir_all(root.join(version)).unwrap();
        }
        fs::create_dir_all(temp.path().join("pgsql-16")).unwrap();
        let dirs = versioned_dirs(&[
            (root.clone(), "", "bin"),
            (temp.path().to_owned(), "pgsql-", "bin"),
            (temp.path().join("missing"), "", "bin"),
        ]);
        let expected = ["postgresql/17", "pgsql-16", "postgresql/14", "postgresql/13", "postgresql/9.6"];
        assert_eq!(dirs, expected.map(|dir| temp.path().join(dir).join("bin")));
    }

    #[test]
    fn the_first_complete_installation_of_a_fit_version_is_taken() {
        let temp = tempfile::tempdir().unwrap();
        let old = install(&temp.path().join("13"), "13.9");
        let client_only = temp.path().join("client");
        write_script(&client_only.join("postgres"), "postgres (PostgreSQL) 16.1");
        let newer = install(&temp.path().join("17"), "17.2");
        let newest = install(&temp.path().join("18"), "18.0");
        let dirs = [old.clone(), client_only, temp.path().join("missing"), newer.clone(), newest.clone()];

        let found = choose(&dirs, None).unwrap();
        assert_eq!(found.major, 17);
        assert_eq!((found.postgres, found.initdb), (newer.join("postgres"), newer.join("initdb")));

        let cluster_dir = PathBuf::from("/d/pg");
        assert_eq!(choose(&dirs, Some((18, cluster_dir.clone()))).unwrap().major, 18, "the cluster's own");
        let other = choose(&dirs, Some((16, cluster_dir))).unwrap_err();
        assert!(matches!(other, EmbeddedError::OtherMajor { major: 16, .. }), "{other}");

        let missing = choose(&[old], None).unwrap_err().to_string();
        assert!(missing.contains("only 13 in") && missing.contains("make setup"), "{missing}");
    }

    #[test]
    fn links_lead_to_the_installation() {
        let temp = tempfile::tempdir().unwrap();
        let real = install(&temp.path().join("17"), "17.2");
        let links = temp.path().join("links");
        fs::create_dir(&links).unwrap();
        symlink(real.join("postgres"), links.join("postgres")).unwrap();
        assert_eq!(choose(&[links], None).unwrap().initdb, real.join("initdb"));
    }

    #[test]
    fn pg_config_says_where() {
        let temp = tempfile::tempdir().unwrap();
        assert_eq!(pg_config_bindir(temp.path()), None);
        write_script(&temp.path().join("pg_config"), "/opt/pg/bin");
        assert_eq!(pg_config_bindir(temp.path()), Some(PathBuf::from("/opt/pg/bin")));
    }
}
