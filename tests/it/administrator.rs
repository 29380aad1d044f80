//! The first administrator, wherever he comes from; and the program with a database of its own, killed and
//! started again.

use std::fs;
use std::os::unix::fs::PermissionsExt as _;
use std::path::Path;
use std::process::{Command, Output};
use std::thread;

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use keystile::grpc::pb::key_service_client::KeyServiceClient;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::harness::{App, Process, TestDatabase, connect, denial, new_token};

fn text(bytes: &[u8]) -> String {
    String::from_utf8(bytes.to_vec()).unwrap()
}

/// `keystile serve` without a database URL.
struct Embedded {
    process: Process,
    admin_token: String,
}

impl Embedded {
    /// Starts it in this data directory, whose administrator's token is checked.
    async fn start(data_dir: &Path) -> Self {
        let settings =
            [("KEYSTILE_DATA_DIR", data_dir.to_str().unwrap()), ("KEYSTILE_ALLOW_DATA_LOSS", "true")];
        let process = Process::serve(&settings);
        let token_file = data_dir.join("admin.token");
        assert_eq!(fs::metadata(&token_file).unwrap().permissions().mode() & 0o777, 0o600);
        let admin_token = fs::read_to_string(token_file).unwrap().trim_end().to_owned();
        let this = Self { process, admin_token };
        this.keys().list_keys(pb::ListKeysRequest::default()).await.expect("the token in the file works");
        this
    }

    fn keys(&self) -> KeyServiceClient<crate::harness::Client> {
        KeyServiceClient::new(connect(&self.process.address, &self.admin_token))
    }

    async fn create(&self) -> (i64, String) {
        let key = pb::Key { user_id: 1, display_name: "kept".into(), ..Default::default() };
        let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
        let created = self.keys().create_key(create).await.unwrap().into_inner();
        (created.key.unwrap().key_id, created.token)
    }

    /// Uses a key that must work.
    async fn use_key(&self, token: &str) {
        let request = pb::AuthorizeRequest { token: token.to_owned().into(), ..Default::default() };
        let mut client = AuthorizeServiceClient::new(connect(&self.process.address, &self.admin_token));
        assert_eq!(denial(&client.authorize(request).await.unwrap().into_inner()), None);
    }

