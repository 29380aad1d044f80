//! A private PostgreSQL, for trying Keystile out and for its tests.
//!
//! [`Cluster::start`] makes a cluster in a data directory from the server programs that the machine has
//! ([`find_server_programs`]), serves it on a unix socket only, and keeps it for as long as this process
//! lives. What holds:
//!
//! - **Private.** No TCP. Whoever may enter the socket's directory (mode 0700) is trusted; nobody else is asked.
//! - **Unprivileged.** PostgreSQL refuses to run as root: started as root, the server runs as `postgres` or
//!   `nobody`, and an existing cluster keeps its owner.
//! - **One owner.** A lock on `owner.lock` is held for the life of a [`Cluster`]; the kernel drops it with the
//!   process, however that ends. A second owner gets [`EmbeddedError::AlreadyOwned`].
//! - **Recovers.** A server left behind by a killed owner is stopped before a new one starts, a stale
//!   `postmaster.pid` doesn't block, and a cluster appears under its name (`pg/`) only when complete.
//! - **Never goes unnoticed.** A server that ends by itself ends [`Cluster::ended`].
//! - **Leaves with its owner.** A watchdog stops the server when this process ends without [`Cluster::stop`].
//!
//! Layout of a data directory: `pg/` the cluster, `run/` the socket (or a short directory elsewhere, where the
//! path would be too long for a socket), `postgres.log`, `owner.lock`. Whoever serves may keep more files there.
//!
//! What doesn't belong here: SQL, migrations, pools (storage); reading configuration (config). Waiting uses
//! tokio's timers, so don't start a cluster under a paused tokio clock.

mod account;
mod cluster_files;
mod error;
mod layout;
mod log;
mod owner;
mod postmaster;
mod programs;
mod server;
mod socket;
mod watchdog;

use std::path::{Path, PathBuf};

pub use self::error::EmbeddedError;
pub use self::layout::default_data_dir;
pub use self::programs::{MAJOR_MIN, ServerPrograms, find_server_programs};

use self::account::Account;
use self::layout::Layout;
use self::owner::OwnerLock;
use self::postmaster::PidFile;
use self::server::{Server, Settings};

/// The database that every embedded cluster has from its first start.
pub const DATABASE: &str = "keystile";

/// The role that [`Cluster::url`] connects as: a superuser of this private cluster.
pub const ROLE: &str = "keystile";

/// How to run an embedded cluster.
#[derive(Clone, Debug)]
pub struct Options {
    /// Where everything lies; made if it doesn't exist. Relative paths start at the working directory.
    pub data_dir: PathBuf,
    /// `true`: a commit survives a crash of the machine. `false` (tests only): it survives a crash of the
    /// processes, and everything is faster.
    pub durable: bool,
    /// Connections that the server takes at a time, at least 1.
    pub max_connections: u32,
}

/// A running server that this process owns.
///
/// Dropping it asks the server to stop and doesn't wait; [`Cluster::stop`] waits.
#[derive(Debug)]
pub struct Cluster {
    // Field order is drop order: the server is told to stop before the lock is released.
    server: Server,
    socket_dir: PathBuf,
    layout: Layout,
    _owner: OwnerLock,
}

impl Cluster {
    /// Makes the cluster if there is none, recovers it if need be, and returns when it accepts connections.
    ///
    /// Bounded: initialisation and recovery get two minutes each, stopping a server left behind 45 seconds.
    ///
    /// # Errors
    /// Every variant of [`EmbeddedError`]; each is one sentence that says what to do.
    pub async fn start(options: Options) -> Result<Self, EmbeddedError> {
        let layout = Layout::create(&options.data_dir)?;
        let account = Account::for_cluster(&layout.cluster_dir()).await?;
        layout.open_to(&account)?;
        let owner = OwnerLock::acquire(&layout).await?;
        server::stop_leftover(&layout).await?;

        let cluster = cluster_files::major(&layout)?.map(|major| (major, layout.cluster_dir()));
        let programs = programs::find_for(cluster)?;
        cluster_files::ensure(&layout, &account, &programs, options.durable).await?;
        let socket_dir = socket::prepare(&layout, &account)?;
        postmaster::remove_stale_files(&layout, &socket_dir)?;

        let settings = Settings {
            socket_dir: &socket_dir,
            durable: options.durable,
            max_connections: options.max_connections,
        };
        let server = Server::start(&layout, &account, &programs, &settings).await?;
        tracing::info!(
            data_dir = %layout.data_dir().display(),
            postgres.pid = server.pid(),
            postgres.major = programs.major,
            "embedded PostgreSQL is ready"
        );
        Ok(Self { server, socket_dir, layout, _owner: owner })
    }

    /// The URL of `database` over the unix socket, for tokio-postgres, diesel-async and libpq alike.
    #[must_use]
    pub fn url(&self, database: &str) -> String {
        socket::url(&self.socket_dir, database)
    }

    /// The process id of the server's postmaster.
    #[must_use]
    pub fn server_pid(&self) -> u32 {
        self.server.pid()
    }

    /// Waits until the server ends by itself (someone killed it), which it should not. It isn't started again
    /// here: the next [`Cluster::start`] recovers it.
    pub async fn ended(&mut self) -> EmbeddedError {
        match self.server.ended().await {
            Ok(status) => {
                let log_file = self.layout.log_file();
                EmbeddedError::EndedByItself { status: status.to_string(), log_file }
            }
            Err(error) => error,
        }
    }

    /// Stops the server (connections are cut, transactions in flight roll back) and gives up the data directory.
    ///
    /// Bounded by 45 seconds, after which the server has been killed; its next start recovers.
    ///
    /// # Errors
    /// [`EmbeddedError::StillRunning`] if not even SIGKILL ended it, [`EmbeddedError::Io`] if it can't be
    /// waited for.
    pub async fn stop(self) -> Result<(), EmbeddedError> {
        self.server.stop().await?;
        socket::remove(&self.layout, &self.socket_dir)
    }
}

/// The URL of `database` if the cluster of `data_dir` is being served now, for commands that run beside a
/// server (`migrate`, `import`).
///
/// `None` if nobody owns it, or if its owner is just starting or stopping; [`Cluster::start`] tells these
/// apart. Reads only, never waits.
///
/// # Errors
/// [`EmbeddedError::Io`] if the data directory's files exist and this user may not read them.
pub fn attach_url(data_dir: &Path, database: &str) -> Result<Option<String>, EmbeddedError> {
    let Some(layout) = Layout::find(data_dir)? else { return Ok(None) };
    let Some(owner) = owner::recorded_pid(&layout)? else { return Ok(None) };
    if !postmaster::is_alive(owner) {
        return Ok(None);
    }
    let Some(pid_file) = PidFile::read(&layout)? else { return Ok(None) };
    if !pid_file.ready || !postmaster::serves(pid_file.pid, &layout.cluster_dir()) {
        return Ok(None);
    }
    Ok(pid_file.socket_dir.map(|dir| socket::url(&dir, database)))
}
