//! What `deploy` and `docs` promise, tried on the program itself.

mod queries;

use std::collections::{BTreeMap, BTreeSet};
use std::fs;
use std::path::Path;

use keystile::embedded::ROLE;
use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use keystile::grpc::pb::key_service_client::KeyServiceClient;

use crate::harness::{Process, TestDatabase, connect, denial, eventually, new_token};

const OPERATIONS: &str = include_str!("../../docs/operations.md");

/// A file of the project.
fn file(path: &str) -> String {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(path);
    fs::read_to_string(&path).unwrap_or_else(|error| panic!("{}: {error}", path.display()))
}

/// The block of code in operations.md below `<!-- sql: name -->`.
fn sql(name: &str) -> &'static str {
    let mark = format!("<!-- sql: {name} -->\n```sql\n");
    let (_, rest) = OPERATIONS.split_once(&mark).unwrap_or_else(|| panic!("there is no block {name}"));
    rest.split_once("\n```").expect("the block ends").0
}

/// The URL by which a role comes to the database.
fn url_of(database: &TestDatabase, role: &str) -> String {
    let (by_us, by_role) = (format!("//{ROLE}@"), format!("//{role}@"));
    let url = database.url();
    assert!(url.contains(&by_us), "{url}");
    url.replace(&by_us, &by_role)
}

