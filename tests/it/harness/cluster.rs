//! One cluster for the run, started when first used; one database a test, cloned from a migrated template.
//!
//! The cluster's directory is reused by the next run; its watchdog stops the server when this process ends.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::sync::LazyLock;
use std::sync::atomic::{AtomicU32, Ordering};
use std::{env, thread};

use diesel_async::{AsyncConnection, AsyncPgConnection, RunQueryDsl, SimpleAsyncConnection};
use keystile::embedded::{Cluster, Options};
use keystile::storage::{Store, migrations};
use secrecy::SecretString;
use serde_json::Value;

use super::eventually;

const TEMPLATE: &str = "test_template";

static CLUSTER: LazyLock<Cluster> = LazyLock::new(|| {
    // A thread of its own, because tests have runtimes of their own that end before the cluster does.
    let started = thread::spawn(|| {
        let runtime = tokio::runtime::Builder::new_multi_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let cluster = start().await;
            prepare(&cluster).await;
            cluster
        })
    });
    started.join().expect("the cluster starts")
});

async fn start() -> Cluster {
    let mut hash = DefaultHasher::new();
    env!("CARGO_MANIFEST_DIR").hash(&mut hash);
    let data_dir = env::temp_dir().join(format!("keystile-it-{:016x}", hash.finish()));
    Cluster::start(Options { data_dir, durable: false, max_connections: 400 })
        .await
        .expect("PostgreSQL starts")
}

async fn prepare(cluster: &Cluster) {
    let mut session = AsyncPgConnection::establish(&cluster.url("postgres")).await.unwrap();
    for database in databases(&mut session).await {
        session.batch_execute(&format!("DROP DATABASE \"{database}\" WITH (FORCE)")).await.unwrap();
    }
    session.batch_execute(&format!("CREATE DATABASE {TEMPLATE}")).await.unwrap();
    let store = Store::new(&SecretString::from(cluster.url(TEMPLATE)), 2).unwrap();
    migrations::run(&store).await.unwrap();
    // Tests speak of keys 1, 2, 3.
    sql(&cluster.url(TEMPLATE), "ALTER TABLE api_keys ALTER COLUMN key_id RESTART WITH 1").await;
}

async fn databases(session: &mut AsyncPgConnection) -> Vec<String> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        datname: String,
    }
    let query = diesel::sql_query("SELECT datname::text FROM pg_database WHERE datname LIKE 'test\\_%'");
    query.load::<Row>(session).await.unwrap().into_iter().map(|row| row.datname).collect()
}

/// Whatever a transaction has locked: others wait for it until it is let go, or dropped.
pub struct Held(AsyncPgConnection);

impl Held {
    /// Lets others go on.
    pub async fn let_go(mut self) {
        self.0.batch_execute("COMMIT").await.unwrap();
    }
}

/// A database of a test's own. It goes when the next run starts.
#[derive(Clone, Debug)]
pub struct TestDatabase {
    name: String,
}

impl TestDatabase {
    /// A migrated, empty database.
    pub async fn new() -> Self {
        Self::from(TEMPLATE).await
    }

    /// A database without any table.
    pub async fn unmigrated() -> Self {
        Self::from("template0").await
    }

    async fn from(template: &str) -> Self {
        static NEXT: AtomicU32 = AtomicU32::new(1);
        let name = format!("test_{}", NEXT.fetch_add(1, Ordering::Relaxed));
        let url = tokio::task::spawn_blocking(|| CLUSTER.url("postgres")).await.unwrap();
        sql(&url, &format!("CREATE DATABASE {name} TEMPLATE {template}")).await;
        Self { name }
    }

    /// Its URL.
    pub fn url(&self) -> String {
        CLUSTER.url(&self.name)
    }

    /// Its name.
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The socket that leads to it.
    pub async fn socket(&self) -> String {
        socket(&self.url()).await
    }

    /// A session of the test's own.
    pub async fn session(&self) -> AsyncPgConnection {
        AsyncPgConnection::establish(&self.url()).await.unwrap()
    }

    /// Holds what `lock` takes: `LOCK TABLE key_digests IN ACCESS EXCLUSIVE MODE`.
    pub async fn hold(&self, lock: &str) -> Held {
        let mut session = self.session().await;
        session.batch_execute(&format!("BEGIN; {lock}")).await.unwrap();
        Held(session)
    }

