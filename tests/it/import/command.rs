//! `keystile import enclava` as a program: output and exit codes.

use std::process::Output;

use serde_json::Value;

use super::Setup;
use crate::harness::{Process, TestDatabase};

/// Runs the command on a database named by its URL.
fn run(source: &str, target: &str, flags: &[&str]) -> (Option<i32>, String, String) {
    let mut command = Process::command();
    command.args(["import", "enclava", "--allow-data-loss", "--database-wait=0s"]).args(flags);
    command.env("KEYSTILE_IMPORT_SOURCE_URL", source).env("KEYSTILE_DATABASE_URL", target);
    let Output { status, stdout, stderr } = Process::run(command);
    (status.code(), String::from_utf8(stdout).unwrap(), String::from_utf8(stderr).unwrap())
}

#[tokio::test]
async fn people_get_counts_programs_get_json_and_both_the_exit_code() {
    let setup = Setup::new().await;
    let (source, target) = (setup.source.url(), setup.target.url());
    let before = setup.dump().await;
    let (code, text, _) = run(&source, &target, &["--dry-run"]);
    assert_eq!(code, Some(0), "{text}");
    assert!(text.starts_with("dry run          yes: nothing was written\nrows             200\n"), "{text}");
    assert_eq!(setup.dump().await, before);

    setup.source.sql("UPDATE api_keys SET key_hash = 'x' WHERE id = 7").await;
    let (code, text, _) = run(&source, &target, &["--output", "json"]);
    assert_eq!(code, Some(1), "{text}");
    let report: Value = serde_json::from_str(&text).unwrap();
    assert_eq!((&report["inserted"], &report["complete"]), (&Value::from(199), &Value::from(true)));
    assert_eq!(report["rejections"][0]["key_id"], 7);
    assert_eq!(report["rejections"][0]["kind"], "KEY_HASH_INVALID");
    let (code, text, stderr) = run(&source, &target, &[]);
    assert_eq!(code, Some(1), "{text}");
    assert!(text.contains("unchanged        199\n") && text.contains("key 7: key_hash: "), "{text}");
    assert!(!stderr.contains("rows,"), "no progress bar where there is no terminal: {stderr}");
}

#[tokio::test]
async fn what_cannot_be_done_is_one_sentence_and_code_2() {
    let setup = Setup::new().await;
    let (source, target) = (setup.source.url(), setup.target.url());
    let unmigrated = TestDatabase::unmigrated().await.url();
    let nowhere = "postgres://reader:sesame@127.0.0.1:1/enclava";
    for (source, target, says) in [
        (nowhere, target.as_str(), "the older system's database cannot be reached: "),
        (source.as_str(), nowhere, "does not answer (asked once)"),
        (source.as_str(), unmigrated.as_str(), "keystile migrate"),
        (target.as_str(), target.as_str(), "the older system's table api_keys has no column id, name"),
    ] {
        let (code, text, stderr) = run(source, target, &[]);
        assert_eq!((code, text.as_str()), (Some(2), ""), "{stderr}");
        assert!(stderr.contains("error: ") && stderr.contains(says), "{says}: {stderr}");
        assert!(!stderr.contains("sesame"), "{stderr}");
    }
    let (code, _, stderr) = run(&source, "mysql://x", &[]);
    assert_eq!(code, Some(2), "{stderr}");
    assert!(stderr.contains("KEYSTILE_DATABASE_URL"), "{stderr}");
}

#[tokio::test]
async fn without_a_url_the_private_database_takes_the_keys_served_or_not() {
    let setup = Setup::new().await;
    let dir = tempfile::tempdir().unwrap();
    let data_dir = dir.path().join("data").display().to_string();
    let source = setup.source.url();
    let import = || {
        let mut command = Process::command();
        command.args(["import", "enclava", "--allow-data-loss", "--output=json"]);
        command.env("KEYSTILE_IMPORT_SOURCE_URL", &source).env("KEYSTILE_DATA_DIR", &data_dir);
        let output = Process::run(command);
        assert_eq!(output.status.code(), Some(0), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    assert_eq!(import()["inserted"], 200);
    let settings = [("KEYSTILE_DATA_DIR", data_dir.as_str()), ("KEYSTILE_ALLOW_DATA_LOSS", "true")];
    let mut server = Process::serve(&settings);
    assert_eq!(import()["unchanged"], 200, "beside the service");
    assert!(server.terminate().success());
}
