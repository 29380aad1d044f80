//! The servers' processes: started, found on a free port of the loopback, ended by their id.

use std::collections::VecDeque;
use std::io::{BufRead, BufReader};
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStderr, Command, Stdio};
use std::sync::{Arc, Mutex, OnceLock, PoisonError};
use std::time::Duration;
use std::{env, thread};

use keystile::clock::monotonic_now;
use rustix::process::{Pid, Signal, kill_process};
#[cfg(target_os = "linux")]
use rustix::process::{getppid, set_parent_process_death_signal};
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::sync::oneshot;
use tokio::time::timeout;

use crate::failure::Failure;
use crate::metrics_page;
use crate::options::Role;

/// How long a start may take; the embedded database makes its cluster first.
const START_MAX: Duration = Duration::from_secs(120);
/// How long an orderly end may take before the process is killed: Keystile drains, and stops its database.
pub const END_MAX: Duration = Duration::from_secs(60);
const END_POLL: Duration = Duration::from_millis(20);
/// Lines of a server's log that are kept for a failure's message.
const LOG_LINES: usize = 20;

/// What is run as Keystile, if not the program that was built with the benchmark. The same for the whole run.
static PROGRAM: OnceLock<PathBuf> = OnceLock::new();

/// Has every Keystile be run by this program. To be called before the first one is started.
///
/// # Errors
/// There is no such file.
pub fn play_keystile_by(program: Option<&Path>) -> Result<(), Failure> {
    let Some(program) = program else { return Ok(()) };
    let path = program.canonicalize();
    let path = path.map_err(|source| Failure::Unreadable { path: program.to_owned(), source })?;
    PROGRAM.set(path).map_err(|_| Failure::Unusable("the server's program was chosen before"))
}

/// A running server. Dropped, it is ended.
#[derive(Debug)]
pub struct Server {
    name: &'static str,
    child: Child,
    address: SocketAddr,
    ops: Ops,
    log: Log,
}

/// Where the operations port is, once the log has said so.
type Ops = Arc<OnceLock<SocketAddr>>;

type Log = Arc<Mutex<VecDeque<String>>>;

impl Server {
    /// Starts this program in a role and waits until it serves.
    ///
    /// To be called on the main thread: servers end with the thread that started them.
    ///
    /// # Errors
    /// It did not start to serve.
    pub async fn start(role: Role, set_up: impl FnOnce(&mut Command)) -> Result<Self, Failure> {
        let program = env::current_exe().map_err(Failure::io("find this program"))?;
        let mut command = Command::new(program);
        for (name, _) in env::vars_os() {
            // What the caller's environment says of Keystile must not change what is measured.
            if name.to_str().is_some_and(|name| name.starts_with("KEYSTILE_") || name == "DATABASE_URL") {
                command.env_remove(name);
            }
        }
        command.arg(format!("--role={}", role.as_str()));
        if let Some(program) = PROGRAM.get() {
            command.arg("--server-binary").arg(program);
        }
        set_up(&mut command);
        command.stdin(Stdio::null()).stdout(Stdio::null()).stderr(Stdio::piped());
        let mut child = command.spawn().map_err(Failure::io("start a server"))?;
        let log = Log::default();
        let ops = Ops::default();
        let address = child.stderr.take().map(|stderr| follow(stderr, Arc::clone(&log), Arc::clone(&ops)));
        // From here on the process is ended whatever happens.
        let mut server = Self { name: role.as_str(), child, address: ([127, 0, 0, 1], 0).into(), ops, log };
        let Some(address) = address else { return Err(server.failure("has no log")) };
        match timeout(START_MAX, address).await {
            Ok(Ok(address)) => server.address = address,
            Ok(Err(_)) => return Err(server.failure("ended before it served")),
            Err(_) => return Err(server.failure("did not start to serve in time")),
        }
        Ok(server)
    }

