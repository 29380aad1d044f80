//! Starts that fail: one clear sentence each, and a code that says what kind it is.

use std::net::{Ipv4Addr, TcpListener};

use keystile::embedded::ROLE;
use tokio::task::block_in_place;

use super::Served;
use crate::harness::{Process, TestDatabase};

/// The exit code of `serve` with these settings, and the sentence that it ends with.
fn refusal(settings: &[(&str, &str)]) -> (Option<i32>, String) {
    let mut command = Process::command();
    command.args(["serve", "--listen=127.0.0.1:0", "--database-wait=0s", "--allow-data-loss", "--log=warn"]);
    let output = block_in_place(|| {
        Process::run({
            command.envs(settings.iter().copied());
            command
        })
    });
    let told = String::from_utf8(output.stderr).unwrap();
    let errors: Vec<&str> = told.lines().filter_map(|line| line.strip_prefix("error: ")).collect();
    assert_eq!(errors.len(), 1, "one sentence: {told}");
    (output.status.code(), errors[0].to_owned())
}

/// The refusal to serve on a database.
fn refusal_on(database: &TestDatabase) -> (Option<i32>, String) {
    refusal(&[("KEYSTILE_DATABASE_URL", &database.url())])
}

/// The URL of a database for another role, which may log in and nothing else.
async fn as_new_role(database: &TestDatabase, name: &str) -> String {
    database.sql(&format!("DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN")).await;
    database.url().replacen(&format!("{ROLE}@"), &format!("{name}@"), 1)
}

#[tokio::test(flavor = "multi_thread")]
async fn a_taken_port_is_told_before_the_database_is_looked_for() {
    let taken = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).unwrap();
    let address = taken.local_addr().unwrap().to_string();
    let mut command = Process::command();
    command.args([
        "serve",
        "--listen",
        &address,
        "--database-url=postgres://127.0.0.1:1/d",
        "--database-wait=10m",
    ]);
    let output = block_in_place(|| Process::run(command));
    let told = String::from_utf8(output.stderr).unwrap();
    let expected = format!(
        "error: {address} cannot be listened on: another program listens there already: stop it, or choose another \
         address by KEYSTILE_LISTEN\n"
    );
    assert!(output.status.code() == Some(71) && told.ends_with(&expected), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_out_of_reach_and_one_that_refuses_the_login_are_told_apart() {
    let (code, told) = refusal(&[("KEYSTILE_DATABASE_URL", "postgres://me:sesame@127.0.0.1:1/keys")]);
    let expected = "the database postgres://me:***@127.0.0.1:1/keys does not answer (asked once): ";
    assert!(code == Some(69) && told.starts_with(expected), "{told}");
    assert!(told.contains("Connection refused") && !told.contains("sesame"), "{told}");

    let database = TestDatabase::new().await;
    let url = database.url().replacen(&format!("{ROLE}@"), "nobody_of_this_name:sesame@", 1);
    // Waiting would be of no use, and is not done.
    let (code, told) = refusal(&[("KEYSTILE_DATABASE_URL", &url), ("KEYSTILE_DATABASE_WAIT", "10m")]);
    assert!(code == Some(77) && told.contains("refuses the login: "), "{told}");
    assert!(told.contains("\"nobody_of_this_name\" does not exist") && !told.contains("sesame"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_not_what_its_migrations_record_is_refused() {
    let not_whole = "the database's schema is not whole: ";
    for (damage, words) in [
        ("DROP TABLE budget_periods, peppers", "these tables are missing"),
        ("ALTER TABLE api_keys DROP COLUMN purge_at", "api_keys.purge_at does not exist"),
        ("DROP TABLE __diesel_schema_migrations", "no record of the migrations"),
    ] {
        let database = TestDatabase::new().await;
        database.sql(damage).await;
        let (code, told) = refusal_on(&database);
        assert!(code == Some(65) && told.starts_with(not_whole) && told.contains(words), "{damage}: {told}");
        assert!(told.contains("restore the database from a backup"), "{told}");
    }
    let torn = TestDatabase::new().await;
    torn.sql("DROP TABLE __diesel_schema_migrations").await;
    let url = torn.url();
    let migrating = [("KEYSTILE_DATABASE_URL", url.as_str()), ("KEYSTILE_AUTO_MIGRATE", "true")];
    let (code, told) = refusal(&migrating);
    assert!(code == Some(65) && told.starts_with(not_whole), "nothing is tried on it: {told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn missing_rights_are_all_named() {
    let database = TestDatabase::new().await;
    let url = as_new_role(&database, "life_reader").await;
    let read = "GRANT SELECT ON ALL TABLES IN SCHEMA public TO life_reader; \
                GRANT INSERT, UPDATE, DELETE ON owners, api_keys, key_secrets, key_digests, key_usage, budgets, \
                budget_periods, idempotent_requests, pending_uses, replicas, limit_counters TO life_reader; GRANT INSERT ON change_log, peppers TO life_reader";
    database.sql(read).await;
    let (code, told) = refusal(&[("KEYSTILE_DATABASE_URL", &url)]);
    let expected = "the database role life_reader lacks rights: DELETE on audit_events, INSERT on audit_events, \
                    DELETE on change_log, UPDATE on revision_counter; grant them, or make it the owner of the tables";
    assert_eq!((code, told.as_str()), (Some(77), expected));

    let empty = TestDatabase::unmigrated().await;
    let url = as_new_role(&empty, "life_guest").await;
    let (code, told) = refusal(&[("KEYSTILE_DATABASE_URL", &url), ("KEYSTILE_AUTO_MIGRATE", "true")]);
    let expected = "the database role life_guest may not make tables in the schema public: make it the owner of the \
                    database, or GRANT CREATE ON SCHEMA public TO life_guest";
    assert_eq!((code, told.as_str()), (Some(77), expected));
    let migrate = block_in_place(|| {
        let mut command = Process::command();
        command.arg("migrate").env("KEYSTILE_DATABASE_URL", &url);
        Process::run(command)
    });
    assert_eq!(migrate.status.code(), Some(77));
    assert!(String::from_utf8(migrate.stderr).unwrap().contains(expected), "migrate says the same");
    empty.sql("REVOKE ALL ON SCHEMA public FROM PUBLIC").await;
    let (code, told) = refusal(&[("KEYSTILE_DATABASE_URL", &url)]);
    assert!(code == Some(77) && told.contains("may use no schema of the database"), "{told}");
}

#[tokio::test(flavor = "multi_thread")]
async fn an_unreadable_pepper_file_and_a_token_that_is_none_are_settings_that_are_wrong() {
    let served = Served::new().await;
    let empty = tempfile::NamedTempFile::new().unwrap();
    let empty = empty.path().to_str().unwrap();
    let mut settings = served.settings(&[]);
    settings.push(("KEYSTILE_BOOTSTRAP_TOKEN_FILE", empty));
    let (code, told) = refusal(&settings);
    assert!(code == Some(78) && told.contains("must hold one token of 16 to 72"), "{told}");
    settings.push(("KEYSTILE_PEPPERS_FILE", "/nowhere/peppers"));
    let (code, told) = refusal(&settings);
    assert_eq!((code, told.as_str()), (Some(78), "1 setting is wrong:"));
}
