//! TLS with PostgreSQL: a server of its own that speaks it.

use std::fs::{self, Permissions};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};

use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use keystile::embedded::{Cluster, Options, ROLE, find_server_programs};
use keystile::storage::{StorageError, Store};
use secrecy::SecretString;
use tempfile::TempDir;

use super::authority::Authority;
use super::free_port;
use crate::harness::eventually;

#[derive(diesel::QueryableByName)]
struct Row {
    #[diesel(sql_type = diesel::sql_types::Text)]
    line: String,
}

/// PostgreSQL on a port of 127.0.0.1, by TLS with a certificate for `localhost` alone.
struct Postgres {
    folder: TempDir,
    server: Child,
    port: u16,
}

impl Drop for Postgres {
    fn drop(&mut self) {
        // SIGINT: it ends its sessions, and leaves nothing behind.
        let pid = rustix::process::Pid::from_child(&self.server);
        let _gone = rustix::process::kill_process(pid, rustix::process::Signal::INT);
        let _reaped = self.server.wait();
    }
}

impl Postgres {
    /// Lets in by password from TCP, by TLS or not.
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        // Where root runs this, PostgreSQL runs as another user.
        fs::set_permissions(folder.path(), Permissions::from_mode(0o755)).unwrap();
        let options = Options { data_dir: folder.path().join("data"), durable: false, max_connections: 20 };
        let cluster = Cluster::start(options).await.unwrap();
        let mut session = AsyncPgConnection::establish(&cluster.url("postgres")).await.unwrap();
        let query = diesel::sql_query("SELECT current_setting('data_directory') AS line");
        let data: PathBuf = query.get_result::<Row>(&mut session).await.unwrap().line.into();
        session.batch_execute("SET password_encryption = 'scram-sha-256'").await.unwrap();
        session.batch_execute(&format!("ALTER ROLE {ROLE} PASSWORD 'sesame'")).await.unwrap();
        drop(session);
        cluster.stop().await.unwrap();

        let owner = fs::metadata(&data).unwrap();
        let (authority, others) = (Authority::new("databases"), Authority::new("others"));
        let leaf = authority.leaf(&["localhost"]);
        for (name, text) in [
            ("ca.pem", authority.pem.as_str()),
            ("others.pem", &others.pem),
            ("server.crt", &leaf.pem),
            ("server.key", &leaf.key_pem),
            ("hba", "local all all trust\nhost all all 127.0.0.1/32 scram-sha-256\n"),
        ] {
            let path = folder.path().join(name);
            fs::write(&path, text).unwrap();
            fs::set_permissions(
                &path,
                Permissions::from_mode(if name == "server.key" { 0o600 } else { 0o644 }),
            )
            .unwrap();
            if name == "server.key" {
                chown(&path, Some(owner.uid()), Some(owner.gid())).unwrap();
            }
        }
        let port = free_port().await;
        let setting = |name: &str, value: &str| ["-c".to_owned(), format!("{name}={value}")];
        let file = |name: &str| folder.path().join(name).to_str().unwrap().to_owned();
        let mut command = Command::new(find_server_programs().unwrap().postgres);
        command.arg("-D").arg(&data).stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::null());
        command.current_dir("/").args(setting("listen_addresses", "127.0.0.1"));
        command.args(setting("port", &port.to_string())).args(setting("unix_socket_directories", ""));
        command.args(setting("hba_file", &file("hba"))).args(setting("ssl", "on"));
        command.args(setting("ssl_cert_file", &file("server.crt")));
        command.args(setting("ssl_key_file", &file("server.key")));
        if rustix::process::geteuid().is_root() {
            command.uid(owner.uid()).gid(owner.gid());
        }
        let postgres = Self { folder, server: command.spawn().unwrap(), port };
        eventually("PostgreSQL answers", async || postgres.is_encrypted("localhost", "").await.is_ok()).await;
        postgres
    }

    fn file(&self, name: &str) -> String {
        self.folder.path().join(name).to_str().unwrap().to_owned()
    }

    fn store(&self, host: &str, query: &str) -> Result<Store, StorageError> {
        let url = format!("postgres://{ROLE}:sesame@{host}:{}/postgres?{query}", self.port);
        Store::new(&SecretString::from(url), 2)
    }

    /// Whether a connection by these words is encrypted; or why there is none.
    async fn is_encrypted(&self, host: &str, query: &str) -> Result<bool, String> {
        let store = self.store(host, query).map_err(|error| error.to_string())?;
        let mut connection = store.connection().await.map_err(|error| error.to_string())?;
        let query = "SELECT ssl::text AS line FROM pg_stat_ssl WHERE pid = pg_backend_pid()";
        let row = diesel::sql_query(query).get_result::<Row>(&mut *connection).await;
        Ok(row.unwrap().line == "true")
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn sslmode_means_what_it_means_to_libpq() {
    let postgres = Postgres::start().await;
    let root = |name: &str| format!("sslrootcert={}", postgres.file(name));
    let (ours, others) = (root("ca.pem"), root("others.pem"));
    for (host, query, encrypted) in [
        ("localhost", String::new(), true),
        ("localhost", "sslmode=prefer".to_owned(), true),
        ("localhost", "sslmode=disable".to_owned(), false),
        ("127.0.0.1", "sslmode=require".to_owned(), true),
        // By the certificate's own signature, the password is bound to this very connection.
        ("localhost", "sslmode=require&channel_binding=require".to_owned(), true),
        ("127.0.0.1", format!("sslmode=verify-ca&{ours}"), true),
        ("localhost", format!("sslmode=verify-full&{ours}"), true),
    ] {
        assert_eq!(postgres.is_encrypted(host, &query).await, Ok(encrypted), "{host} {query}");
    }
    let untrusted = "the certificate comes from an authority that is not trusted";
    for (host, query, told) in [
        ("127.0.0.1", format!("sslmode=verify-full&{ours}"), "the certificate is for another name"),
        ("localhost", format!("sslmode=verify-full&{others}"), untrusted),
        ("localhost", format!("sslmode=verify-ca&{others}"), untrusted),
        ("localhost", format!("sslmode=require&{others}"), untrusted),
        ("localhost", "sslmode=verify-full&sslrootcert=/nowhere".to_owned(), "cannot read /nowhere"),
    ] {
        let words = postgres.is_encrypted(host, &query).await.unwrap_err();
        assert!(words.contains(told) && !words.contains("sesame"), "{host} {query}: {words}");
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_call_that_is_given_up_is_cancelled_by_tls_too() {
    let postgres = Postgres::start().await;
    let store = postgres.store("localhost", "sslmode=require").unwrap();
    let sleeping = store.read("asleep", |session| {
        Box::pin(
            async move { Ok(diesel::sql_query("SELECT pg_sleep(3600)").execute(session).await.map(|_| ())?) },
        )
    });
    assert!(matches!(sleeping.await, Err(StorageError::Unavailable(_))));
    let is_over = async || {
        let mut connection = store.connection().await.unwrap();
        let query = "SELECT count(*)::text AS line FROM pg_stat_activity \
                     WHERE state = 'active' AND query LIKE '%pg_sleep(3600)' AND pid <> pg_backend_pid()";
        diesel::sql_query(query).get_result::<Row>(&mut *connection).await.unwrap().line == "0"
    };
    eventually("the server stops working for it", is_over).await;
}
