//! `keystile doctor`, the program itself: what it finds, and that it changes nothing.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;

use keystile::grpc::pb;
use keystile::grpc::pb::key_service_client::KeyServiceClient;
use keystile::storage::probe::TABLES;
use serde_json::Value;
use tempfile::TempDir;

use crate::harness::{App, Process, TestDatabase, connect};
use crate::look_alikes;

/// What cannot be looked at without a database.
const BEYOND: [&str; 11] = [
    "version",
    "primary",
    "durability",
    "standbys",
    "role",
    "connections",
    "clock",
    "schema",
    "rights",
    "peppers",
    "write",
];

/// Its exit code and report. No server can answer at port 0.
async fn doctor(settings: &[(&str, &str)]) -> (Option<i32>, Value) {
    let mut command = Process::command();
    command.args(["doctor", "-o", "json"]).env("KEYSTILE_SERVER", "127.0.0.1:0");
    // A service of this machine's own, in the usual place, has nothing to do with it.
    command.env("KEYSTILE_DATA_DIR", "/nowhere/keystile");
    command.envs(settings.iter().copied());
    let output = tokio::task::spawn_blocking(|| Process::run(command)).await.unwrap();
    let err = String::from_utf8(output.stderr).unwrap();
    let report = serde_json::from_slice(&output.stdout).unwrap_or_else(|error| panic!("{error}: {err}"));
    (output.status.code(), report)
}

/// On this database, which does not sync; that passes.
async fn doctor_on(url: &str, more: &[(&str, &str)]) -> (Option<i32>, Value) {
    let mut settings = vec![("KEYSTILE_DATABASE_URL", url), ("KEYSTILE_ALLOW_DATA_LOSS", "true")];
    settings.extend(more);
    doctor(&settings).await
}

/// `check: what advice` of every finding of this level.
fn found(report: &Value, level: &str) -> Vec<String> {
    let findings = report["checks"].as_array().unwrap().iter().filter(|finding| finding["level"] == level);
    let text = |finding: &Value, name: &str| finding[name].as_str().unwrap().to_owned();
    findings.map(|it| format!("{}: {} {}", text(it, "check"), text(it, "what"), text(it, "advice"))).collect()
}

fn checks(report: &Value, level: &str) -> Vec<String> {
    found(report, level).iter().map(|finding| finding.split(':').next().unwrap().to_owned()).collect()
}

#[tokio::test(flavor = "multi_thread")]
async fn a_healthy_embedded_installation_is_well_and_is_not_changed() {
    let dir = TempDir::with_prefix_in("keystile-doctor", std::env::temp_dir()).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let data_dir = dir.path().to_str().unwrap();
    let (code, before) = doctor(&[("KEYSTILE_DATA_DIR", data_dir)]).await;
    assert_eq!((code, checks(&before, "fail")), (Some(0), vec![]), "before the first start: {before:#}");
    assert_eq!(fs::read_dir(dir.path()).unwrap().count(), 0, "it makes nothing");

    let process = Process::serve(&[("KEYSTILE_DATA_DIR", data_dir)]);
    let token_file = dir.path().join("admin.token");
    let settings = [
        ("KEYSTILE_DATA_DIR", data_dir),
        ("KEYSTILE_SERVER", process.address.as_str()),
        ("KEYSTILE_TOKEN_FILE", token_file.to_str().unwrap()),
    ];
    let (code, report) = doctor(&settings).await;
    assert_eq!(code, Some(0), "{report:#}");
    for level in ["warn", "fail", "skip"] {
        assert_eq!(found(&report, level), Vec::<String>::new(), "{report:#}");
    }
    assert_eq!(
        checks(&report, "ok"),
        [
            "configuration",
            "data directory",
            "database",
            "version",
            "primary",
            "durability",
            "connections",
            "clock",
            "schema",
            "rights",
            "peppers",
            "write",
            "server",
            "decision",
            "administration"
        ]
    );

    fs::set_permissions(&token_file, fs::Permissions::from_mode(0o644)).unwrap();
    let (code, report) = doctor(&settings[..1]).await;
    assert_eq!((code, checks(&report, "fail")), (Some(1), vec!["data directory".to_owned()]), "{report:#}");
    assert_eq!(checks(&report, "skip"), ["server"], "none answers");
}

