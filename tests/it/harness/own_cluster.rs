//! A PostgreSQL cluster of a test's own, for what the shared one must not suffer: a restart, a crash, a failover.

use std::fs::{self, File};
use std::os::unix::fs::{MetadataExt, chown};
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

use diesel_async::{AsyncConnection, AsyncPgConnection};
use keystile::embedded::{Cluster, DATABASE, Options, ROLE, find_server_programs};
use keystile::storage::{Store, migrations};
use rustix::process::{Pid, Signal, kill_process};
use secrecy::SecretString;
use tempfile::TempDir;

use super::cluster::{number, sql};
use super::eventually;

const CONNECTIONS_MAX: u32 = 100;

/// Starts a server and ends it at once when its own input does: with the test, however that ends.
const KEEP: &str = "\"$@\" & read -r _; kill -QUIT $!; wait";

/// A cluster with one migrated database.
#[derive(Debug)]
pub struct OwnCluster {
    /// `None` while it is down. Told to stop before its files go.
    cluster: Option<Cluster>,
    dir: TempDir,
}

impl OwnCluster {
    pub async fn start() -> Self {
        let mut own = Self { dir: tempfile::tempdir().unwrap(), cluster: None };
        own.come_back().await;
        let store = Store::new(&SecretString::from(own.url()), 2).unwrap();
        migrations::run(&store).await.unwrap();
        own
    }

    async fn come_back(&mut self) {
        let data_dir = self.dir.path().to_owned();
        let options = Options { data_dir, durable: false, max_connections: CONNECTIONS_MAX };
        self.cluster = Some(Cluster::start(options).await.expect("PostgreSQL starts"));
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        self.cluster.as_ref().expect("it runs").url(DATABASE)
    }

    /// An orderly restart: sessions are cut.
    pub async fn restart(&mut self) {
        self.stop().await;
        self.come_back().await;
    }

    /// An orderly end.
    pub async fn stop(&mut self) {
        self.cluster.take().expect("it runs").stop().await.unwrap();
    }

    /// `kill -9`, and a start that recovers.
    pub async fn crash(&mut self) {
        self.kill().await;
        self.come_back().await;
    }

    /// `kill -9`.
    pub async fn kill(&mut self) {
        let mut cluster = self.cluster.take().expect("it runs");
        let pid = Pid::from_raw(i32::try_from(cluster.server_pid()).unwrap()).unwrap();
        kill_process(pid, Signal::KILL).unwrap();
        cluster.ended().await;
    }
}

/// A standby that streams from a cluster until it is cut off, and may then be promoted.
#[derive(Debug)]
pub struct Standby {
    /// The shell around it, which has the server in its hands.
    keeper: Child,
    dir: TempDir,
}

impl Standby {
    /// Returns when it takes questions.
    pub async fn of(primary: &OwnCluster) -> Self {
        // Short enough for a socket.
        let dir = tempfile::Builder::new().prefix("standby-").tempdir_in("/tmp").unwrap();
        let socket_dir = dir.path().join("run");
        fs::create_dir(&socket_dir).unwrap();
        let account = Account::of(&primary.dir.path().join("pg"));
        for path in [dir.path(), &socket_dir] {
            chown(path, Some(account.uid), Some(account.gid)).unwrap();
        }
        let programs = find_server_programs().unwrap();
        let cluster_dir = dir.path().join("pg");
        let primary_socket = PathBuf::from(super::cluster::socket(&primary.url()).await);
        let mut copy = account.command(&programs.postgres.with_file_name("pg_basebackup"));
        copy.args(["--checkpoint=fast", "--no-sync", "--wal-method=stream", "--write-recovery-conf"]);
        copy.args(["--username", ROLE, "--host"]).arg(primary_socket.parent().unwrap());
        copy.arg("--pgdata").arg(&cluster_dir);
        let output = tokio::process::Command::from(copy).output().await.unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));

        let settings = [
            "listen_addresses=".to_owned(),
            format!("unix_socket_directories={}", socket_dir.display()),
            format!("max_connections={CONNECTIONS_MAX}"),
            "superuser_reserved_connections=0".to_owned(),
            "port=5432".to_owned(),
            "fsync=off".to_owned(),
            "shared_buffers=32MB".to_owned(),
        ];
        let log = File::create(dir.path().join("postgres.log")).unwrap();
        let mut keeper = account.command(Path::new("/bin/sh"));
        keeper.args(["-c", KEEP, "keep"]).arg(&programs.postgres).arg("-D").arg(&cluster_dir);
        keeper.args(settings.iter().flat_map(|setting| ["-c", setting.as_str()]));
        keeper.stdin(Stdio::piped()).stdout(Stdio::null()).stderr(log);
        let standby = Self { keeper: keeper.spawn().unwrap(), dir };
        let url = standby.url();
        eventually("the standby answers", async || AsyncPgConnection::establish(&url).await.is_ok()).await;
        let streams = "SELECT count(*) FROM pg_stat_replication WHERE state = 'streaming'";
        eventually("it streams", async || number(&primary.url(), streams).await == 1).await;
        standby
    }

    /// The URL of its database.
    pub fn url(&self) -> String {
        let host = self.dir.path().join("run").display().to_string().replace('/', "%2F");
        format!("postgresql://{ROLE}@/{DATABASE}?host={host}")
    }

    /// The socket that leads to it.
    pub fn socket(&self) -> String {
        self.dir.path().join("run").join(".s.PGSQL.5432").display().to_string()
    }

    /// Ends the streaming: what the primary commits from now on never comes here.
    pub async fn cut_off(&self) {
        let url = self.url();
        // No transaction may be around these.
        sql(&url, "ALTER SYSTEM SET primary_conninfo = ''").await;
        sql(&url, "SELECT pg_reload_conf()").await;
        let receivers = "SELECT count(*) FROM pg_stat_wal_receiver";
        eventually("it is cut off", async || number(&url, receivers).await == 0).await;
    }

    /// Begins a timeline of its own, and takes writes.
    pub async fn promote(&self) {
        sql(&self.url(), "SELECT pg_promote()").await;
        let is_standby = "SELECT pg_is_in_recovery()::int";
        eventually("it is promoted", async || number(&self.url(), is_standby).await == 0).await;
    }
}

impl Drop for Standby {
    fn drop(&mut self) {
        // Its end of the input is what the shell waits for.
        drop(self.keeper.stdin.take());
        let _reaped = self.keeper.wait();
    }
}

/// Who a cluster's files belong to: PostgreSQL does not run as root.
struct Account {
    uid: u32,
    gid: u32,
}

impl Account {
    fn of(cluster_dir: &Path) -> Self {
        let metadata = fs::metadata(cluster_dir).unwrap();
        Self { uid: metadata.uid(), gid: metadata.gid() }
    }

    fn command(&self, program: &Path) -> Command {
        let mut command = Command::new(program);
        for (name, _) in std::env::vars_os().filter(|(name, _)| name.to_string_lossy().starts_with("PG")) {
            command.env_remove(name);
        }
        command.env("LC_ALL", "C").current_dir("/").process_group(0).uid(self.uid).gid(self.gid);
        command
    }
}
