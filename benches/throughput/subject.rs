//! Keystile as it is measured: `keystile serve` on its embedded database, with its own defaults, one ordinary
//! key to ask about, and a service token that may ask.

use std::net::SocketAddr;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::{env, fs};

use keystile::embedded;
use keystile::grpc::pb;
use keystile::grpc::pb::access_rule::Mode;
use keystile::server::TOKEN_FILE;
use rustix::process::{Pid, Signal, kill_process};
use tempfile::TempDir;

use crate::admin::Admin;
use crate::client::Target;
use crate::cpu::Meter;
use crate::database::Database;
use crate::failure::Failure;
use crate::options::Role;
use crate::question::Question;
use crate::server::{END_MAX, Server, wait_until};

/// Keystile, running.
#[derive(Debug)]
pub struct Subject {
    /// Its process.
    pub server: Server,
    /// The server of its database.
    pub postmaster: Postmaster,
    // Fields are dropped in this order: Keystile ends its database, and both have gone before their files.
    data_dir: TempDir,
}

/// The database server that Keystile started. Dropped, it is ended if it is still there: as it may be for a
/// while where Keystile was killed.
#[derive(Debug)]
pub struct Postmaster {
    /// Its process id.
    pub pid: u32,
    /// Where its files are.
    pub cluster_dir: PathBuf,
}

/// What a gateway has: who it is, and what it asks.
#[derive(Clone)]
pub struct Gateway {
    /// Its service token.
    pub token: String,
    /// The ordinary key's id.
    pub key_id: i64,
    /// Its question about the ordinary key, which may do this.
    pub question: pb::AuthorizeRequest,
}

impl Subject {
    /// Starts it.
    ///
    /// # Errors
    /// It did not start to serve.
    pub async fn start() -> Result<Self, Failure> {
        let data_dir = tempfile::tempdir().map_err(Failure::io("make a directory"))?;
        let server = Server::start(Role::Keystile, |command| {
            listen(command).env("KEYSTILE_DATA_DIR", data_dir.path());
        })
        .await?;
        let cluster_dir = data_dir.path().join("pg");
        let pid_file = read(&cluster_dir.join("postmaster.pid"))?;
        let pid = pid_file.lines().next().and_then(|pid| pid.trim().parse().ok());
        let pid = pid.ok_or_else(|| server.failure("has no postmaster"))?;
        Ok(Self { server, postmaster: Postmaster { pid, cluster_dir }, data_dir })
    }

    /// Makes the ordinary key and the gateway's token.
    ///
    /// # Errors
    /// The service refuses.
    pub async fn gateway(&self) -> Result<Gateway, Failure> {
        Gateway::make(self.server.address(), self.administrator()?.trim()).await
    }

    /// A client with the first administrator's token.
    ///
    /// # Errors
    /// The token cannot be read, or the server cannot be reached.
    pub async fn admin(&self) -> Result<Admin, Failure> {
        Admin::connect(self.server.address(), self.administrator()?.trim()).await
    }

    fn administrator(&self) -> Result<String, Failure> {
        read(&self.data_dir.path().join(TOKEN_FILE))
    }

    /// Its database.
    ///
    /// # Errors
    /// It cannot be reached.
    pub async fn database(&self) -> Result<Database, Failure> {
        let url =
            embedded::attach_url(self.data_dir.path(), embedded::DATABASE).map_err(Failure::database)?;
        Database::open(&url.ok_or_else(|| self.server.failure("has no database"))?).await
    }

    /// Who the CPU time is read of.
    pub fn meter(&self) -> Meter {
        Meter { servers: vec![self.server.pid()], postmaster: Some(self.postmaster.pid) }
    }

    /// The server, with this question.
    pub fn target(&self, question: Question) -> Target {
        Target { name: self.server.name(), address: self.server.address(), question: Arc::new(question) }
    }
}

/// Where every Keystile listens, and how it logs.
pub fn listen(command: &mut Command) -> &mut Command {
    command.env("KEYSTILE_OPS_LISTEN", "127.0.0.1:0");
    command.env("KEYSTILE_LISTEN", "127.0.0.1:0").env("KEYSTILE_LOG_FORMAT", "json")
}

