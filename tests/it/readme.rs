//! README's sessions, run as they are written, with the answers that README shows.
//!
//! A session is a block of bash below `<!-- session: name -->`. The lines after `# =>` must appear among what it
//! prints, in that order; `…` stands for anything, and spaces at both ends do not count. What differs from a
//! reader's terminal is in the environment alone: where the server is, where its data directory lies, and where
//! the programs are.

use std::ffi::OsString;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::{env, fs};

use tempfile::TempDir;

use crate::harness::{Process, TestDatabase};

const README: &str = include_str!("../../README.md");
const EXPORT: &str = include_str!("../fixtures/enclava/enclava.sql");
const MARK: &str = "<!-- session: ";
const EXPECTED: &str = "# =>";

/// The bash of a session.
fn session(name: &str) -> &'static str {
    let mark = format!("{MARK}{name} -->\n```bash\n");
    let (_, rest) = README.split_once(&mark).unwrap_or_else(|| panic!("README has no session {name}"));
    rest.split_once("\n```").expect("the block ends").0
}

/// Where programs are looked for: ours first, Go's folder last.
fn path_variable() -> OsString {
    let ours = Path::new(env!("CARGO_BIN_EXE_keystile")).parent().unwrap().to_owned();
    let go = env::var_os("HOME").map(|home| PathBuf::from(home).join("go/bin"));
    let inherited = env::var_os("PATH").unwrap_or_default();
    let folders = [ours].into_iter().chain(env::split_paths(&inherited)).chain(go);
    env::join_paths(folders).unwrap()
}

fn is_installed(program: &str) -> bool {
    env::split_paths(&path_variable()).any(|folder| folder.join(program).is_file())
}

/// Runs a session in an empty folder, and checks that it prints what README says.
fn run(name: &str, settings: &[(&str, &str)]) {
    let text = session(name);
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("session.sh"), text).unwrap();
    let mut bash = Command::new("bash");
    bash.args(["-c", "exec 2>&1; source ./session.sh"]).current_dir(folder.path()).stdin(Stdio::null());
    for (variable, _) in env::vars_os() {
        let is_ours = variable.to_str().is_some_and(|it| it.starts_with("KEYSTILE_") || it == "DATABASE_URL");
        if is_ours {
            bash.env_remove(variable);
        }
    }
    bash.env("PATH", path_variable()).env("TMPDIR", folder.path()).envs(settings.iter().copied());
    let printed = String::from_utf8(bash.output().expect("bash runs").stdout).unwrap();
    if let Some(missing) = first_missing(text, &printed) {
        panic!(
            "README, session {name}: nothing prints\n{missing}\nafter what stands before it, in\n{printed}"
        );
    }
}

/// The first expected line that is not printed after those before it.
fn first_missing(session: &str, printed: &str) -> Option<String> {
    let mut lines = printed.lines();
    session
        .lines()
        .filter_map(|line| line.strip_prefix(EXPECTED))
        .find(|expected| !lines.any(|line| fits(line.trim(), expected.trim())))
        .map(str::to_owned)
}

/// Whether a line is the expected one, in which `…` stands for anything.
fn fits(line: &str, expected: &str) -> bool {
    let mut parts = expected.split('…');
    let first = parts.next().unwrap_or_default();
    let Some(mut rest) = line.strip_prefix(first) else { return false };
    let mut ends_here = rest.is_empty();
    for part in parts {
        let Some(at) = (if part.is_empty() { Some(rest.len()) } else { rest.find(part) }) else {
            return false;
        };
        rest = &rest[at + part.len()..];
        ends_here = rest.is_empty();
    }
    ends_here
}

/// A server on an embedded database of its own, as `make run` starts it.
fn server() -> (Process, TempDir) {
    let data_dir = tempfile::tempdir().unwrap();
    let process = Process::serve(&[("KEYSTILE_DATA_DIR", data_dir.path().to_str().unwrap())]);
    (process, data_dir)
}

#[test]
fn the_session_with_the_command_line_works_as_written() {
    let (mut server, data_dir) = server();
    let token_file = data_dir.path().join("admin.token");
    let address = format!("http://{}", server.address);
    run("keystile", &[("KEYSTILE_SERVER", &address), ("KEYSTILE_TOKEN_FILE", token_file.to_str().unwrap())]);
    assert!(server.terminate().success());
}

#[test]
fn the_session_with_grpcurl_works_as_written() {
    if !is_installed("grpcurl") {
        eprintln!("skipped: there is no grpcurl on the PATH, nor in ~/go/bin");
        return;
    }
    let (mut server, data_dir) = server();
    let data_dir = data_dir.path().to_str().unwrap();
    run("grpcurl", &[("KEYSTILE_LISTEN", &server.address), ("KEYSTILE_DATA_DIR", data_dir)]);
    assert!(server.terminate().success());
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_with_a_database_of_ones_own_works_as_written() {
    let url = TestDatabase::unmigrated().await.url();
    run("own-database", &[("KEYSTILE_DATABASE_URL", &url), ("KEYSTILE_ALLOW_DATA_LOSS", "true")]);
}

#[tokio::test(flavor = "multi_thread")]
async fn the_session_with_an_import_works_as_written() {
    let source = TestDatabase::unmigrated().await;
    source.sql(EXPORT).await;
    let target = TestDatabase::new().await;
    let settings = [
        ("KEYSTILE_IMPORT_SOURCE_URL", source.url()),
        ("KEYSTILE_DATABASE_URL", target.url()),
        ("KEYSTILE_ALLOW_DATA_LOSS", "true".to_owned()),
    ];
    run("import", &settings.each_ref().map(|(name, value)| (*name, value.as_str())));
}

#[test]
fn every_block_of_bash_in_readme_is_a_session_that_a_test_runs() {
    let named: Vec<&str> = README.lines().filter_map(|line| line.strip_prefix(MARK)).collect();
    assert_eq!(named, ["keystile -->", "grpcurl -->", "own-database -->", "import -->"]);
    assert_eq!(README.matches("```bash\n").count(), named.len());
    for name in named {
        let session = session(name.trim_end_matches(" -->"));
        assert!(session.contains(EXPECTED), "{name} expects nothing");
    }
}

#[test]
fn an_answer_that_readme_does_not_show_is_found() {
    let session = "a\n# => ALLOW\nb\n# =>   key …, state …\n# => end";
    assert_eq!(first_missing(session, "ALLOW\nmore\n  key 2, state ACTIVE \nend\n"), None);
    assert_eq!(first_missing(session, "ALLOW 1\nkey 2, state ACTIVE\nend"), Some(" ALLOW".to_owned()));
    assert_eq!(
        first_missing(session, "key 2, state ACTIVE\nALLOW\nend"),
        Some("   key …, state …".to_owned())
    );
    assert_eq!(first_missing(session, "ALLOW\nkey 2, state X\nending"), Some(" end".to_owned()));
    assert!(fits("a middle z", "a … z") && !fits("a middle z!", "a … z") && fits("x", "…"));
}
