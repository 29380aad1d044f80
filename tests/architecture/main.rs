//! Holds the rules that `ARCHITECTURE.md` and `CONTRIBUTING.md` state, and the documents that have to agree with
//! the code.
//!
//! The scanner knows as much of Rust as it needs: comments and literals are blanked ([`code`]), then words are
//! looked for. Every rule is a function from a file to its violations, and has a test that shows it a bad file.
#![allow(
    clippy::expect_used,
    clippy::indexing_slicing,
    clippy::panic,
    clippy::string_slice,
    clippy::unwrap_used,
    reason = "tests fail by panicking"
)]

mod code;
mod command_line;
mod configuration;
mod deploy;
mod documents;
mod layers;
mod migrations;
mod rules;
mod tree;

use tree::SourceFile;

/// Applies a rule to every file and fails with all violations at once.
fn hold(files: &[SourceFile], rule: impl Fn(&SourceFile) -> Vec<String>) {
    assert!(!files.is_empty(), "there is nothing to look at");
    let violations: Vec<String> = files
        .iter()
        .flat_map(|file| rule(file).into_iter().map(|violation| format!("{}: {violation}", file.path)))
        .collect();
    assert!(violations.is_empty(), "{}", violations.join("\n"));
}

#[test]
fn modules_use_only_what_stands_below_them() {
    let foundations = layers::foundations();
    hold(&tree::rust_files(&["src"]), |file| layers::violations(file, &foundations));
}

#[test]
fn the_module_list_of_the_library_is_the_layers() {
    let library = tree::file("src/lib.rs");
    assert_eq!(layers::declared_modules(&library.code), layers::names());
}

#[test]
fn clocks_are_read_in_one_place() {
    hold(&tree::rust_files(&["src"]), rules::clock_reads);
}

#[test]
fn leases_count_by_a_clock_that_runs_on_while_the_machine_sleeps() {
    hold(&[tree::file("src/clock.rs")], rules::lease_clock);
}

#[test]
fn a_module_is_a_file_of_its_name() {
    hold(&tree::rust_files(&["src", "tests", "benches"]), rules::mod_rs);
}

#[test]
fn files_and_functions_are_short() {
    hold(&tree::rust_files(&["src", "tests", "benches", "build.rs"]), rules::too_long);
}

#[test]
fn every_module_opens_with_its_purpose() {
    hold(&tree::rust_files(&["src", "tests", "benches", "build.rs"]), rules::missing_introduction);
}

#[test]
fn exceptions_from_lints_give_their_reason() {
    hold(&tree::rust_files(&["src", "tests", "benches", "build.rs"]), rules::exceptions_without_reason);
}

#[test]
fn nothing_is_left_to_be_done_later() {
    hold(&tree::rust_files(&["src", "tests", "benches", "build.rs"]), rules::unfinished_code);
    hold(&tree::all_files(), rules::notes_to_self);
}

#[test]
fn tests_wait_for_conditions_instead_of_sleeping() {
    hold(&tree::rust_files(&["src", "tests"]), rules::sleeps_in_tests);
}

#[test]
fn nothing_names_a_place_on_one_machine() {
    hold(&tree::all_files(), rules::workplace_paths);
}
