//! Stops the server when this process ends without doing so (`kill -9`, a panic, a test that was broken off).
//!
//! A small shell holds the reading end of a pipe whose writing end only we have: its end of file is our end.
//! (The kernel's own way, a death signal, needs `unsafe` code and exists on Linux only.)

use std::path::Path;
use std::process::{Child, Stdio};
use std::time::Duration;

use super::account::Account;
use super::error::EmbeddedError;
use super::server::poll;

/// Waits for the pipe's end, then asks the server for a fast shutdown, if it is still the one that we started.
/// Shell built-ins only: nothing to find, nothing to start at a bad moment.
const SCRIPT: &str =
    "trap '' INT HUP; read -r _; read -r pid < \"$1\" && [ \"$pid\" = \"$2\" ] && kill -INT \"$2\"";

/// How long it may take to end once the pipe is closed.
const END_MAX: Duration = Duration::from_secs(5);

/// The running watchdog. Dropping it stops the server.
#[derive(Debug)]
pub(super) struct Watchdog {
    shell: Child,
}

impl Watchdog {
    /// Starts watching the server `pid`, named by the file `pid_file`, as the server's user.
    pub(super) fn start(account: &Account, pid_file: &Path, pid: u32) -> Result<Self, EmbeddedError> {
        let shell = Path::new("/bin/sh");
        let shell = account
            .command(shell)
            .args(["-c", SCRIPT, "keystile-watchdog"])
            .arg(pid_file)
            .arg(pid.to_string())
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .map_err(EmbeddedError::io("run", shell))?;
        Ok(Self { shell })
    }

    /// Ends it; without effect on a server that has stopped.
    pub(super) async fn end(mut self) -> Result<(), EmbeddedError> {
        drop(self.shell.stdin.take());
        let path = Path::new("/bin/sh");
        let ended = poll(END_MAX, || {
            self.shell.try_wait().map(|status| status.is_some()).map_err(EmbeddedError::io("wait for", path))
        })
        .await?;
        if ended { Ok(()) } else { Err(EmbeddedError::StillRunning { pid: self.shell.id() }) }
    }
}
