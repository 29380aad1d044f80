//! The schema: what the program believes of it, the way there and back, and programs that meet another one.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::thread;

use crate::harness::{Process, TestDatabase};

const SCHEMA: &str = include_str!("../../src/storage/schema.rs");

/// `table (primary, key)` and `table.column -> Type` of every `table!`.
fn believed() -> Vec<String> {
    let mut lines = Vec::new();
    for block in SCHEMA.split("diesel::table! {").skip(1) {
        let (head, columns) = block.split_once('{').unwrap();
        let (columns, _) = columns.split_once('}').unwrap();
        let head = head.trim();
        let (table, _) = head.split_once(' ').unwrap();
        lines.push(head.to_owned());
        let columns = columns.lines().map(|line| line.trim().trim_end_matches(','));
        lines.extend(columns.filter(|line| !line.is_empty()).map(|column| format!("{table}.{column}")));
    }
    lines
}

/// The same, as the database says it.
async fn migrated(database: &TestDatabase) -> Vec<String> {
    let keys = "SELECT format('%s (%s)', table_name, \
                string_agg(column_name::text, ', ' ORDER BY ordinal_position)) AS line \
                FROM information_schema.key_column_usage WHERE table_schema = 'public' \
                AND constraint_name IN (SELECT conname FROM pg_constraint WHERE contype = 'p') \
                GROUP BY table_name";
    let columns = "SELECT format(CASE is_nullable WHEN 'YES' THEN '%s.%s -> Nullable<%s>' \
                   ELSE '%s.%s -> %s' END, table_name, column_name, CASE left(udt_name, 1) WHEN '_' \
                   THEN 'Array<' || initcap(substr(udt_name, 2)) || '>' ELSE initcap(udt_name) END) AS line \
                   FROM information_schema.columns WHERE table_schema = 'public'";
    let mut lines = database.lines(keys).await;
    lines.extend(database.lines(columns).await);
    lines.retain(|line| !line.starts_with("__diesel_schema_migrations"));
    lines
}

#[tokio::test]
async fn the_schema_in_the_program_is_the_migrated_one() {
    let (mut believed, mut migrated) = (believed(), migrated(&TestDatabase::new().await).await);
    believed.sort();
    migrated.sort();
    assert_eq!(believed, migrated);
    assert!(believed.contains(&"api_keys.ips -> Nullable<Array<Cidr>>".to_owned()), "both were read");
}

/// Everything that a migration can make.
async fn shape(database: &TestDatabase) -> Vec<String> {
    let query = "SELECT format('%s %s %s %s %s', table_name, column_name, data_type, is_nullable, \
                     column_default) AS line FROM information_schema.columns WHERE table_schema = 'public' \
                 UNION ALL SELECT indexdef FROM pg_indexes WHERE schemaname = 'public' \
                 UNION ALL SELECT format('%s %s', conname, pg_get_constraintdef(oid)) FROM pg_constraint \
                     WHERE connamespace = 'public'::regnamespace \
                 UNION ALL SELECT sequencename FROM pg_sequences WHERE schemaname = 'public' \
                 UNION ALL SELECT proname FROM pg_proc WHERE pronamespace = 'public'::regnamespace \
                 UNION ALL SELECT typname FROM pg_type WHERE typnamespace = 'public'::regnamespace \
                 UNION ALL SELECT tgname FROM pg_trigger WHERE NOT tgisinternal \
                 ORDER BY 1";
    let mut lines = database.lines(query).await;
    lines.retain(|line| !line.contains("__diesel_schema_migrations"));
    lines
}

/// The directories of the migrations, oldest first.
fn migrations() -> Vec<PathBuf> {
    let dir = Path::new(env!("CARGO_MANIFEST_DIR")).join("migrations");
    let mut dirs: Vec<PathBuf> = fs::read_dir(dir).unwrap().map(|entry| entry.unwrap().path()).collect();
    dirs.retain(|path| path.is_dir());
    dirs.sort();
    dirs
}

#[tokio::test]
async fn every_migration_can_be_undone_and_done_again() {
    let database = TestDatabase::unmigrated().await;
    let empty = shape(&database).await;
    for dir in migrations() {
        database.sql(&fs::read_to_string(dir.join("up.sql")).unwrap()).await;
    }
    let full = shape(&database).await;
    assert_eq!(full, shape(&TestDatabase::new().await).await, "the program runs these very files");
    for dir in migrations().iter().rev() {
        database.sql(&fs::read_to_string(dir.join("down.sql")).unwrap()).await;
    }
    assert_eq!(shape(&database).await, empty, "nothing is left");
    for dir in migrations() {
        database.sql(&fs::read_to_string(dir.join("up.sql")).unwrap()).await;
    }
    assert_eq!(shape(&database).await, full);
}

