//! The replicas: each a process of its own behind a proxy of its own, on one database.

use std::collections::BTreeSet;
use std::sync::{Arc, LazyLock, Mutex};
use std::time::Duration;

use keystile::grpc::pb;
use keystile::grpc::pb::authorize_service_client::AuthorizeServiceClient;
use keystile::grpc::pb::key_service_client::KeyServiceClient;
use rustix::process::Signal;
use tempfile::NamedTempFile;

use crate::harness::{Client, Process, Proxy, connect, eventually, new_token, socket};

/// How the replicas of a scenario are set.
#[derive(Clone, Copy, Debug)]
pub struct Pace {
    /// `--max-staleness`: for how long a replica may decide from what it knows.
    pub staleness: Duration,
    /// `--propagation-wait`: how long a change waits for the replicas.
    pub wait: Duration,
}

impl Pace {
    /// Changes do not wait for a replica that does not follow until it is known to be gone: they are certain by a time.
    pub const IMPATIENT: Self = Self::of(3, 1);
    /// They do.
    pub const PATIENT: Self = Self::of(3, 6);
    /// Where nothing keeps replicas from following, they do so in time however slow the machine is.
    pub const HEALTHY: Self = Self::of(30, 30);

    const fn of(staleness: u64, wait: u64) -> Self {
        Self { staleness: Duration::from_secs(staleness), wait: Duration::from_secs(wait) }
    }

    /// Longer than any replica decides that does not follow.
    pub fn beyond(self) -> Duration {
        self.staleness.mul_f64(1.5)
    }
}

/// The settings that this program knows.
static KNOWN: LazyLock<String> = LazyLock::new(|| {
    let mut command = Process::command();
    command.args(["serve", "--help"]);
    String::from_utf8(Process::run(command).stdout).unwrap()
});

/// A replica that runs.
#[derive(Debug)]
struct Replica {
    process: Process,
    client: Client,
}

/// Where clients find replicas. Shared with the load, which goes on while replicas come and go.
#[derive(Debug, Default)]
pub struct Directory {
    clients: Mutex<Vec<Option<Client>>>,
    /// The replicas that changes are asked of.
    reachable: Mutex<BTreeSet<usize>>,
}

impl Directory {
    /// A replica that runs.
    pub fn authorize(&self, replica: usize) -> Option<AuthorizeServiceClient<Client>> {
        self.clients.lock().unwrap().get(replica)?.clone().map(AuthorizeServiceClient::new)
    }

    pub fn keys(&self, replica: usize) -> Option<KeyServiceClient<Client>> {
        self.clients.lock().unwrap().get(replica)?.clone().map(KeyServiceClient::new)
    }

    /// The places of the replicas that run.
    pub fn running(&self) -> Vec<usize> {
        let clients = self.clients.lock().unwrap();
        clients.iter().enumerate().filter(|(_, it)| it.is_some()).map(|(at, _)| at).collect()
    }

    pub fn reachable(&self) -> Vec<usize> {
        self.reachable.lock().unwrap().iter().copied().collect()
    }

    fn put(&self, replica: usize, client: Option<Client>) {
        let mut clients = self.clients.lock().unwrap();
        if clients.len() <= replica {
            clients.resize(replica + 1, None);
        }
        let mut reachable = self.reachable.lock().unwrap();
        if client.is_some() {
            reachable.insert(replica);
        } else {
            reachable.remove(&replica);
        }
        clients[replica] = client;
    }
}

/// All replicas. A place keeps its proxy when its process ends.
#[derive(Debug)]
pub struct Fleet {
    /// The first administrator's.
    pub token: String,
    pub directory: Arc<Directory>,
    pub proxies: Vec<Proxy>,
    replicas: Vec<Option<Replica>>,
    file: NamedTempFile,
    pace: Pace,
    /// Where the database's socket is, and its name.
    database: (String, String),
}

impl Fleet {
    /// Three replicas on the database of this URL and name.
    pub async fn start(url: &str, database: &str, pace: Pace) -> Self {
        let token = new_token();
        let file = NamedTempFile::new().unwrap();
        std::fs::write(file.path(), &token).unwrap();
        let mut fleet = Self {
            token,
            directory: Arc::default(),
            proxies: Vec::new(),
            replicas: Vec::new(),
            file,
            pace,
            database: (socket(url).await, database.to_owned()),
        };
        for _ in 0..3 {
            fleet.add().await;
        }
        fleet
    }