    /// Runs statements on it.
    pub async fn sql(&self, statements: &str) {
        sql(&self.url(), statements).await;
    }

    /// One number from it.
    pub async fn number(&self, query: &str) -> i64 {
        number(&self.url(), query).await
    }

    /// Waits until a number from it is at least 1.
    pub async fn until(&self, query: &str) {
        eventually(query, async || self.number(query).await >= 1).await;
    }

    /// Waits until a session waits for a lock that another one holds.
    pub async fn until_blocked(&self) {
        let blocked = "SELECT count(*) FROM pg_stat_activity \
                       WHERE datname = current_database() AND wait_event_type = 'Lock'";
        self.until(blocked).await;
    }

    /// Ends the sessions that wait for a lock, as a stopping server would; whoever holds it keeps it.
    pub async fn end_blocked(&self) {
        self.until_blocked().await;
        let end = "SELECT pg_terminate_backend(pid) FROM pg_stat_activity \
                   WHERE datname = current_database() AND wait_event_type = 'Lock'";
        self.sql(end).await;
    }

    /// The column `line` of a query.
    pub async fn lines(&self, query: &str) -> Vec<String> {
        lines(&self.url(), query).await
    }

    /// The rows of a query as JSON.
    pub async fn json(&self, query: &str) -> Vec<Value> {
        let lines = self.lines(&format!("SELECT to_jsonb(t)::text AS line FROM ({query}) t")).await;
        lines.iter().map(|line| serde_json::from_str(line).unwrap()).collect()
    }

    /// Every row of a table as JSON, in order.
    pub async fn dump(&self, table: &str) -> Vec<String> {
        self.lines(&format!("SELECT to_jsonb(t)::text AS line FROM {table} t ORDER BY 1")).await
    }

    /// Every row of every table, but for what changes by itself: the replicas, and refused attempts, which are written
    /// up to a second after they were answered.
    pub async fn dump_all(&self) -> Vec<String> {
        let tables = "SELECT table_name::text AS line FROM information_schema.tables \
                      WHERE table_schema = 'public' AND table_name <> 'replicas' ORDER BY 1";
        let mut all = Vec::new();
        for table in self.lines(tables).await {
            let rows = match table.as_str() {
                "audit_events" => "(SELECT * FROM audit_events WHERE refused_reason = '')",
                name => name,
            };
            all.extend(self.dump(rows).await.into_iter().map(|row| format!("{table}: {row}")));
        }
        all
    }

    /// Ends every session with it but our own, as a restarted server would, and (`allowed = false`) lets no
    /// new ones in until told otherwise: to its clients the database is down.
    pub async fn allow_connections(&self, allowed: bool) {
        let url = CLUSTER.url("postgres");
        let name = &self.name;
        sql(&url, &format!("ALTER DATABASE {name} ALLOW_CONNECTIONS {allowed}")).await;
        if !allowed {
            let end =
                format!("SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE datname = '{name}'");
            sql(&url, &end).await;
        }
    }
}

/// The socket that leads to the database at `url`.
pub async fn socket(url: &str) -> String {
    let dir = lines(url, "SELECT current_setting('unix_socket_directories') AS line").await;
    let port = number(url, "current_setting('port')").await;
    format!("{}/.s.PGSQL.{port}", dir[0])
}

/// One number from the database at `url`.
pub async fn number(url: &str, query: &str) -> i64 {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::BigInt)]
        n: i64,
    }
    let query = diesel::sql_query(format!("SELECT ({query})::bigint AS n"));
    let mut session = AsyncPgConnection::establish(url).await.unwrap();
    query.get_result::<Row>(&mut session).await.unwrap().n
}

/// The column `line` of a query to the database at `url`.
pub async fn lines(url: &str, query: &str) -> Vec<String> {
    #[derive(diesel::QueryableByName)]
    struct Row {
        #[diesel(sql_type = diesel::sql_types::Text)]
        line: String,
    }
    let mut session = AsyncPgConnection::establish(url).await.unwrap();
    diesel::sql_query(query)
        .load::<Row>(&mut session)
        .await
        .unwrap()
        .into_iter()
        .map(|row| row.line)
        .collect()
}

/// Runs statements on the database at `url`.
pub async fn sql(url: &str, statements: &str) {
    let mut session = AsyncPgConnection::establish(url).await.unwrap();
    session.batch_execute(statements).await.unwrap();
}
