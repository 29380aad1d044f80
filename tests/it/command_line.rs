//! Every client command end to end: the program as it is run, against a real server.

mod audit;
mod budgets;
mod decisions;
mod failures;
mod first_start;
mod keys;
mod limits;
mod listing;
mod owners;
mod states;
mod terminal;
mod watching;

use std::process::Stdio;

use keystile::grpc::pb;
use serde_json::Value;
use tempfile::TempDir;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

use crate::harness::{App, Process};

/// A shell in which the program finds a server, and a caller's token.
pub struct Shell {
    address: String,
    token: String,
    /// An empty folder, for files and as a data directory without a token.
    pub dir: TempDir,
}

/// What a command came to.
#[derive(Debug)]
pub struct Ran {
    pub code: Option<i32>,
    /// stdout.
    pub out: String,
    /// stderr.
    pub told: String,
}

impl Shell {
    /// As the first administrator.
    pub fn of(app: &App) -> Self {
        Self::with(app, &app.admin_token)
    }

    /// With this caller's token.
    pub fn with(app: &App, token: &str) -> Self {
        let address = app.address().to_string();
        Self { address, token: token.to_owned(), dir: tempfile::tempdir().unwrap() }
    }

    /// The program, about to be run.
    pub fn command(&self, args: &[&str]) -> std::process::Command {
        let mut command = Process::command();
        command.args(args).current_dir(self.dir.path());
        command.env("KEYSTILE_SERVER", &self.address).env("KEYSTILE_DATA_DIR", self.dir.path());
        if !self.token.is_empty() {
            command.env("KEYSTILE_TOKEN", &self.token);
        }
        command
    }

    /// Runs a command that reads `stdin`.
    pub async fn run_with(&self, args: &[&str], stdin: &str) -> Ran {
        let mut command = Command::from(self.command(args));
        command.stdin(Stdio::piped()).stdout(Stdio::piped()).stderr(Stdio::piped()).kill_on_drop(true);
        let mut child = command.spawn().unwrap();
        let mut input = child.stdin.take().unwrap();
        // A command that reads nothing may have ended already.
        let _unread = input.write_all(stdin.as_bytes()).await;
        drop(input);
        let output = child.wait_with_output().await.unwrap();
        Ran {
            code: output.status.code(),
            out: String::from_utf8(output.stdout).unwrap(),
            told: String::from_utf8(output.stderr).unwrap(),
        }
    }

    /// Runs a command.
    pub async fn run(&self, args: &[&str]) -> Ran {
        self.run_with(args, "").await
    }

    /// Runs a command that has to succeed.
    pub async fn ok(&self, args: &[&str]) -> Ran {
        let ran = self.run(args).await;
        assert_eq!(ran.code, Some(0), "{args:?}: {ran:?}");
        ran
    }

    /// Runs a command that has to succeed, for its JSON.
    pub async fn json(&self, args: &[&str]) -> Value {
        let args: Vec<&str> = args.iter().copied().chain(["-o", "json"]).collect();
        self.ok(&args).await.json()
    }

    /// Runs a command that cannot be done, for what it tells.
    pub async fn refused(&self, args: &[&str]) -> String {
        let ran = self.run(args).await;
        assert_eq!((ran.code, ran.out.as_str()), (Some(2), ""), "{args:?}: {ran:?}");
        assert!(ran.told.starts_with("error: "), "{args:?}: {ran:?}");
        ran.told
    }

    /// Whether a token may do anything at all, by exit code.
    pub async fn may(&self, token: &str) -> bool {
        let ran = self.run_with(&["authorize", "--dry-run"], token).await;
        assert!(matches!(ran.code, Some(0 | 1)), "{ran:?}");
        ran.code == Some(0)
    }

    /// The path of a file in the shell's folder.
    pub fn path(&self, name: &str) -> String {
        self.dir.path().join(name).to_str().unwrap().to_owned()
    }
}

impl Ran {
    pub fn json(&self) -> Value {
        serde_json::from_str(&self.out).unwrap_or_else(|error| panic!("{error}: {self:?}"))
    }

    /// The value of a row of a table of properties.
    pub fn row(&self, name: &str) -> String {
        let row = self.out.lines().find_map(|line| line.strip_prefix(name)?.strip_prefix(' '));
        row.unwrap_or_else(|| panic!("no {name}: {self:?}")).trim().to_owned()
    }
}

/// A key of user 4 with this name, and its token.
pub async fn named(app: &App, name: &str) -> (String, String) {
    let key = pb::Key { user_id: 4, display_name: name.into(), ..Default::default() };
    let (key, token) = app.create(key).await;
    (key.key_id.to_string(), token)
}
