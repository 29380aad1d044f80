//! `postmaster.pid`, and whether the process that it names is what it says.
//!
//! The file outlives a server that was killed or whose machine crashed, and its process id may since have
//! gone to any other program: so an id counts only if that process is a postgres on our cluster.

use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use rustix::process::{Pid, Signal};

use super::error::EmbeddedError;
use super::layout::Layout;
use super::socket;

/// What a server says about itself in `postmaster.pid` (PostgreSQL's `pidfile.h`).
#[derive(Debug, PartialEq, Eq)]
pub(super) struct PidFile {
    pub(super) pid: u32,
    /// Where its socket is, once it has one.
    pub(super) socket_dir: Option<PathBuf>,
    /// Whether it accepts connections.
    pub(super) ready: bool,
}

impl PidFile {
    /// The file of this cluster; `None` if there is none or it is just being written.
    pub(super) fn read(layout: &Layout) -> Result<Option<Self>, EmbeddedError> {
        let path = layout.pid_file();
        match fs::read_to_string(&path) {
            Ok(text) => Ok(Self::parse(&text)),
            Err(error) if is_absent(&error) => Ok(None),
            Err(error) => Err(EmbeddedError::io("read", &path)(error)),
        }
    }

    /// Lines: process id, data directory, start time, port, first socket directory, listen address, shared
    /// memory key, state. The later ones come as the server gets there.
    fn parse(text: &str) -> Option<Self> {
        let mut lines = text.lines().map(str::trim);
        // A standalone backend (`postgres --single`) writes its id as a negative number.
        let pid = lines.next()?.trim_start_matches('-').parse().ok().filter(|pid| *pid > 0)?;
        let socket_dir = lines.nth(3).filter(|dir| !dir.is_empty()).map(PathBuf::from);
        let ready = lines.nth(2) == Some("ready");
        Some(Self { pid, socket_dir, ready })
    }
}

/// Removes what a dead server left: `postmaster.pid`, and the socket with its lock. Call as the owner, after
/// making sure that no server of this cluster runs.
///
/// PostgreSQL would do so itself, unless their process id now belongs to another process of the same user;
/// after a restart of a container that is likely. Two servers on one cluster stay impossible without these
/// files: PostgreSQL also finds the other's shared memory by the inode of the cluster's directory.
pub(super) fn remove_stale_files(layout: &Layout, socket_dir: &Path) -> Result<(), EmbeddedError> {
    for path in [
        layout.pid_file(),
        socket_dir.join(socket::FILE_NAME),
        socket_dir.join(format!("{}.lock", socket::FILE_NAME)),
    ] {
        match fs::remove_file(&path) {
            Ok(()) => {}
            Err(error) if is_absent(&error) => {}
            Err(error) => return Err(EmbeddedError::io("remove", &path)(error)),
        }
    }
    Ok(())
}

/// Whether a process has this id, whoever's it is.
pub(super) fn is_alive(pid: u32) -> bool {
    to_pid(pid).is_some_and(|pid| {
        // EPERM: it exists and is another user's.
        !matches!(rustix::process::test_kill_process(pid), Err(rustix::io::Errno::SRCH))
    })
}

/// Sends a signal to a server; `false` if it was gone already.
pub(super) fn signal(pid: u32, signal: Signal) -> Result<bool, EmbeddedError> {
    let Some(target) = to_pid(pid) else { return Ok(false) };
    match rustix::process::kill_process(target, signal) {
        Ok(()) => Ok(true),
        Err(rustix::io::Errno::SRCH) => Ok(false),
        Err(error) => Err(EmbeddedError::io("signal", Path::new("postgres"))(error.into())),
    }
}

/// Whether the process is a postmaster on `cluster_dir`, as started by us: `…/postgres -D <cluster_dir> …`.
pub(super) fn serves(pid: u32, cluster_dir: &Path) -> bool {
    command_line(pid).is_some_and(|line| is_postmaster_on(&line, cluster_dir))
}

