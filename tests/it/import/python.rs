//! The expectations are what the script beside them works out from the export.

use std::process::Command;

#[test]
fn the_expectations_are_what_their_script_gives() {
    let script = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/enclava/expectations.py");
    let Ok(output) = Command::new("python3").args([script, "--check"]).output() else {
        println!("skipped: there is no python3 on the PATH, so expectations.json is taken as it is");
        return;
    };
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
}