    /// Its name, for people.
    pub fn name(&self) -> &'static str {
        self.name
    }

    /// Where it serves.
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Its metrics page.
    ///
    /// # Errors
    /// It has no operations port, or that does not answer.
    pub async fn metrics(&self) -> Result<String, Failure> {
        let address = self.ops.get().ok_or_else(|| self.failure("has no operations port"))?;
        let mut stream = TcpStream::connect(address).await.map_err(Failure::io("reach the metrics page"))?;
        let request = format!("GET /metrics HTTP/1.1\r\nHost: {address}\r\nConnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).await.map_err(Failure::io("ask for the metrics page"))?;
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.map_err(Failure::io("read the metrics page"))?;
        metrics_page::body(&answer).map(str::to_owned).ok_or_else(|| self.failure("has no metrics page"))
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// What is wrong with it, with the end of its log.
    pub fn failure(&self, what: &'static str) -> Failure {
        let lines = self.log.lock().unwrap_or_else(PoisonError::into_inner);
        let log = lines.iter().map(String::as_str).collect::<Vec<_>>().join("\n");
        Failure::Server { name: self.name.to_owned(), what, log }
    }

    /// Whether it has ended (and was waited for).
    fn has_ended(&mut self) -> bool {
        // An error means that there is no such child any more.
        self.child.try_wait().map_or(true, |status| status.is_some())
    }

    /// Ends it as an accident would: at once, without a word to it.
    ///
    /// # Errors
    /// The operating system's.
    pub fn kill(&mut self) -> Result<(), Failure> {
        self.child.kill().map_err(Failure::io("kill a server"))?;
        self.child.wait().map_err(Failure::io("wait for a server"))?;
        Ok(())
    }

    fn end(&mut self) {
        if self.has_ended() {
            return;
        }
        if let Err(error) = kill_process(Pid::from_child(&self.child), Signal::TERM) {
            eprintln!("throughput: {} (process {}) cannot be ended: {error}", self.name, self.pid());
        }
        if wait_until(END_MAX, || self.has_ended()) {
            return;
        }
        eprintln!("throughput: {} (process {}) does not end; it is killed", self.name, self.pid());
        if let Err(error) = self.child.kill().and_then(|()| self.child.wait()) {
            eprintln!("throughput: it cannot be killed: {error}");
        }
    }
}

/// Waits until `done`; whether it was within `max`.
pub fn wait_until(max: Duration, mut done: impl FnMut() -> bool) -> bool {
    let deadline = monotonic_now() + max;
    while !done() {
        if monotonic_now() >= deadline {
            return false;
        }
        thread::sleep(END_POLL);
    }
    true
}

impl Drop for Server {
    fn drop(&mut self) {
        self.end();
    }
}

/// Reads a server's log to its end; the first line that announces an address gives it.
fn follow(stderr: ChildStderr, log: Log, ops: Ops) -> oneshot::Receiver<SocketAddr> {
    let (found, address) = oneshot::channel();
    let mut found = Some(found);
    thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            if let Some(address) = address_in(&line, "operations port") {
                // The first one holds; there is only one.
                let _known = ops.set(address);
            }
            if let Some(address) = address_in(&line, "serving")
                && let Some(found) = found.take()
            {
                // Nobody waits any more only where the start has failed.
                let _given_up = found.send(address);
            }
            let mut log = log.lock().unwrap_or_else(PoisonError::into_inner);
            if log.len() == LOG_LINES {
                log.pop_front();
            }
            log.push_back(line);
        }
    });
    address
}

/// The address in the line that `keystile serve` logs when it serves, say.
fn address_in(line: &str, message: &str) -> Option<SocketAddr> {
    let line: Value = serde_json::from_str(line).ok()?;
    (line.get("message")? == message).then(|| line.get("address")?.as_str()?.parse().ok())?
}

/// In a role: says where it serves, as `keystile serve` does.
pub fn announce(address: SocketAddr) {
    eprintln!("{}", json!({ "message": "serving", "address": address.to_string() }));
}

/// In a role: has the kernel end this process when the thread that started it does, so that nothing is left
/// when the benchmark is killed. It holds over an exec, too.
///
/// # Errors
/// The kernel does not do that, or the benchmark has gone already.
#[cfg(target_os = "linux")]
pub fn end_with_parent() -> Result<(), Failure> {
    let parent = getppid();
    set_parent_process_death_signal(Some(Signal::TERM))
        .map_err(|error| Failure::Io { action: "tie this process to its parent", source: error.into() })?;
    if parent == getppid() { Ok(()) } else { Err(Failure::Unusable("the benchmark has gone")) }
}

/// In a role: there is none without Linux, whose `/proc` is what is measured by.
///
/// # Errors
/// Always.
#[cfg(not(target_os = "linux"))]
pub fn end_with_parent() -> Result<(), Failure> {
    Err(Failure::Unusable("the benchmark runs on Linux only"))
}