    /// Another replica, at a new place.
    pub async fn add(&mut self) -> usize {
        let (socket, name) = &self.database;
        self.proxies.push(Proxy::to(socket.clone(), name).await);
        self.replicas.push(None);
        let replica = self.replicas.len() - 1;
        self.start_at(replica).await;
        replica
    }

    /// A replica at a place where none runs.
    pub async fn start_at(&mut self, replica: usize) {
        let mut settings = vec![
            ("KEYSTILE_DATABASE_URL", self.proxies[replica].url.clone()),
            ("KEYSTILE_ALLOW_DATA_LOSS", "true".to_owned()),
            ("KEYSTILE_BCRYPT_COST", "4".to_owned()),
            ("KEYSTILE_DATABASE_WAIT", "2m".to_owned()),
            ("KEYSTILE_BOOTSTRAP_TOKEN_FILE", self.file.path().to_str().unwrap().to_owned()),
        ];
        let freshness = [
            ("KEYSTILE_MAX_STALENESS", format!("{}s", self.pace.staleness.as_secs())),
            ("KEYSTILE_PROPAGATION_WAIT", format!("{}s", self.pace.wait.as_secs())),
            // What is in memory is read again and again while it changes.
            ("KEYSTILE_CACHE_REFRESH", "1s".to_owned()),
        ];
        settings.extend(freshness.into_iter().filter(|(name, _)| KNOWN.contains(name)));
        let start = move || {
            let settings: Vec<_> = settings.iter().map(|(name, value)| (*name, value.as_str())).collect();
            Process::serve(&settings)
        };
        let process = tokio::task::spawn_blocking(start).await.unwrap();
        let client = connect(&process.address, &self.token);
        self.directory.put(replica, Some(client.clone()));
        self.replicas[replica] = Some(Replica { process, client });
    }

    /// Changes are, or are no longer, asked of a replica.
    pub fn set_reachable(&self, replica: usize, is_reachable: bool) {
        let mut reachable = self.directory.reachable.lock().unwrap();
        if is_reachable {
            reachable.insert(replica)
        } else {
            reachable.remove(&replica)
        };
    }

    /// `kill -9`.
    pub fn kill(&mut self, replica: usize) {
        self.directory.put(replica, None);
        self.replicas[replica].take().expect("it runs").process.kill();
    }

    /// SIGSTOP: from now on it does nothing at all.
    pub fn stop(&self, replica: usize) {
        self.set_reachable(replica, false);
        self.signal(replica, Signal::STOP);
    }

    /// SIGCONT: it goes on as if no time had passed.
    pub fn go_on(&self, replica: usize) {
        self.signal(replica, Signal::CONT);
        self.set_reachable(replica, true);
    }

    fn signal(&self, replica: usize, signal: Signal) {
        self.replicas[replica].as_ref().expect("it runs").process.signal(signal);
    }

    /// A client of a replica as the administrator.
    pub fn client(&self, replica: usize) -> Client {
        self.replicas[replica].as_ref().expect("it runs").client.clone()
    }

    /// A key that is granted what [`super::load::ask`] asks for, and its token.
    pub async fn create(&self, user_id: i64) -> (i64, String) {
        let only = |pattern: &str| {
            let mode = pb::access_rule::Mode::Only.into();
            Some(pb::AccessRule { mode, patterns: vec![pattern.to_owned()] })
        };
        let key = pb::Key {
            user_id,
            display_name: "watched".into(),
            scopes: vec![super::load::SCOPE.into()],
            models: only(super::load::MODEL),
            endpoints: only(super::load::ENDPOINT),
            ..Default::default()
        };
        let request = pb::CreateKeyRequest { key: Some(key), ..Default::default() };
        let mut found = None;
        // Where the machine is slow, not the first time.
        eventually("a key is made, and every replica has it", async || {
            let created = KeyServiceClient::new(self.client(0)).create_key(request.clone()).await;
            let created = created.map(|created| created.into_inner()).ok();
            found = created.filter(|created| created.propagation.is_some_and(|it| it.complete));
            found.is_some()
        })
        .await;
        let created = found.unwrap();
        (created.key.unwrap().key_id, created.token)
    }
}