#[tokio::test(flavor = "multi_thread")]
async fn it_changes_nothing_in_the_database() {
    let app = App::start().await;
    let (_, _) = app.create_any().await;
    let database = app.database.clone();
    app.stop().await;
    let sequences = "SELECT format('%s %s', sequencename, last_value) AS line FROM pg_sequences ORDER BY 1";
    let before = (database.dump_all().await, database.lines(sequences).await);
    let (code, report) = doctor_on(&database.url(), &[]).await;
    assert_eq!(code, Some(0), "{report:#}");
    assert_eq!((database.dump_all().await, database.lines(sequences).await), before);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_server_that_does_not_sync_fails_unless_that_is_allowed() {
    let database = TestDatabase::new().await;
    let (code, report) = doctor(&[("KEYSTILE_DATABASE_URL", &database.url())]).await;
    assert_eq!((code, checks(&report, "fail")), (Some(1), vec!["durability".to_owned()]), "{report:#}");
    assert!(found(&report, "fail")[0].contains("fsync"), "{report:#}");
    let (code, report) = doctor_on(&database.url(), &[]).await;
    assert_eq!((code, checks(&report, "warn")), (Some(0), vec!["durability".to_owned(), "role".into()]));
}

#[tokio::test(flavor = "multi_thread")]
async fn a_database_that_cannot_be_reached_is_told_and_the_rest_is_looked_at() {
    let (code, report) = doctor(&[("KEYSTILE_DATABASE_URL", "postgres://me:sesame@127.0.0.1:1/keys")]).await;
    assert_eq!((code, checks(&report, "fail")), (Some(1), vec!["database".to_owned()]), "{report:#}");
    assert!(found(&report, "fail")[0].contains("KEYSTILE_DATABASE_URL"), "{report:#}");
    assert!(!report.to_string().contains("sesame"));
    assert_eq!(
        (checks(&report, "ok"), checks(&report, "skip")),
        (
            vec!["configuration".into()],
            [&BEYOND[..], &["server"]].concat().iter().map(|it| (*it).into()).collect()
        )
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn faults_of_the_configuration_are_findings() {
    let settings = [
        ("KEYSTILE_DATABASE_URL", "mysql://me:sesame@h/d"),
        ("KEYSTILE_NO_AUTH", "true"),
        ("KEYSTILE_LISTEN", "0.0.0.0:1"),
    ];
    let (code, report) = doctor(&settings).await;
    assert_eq!((code, checks(&report, "fail")), (Some(1), vec!["configuration".to_owned(); 2]), "{report:#}");
    let mut command = Process::command();
    command.args(["doctor"]).env("KEYSTILE_POOL_SIZE", "1");
    assert_eq!(Process::run(command).status.code(), Some(2), "what cannot be read cannot be looked at");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_schema_that_is_behind_ahead_or_changed_by_hand_is_told() {
    let database = TestDatabase::unmigrated().await;
    let (code, report) = doctor_on(&database.url(), &[]).await;
    assert_eq!((code, checks(&report, "fail")), (Some(1), vec!["schema".to_owned()]), "{report:#}");
    assert!(found(&report, "fail")[0].ends_with("Run `keystile migrate`."), "{report:#}");
    assert_eq!(checks(&report, "skip"), ["rights", "peppers", "write", "server"]);
    let (code, report) = doctor_on(&database.url(), &[("KEYSTILE_AUTO_MIGRATE", "true")]).await;
    assert_eq!((code, checks(&report, "fail")), (Some(0), vec![]), "{report:#}");

    let database = TestDatabase::new().await;
    database.sql("ALTER TABLE key_digests DROP COLUMN pepper_id CASCADE").await;
    let (code, report) = doctor_on(&database.url(), &[]).await;
    assert_eq!((code, checks(&report, "fail")), (Some(1), vec!["schema".to_owned()]), "{report:#}");
    assert!(found(&report, "fail")[0].contains("not as the migrations made it"), "{report:#}");

    let database = TestDatabase::new().await;
    database.sql("INSERT INTO __diesel_schema_migrations VALUES ('99990101000000')").await;
    let (code, report) = doctor_on(&database.url(), &[]).await;
    assert_eq!(
        (code, checks(&report, "fail")),
        (Some(0), vec![]),
        "what was only added is no hindrance: {report:#}"
    );
    let ahead = "ahead of this program by 1 migration (99990101000000)";
    assert!(found(&report, "warn").iter().any(|finding| finding.contains(ahead)), "{report:#}");
    database.sql("UPDATE schema_compatibility SET oldest_migration = '99990101000000'").await;
    let (code, report) = doctor_on(&database.url(), &[]).await;
    assert_eq!(code, Some(1));
    assert!(found(&report, "fail")[0].contains(ahead), "{report:#}");
}

/// A role of the test's own, which goes with its database, and the URL by it.
async fn role(database: &TestDatabase, name: &str) -> String {
    database.sql(&format!("DROP ROLE IF EXISTS {name}; CREATE ROLE {name} LOGIN")).await;
    let (_, rest) = database.url().split_once('@').map(|(a, b)| (a.to_owned(), b.to_owned())).unwrap();
    format!("postgresql://{name}@{rest}")
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_without_rights_is_told_which_it_lacks() {
    let database = TestDatabase::new().await;
    let url = role(&database, "doctor_poor").await;
    let (code, report) = doctor_on(&url, &[]).await;
    assert_eq!(code, Some(1));
    let failed = found(&report, "fail").join("\n");
    for (table, rights) in TABLES {
        let mut rights = rights.to_vec();
        rights.sort_unstable();
        let advice = format!("GRANT {} ON {table} TO doctor_poor", rights.join(", "));
        assert!(failed.contains(&advice), "{advice}: {failed}");
    }
    assert_eq!(checks(&report, "skip"), ["peppers", "write", "server"]);
    assert_eq!(
        checks(&report, "warn"),
        ["durability", "rights", "rights", "rights"],
        "no superuser; logs; import"
    );

    database.sql("ALTER ROLE doctor_poor CONNECTION LIMIT 20").await;
    let (_, report) = doctor_on(&url, &[("KEYSTILE_POOL_SIZE", "21")]).await;
    assert!(checks(&report, "fail").contains(&"connections".to_owned()), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn a_role_with_the_rights_that_are_asked_for_can_serve() {
    let database = TestDatabase::new().await;
    let url = role(&database, "doctor_enough").await;
    database.sql("GRANT SELECT ON __diesel_schema_migrations TO doctor_enough").await;
    for (table, rights) in TABLES {
        database.sql(&format!("GRANT {} ON {table} TO doctor_enough", rights.join(", "))).await;
    }
    let app = App::builder().database(&database).url(&url).start().await;
    let (key, token) = app.create_any().await;
    let key_id = key.key_id;
    assert_eq!(app.reason(&token).await, None);
    let mut keys: KeyServiceClient<_> =
        KeyServiceClient::new(connect(&app.address().to_string(), &app.admin_token));
    let request_id = "0190aaaa-0000-7000-8000-000000000000".to_owned();
    let rotate = pb::RotateKeyRequest {
        key_id,
        grace_period: Some(prost_types::Duration { seconds: 60, nanos: 0 }),
        request_id,
        ..Default::default()
    };
    keys.rotate_key(rotate).await.unwrap();
    let rotate = pb::RotateKeyRequest { key_id, ..Default::default() };
    keys.rotate_key(rotate).await.unwrap();
    let update = pb::UpdateKeyRequest {
        key: Some(pb::Key { key_id, description: "d".into(), ..Default::default() }),
        ..Default::default()
    };
    keys.update_key(update).await.unwrap();
    keys.revoke_key(pb::RevokeKeyRequest { key_id, ..Default::default() }).await.unwrap();
    keys.reactivate_key(pb::ReactivateKeyRequest { key_id, ..Default::default() }).await.unwrap();
    keys.disable_owner(pb::DisableOwnerRequest { user_id: 1, ..Default::default() }).await.unwrap();
    keys.enable_owner(pb::EnableOwnerRequest { user_id: 1, ..Default::default() }).await.unwrap();
    let key = pb::Key { user_id: 1, display_name: "rich".into(), ..Default::default() };
    let budget =
        pb::Budget { limit_micros: Some(1), period: pb::budget::Period::Total.into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), budgets: vec![budget], ..Default::default() };
    let rich = keys.create_key(create).await.unwrap().into_inner().key.unwrap().key_id;
    keys.delete_key(pb::DeleteKeyRequest { key_id: rich, ..Default::default() }).await.unwrap();
    let admin_token = app.admin_token.clone();
    app.stop().await;

    // What is due is purged at the next start.
    database.sql("UPDATE api_keys SET purge_at = deleted_at WHERE deleted_at IS NOT NULL").await;
    database.sql("UPDATE idempotent_requests SET expire_at = '2000-01-01Z'").await;
    let app = App::builder().database(&database).url(&url).admin_token(&admin_token).start().await;
    database.until("SELECT 1 - count(*) FROM budgets").await;
    database.until("SELECT 1 - count(*) FROM idempotent_requests").await;
    app.stop().await;
    let (code, report) = doctor_on(&url, &[]).await;
    assert_eq!((code, checks(&report, "fail")), (Some(0), vec![]), "{report:#}");
}

#[tokio::test(flavor = "multi_thread")]
async fn peppers_that_are_not_those_of_the_digests_are_told() {
    const A: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const B: &str = "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoOE";
    let dir = TempDir::new().unwrap();
    let file = dir.path().join("peppers.toml");
    let write = |id: &str, secret: &str| {
        fs::write(&file, format!("current = \"{id}\"\n[peppers]\n\"{id}\" = \"{secret}\"\n")).unwrap();
    };
    write("one", A);
    let path = file.to_str().unwrap();
    let app = App::builder().flags(["--peppers-file", path]).start().await;
    app.create_any().await;
    let url = app.database.url();
    app.stop().await;
    let settings = [("KEYSTILE_PEPPERS_FILE", path)];
    let (code, report) = doctor_on(&url, &settings).await;
    assert_eq!((code, checks(&report, "warn").contains(&"peppers".into())), (Some(0), false), "{report:#}");
    write("one", B);
    let (code, report) = doctor_on(&url, &settings).await;
    assert_eq!((code, checks(&report, "fail")), (Some(1), vec!["peppers".to_owned()]), "{report:#}");
    write("two", B);
    let (code, report) = doctor_on(&url, &settings).await;
    assert_eq!((code, checks(&report, "warn").contains(&"peppers".into())), (Some(0), true), "{report:#}");
    fs::write(&file, "nothing").unwrap();
    let (code, report) = doctor_on(&url, &settings).await;
    assert_eq!(
        (code, checks(&report, "fail")),
        (Some(1), vec!["configuration".to_owned(), "peppers".into()])
    );
}

#[tokio::test(flavor = "multi_thread")]
async fn the_callers_token_decides_how_far_the_round_trip_goes() {
    let app = App::start().await;
    let (url, address) = (app.database.url(), app.address().to_string());
    let with = async |token: Option<&str>| {
        let mut settings = vec![("KEYSTILE_SERVER", address.as_str())];
        settings.extend(token.map(|token| ("KEYSTILE_TOKEN", token)));
        doctor_on(&url, &settings).await
    };
    let gateway = app.service_token("keystile.authorize").await;
    let (code, report) = with(Some(&gateway)).await;
    assert_eq!((code, checks(&report, "skip")), (Some(0), vec!["administration".to_owned()]), "{report:#}");
    let (code, report) = with(None).await;
    assert_eq!(
        (code, checks(&report, "skip")),
        (Some(0), vec!["decision".into(), "administration".to_owned()])
    );
    let (_, nobody) = app.create_any().await;
    let (code, report) = with(Some(&look_alikes::broken_checksum(&nobody))).await;
    assert_eq!(
        (code, checks(&report, "fail")),
        (Some(1), vec!["decision".into(), "administration".to_owned()])
    );
    app.stop().await;
}
