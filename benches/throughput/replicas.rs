//! Several Keystiles on one database: a private cluster of the benchmark's own. And what may befall them.

use std::path::PathBuf;

use keystile::embedded::{Cluster, DATABASE, Options};
use keystile::server::write_token;
use keystile::token::{Brand, Token, os_rng};
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::cpu::Meter;
use crate::failure::Failure;
use crate::options::Role;
use crate::server::Server;
use crate::subject::{Postmaster, listen};

/// For up to so many replicas, each of which has a pool of sixteen and some to follow the database by, and for clients
/// beside them.
const CONNECTIONS_MIN: usize = 100;
/// For each of more replicas. One that is killed leaves its connections for a while.
const CONNECTIONS_EACH: usize = 40;

/// All of them, running.
pub struct Replicas {
    /// Their processes.
    pub servers: Vec<Server>,
    /// The server of their database.
    pub postmaster: Postmaster,
    /// The first administrator's token.
    pub administrator: Token,
    /// `None` only while it is being restarted, or could not be.
    cluster: Option<Cluster>,
    options: Options,
    dir: TempDir,
}

/// How the database is stopped.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Stop {
    /// Sessions are cut off, and everything is written down.
    InOrder,
    /// At once: what was committed is found in the log at the next start.
    Crash,
}

impl Replicas {
    /// Starts so many, one after the other; the first makes the schema.
    ///
    /// # Errors
    /// One did not start.
    pub async fn start(count: usize) -> Result<Self, Failure> {
        let dir = tempfile::tempdir().map_err(Failure::io("make a directory"))?;
        let max_connections = count.saturating_mul(CONNECTIONS_EACH).max(CONNECTIONS_MIN);
        let options = Options {
            data_dir: dir.path().join("database"),
            durable: true,
            max_connections: u32::try_from(max_connections).unwrap_or(u32::MAX),
        };
        let cluster_dir: PathBuf = options.data_dir.join("pg");
        let cluster = Cluster::start(options.clone()).await.map_err(Failure::database)?;
        let postmaster = Postmaster { pid: cluster.server_pid(), cluster_dir };
        let administrator = Token::generate(&Brand::default(), &mut os_rng());
        // From here on everything ends with this.
        let (servers, cluster) = (Vec::new(), Some(cluster));
        let mut replicas = Self { servers, postmaster, administrator, cluster, options, dir };
        write_token(&replicas.token_file(), &replicas.administrator).map_err(Failure::database)?;
        for _ in 0..count {
            let server = replicas.serve().await?;
            replicas.servers.push(server);
        }
        Ok(replicas)
    }

    /// Of their database.
    ///
    /// # Errors
    /// It is not there any more.
    pub fn url(&self) -> Result<String, Failure> {
        let cluster = self.cluster.as_ref().ok_or(Failure::Unusable("the database has gone"))?;
        Ok(cluster.url(DATABASE))
    }

    /// Who the CPU time is read of: all of them.
    pub fn meter(&self) -> Meter {
        let servers = self.servers.iter().map(Server::pid).collect();
        Meter { servers, postmaster: Some(self.postmaster.pid) }
    }

    /// The first of them.
    ///
    /// # Errors
    /// There is none.
    pub fn first(&self) -> Result<&Server, Failure> {
        self.servers.first().ok_or(Failure::Unusable("there is no replica"))
    }

    /// Kills one (SIGKILL) and starts another in its place, which serves at another address.
    ///
    /// # Errors
    /// There is none at this place, or it cannot be killed or started.
    pub async fn replace(&mut self, at: usize) -> Result<(), Failure> {
        let mut killed = self.servers.get_mut(at);
        killed.as_mut().ok_or(Failure::Unusable("there is no such replica"))?.kill()?;
        let started = self.serve().await?;
        if let Some(server) = self.servers.get_mut(at) {
            *server = started;
        }
        Ok(())
    }

    /// Stops the database and starts it again.
    ///
    /// # Errors
    /// It cannot be stopped or started.
    pub async fn restart_database(&mut self, stop: Stop) -> Result<(), Failure> {
        let mut cluster = self.cluster.take().ok_or(Failure::Unusable("the database has gone"))?;
        match stop {
            Stop::InOrder => cluster.stop().await.map_err(Failure::database)?,
            Stop::Crash => {
                let pid = i32::try_from(cluster.server_pid()).ok().and_then(Pid::from_raw);
                let pid = pid.ok_or(Failure::Unusable("the database has no process"))?;
                kill_process(pid, Signal::QUIT)
                    .map_err(|error| Failure::database(std::io::Error::from(error)))?;
                // It says that it ended, which it was to.
                drop(cluster.ended().await);
                drop(cluster);
            }
        }
        let cluster = Cluster::start(self.options.clone()).await.map_err(Failure::database)?;
        self.postmaster.pid = cluster.server_pid();
        self.cluster = Some(cluster);
        Ok(())
    }

    async fn serve(&self) -> Result<Server, Failure> {
        let (url, token_file) = (self.url()?, self.token_file());
        let server = Server::start(Role::Keystile, |command| {
            listen(command).env("KEYSTILE_DATABASE_URL", url).env("KEYSTILE_AUTO_MIGRATE", "true");
            command.env("KEYSTILE_BOOTSTRAP_TOKEN_FILE", token_file);
        });
        server.await
    }

    fn token_file(&self) -> PathBuf {
        self.dir.path().join("administrator")
    }
}

impl Drop for Replicas {
    fn drop(&mut self) {
        // The replicas first, then what they live on; the postmaster waits for that, and last the files go.
        self.servers.clear();
        drop(self.cluster.take());
    }
}
