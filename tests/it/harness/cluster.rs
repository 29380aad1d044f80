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

    /// Runs statements on it.
    pub async fn sql(&self, statements: &str) {
        sql(&self.url(), statements).await;
    }

    /// One number from it.
    pub async fn number(&self, query: &str) -> i64 {
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::BigInt)]
            n: i64,
        }
        let mut session = AsyncPgConnection::establish(&self.url()).await.unwrap();
        let query = diesel::sql_query(format!("SELECT ({query})::bigint AS n"));
        query.get_result::<Row>(&mut session).await.unwrap().n
    }

    /// Every row of a table as JSON, in order.
    pub async fn dump(&self, table: &str) -> Vec<String> {
        #[derive(diesel::QueryableByName)]
        struct Row {
            #[diesel(sql_type = diesel::sql_types::Text)]
            line: String,
        }
        let mut session = AsyncPgConnection::establish(&self.url()).await.unwrap();
        let query = diesel::sql_query(format!("SELECT to_jsonb(t)::text AS line FROM {table} t ORDER BY 1"));
        query.load::<Row>(&mut session).await.unwrap().into_iter().map(|row| row.line).collect()
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

/// Runs statements on the database at `url`.
pub async fn sql(url: &str, statements: &str) {
    let mut session = AsyncPgConnection::establish(url).await.unwrap();
    session.batch_execute(statements).await.unwrap();
}
