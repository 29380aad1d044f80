//! What is deployed and what is documented, against the program and against each other; as far as text tells. What
//! takes a running service is in `tests/it/deploy.rs`, what takes other tools in `deploy/check.sh`.

use std::collections::BTreeSet;

use crate::tree;

const ALERTS: &str = "deploy/helm/keystile/files/alerts.yaml";
const RUNBOOKS: &str = "docs/runbooks.md";

/// Variables of scripts, of tests, of Compose and of Kubernetes: no settings of the program, and not meant to be.
const NOT_SETTINGS: [&str; 4] =
    ["KEYSTILE_FRESH_NAMESPACE", "KEYSTILE_HISTORY_SEED", "KEYSTILE_IMAGE_TAG", "KEYSTILE_PORT"];

/// One alert, as `- alert:` begins it.
struct Alert {
    name: String,
    /// The lines up to the next one.
    text: String,
}

impl Alert {
    /// The value of a key that stands on a line of its own.
    fn value(&self, key: &str) -> Option<&str> {
        let lines = self.text.lines().map(str::trim);
        let mut values = lines.filter_map(|line| line.strip_prefix(key)?.strip_prefix(": "));
        values.next().map(|value| value.trim_matches('"'))
    }
}

fn alerts() -> Vec<Alert> {
    let text = tree::file(ALERTS).text;
    let of = |part: &str| {
        let (name, text) = part.split_once('\n').unwrap();
        Alert { name: name.trim().to_owned(), text: text.to_owned() }
    };
    text.split("- alert: ").skip(1).map(of).collect()
}

/// Words that begin with `KEYSTILE_`. One that ends in `_` is the beginning of several, and not looked at.
fn variables(text: &str) -> BTreeSet<String> {
    let is_part = |c: char| c.is_ascii_uppercase() || c.is_ascii_digit() || c == '_';
    let words = text.match_indices("KEYSTILE_").map(|(at, _)| {
        let rest = &text[at..];
        rest.split(|c| !is_part(c)).next().unwrap_or_default()
    });
    words.filter(|word| !word.ends_with('_')).map(str::to_owned).collect()
}

/// The files of a folder, with their texts, templates of Helm too.
fn texts(folder: &str) -> Vec<(String, String)> {
    let paths = tree::paths(folder);
    paths.into_iter().map(|path| (path.clone(), tree::file(&path).text)).collect()
}

#[test]
fn variables_in_deploy_and_docs_are_read_by_the_program() {
    let program: String = tree::rust_files(&["src"]).into_iter().map(|file| file.text).collect();
    let mut wrong = BTreeSet::new();
    let mut looked_at = BTreeSet::new();
    for (path, text) in texts("deploy").into_iter().chain(texts("docs")) {
        for variable in variables(&text) {
            // A secret may lie in a file that the variable with this ending names.
            let name = variable.strip_suffix("_FILE").unwrap_or(&variable);
            let is_read = [name, &variable].iter().any(|name| program.contains(&format!("\"{name}\"")));
            if !is_read && !NOT_SETTINGS.contains(&variable.as_str()) {
                wrong.insert(format!("{path}: {variable}"));
            }
            looked_at.insert(variable);
        }
    }
    assert!(wrong.is_empty(), "no such setting: {wrong:#?}");
    assert!(looked_at.len() > 15, "{looked_at:?}");
}

#[test]
fn every_alert_says_how_bad_what_and_what_to_do() {
    let alerts = alerts();
    assert!(alerts.len() > 10);
    for alert in &alerts {
        let name = &alert.name;
        assert!(name.starts_with("Keystile"), "{name}");
        let labels = alert.value("labels").unwrap_or_else(|| panic!("{name} has no labels"));
        let severities = ["{ severity: critical }", "{ severity: warning }"];
        assert!(severities.contains(&labels), "{name}: {labels}");
        for needed in ["expr", "summary", "description"] {
            assert!(alert.value(needed).is_some(), "{name} has no {needed}");
        }
        let runbook = format!("{RUNBOOKS}#{}", name.to_lowercase());
        assert_eq!(alert.value("runbook_url"), Some(runbook.as_str()), "{name}");
    }
}

