//! The embedded PostgreSQL with real server programs: one owner, recovery after kills, awkward places.
//!
//! A killed owner must be a process of its own: [`holder`] is this test binary, started once more.

use std::env;
use std::fs;
use std::io::{BufRead, BufReader, Read};
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use diesel::sql_types::BigInt;
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use keystile::embedded::{Cluster, DATABASE, EmbeddedError, Options, attach_url};
use rustix::process::{Pid, Signal, geteuid, getpgid, kill_process, test_kill_process};
use tempfile::TempDir;

/// Tells [`holder`] which data directory to hold.
const HOLD: &str = "KEYSTILE_TEST_HOLD";
/// What [`holder`] prints before its server's process id, once the server is ready.
const READY: &str = "embedded server is ready: ";

fn options(data_dir: &Path) -> Options {
    Options { data_dir: data_dir.to_owned(), durable: false, max_connections: 10 }
}

async fn connect(url: &str) -> AsyncPgConnection {
    AsyncPgConnection::establish(url).await.unwrap_or_else(|error| panic!("{url}: {error}"))
}

#[derive(QueryableByName)]
struct Number {
    #[diesel(sql_type = BigInt)]
    number: i64,
}

async fn number(url: &str, sql: &str) -> i64 {
    sql_query(sql).get_result::<Number>(&mut connect(url).await).await.unwrap().number
}

/// Waits until a condition holds that another process brings about.
async fn eventually(what: &str, mut condition: impl FnMut() -> bool) {
    let held = async {
        while !condition() {
            tokio::time::sleep(Duration::from_millis(5)).await;
        }
    };
    tokio::time::timeout(Duration::from_secs(60), held).await.unwrap_or_else(|_| panic!("never: {what}"));
}

/// A process that owns a data directory; killed like `kill -9` when dropped.
struct Holder(Child);

impl Holder {
    fn spawn(data_dir: &Path) -> Self {
        let (_, module) = module_path!().split_once("::").unwrap();
        let child = Command::new(env::current_exe().unwrap())
            .args([&format!("{module}::holder"), "--exact", "--nocapture"])
            .env(HOLD, data_dir)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .unwrap();
        Self(child)
    }

    /// Waits for its server, and returns the server's process id.
    fn server_pid(&mut self) -> u32 {
        let lines = BufReader::new(self.0.stdout.take().unwrap()).lines();
        let pid = lines.map(Result::unwrap).find_map(|line| Some(line.split_once(READY)?.1.parse().unwrap()));
        pid.expect("the holder ended early")
    }

    fn kill(&mut self) {
        self.0.kill().unwrap();
        self.0.wait().unwrap();
    }
}