fn is_postmaster_on(command_line: &[u8], cluster_dir: &Path) -> bool {
    let mut wanted = b"postgres -D ".to_vec();
    wanted.extend_from_slice(cluster_dir.as_os_str().as_bytes());
    // A space must follow: /a/pg isn't /a/pg2.
    wanted.push(b' ');
    command_line.windows(wanted.len()).any(|window| window == wanted)
}

/// The arguments of a process, each followed by a space. `None` if it is gone (or a zombie).
#[cfg(target_os = "linux")]
fn command_line(pid: u32) -> Option<Vec<u8>> {
    let line = fs::read(format!("/proc/{pid}/cmdline")).ok().filter(|line| !line.is_empty())?;
    Some(line.into_iter().map(|byte| if byte == 0 { b' ' } else { byte }).collect())
}

/// The arguments of a process, each followed by a space. `None` if it is gone (or a zombie).
#[cfg(not(target_os = "linux"))]
fn command_line(pid: u32) -> Option<Vec<u8>> {
    let output = std::process::Command::new("ps")
        .args(["-ww", "-o", "command=", "-p", &pid.to_string()])
        .output()
        .ok()
        .filter(|output| output.status.success())?;
    let mut line = output.stdout.trim_ascii().to_vec();
    line.push(b' ');
    Some(line)
}

fn to_pid(pid: u32) -> Option<Pid> {
    i32::try_from(pid).ok().and_then(Pid::from_raw)
}

/// Not there, also because what should hold it isn't a directory.
fn is_absent(error: &io::Error) -> bool {
    matches!(error.kind(), io::ErrorKind::NotFound | io::ErrorKind::NotADirectory)
}

#[cfg(test)]
mod tests {
    use super::*;

    const READY: &str = "4711\n/d/pg\n1700000000\n5432\n/d/run\n\n  5432001    131073\nready   \n";

    #[test]
    fn pid_file_of_a_ready_server() {
        let file = PidFile::parse(READY).unwrap();
        assert_eq!(file, PidFile { pid: 4711, socket_dir: Some("/d/run".into()), ready: true });
    }

    #[test]
    fn pid_file_of_a_server_that_isnt_ready() {
        for state in ["starting", "stopping", "standby "] {
            let file = PidFile::parse(&READY.replace("ready   ", state)).unwrap();
            assert!(!file.ready, "{state}");
        }
        let early = PidFile::parse("4711\n/d/pg\n1700000000\n5432\n\n").unwrap();
        assert_eq!(early, PidFile { pid: 4711, socket_dir: None, ready: false });
        assert_eq!(PidFile::parse("-4711\n/d/pg\n").unwrap().pid, 4711, "a standalone backend");
    }

    #[test]
    fn pid_file_that_says_nothing() {
        for text in ["", "\n", "0\n", "x\n", "-\n", "99999999999\n"] {
            assert_eq!(PidFile::parse(text), None, "{text:?}");
        }
    }

    #[test]
    fn only_a_postgres_on_the_same_directory_counts() {
        let dir = Path::new("/d/pg");
        assert!(is_postmaster_on(b"/usr/lib/postgresql/15/bin/postgres -D /d/pg -k /d/run ", dir));
        assert!(!is_postmaster_on(b"/usr/lib/postgresql/15/bin/postgres -D /d/pg2 -k /d/run ", dir));
        assert!(!is_postmaster_on(b"postgres: keystile: checkpointer ", dir));
        assert!(!is_postmaster_on(b"tail -f /d/pg/postmaster.pid ", dir));
        assert!(!is_postmaster_on(b"", dir));
    }

    #[test]
    fn this_process_is_alive_but_no_postmaster() {
        let pid = std::process::id();
        assert!(is_alive(pid));
        assert!(!serves(pid, Path::new("/")));
        assert!(command_line(pid).is_some_and(|line| line.ends_with(b" ")));
        assert!(!is_alive(0) && !is_alive(u32::MAX));
    }
}
