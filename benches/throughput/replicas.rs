//! Several Keystiles on one database: a private cluster of the benchmark's own.

use std::path::PathBuf;

use keystile::embedded::{Cluster, DATABASE, Options};
use keystile::server::write_token;
use keystile::token::{Brand, Token, os_rng};
use tempfile::TempDir;

use crate::failure::Failure;
use crate::options::Role;
use crate::server::Server;
use crate::subject::{Postmaster, listen};

/// Sixteen for each replica, and some for what they follow the database by.
const CONNECTIONS_MAX: u32 = 100;

/// All of them, running.
pub struct Replicas {
    /// Their processes.
    pub servers: Vec<Server>,
    /// The server of their database.
    pub postmaster: Postmaster,
    /// The first administrator's token.
    pub administrator: Token,
    cluster: Option<Cluster>,
    dir: TempDir,
}

impl Replicas {
    /// Starts so many, one after the other; the first makes the schema.
    ///
    /// # Errors
    /// One did not start.
    pub async fn start(count: usize) -> Result<Self, Failure> {
        let dir = tempfile::tempdir().map_err(Failure::io("make a directory"))?;
        let options = Options {
            data_dir: dir.path().join("database"),
            durable: true,
            max_connections: CONNECTIONS_MAX,
        };
        let cluster_dir: PathBuf = options.data_dir.join("pg");
        let cluster = Cluster::start(options).await.map_err(Failure::database)?;
        let postmaster = Postmaster { pid: cluster.server_pid(), cluster_dir };
        let administrator = Token::generate(&Brand::default(), &mut os_rng());
        // From here on everything ends with this.
        let mut replicas =
            Self { servers: Vec::new(), postmaster, administrator, cluster: Some(cluster), dir };
        let token_file = replicas.dir.path().join("administrator");
        write_token(&token_file, &replicas.administrator).map_err(Failure::database)?;
        let url = replicas.url()?;
        for _ in 0..count {
            let server = Server::start(Role::Keystile, |command| {
                listen(command).env("KEYSTILE_DATABASE_URL", &url).env("KEYSTILE_AUTO_MIGRATE", "true");
                command.env("KEYSTILE_BOOTSTRAP_TOKEN_FILE", &token_file);
            });
            replicas.servers.push(server.await?);
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
}

impl Drop for Replicas {
    fn drop(&mut self) {
        // The replicas first, then what they live on; the postmaster waits for that, and last the files go.
        self.servers.clear();
        drop(self.cluster.take());
    }
}