    /// How often a key was used, as it is stored.
    async fn uses(&self, key_id: i64) -> i64 {
        let get = pb::GetKeyRequest { key_id, ..Default::default() };
        let key = self.keys().get_key(get).await.unwrap().into_inner().key.unwrap();
        key.totals.unwrap().authorized_count
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn an_embedded_service_keeps_its_administrator_keys_and_counts_through_stops_and_kills() {
    let dir = TempDir::new().unwrap();
    let mut first = Embedded::start(dir.path()).await;
    let admin_token = first.admin_token.clone();
    let (key_id, token) = first.create().await;
    first.use_key(&token).await;
    let refused = {
        let mut second = Process::command();
        second.arg("serve").env("KEYSTILE_DATA_DIR", dir.path()).env("KEYSTILE_LISTEN", "127.0.0.1:0");
        Process::run(second)
    };
    assert_eq!(refused.status.code(), Some(74));
    let sentence = format!(
        "{} is in use by another Keystile (process {}): stop that one, or use another data directory",
        dir.path().canonicalize().unwrap().display(),
        first.process.pid()
    );
    assert!(text(&refused.stderr).contains(&sentence), "{}", text(&refused.stderr));
    first.use_key(&token).await;
    first.process.kill();

    let mut second = Embedded::start(dir.path()).await;
    assert_eq!(second.admin_token, admin_token);
    let before = second.uses(key_id).await;
    assert!(before <= 2, "a kill may lose the last second");
    for _ in 0..3 {
        second.use_key(&token).await;
    }
    assert_eq!(second.process.terminate().code(), Some(0));

    let mut third = Embedded::start(dir.path()).await;
    assert_eq!(third.admin_token, admin_token);
    assert_eq!(third.uses(key_id).await, before + 3, "an orderly stop loses none");
    let postmaster = fs::read_to_string(dir.path().join("pg/postmaster.pid")).unwrap();
    let postmaster: i32 = postmaster.lines().next().unwrap().parse().unwrap();
    kill_process(Pid::from_raw(postmaster).unwrap(), Signal::KILL).unwrap();
    third.process.wait_for_log(|line| line.contains("the embedded PostgreSQL ended by itself (signal: 9"));
    assert_eq!(third.process.exit().code(), Some(70), "so that whoever started it starts it again");

    let mut fourth = Embedded::start(dir.path()).await;
    fourth.use_key(&token).await;
    assert_eq!(fourth.process.terminate().code(), Some(0));
}

fn bootstrap(database: &TestDatabase) -> Output {
    let mut command: Command = Process::command();
    command.arg("bootstrap").env("KEYSTILE_DATABASE_URL", database.url());
    command.env("KEYSTILE_ALLOW_DATA_LOSS", "true").env("KEYSTILE_BCRYPT_COST", "4");
    Process::run(command)
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_says_where_the_token_is_that_it_wrote() {
    let (database, dir) = (TestDatabase::new().await, TempDir::new().unwrap());
    let out = dir.path().join("admin.token");
    let mut command: Command = Process::command();
    command.args(["bootstrap", "--out"]).arg(&out).env("KEYSTILE_DATABASE_URL", database.url());
    command.env("KEYSTILE_ALLOW_DATA_LOSS", "true").env("KEYSTILE_BCRYPT_COST", "4");
    let ran = Process::run(command);
    assert_eq!((ran.status.code(), text(&ran.stdout)), (Some(0), String::new()), "{}", text(&ran.stderr));
    assert!(text(&ran.stderr).contains(&format!("The token is in {}.", out.display())));
    assert!(fs::read_to_string(&out).unwrap().starts_with("ks_"));
}

#[tokio::test(flavor = "multi_thread")]
async fn bootstrap_prints_the_first_administrators_token_once() {
    let database = TestDatabase::new().await;
    let first = bootstrap(&database);
    assert_eq!(first.status.code(), Some(0), "{}", text(&first.stderr));
    let token = text(&first.stdout).trim_end().to_owned();
    assert!(token.starts_with("ks_") && !token.contains(char::is_whitespace), "the token and nothing else");
    assert!(!text(&first.stderr).contains(&token));

    let before = database.dump_all().await;
    let second = bootstrap(&database);
    assert_eq!((second.status.code(), text(&second.stdout).as_str()), (Some(2), ""));
    assert!(text(&second.stderr).contains("There is an administrator already."), "{}", text(&second.stderr));
    assert_eq!(database.dump_all().await, before);

    let app = App::builder().database(&database).admin_token(&token).start().await;
    app.create_any().await;
    app.stop().await;
    database.sql("UPDATE api_keys SET revoked_at = now() WHERE user_id = 0").await;
    assert_eq!(bootstrap(&database).status.code(), Some(0), "who has lost the last one may make another");
}

#[tokio::test(flavor = "multi_thread")]
async fn replicas_that_start_at_once_on_an_empty_database_make_one_schema_pepper_and_administrator() {
    let database = TestDatabase::unmigrated().await;
    let (dir, token) = (TempDir::new().unwrap(), new_token());
    let token_file = dir.path().join("token");
    fs::write(&token_file, format!("{token}\n")).unwrap();
    let starting: Vec<_> = (0..3)
        .map(|_| {
            let (url, token_file) = (database.url(), token_file.to_str().unwrap().to_owned());
            thread::spawn(move || {
                Process::serve(&[
                    ("KEYSTILE_DATABASE_URL", &url),
                    ("KEYSTILE_BOOTSTRAP_TOKEN_FILE", &token_file),
                    ("KEYSTILE_ALLOW_DATA_LOSS", "true"),
                    ("KEYSTILE_AUTO_MIGRATE", "true"),
                    ("KEYSTILE_BCRYPT_COST", "4"),
                ])
            })
        })
        .collect();
    let mut replicas: Vec<Process> = starting.into_iter().map(|start| start.join().unwrap()).collect();
    let administrators = "SELECT count(*) FROM api_keys WHERE 'keystile.admin' = ANY (scopes)";
    assert_eq!(database.number(administrators).await, 1);
    assert_eq!(database.number("SELECT count(*) FROM peppers").await, 1);

    let key = pb::Key { user_id: 1, display_name: "shared".into(), ..Default::default() };
    let create = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
    let created =
        KeyServiceClient::new(connect(&replicas[0].address, &token)).create_key(create).await.unwrap();
    let request = pb::AuthorizeRequest { token: created.into_inner().token.into(), ..Default::default() };
    for replica in &replicas {
        let mut client = AuthorizeServiceClient::new(connect(&replica.address, &token));
        assert_eq!(denial(&client.authorize(request.clone()).await.unwrap().into_inner()), None);
    }
    for replica in &mut replicas {
        assert_eq!(replica.terminate().code(), Some(0));
    }
    assert_eq!(
        database.number("SELECT authorized_count FROM key_usage WHERE last_used_at IS NOT NULL").await,
        3
    );
}

/// The last administrator is gone: revoked, say.
#[tokio::test(flavor = "multi_thread")]
async fn a_spent_token_of_the_embedded_service_is_replaced_at_the_next_start() {
    let dir = TempDir::with_prefix_in("keystile-spent", std::env::temp_dir()).unwrap();
    fs::set_permissions(dir.path(), fs::Permissions::from_mode(0o711)).unwrap();
    let mut service = Embedded::start(dir.path()).await;
    let spent = service.admin_token.clone();
    let listed = service.keys().list_keys(pb::ListKeysRequest::default()).await.unwrap().into_inner();
    let own_key = listed.keys[0].key_id;
    assert_eq!(own_key, 1_000_001, "own ids leave the lower ones to imported keys");
    let revoke = pb::RevokeKeyRequest { key_id: own_key, ..Default::default() };
    service.keys().revoke_key(revoke).await.unwrap();
    assert!(service.process.terminate().success());

    let service = Embedded::start(dir.path()).await;
    assert_ne!(service.admin_token, spent);
}

#[tokio::test(flavor = "multi_thread")]
async fn a_supplied_token_that_is_spent_does_not_keep_the_service_from_serving() {
    let app = App::start().await;
    let (_, token) = app.create_any().await;
    let gateway = app.service_token("keystile.authorize").await;
    let spent = app.admin_token.clone();
    let revoke = pb::RevokeKeyRequest { key_id: 1, ..Default::default() };
    app.keys().revoke_key(revoke).await.unwrap();
    let database = app.database.clone();
    app.stop().await;

    let app = App::builder().database(&database).admin_token(&spent).start().await;
    assert!(app.keys().list_keys(pb::ListKeysRequest::default()).await.is_err(), "it stays spent");
    let asked = pb::AuthorizeRequest { token: token.into(), ..Default::default() };
    let answer = app.authorize_as(Some(&gateway)).authorize(asked).await.unwrap().into_inner();
    assert_eq!(denial(&answer), None, "what needs no administrator goes on");
    app.stop().await;
}
