//! Tables in documents that say what the code says.

use std::collections::BTreeSet;

use clap::{CommandFactory, Parser};
use keystile::config::Serve;
use keystile::grpc::error::ErrorReason;
use keystile::policy::Reason;

use crate::tree;

/// What the program can be told.
#[derive(Parser)]
struct Program {
    #[command(flatten)]
    _serve: Serve,
}

/// The rows of the table whose first line starts with `head`, cell by cell, without backquotes.
fn table(text: &str, head: &str) -> Vec<Vec<String>> {
    let lines = text.lines().skip_while(|line| !line.starts_with(head));
    let rows = lines.skip(2).take_while(|line| line.starts_with('|'));
    let cell = |cell: &str| cell.trim().replace('`', "");
    let rows: Vec<Vec<String>> =
        rows.map(|row| row.trim().trim_matches('|').split('|').map(cell).collect()).collect();
    assert!(!rows.is_empty(), "there is no table that starts with {head}");
    rows
}

/// The first two cells of every row.
fn pairs(rows: Vec<Vec<String>>) -> Vec<(String, String)> {
    rows.into_iter().map(|row| (row[0].clone(), row[1].clone())).collect()
}

/// `InvalidArgument` is `INVALID_ARGUMENT` on the wire.
fn wire_name(code: tonic::Code) -> String {
    let name = format!("{code:?}");
    let parts = name
        .char_indices()
        .map(|(at, c)| if at > 0 && c.is_uppercase() { format!("_{c}") } else { c.into() });
    parts.collect::<String>().to_uppercase()
}

#[test]
fn the_catalogue_of_errors_is_complete_and_right() {
    let catalogue = pairs(table(&tree::file("docs/errors.md").text, "| Reason | Code |"));
    let code: Vec<(String, String)> = ErrorReason::ALL
        .into_iter()
        .map(|reason| {
            let (code, name) = reason.parts();
            (name.to_owned(), wire_name(code))
        })
        .collect();
    assert_eq!(catalogue, code);
}

#[test]
fn readme_and_decisions_list_every_reason_in_the_order_of_the_checks() {
    let code: Vec<(String, String)> = Reason::ALL
        .into_iter()
        .map(|reason| (reason.as_str().into(), reason.http_status().to_string()))
        .collect();
    for (path, head) in [("README.md", "| Reason | HTTP |"), ("docs/decisions.md", "| Reason | HTTP |")] {
        assert_eq!(pairs(table(&tree::file(path).text, head)), code, "{path}");
    }
}

#[test]
fn readme_lists_settings_with_their_variable_and_default() {
    let rows = table(&tree::file("README.md").text, "| Flag | Variable | Default |");
    assert!(rows.len() >= 8, "those that matter first");
    let command = Program::command();
    for row in rows {
        let is_it = |arg: &&clap::Arg| arg.get_long().is_some_and(|long| row[0] == format!("--{long}"));
        let arg = command.get_arguments().find(is_it).unwrap_or_else(|| panic!("there is no {}", row[0]));
        assert_eq!(row[1], arg.get_env().unwrap().to_str().unwrap());
        // What depends on the machine is told in words.
        if !arg.is_hide_default_value_set() && !arg.get_default_values().is_empty() {
            assert_eq!(row[2], arg.get_default_values()[0].to_str().unwrap(), "{}", row[0]);
        }
    }
}

/// Every method of the contract whose comment, or whose service's comment, says that it is not served, as
/// `KeyService/UpdateKey`.
fn unserved_methods() -> BTreeSet<String> {
    let mut found = BTreeSet::new();
    for proto in ["authorize_service", "key_service", "budget_service", "audit_service"] {
        let text = tree::file(&format!("proto/keystile/v1/{proto}.proto")).text;
        let mut service = String::new();
        let (mut is_unserved, mut is_service_unserved) = (false, false);
        for line in text.lines().map(str::trim) {
            if let Some(name) = line.strip_prefix("service ") {
                service = name.trim_end_matches(" {").to_owned();
                is_service_unserved = std::mem::take(&mut is_unserved);
            } else if let Some(method) = line.strip_prefix("rpc ") {
                if std::mem::take(&mut is_unserved) || is_service_unserved {
                    found.insert(format!("{service}/{}", method.split('(').next().unwrap()));
                }
            } else if line.contains("METHOD_NOT_SERVED") {
                is_unserved = true;
            }
        }
    }
    found
}

