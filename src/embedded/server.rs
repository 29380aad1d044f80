//! The server process: started, waited for, stopped; ours, or one that a killed owner left behind.

use std::fmt::Display;
use std::path::{Path, PathBuf};
use std::process::{Child, ExitStatus, Stdio};
use std::time::Duration;

use rustix::process::Signal;

use super::account::Account;
use super::error::EmbeddedError;
use super::layout::Layout;
use super::log::ServerLog;
use super::postmaster::{self, PidFile};
use super::programs::ServerPrograms;
use super::socket;
use super::watchdog::Watchdog;

/// How often a condition outside this process is looked at.
const POLL_EVERY: Duration = Duration::from_millis(10);

/// How often a running server is looked at.
const WATCH_EVERY: Duration = Duration::from_millis(200);

/// Recovery after a crash replays up to a gigabyte of log.
const READY_MAX: Duration = Duration::from_secs(120);

/// The ways to ask a server to end, and how long each gets: fast (cut connections, checkpoint), immediate
/// (no checkpoint, recovery at the next start), and not asking any more.
const STOP_STEPS: [(Signal, Duration); 3] = [
    (Signal::INT, Duration::from_secs(30)),
    (Signal::QUIT, Duration::from_secs(10)),
    (Signal::KILL, Duration::from_secs(5)),
];

/// After a postmaster was killed, its last sessions keep the shared memory until they notice: so often and so
/// far apart we try again.
const LINGER_ATTEMPTS_MAX: u32 = 100;
const LINGER_PAUSE: Duration = Duration::from_millis(100);
/// What a server says that finds them.
const LINGER_MESSAGE: &str = "pre-existing shared memory block";

/// What differs from one embedded server to another.
pub(super) struct Settings<'a> {
    pub(super) socket_dir: &'a Path,
    pub(super) durable: bool,
    pub(super) max_connections: u32,
}

/// A server that we started and that accepts connections.
#[derive(Debug)]
pub(super) struct Server {
    child: Child,
    cluster_dir: PathBuf,
    /// Present until the server has stopped.
    watchdog: Option<Watchdog>,
}

/// What came of one start.
enum Started {
    Ready(Server),
    /// The shared memory of a killed predecessor is still in use.
    Lingering(EmbeddedError),
}

impl Server {
    /// Starts the server and returns when it accepts connections.
    pub(super) async fn start(
        layout: &Layout,
        account: &Account,
        programs: &ServerPrograms,
        settings: &Settings<'_>,
    ) -> Result<Self, EmbeddedError> {
        let mut attempts = 0;
        loop {
            match Self::start_once(layout, account, programs, settings).await? {
                Started::Ready(server) => return Ok(server),
                Started::Lingering(error) if attempts == LINGER_ATTEMPTS_MAX => return Err(error),
                Started::Lingering(_) => attempts += 1,
            }
            tokio::time::sleep(LINGER_PAUSE).await;
        }
    }

    async fn start_once(
        layout: &Layout,
        account: &Account,
        programs: &ServerPrograms,
        settings: &Settings<'_>,
    ) -> Result<Started, EmbeddedError> {
        let log = ServerLog::open(layout.log_file())?;
        let child = account
            .command(&programs.postgres)
            .arg("-D")
            .arg(layout.cluster_dir())
            .args(arguments(settings))
            .stdin(Stdio::null())
            .stdout(log.descriptor()?)
            .stderr(log.descriptor()?)
            .spawn()
            .map_err(EmbeddedError::io("run", &programs.postgres))?;
        let mut server = Self { child, cluster_dir: layout.cluster_dir(), watchdog: None };
        let pid = server.pid();
        server.watchdog = Some(Watchdog::start(account, &layout.pid_file(), pid)?);

        let mut exit = None;
        let settled = poll(READY_MAX, || {
            exit = server.child.try_wait().map_err(EmbeddedError::io("wait for", &programs.postgres))?;
            let ready = PidFile::read(layout)?.is_some_and(|file| file.ready && file.pid == pid);
            Ok(exit.is_some() || ready)
        })
        .await?;
        match exit {
            Some(status) => {
                server.end_watchdog().await?;
                let error = not_ready(layout, status, log.tail());
                let lingering = log.tail().contains(LINGER_MESSAGE);
                if lingering { Ok(Started::Lingering(error)) } else { Err(error) }
            }
            None if settled => Ok(Started::Ready(server)),
            None => {
                server.stop().await?;
                Err(not_ready(layout, "it took too long", log.tail()))
            }
        }
    }