impl Drop for Holder {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Not a test of its own: holds a cluster until it is killed or its input ends.
#[tokio::test]
async fn holder() {
    let Some(data_dir) = env::var_os(HOLD) else { return };
    let cluster = Cluster::start(options(Path::new(&data_dir))).await.unwrap();
    println!("{READY}{}", cluster.server_pid());
    std::io::stdin().read_to_end(&mut Vec::new()).unwrap();
    cluster.stop().await.unwrap();
}

fn to_pid(pid: u32) -> Pid {
    Pid::from_raw(i32::try_from(pid).unwrap()).unwrap()
}

/// The process that stops this data directory's server when its owner dies.
fn watchdog(data_dir: &Path) -> Pid {
    let is_it = |line: &str| line.contains("keystile-watchdog") && line.contains(data_dir.to_str().unwrap());
    let pid = if cfg!(target_os = "linux") {
        fs::read_dir("/proc").unwrap().find_map(|process| {
            let path = process.unwrap().path();
            // Others come and go meanwhile.
            let line = fs::read(path.join("cmdline")).unwrap_or_default();
            is_it(&String::from_utf8_lossy(&line))
                .then(|| path.file_name().unwrap().to_str().unwrap().to_owned())
        })
    } else {
        let lines = Command::new("ps").args(["-axww", "-o", "pid=,command="]).output().unwrap().stdout;
        let lines = String::from_utf8(lines).unwrap();
        lines.lines().find(|line| is_it(line)).map(|line| line.split_whitespace().next().unwrap().to_owned())
    };
    to_pid(pid.expect("there is a watchdog").parse().unwrap())
}

#[tokio::test]
async fn a_second_owner_is_refused_and_a_killed_ones_server_and_commits_are_taken_over() {
    let temp = TempDir::new().unwrap();
    assert_eq!(attach_url(temp.path(), DATABASE).unwrap(), None, "nobody serves it yet");
    let mut first = Holder::spawn(temp.path());
    let first_server = first.server_pid();

    let beside = attach_url(temp.path(), DATABASE).unwrap().expect("served by the holder");
    let sql = "CREATE TABLE kept (number bigint); INSERT INTO kept VALUES (42)";
    connect(&beside).await.batch_execute(sql).await.unwrap();

    let refused = Cluster::start(options(temp.path())).await.unwrap_err();
    assert!(
        matches!(refused, EmbeddedError::AlreadyOwned { pid: Some(pid), .. } if pid == first.0.id()),
        "{refused}"
    );
    assert_eq!(number(&beside, "SELECT number FROM kept").await, 42, "the first owner isn't disturbed");

    kill_process(watchdog(temp.path()), Signal::KILL).unwrap();
    first.kill();
    test_kill_process(to_pid(first_server)).expect("without the watchdog, the server outlives its owner");
    assert_eq!(attach_url(temp.path(), DATABASE).unwrap(), None, "a server without an owner isn't offered");

    let second = Cluster::start(options(temp.path())).await.unwrap();
    assert_ne!(second.server_pid(), first_server);
    assert!(log(temp.path()).contains("received fast shutdown request"), "the leftover was stopped in order");
    assert_eq!(number(&second.url(DATABASE), "SELECT number FROM kept").await, 42);
    assert_eq!(attach_url(temp.path(), DATABASE).unwrap(), Some(second.url(DATABASE)));
    second.stop().await.unwrap();
    assert_eq!(attach_url(temp.path(), DATABASE).unwrap(), None, "stopped");
}

#[tokio::test]
async fn a_server_ends_with_its_killed_owner() {
    let temp = TempDir::new().unwrap();
    let mut owner = Holder::spawn(temp.path());
    owner.server_pid();
    let pid_file = temp.path().join("pg/postmaster.pid");
    assert!(pid_file.exists());
    owner.kill();
    eventually("the server removes its pid file", || !pid_file.exists()).await;
}

#[tokio::test]
async fn the_last_sessions_of_a_killed_server_are_waited_for() {
    let temp = TempDir::new().unwrap();
    let mut owner = Holder::spawn(temp.path());
    let server = owner.server_pid();
    let mut session = connect(&attach_url(temp.path(), DATABASE).unwrap().unwrap()).await;
    let pid = "SELECT pg_backend_pid()::bigint AS number";
    let pid = sql_query(pid).get_result::<Number>(&mut session).await.unwrap().number;
    let pid = to_pid(u32::try_from(pid).unwrap());
    kill_process(pid, Signal::STOP).unwrap();
    kill_process(to_pid(server), Signal::KILL).unwrap();
    owner.kill();

    let start = tokio::spawn(Cluster::start(options(temp.path())));
    let met = || log(temp.path()).contains("pre-existing shared memory block");
    eventually("the new server meets the session", met).await;
    kill_process(pid, Signal::CONT).unwrap();
    start.await.unwrap().unwrap().stop().await.unwrap();
}

#[tokio::test]
async fn an_owner_killed_while_the_cluster_is_made_leaves_nothing_in_the_way() {
    let mut interrupted = None;
    // On a busy machine, an owner may have finished before it is killed.
    while interrupted.is_none() {
        let temp = TempDir::new().unwrap();
        let mut owner = Holder::spawn(temp.path());
        eventually("the holder begins a cluster", || unfinished_clusters(temp.path()) > 0).await;
        owner.kill();
        interrupted = Some(temp).filter(|temp| !temp.path().join("pg").exists());
    }
    let temp = interrupted.unwrap();

    let cluster = Cluster::start(options(temp.path())).await.unwrap();
    assert_eq!(number(&cluster.url(DATABASE), "SELECT 1::bigint AS number").await, 1);
    cluster.stop().await.unwrap();
}

fn log(data_dir: &Path) -> String {
    fs::read_to_string(data_dir.join("postgres.log")).unwrap()
}

fn unfinished_clusters(data_dir: &Path) -> usize {
    let names = fs::read_dir(data_dir).unwrap().map(|entry| entry.unwrap().file_name());
    names.filter(|name| name.to_string_lossy().starts_with("pg.new-")).count()
}

/// One cluster, and everything about it that doesn't take a killed owner.
#[tokio::test]
async fn an_awkward_place_serves_privately_reports_failures_and_ignores_stale_files() {
    let temp = TempDir::new().unwrap();
    let data_dir = temp.path().join("a deep, dark place").join("d".repeat(120));
    if geteuid().is_root() {
        // What isn't ours must already be open to the server's user.
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o700)).unwrap();
        fs::create_dir(temp.path().join("a deep, dark place")).unwrap();
        let closed = Cluster::start(options(&data_dir)).await.unwrap_err();
        assert!(matches!(&closed, EmbeddedError::Unreachable { dir, .. } if dir == temp.path()), "{closed}");
        fs::set_permissions(temp.path(), fs::Permissions::from_mode(0o711)).unwrap();
    }

    let cluster = Cluster::start(options(&data_dir)).await.unwrap();
    let url = cluster.url(DATABASE);
    let encoding = "SELECT count(*) AS number FROM pg_database WHERE datname = current_database() \
                    AND pg_encoding_to_char(encoding) = 'UTF8' AND datcollate = 'C' \
                    AND current_setting('data_checksums') = 'on' AND current_setting('listen_addresses') = ''";
    assert_eq!(number(&url, encoding).await, 1);
    let server = to_pid(cluster.server_pid());
    assert_eq!(getpgid(Some(server)).unwrap(), server, "Ctrl-C in our terminal isn't for the server");
    let server_dir = fs::metadata(data_dir.join("pg")).unwrap();
    assert_eq!(server_dir.mode() & 0o777, 0o700);
    assert_ne!(server_dir.uid(), 0, "PostgreSQL never runs as root");
    let socket_dir = socket_dir(&data_dir);
    assert!(!socket_dir.starts_with(&data_dir), "the path is too long for a socket");
    assert_eq!(fs::metadata(&socket_dir).unwrap().mode() & 0o777, 0o700);
    cluster.stop().await.unwrap();
    assert!(!socket_dir.exists(), "nothing stays outside the data directory");

    let settings = data_dir.join("pg/postgresql.auto.conf");
    let sound = fs::read_to_string(&settings).unwrap();
    fs::write(&settings, "what is this").unwrap();
    let failed = Cluster::start(options(&data_dir)).await.unwrap_err();
    assert!(matches!(failed, EmbeddedError::StartFailed { .. }));
    assert!(failed.to_string().contains("syntax error"), "{failed}");
    fs::write(&settings, sound).unwrap();

    // As after a crash of the machine, with the old process id now that of another program of the same user.
    let mut other = Command::new("cat")
        .uid(server_dir.uid())
        .gid(server_dir.gid())
        .stdin(Stdio::piped())
        .spawn()
        .unwrap();
    let stale = format!("{}\n{}\n1700000000\n5432\n", other.id(), data_dir.join("pg").display());
    fs::write(data_dir.join("pg/postmaster.pid"), stale).unwrap();
    let cluster = Cluster::start(options(&data_dir)).await.unwrap();
    assert_eq!(number(&cluster.url(DATABASE), "SELECT 1::bigint AS number").await, 1);
    cluster.stop().await.unwrap();
    assert_eq!(other.try_wait().unwrap(), None, "the other program isn't touched");
    drop(other.stdin.take());
    other.wait().unwrap();
}

/// Where the running server of this data directory says that its socket is.
fn socket_dir(data_dir: &Path) -> PathBuf {
    let pid_file = fs::read_to_string(data_dir.join("pg/postmaster.pid")).unwrap();
    PathBuf::from(pid_file.lines().nth(4).unwrap())
}