#[test]
fn every_alert_has_its_runbook_and_every_runbook_its_alert() {
    let alerts: Vec<String> = alerts().into_iter().map(|alert| alert.name).collect();
    let runbooks = tree::file(RUNBOOKS).text;
    let sections: Vec<&str> = runbooks.lines().filter_map(|line| line.strip_prefix("## ")).collect();
    assert_eq!(alerts, sections, "in the same order");
}

#[test]
fn every_alert_is_tested() {
    let tests = tree::file("deploy/alerts_test.yaml").text;
    for Alert { name, .. } in alerts() {
        let of_alert = |line: &&str| line.contains(&format!("alertname: {name}"));
        let shown: Vec<&str> = tests.lines().filter(of_alert).collect();
        let fires = shown.iter().any(|line| line.trim() == format!("alertname: {name}"));
        let rests = shown.iter().any(|line| line.contains("exp_alerts: []"));
        assert!(fires && rests, "{name} fires: {fires}, rests: {rests}");
    }
}

#[test]
fn the_tests_that_security_names_are_there() {
    look_for_tests("docs/security.md", "| Threat |", 15);
}

#[test]
fn the_tests_that_the_proof_of_freshness_names_are_there() {
    look_for_tests("docs/freshness-proof.md", "| Rule |", 40);
    look_for_tests("docs/freshness-proof.md", "| Fault |", 8);
}

#[test]
fn the_tests_that_the_proof_of_limits_names_are_there() {
    look_for_tests("docs/limits-proof.md", "| Clause |", 60);
    look_for_tests("docs/limits-proof.md", "| Property |", 5);
}

/// Looks for every test that the last column of a table names; there are more than so many.
fn look_for_tests(path: &str, head: &str, more_than: usize) {
    let text = tree::file(path).text;
    let rows = text.lines().skip_while(|line| !line.starts_with(head)).skip(2);
    let code: String = tree::rust_files(&["src", "tests"]).into_iter().map(|file| file.text).collect();
    let mut looked_at = 0;
    for row in rows.take_while(|line| line.starts_with('|')) {
        let test = row.trim_end_matches([' ', '|']).rsplit('|').next().unwrap_or_default();
        for name in test.split('`').skip(1).step_by(2) {
            assert!(code.contains(&format!("fn {name}(")), "{name}: {row}");
            looked_at += 1;
        }
    }
    assert!(looked_at > more_than, "{path}: {looked_at}");
}

/// The first whole number after a text.
fn number_after(path: &str, text: &str) -> u64 {
    let file = tree::file(path).text;
    let (_, rest) = file.split_once(text).unwrap_or_else(|| panic!("{path} has no {text}"));
    let digits: String = rest.chars().take_while(char::is_ascii_digit).collect();
    digits.parse().unwrap_or_else(|_| panic!("{path}: no number after {text}"))
}

#[test]
fn whatever_stops_it_waits_longer_than_it_drains() {
    for (path, stop) in [
        ("deploy/systemd/keystile.service", "TimeoutStopSec="),
        ("deploy/compose/compose.yaml", "# More than the drain takes.\n    stop_grace_period: "),
    ] {
        let variable = |name: &str| match tree::file(path).text.contains(&format!("{name}=")) {
            true => number_after(path, &format!("{name}=")),
            false => number_after(path, &format!("{name}: ")),
        };
        let drain = variable("KEYSTILE_DRAIN_DELAY") + variable("KEYSTILE_DRAIN_TIMEOUT");
        let stop = number_after(path, stop);
        assert!(stop >= drain + 10, "{path}: {stop} s for a drain of {drain} s");
    }
}

#[test]
fn words_that_begin_several_variables_are_not_taken_for_one() {
    let found = variables("KEYSTILE_PORT*, `KEYSTILE_SERVICE_*`, ${KEYSTILE_A1:-x} KEYSTILE_B_FILE.");
    assert_eq!(found.into_iter().collect::<Vec<_>>(), ["KEYSTILE_A1", "KEYSTILE_B_FILE", "KEYSTILE_PORT"]);
}