    pub(super) fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Waits until the server ends without [`Server::stop`], and says how. (PostgreSQL itself recovers from
    /// the death of any of its processes but the first, which is this one.)
    pub(super) async fn ended(&mut self) -> Result<ExitStatus, EmbeddedError> {
        loop {
            let status = self.child.try_wait().map_err(EmbeddedError::io("wait for", &self.cluster_dir))?;
            match status {
                Some(status) => return Ok(status),
                None => tokio::time::sleep(WATCH_EVERY).await,
            }
        }
    }

    /// Stops the server within the bounds of [`STOP_STEPS`].
    pub(super) async fn stop(mut self) -> Result<(), EmbeddedError> {
        let (pid, path) = (self.pid(), self.cluster_dir.clone());
        let child = &mut self.child;
        stop_process(pid, || {
            child.try_wait().map(|status| status.is_some()).map_err(EmbeddedError::io("wait for", &path))
        })
        .await?;
        self.end_watchdog().await
    }

    async fn end_watchdog(&mut self) -> Result<(), EmbeddedError> {
        match self.watchdog.take() {
            Some(watchdog) => watchdog.end().await,
            None => Ok(()),
        }
    }
}

impl Drop for Server {
    /// Asks a server that wasn't stopped to stop. Nobody is left who could wait for it, or be told of an error;
    /// the next owner stops what is left.
    fn drop(&mut self) {
        if let Ok(None) = self.child.try_wait()
            && let Err(error) = postmaster::signal(self.pid(), Signal::INT)
        {
            tracing::warn!(%error, "the embedded PostgreSQL wasn't stopped");
        }
    }
}

/// Stops the server that an owner left behind who was killed. Call as the owner.
pub(super) async fn stop_leftover(layout: &Layout) -> Result<(), EmbeddedError> {
    let Some(file) = PidFile::read(layout)? else { return Ok(()) };
    let cluster_dir = layout.cluster_dir();
    if !postmaster::serves(file.pid, &cluster_dir) {
        return Ok(());
    }
    tracing::warn!(postgres.pid = file.pid, "stopping an embedded PostgreSQL whose owner is gone");
    stop_process(file.pid, || Ok(!postmaster::serves(file.pid, &cluster_dir))).await
}

async fn stop_process(
    pid: u32,
    mut is_gone: impl FnMut() -> Result<bool, EmbeddedError>,
) -> Result<(), EmbeddedError> {
    for (signal, patience) in STOP_STEPS {
        if is_gone()? {
            return Ok(());
        }
        postmaster::signal(pid, signal)?;
        // One that was suspended couldn't follow.
        postmaster::signal(pid, Signal::CONT)?;
        if poll(patience, &mut is_gone).await? {
            return Ok(());
        }
    }
    Err(EmbeddedError::StillRunning { pid })
}

/// Settings on the command line: they win over the files in the cluster, so that a cluster made by an older
/// version is served by today's rules.
fn arguments(settings: &Settings<'_>) -> Vec<String> {
    let switch = |on: bool| if on { "on" } else { "off" };
    let all = [
        // Private: a socket that only we can reach.
        ("listen_addresses", String::new()),
        ("unix_socket_directories", settings.socket_dir.display().to_string()),
        ("unix_socket_permissions", "0700".to_owned()),
        ("port", socket::PORT.to_string()),
        // Every connection is the superuser's: none need be kept free for it.
        ("max_connections", settings.max_connections.to_string()),
        ("superuser_reserved_connections", "0".to_owned()),
        // A commit that was answered is on the disk.
        ("fsync", switch(settings.durable).to_owned()),
        ("full_page_writes", switch(settings.durable).to_owned()),
        ("synchronous_commit", switch(settings.durable).to_owned()),
        // Small, for a machine that does other things too.
        ("shared_buffers", if settings.durable { "128MB" } else { "32MB" }.to_owned()),
        ("jit", "off".to_owned()),
        // Into postgres.log by way of stderr; terse, because details quote rows.
        ("logging_collector", "off".to_owned()),
        ("log_destination", "stderr".to_owned()),
        ("log_error_verbosity", "terse".to_owned()),
        ("log_checkpoints", "off".to_owned()),
        ("log_timezone", "UTC".to_owned()),
        ("timezone", "UTC".to_owned()),
        ("cluster_name", "keystile".to_owned()),
    ];
    all.into_iter().flat_map(|(name, value)| ["-c".to_owned(), format!("{name}={value}")]).collect()
}

fn not_ready(layout: &Layout, status: impl Display, tail: String) -> EmbeddedError {
    EmbeddedError::StartFailed { status: status.to_string(), log_file: layout.log_file(), tail }
}

/// Looks at a condition until it holds or fails; `false` if it didn't hold for that long.
pub(super) async fn poll(
    patience: Duration,
    mut condition: impl FnMut() -> Result<bool, EmbeddedError>,
) -> Result<bool, EmbeddedError> {
    let held = async {
        while !condition()? {
            tokio::time::sleep(POLL_EVERY).await;
        }
        Ok(())
    };
    match tokio::time::timeout(patience, held).await {
        Ok(result) => result.map(|()| true),
        Err(_) => Ok(false),
    }
}