#[test]
fn readme_names_every_method_that_is_not_served_yet_and_no_other() {
    let rows = table(&tree::file("README.md").text, "| Not served yet |");
    let named: BTreeSet<String> = rows
        .into_iter()
        .flat_map(|row| {
            let methods: Vec<String> =
                row[1].split(", ").map(|method| format!("{}/{method}", row[0])).collect();
            methods
        })
        .collect();
    assert_eq!(named, unserved_methods());
}

/// Literals like `"keys.revoke"` in the use cases, but for the names of transactions.
fn actions_in_code() -> BTreeSet<String> {
    let mut actions = BTreeSet::new();
    for file in tree::all_files().iter().filter(|file| file.path.starts_with("src/admin")) {
        let text = file.text.split("#[cfg(test)]").next().unwrap();
        let parts: Vec<&str> = text.split('"').collect();
        for pair in parts.windows(2).step_by(2) {
            let names_transaction = [".write(", ".read(", ".snapshot("]
                .iter()
                .any(|call| pair[0].trim_end().ends_with(call) || pair[0].trim_end().ends_with(">("));
            let Some((subject, verb)) = pair[1].split_once('.') else { continue };
            let is_action = ["keys", "owners", "budgets", "plugins"].contains(&subject)
                && !verb.is_empty()
                && verb.chars().all(|c| c.is_ascii_lowercase() || c == '_');
            if is_action && !names_transaction {
                actions.insert(pair[1].to_owned());
            }
        }
    }
    actions
}

#[test]
fn the_audit_log_s_document_names_every_action_and_no_other() {
    let rows = table(&tree::file("docs/audit.md").text, "| Action | When |");
    let named: BTreeSet<String> = rows.into_iter().map(|row| row[0].clone()).collect();
    assert_eq!(named, actions_in_code());
}

/// What `](…)` points to in a document, but for addresses of the web.
fn links(text: &str) -> Vec<&str> {
    let targets = text.split("](").skip(1).filter_map(|rest| rest.split(')').next());
    targets.filter(|target| !target.contains("://")).collect()
}

/// Headings of a document as GitHub names them in links.
fn anchors(text: &str) -> Vec<String> {
    let headings = text.lines().filter_map(|line| line.strip_prefix('#'));
    let names =
        headings.map(|heading| heading.trim_start_matches('#').trim().to_lowercase().replace(' ', "-"));
    names
        .map(|name| name.chars().filter(|c| c.is_alphanumeric() || matches!(c, '-' | '_')).collect())
        .collect()
}

#[test]
fn links_between_documents_lead_somewhere() {
    let files = tree::all_files();
    let mut looked_at = 0;
    for file in files.iter().filter(|file| file.path.ends_with(".md")) {
        let folder = file.path.rsplit_once('/').map_or("", |(folder, _)| folder);
        for link in links(&file.text) {
            let (path, anchor) = link.split_once('#').unwrap_or((link, ""));
            let target = if path.is_empty() { file.path.clone() } else { tree::join(folder, path) };
            assert!(tree::exists(&target), "{}: {link}", file.path);
            let has_anchor = || anchors(&tree::file(&target).text).iter().any(|it| it == anchor);
            assert!(anchor.is_empty() || has_anchor(), "{}: {link}", file.path);
            looked_at += 1;
        }
    }
    assert!(looked_at > 20, "{looked_at}");
}

#[test]
fn the_map_names_files_that_exist() {
    let mut looked_at = 0;
    for map in ["ARCHITECTURE.md", "CONTRIBUTING.md"] {
        for name in tree::file(map).text.split('`').skip(1).step_by(2) {
            if !name.contains('/') || !name.ends_with(".rs") {
                continue;
            }
            assert!(tree::exists(name) || tree::exists(&format!("src/{name}")), "{map}: {name}");
            looked_at += 1;
        }
    }
    assert!(looked_at > 30, "{looked_at}");
}

#[test]
fn links_and_anchors_are_read() {
    assert_eq!(links("[a](b.md), [c](https://d), [e](#f-g)"), ["b.md", "#f-g"]);
    assert_eq!(anchors("# A\n## How to …\nb\n### With your own, X\n"), ["a", "how-to-", "with-your-own-x"]);
}

#[test]
fn a_table_is_read_cell_by_cell() {
    let text = "x\n| a | b |\n|---|---|\n| `c` | d, `e` |\n| f | g |\n\n| h | i |\n";
    assert_eq!(table(text, "| a |"), [["c", "d, e"], ["f", "g"]]);
    assert_eq!(wire_name(tonic::Code::FailedPrecondition), "FAILED_PRECONDITION");
}