impl Gateway {
    /// Makes the ordinary key and the gateway's token, as this administrator.
    ///
    /// # Errors
    /// The service refuses.
    pub async fn make(address: SocketAddr, administrator: &str) -> Result<Self, Failure> {
        let mut admin = Admin::connect(address, administrator).await?;
        let service = pb::Key {
            display_name: "gateway".to_owned(),
            scopes: vec!["keystile.authorize".to_owned()],
            ..pb::Key::default()
        };
        let gateway = admin.create(service).await?;
        let judged = admin.create(ordinary_key()).await?;
        Ok(Self { token: gateway.token, key_id: judged.key_id, question: question(judged.token) })
    }

    /// The same with another ordinary key, on whose requests there are these limits.
    ///
    /// # Errors
    /// The service refuses.
    pub async fn limited(&self, admin: &mut Admin, requests: pb::RateLimitWindows) -> Result<Self, Failure> {
        let limits = pb::RateLimits { requests: Some(requests), tokens: None };
        let judged = admin.create(pb::Key { rate_limits: Some(limits), ..ordinary_key() }).await?;
        Ok(Self { key_id: judged.key_id, question: question(judged.token), ..self.clone() })
    }
}

impl Postmaster {
    /// Whether the process is there, and still is what it was: ids are given again.
    fn is_there(&self) -> bool {
        let arguments = fs::read(format!("/proc/{}/cmdline", self.pid)).unwrap_or_default();
        let mut arguments = arguments.split(|byte| *byte == 0);
        arguments.any(|argument| argument == self.cluster_dir.as_os_str().as_bytes())
    }
}

impl Drop for Postmaster {
    fn drop(&mut self) {
        let pid = i32::try_from(self.pid).ok().and_then(Pid::from_raw);
        let (Some(pid), true) = (pid, self.is_there()) else { return };
        // PostgreSQL's fast shutdown.
        if let Err(error) = kill_process(pid, Signal::INT) {
            eprintln!("throughput: postgres (process {}) cannot be ended: {error}", self.pid);
        }
        if !wait_until(END_MAX, || !self.is_there()) {
            eprintln!("throughput: postgres (process {}) does not end", self.pid);
        }
    }
}

/// Limits that no traffic reaches, in all windows.
pub const FAR_AWAY: pb::RateLimitWindows = pb::RateLimitWindows {
    per_minute: Some(1_000_000_000),
    per_hour: Some(1_000_000_000),
    per_day: Some(1_000_000_000),
};

/// In the role: becomes `keystile serve`, of this program if not of the one that was built with the benchmark; returns only
/// where that fails.
pub fn become_keystile(program: Option<&Path>) -> Failure {
    let program = program.unwrap_or(Path::new(env!("CARGO_BIN_EXE_keystile")));
    let source = Command::new(program).arg("serve").exec();
    Failure::Io { action: "run keystile", source }
}

/// A key such as a team gives to one of its applications. Without limits.
fn ordinary_key() -> pb::Key {
    pb::Key {
        user_id: 4,
        display_name: "chat application".to_owned(),
        tags: vec!["production".to_owned()],
        permissions: vec!["chat".to_owned(), "read".to_owned()],
        scopes: vec!["chat.*".to_owned(), "models.list".to_owned()],
        models: only(["claude-*", "gpt-4o*", "o3-mini", "text-embedding-3-large"]),
        endpoints: only(["/v1/models", "POST /v1/chat/completions", "POST /v1/embeddings"]),
        ips: only(["10.0.0.0/8", "2001:db8::/32"]),
        ..pb::Key::default()
    }
}

fn only<const N: usize>(patterns: [&str; N]) -> Option<pb::AccessRule> {
    let patterns = patterns.map(str::to_owned).into();
    Some(pb::AccessRule { mode: Mode::Only.into(), patterns })
}

fn question(judged: String) -> pb::AuthorizeRequest {
    pb::AuthorizeRequest {
        token: judged.into(),
        model: "gpt-4o-mini".into(),
        endpoint: "/v1/chat/completions".into(),
        method: "POST".into(),
        client_ip: "10.20.30.40".into(),
        scopes: vec!["chat.completions".to_owned()],
        permissions: vec!["chat".to_owned()],
        request_id: "0190c2a4-7d1f-7000-8000-6f5b1c2d3e4f".to_owned(),
        ..pb::AuthorizeRequest::default()
    }
}

fn read(path: &Path) -> Result<String, Failure> {
    fs::read_to_string(path).map_err(|source| Failure::Unreadable { path: path.to_owned(), source })
}