/// Creates a key, uses it, narrows it, revokes it, and waits for its use to be counted.
async fn work_through(address: &str, token: &str, database: &TestDatabase) {
    let mut keys = KeyServiceClient::new(connect(address, token));
    let mut authorize = AuthorizeServiceClient::new(connect(address, token));
    let key = pb::Key { user_id: 3, display_name: "of a role".into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
    let created = keys.create_key(create).await.unwrap().into_inner();
    let key_id = created.key.unwrap().key_id;
    let ask = pb::AuthorizeRequest { token: created.token.into(), ..Default::default() };
    assert_eq!(denial(&authorize.authorize(ask.clone()).await.unwrap().into_inner()), None);
    let counted =
        format!("(SELECT coalesce(sum(authorized_count), 0) FROM key_usage WHERE key_id = {key_id})");
    eventually("the use is counted", async || database.number(&counted).await == 1).await;

    let grants = pb::Grants { permissions: vec!["chat".into()], ..Default::default() };
    let grants = pb::AddGrantsRequest { key_id, grants: Some(grants), ..Default::default() };
    keys.add_grants(grants).await.unwrap();
    keys.list_keys(pb::ListKeysRequest::default()).await.unwrap();
    keys.disable_owner(pb::DisableOwnerRequest { user_id: 3, ..Default::default() }).await.unwrap();
    keys.enable_owner(pb::EnableOwnerRequest { user_id: 3, ..Default::default() }).await.unwrap();
    keys.revoke_key(pb::RevokeKeyRequest { key_id, ..Default::default() }).await.unwrap();
    let answer = authorize.authorize(ask).await.unwrap().into_inner();
    assert_eq!(denial(&answer).as_deref(), Some("KEY_REVOKED"));
}

#[tokio::test(flavor = "multi_thread")]
async fn the_service_works_under_the_roles_of_operations_and_cannot_change_the_schema() {
    let database = TestDatabase::unmigrated().await;
    // Roles belong to the cluster, which a run finds as the last one left it.
    let roles = sql("roles").replace("keystile_", "docs_");
    database.sql("DROP ROLE IF EXISTS docs_owner; DROP ROLE IF EXISTS docs_service").await;
    database.sql(&roles).await;
    let (owner, service) = (url_of(&database, "docs_owner"), url_of(&database, "docs_service"));

    let migrate = |url: &str| {
        let mut command = Process::command();
        command.arg("migrate").env("KEYSTILE_DATABASE_URL", url);
        Process::run(command).status.success()
    };
    assert!(!migrate(&service), "it may not make tables");
    assert!(migrate(&owner));

    let folder = tempfile::tempdir().unwrap();
    let (token, token_file) = (new_token(), folder.path().join("token"));
    fs::write(&token_file, &token).unwrap();
    let mut process = Process::serve(&[
        ("KEYSTILE_DATABASE_URL", &service),
        ("KEYSTILE_BOOTSTRAP_TOKEN_FILE", token_file.to_str().unwrap()),
        ("KEYSTILE_ALLOW_DATA_LOSS", "true"),
    ]);
    work_through(&process.address, &token, &database).await;
    assert!(process.terminate().success());
}

/// Lines of shell in documents and in `deploy` that run the program: subcommands and flags, by where they stand.
fn commands() -> Vec<(String, Vec<String>)> {
    let mut found = Vec::new();
    for path in ["operations", "security", "upgrading", "runbooks", "migrating-from-enclava"] {
        let path = format!("docs/{path}.md");
        let text = file(&path);
        // Inline, and in blocks; a line that ends in a backslash goes on.
        let joined = text.replace("\\\n", " ");
        for line in joined.split(['`', '\n']) {
            let Some(at) = line.find("keystile ") else { continue };
            if !line[..at].trim().is_empty() && !line[..at].ends_with("-- ") && !line[..at].ends_with(".txt ")
            {
                continue;
            }
            let words = line[at..].split(" #").next().unwrap().split_whitespace().skip(1);
            found.push((path.clone(), words.map(str::to_owned).collect()));
        }
    }
    found
}

#[test]
fn commands_in_documents_are_those_of_the_program() {
    let mut helps: BTreeMap<Vec<String>, String> = BTreeMap::new();
    let mut used = BTreeSet::new();
    for (path, words) in commands() {
        let is_name = |word: &&String| {
            word.chars().all(|c| c.is_ascii_lowercase() || c == '-') && !word.starts_with('-')
        };
        let names: Vec<String> = words.iter().take_while(is_name).take(2).cloned().collect();
        if names.is_empty() {
            continue;
        }
        let help = helps.entry(names.clone()).or_insert_with(|| {
            let mut command = Process::command();
            let help = Process::run({
                command.args(&names).arg("--help");
                command
            });
            assert!(help.status.success(), "{path}: keystile {}", names.join(" "));
            String::from_utf8(help.stdout).unwrap()
        });
        for flag in words.iter().filter(|word| word.starts_with("--")) {
            let flag = flag.trim_end_matches(|c: char| !c.is_ascii_alphanumeric());
            let is_there = help.split(|c: char| c.is_whitespace() || c == ',').any(|word| word == flag);
            assert!(is_there, "{path}: keystile {} has no {flag}", names.join(" "));
            used.insert(flag.to_owned());
        }
    }
    assert!(helps.len() >= 8 && used.len() >= 10, "{:?} {used:?}", helps.keys());
}

/// What `deploy` sets to a value that can be read there: not what templates fill in, nor files, which lie elsewhere.
fn set_values() -> BTreeSet<(String, String)> {
    let mut found = BTreeSet::new();
    for path in [
        "Dockerfile",
        "compose/compose.yaml",
        "systemd/keystile.env",
        "systemd/keystile.service",
        "helm/keystile/templates/_container.tpl",
        "helm/keystile/templates/migration.yaml",
    ] {
        let text = file(&format!("deploy/{path}"));
        for (at, _) in text.match_indices("KEYSTILE_") {
            let rest = &text[at..];
            let (name, rest) =
                rest.split_at(rest.find(|c: char| !c.is_ascii_uppercase() && c != '_').unwrap());
            let value = [", value: ", ": ", "="].iter().find_map(|between| rest.strip_prefix(between));
            let value = value.unwrap_or_default().split_whitespace().next().unwrap_or_default();
            if !value.is_empty() && !value.starts_with(['{', '/', '%']) {
                found.insert((name.to_owned(), value.to_owned()));
            }
        }
    }
    found
}

fn check_config(variable: &str, value: &str) {
    let mut command = Process::command();
    command.arg("check-config").env("KEYSTILE_DATABASE_URL", "postgres://keystile@db/keystile");
    let output = Process::run({
        command.env(variable, value);
        command
    });
    assert!(output.status.success(), "{variable}={value}: {}", String::from_utf8_lossy(&output.stderr));
}

#[test]
fn values_that_are_deployed_are_accepted() {
    let values = set_values();
    assert!(values.len() > 8, "{values:?}");
    for (variable, value) in values {
        check_config(&variable, &value);
    }
    let chart = file("deploy/helm/keystile/ci/existing-certificate-values.yaml");
    let (_, block) = chart.split_once("config: |\n").expect("it has settings by file");
    let lines: Vec<&str> = block.lines().map_while(|line| line.strip_prefix("  ")).collect();
    assert!(lines.len() > 1, "{lines:?}");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("keystile.toml");
    fs::write(&path, lines.join("\n")).unwrap();
    check_config("KEYSTILE_CONFIG", path.to_str().unwrap());
}
