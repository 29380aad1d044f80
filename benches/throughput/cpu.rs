//! Who used how much CPU, from `/proc`.

use std::fs;
use std::io;
use std::ops::Sub;
use std::path::{Path, PathBuf};
use std::process;
use std::time::Duration;

use crate::failure::Failure;
use crate::proc_stat::{ProcessTimes, busy_ticks};

/// Whose CPU time is read.
#[derive(Clone, Debug)]
pub struct Meter {
    /// The servers that are driven.
    pub servers: Vec<u32>,
    /// The postmaster of its database, if it has one.
    pub postmaster: Option<u32>,
}

/// CPU time so far, or (the difference of two readings) in between.
#[derive(Clone, Copy, Debug, Default)]
pub struct CpuTime {
    /// This process.
    pub client: Duration,
    /// The servers' processes, with all their threads.
    pub server: Duration,
    /// The database server with all its processes, those that have ended too.
    pub postgres: Duration,
    /// The whole machine, all of the above included.
    pub machine: Duration,
}

impl CpuTime {
    /// Of the CPU that client, server and database used together, the client's share.
    pub fn client_share(&self) -> f64 {
        let all = self.client + self.server + self.postgres;
        if all.is_zero() { 0.0 } else { self.client.as_secs_f64() / all.as_secs_f64() }
    }

    /// What the machine did besides.
    pub fn others(&self) -> Duration {
        self.machine.saturating_sub(self.client + self.server + self.postgres)
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        Self {
            client: self.client.saturating_sub(earlier.client),
            server: self.server.saturating_sub(earlier.server),
            postgres: self.postgres.saturating_sub(earlier.postgres),
            machine: self.machine.saturating_sub(earlier.machine),
        }
    }
}

impl Meter {
    /// Reads all of them now.
    ///
    /// # Errors
    /// The server is gone, or this is not Linux.
    pub fn read(&self) -> Result<CpuTime, Failure> {
        let postgres = self.postmaster.map(family).transpose()?.unwrap_or_default();
        let servers = self.servers.iter().map(|server| Ok(times(*server)?.own));
        Ok(CpuTime {
            client: duration(times(process::id())?.own),
            server: duration(servers.sum::<Result<u64, Failure>>()?),
            postgres: duration(postgres),
            machine: duration(machine()?),
        })
    }
}

/// The ticks of a process, its children and those of its children that have ended.
///
/// A child that ends while we read may be missed; the next reading has it.
fn family(parent: u32) -> Result<u64, Failure> {
    let proc = Path::new("/proc");
    let itself = times(parent)?;
    let mut children = 0;
    for entry in fs::read_dir(proc).map_err(unreadable(proc))? {
        let entry = entry.map_err(unreadable(proc))?;
        let Some(pid) = entry.file_name().to_str().and_then(|name| name.parse().ok()) else { continue };
        match times(pid) {
            Ok(times) if times.parent == parent => children += times.own,
            // Another's child, or a process that ended while we read.
            Ok(_) | Err(_) => {}
        }
    }
    Ok(itself.own + itself.ended_children + children)
}

fn times(pid: u32) -> Result<ProcessTimes, Failure> {
    let path = PathBuf::from(format!("/proc/{pid}/stat"));
    let stat = fs::read_to_string(&path).map_err(unreadable(&path))?;
    ProcessTimes::parse(&stat).ok_or(Failure::NotProc(path))
}

fn machine() -> Result<u64, Failure> {
    let path = Path::new("/proc/stat");
    let stat = fs::read_to_string(path).map_err(unreadable(path))?;
    busy_ticks(&stat).ok_or_else(|| Failure::NotProc(path.to_owned()))
}

fn unreadable(path: &Path) -> impl FnOnce(io::Error) -> Failure {
    move |source| Failure::Unreadable { path: path.to_owned(), source }
}

fn duration(ticks: u64) -> Duration {
    let per_second = rustix::param::clock_ticks_per_second().max(1);
    Duration::from_millis(ticks.saturating_mul(1000) / per_second)
}