/// A command of the program on this database, which does not sync.
fn on(database: &TestDatabase, arguments: &[&str]) -> Command {
    let mut command = Process::command();
    command.args(arguments).env("KEYSTILE_DATABASE_URL", database.url());
    command.env("KEYSTILE_ALLOW_DATA_LOSS", "true").env("KEYSTILE_LISTEN", "127.0.0.1:0");
    command
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

#[tokio::test]
async fn programs_that_migrate_at_once_take_turns_and_status_tells_before_and_after() {
    let database = TestDatabase::unmigrated().await;
    let status = || Process::run(on(&database, &["migrate", "--status"]));
    let before = status();
    assert_eq!(before.status.code(), Some(1), "{}", text(&before.stderr));
    assert_eq!(
        text(&before.stdout).lines().filter(|line| line.starts_with("pending")).count(),
        migrations().len()
    );
    assert!(shape(&database).await.is_empty(), "asking changes nothing");

    let running: Vec<_> = (0..4)
        .map(|_| {
            let command = on(&database, &["migrate"]);
            thread::spawn(|| Process::run(command))
        })
        .collect();
    let ended: Vec<Output> = running.into_iter().map(|run| run.join().unwrap()).collect();
    for output in ended {
        assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
        assert!(!text(&output.stdout).contains("pending"));
    }
    let applied = "SELECT count(*) FROM __diesel_schema_migrations";
    assert_eq!(usize::try_from(database.number(applied).await).unwrap(), migrations().len());
    assert_eq!(shape(&database).await, shape(&TestDatabase::new().await).await);

    let after = status();
    assert_eq!(after.status.code(), Some(0));
    assert_eq!(
        text(&after.stdout).lines().filter(|line| line.starts_with("applied")).count(),
        migrations().len()
    );
}

#[tokio::test]
async fn serving_on_a_schema_that_is_behind_is_refused_unless_it_may_be_brought_forward() {
    let database = TestDatabase::unmigrated().await;
    let refused = Process::run(on(&database, &["serve"]));
    assert_eq!(refused.status.code(), Some(65));
    let behind = migrations().len();
    let sentence = format!(
        "the database's schema is behind this program by {behind} migration(s): run `keystile migrate`, or set \
         KEYSTILE_AUTO_MIGRATE=true"
    );
    assert!(text(&refused.stderr).contains(&sentence), "{}", text(&refused.stderr));
    assert!(shape(&database).await.is_empty(), "and nothing is changed");

    let mut process = Process::serve(&[
        ("KEYSTILE_DATABASE_URL", &database.url()),
        ("KEYSTILE_ALLOW_DATA_LOSS", "true"),
        ("KEYSTILE_AUTO_MIGRATE", "true"),
    ]);
    assert_eq!(shape(&database).await, shape(&TestDatabase::new().await).await);
    assert_eq!(process.terminate().code(), Some(0));
}

#[tokio::test]
async fn serving_on_a_server_that_may_lose_what_it_acknowledged_is_refused() {
    let database = TestDatabase::new().await;
    let mut command = on(&database, &["serve"]);
    command.env_remove("KEYSTILE_ALLOW_DATA_LOSS");
    let refused = Process::run(command);
    assert_eq!(refused.status.code(), Some(65));
    assert!(text(&refused.stderr).contains("runs with fsync=off: a crash may lose keys; turn it on"));
}

const AHEAD: &str = "INSERT INTO __diesel_schema_migrations (version) VALUES ('29991231235959')";

#[tokio::test(flavor = "multi_thread")]
async fn serving_on_a_schema_that_is_ahead_by_what_takes_something_away_is_refused() {
    let newer_needed = "UPDATE schema_compatibility SET oldest_migration = '29991231235959'";
    let fewer = "DELETE FROM __diesel_schema_migrations WHERE version = '20261123120000'";
    for not_ours in
        [newer_needed, "DROP TABLE schema_compatibility", "DELETE FROM schema_compatibility", fewer]
    {
        let database = TestDatabase::new().await;
        database.sql(AHEAD).await;
        database.sql(not_ours).await;
        let before = database.lines("SELECT version AS line FROM __diesel_schema_migrations").await;
        let mut command = on(&database, &["serve"]);
        command.env("KEYSTILE_AUTO_MIGRATE", "true");
        let refused = Process::run(command);
        let said = text(&refused.stderr);
        assert_eq!(refused.status.code(), Some(65), "{not_ours}: {said}");
        let sentence =
            "ahead of this program by 1 migration(s): run the newer program that made them, or one after it";
        assert!(said.contains(sentence), "{not_ours}: {said}");
        assert_eq!(Process::run(on(&database, &["migrate"])).status.code(), Some(65), "{not_ours}");
        let status = Process::run(on(&database, &["migrate", "--status"]));
        assert_eq!(status.status.code(), Some(1), "{not_ours}");
        assert!(
            text(&status.stdout)
                .contains("unknown  29991231235959\nahead of this program, which may not serve")
        );
        let after = database.lines("SELECT version AS line FROM __diesel_schema_migrations").await;
        assert_eq!(after, before, "and nothing is changed");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_old_replica_comes_back_on_a_schema_to_which_only_something_was_added() {
    let database = TestDatabase::new().await;
    database.sql(AHEAD).await;
    database.sql("ALTER TABLE api_keys ADD COLUMN colour text; CREATE TABLE colours (name text)").await;
    for migrates in ["false", "true"] {
        let process = Process::serve(&[
            ("KEYSTILE_DATABASE_URL", &database.url()),
            ("KEYSTILE_ALLOW_DATA_LOSS", "true"),
            ("KEYSTILE_AUTO_MIGRATE", migrates),
        ]);
        let mut warnings = process.terminate_for_log();
        warnings.retain(|line| line.contains("ahead of this program") && line.contains("WARN"));
        assert!(warnings.len() == 1 && warnings[0].contains("29991231235959"), "{warnings:?}");
    }
    let migrate = Process::run(on(&database, &["migrate"]));
    assert_eq!(migrate.status.code(), Some(0), "{}", text(&migrate.stderr));
    assert!(text(&migrate.stdout).contains("nothing to apply"), "{}", text(&migrate.stdout));
    let status = Process::run(on(&database, &["migrate", "--status"]));
    assert_eq!(status.status.code(), Some(0));
    let expected = "unknown  29991231235959\nahead of this program, which can serve with it";
    assert!(text(&status.stdout).contains(expected), "{}", text(&status.stdout));
}
