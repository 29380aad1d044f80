//! The process, by the names that Prometheus' own clients have for it. Linux tells of it in `/proc`; elsewhere
//! there are none of these metrics.

use std::fs;
use std::str::FromStr;

use rustix::param::{clock_ticks_per_second, page_size};
use rustix::process::{Resource, getrlimit};

use super::page::{Group, Page};

/// This process.
#[derive(Debug)]
pub(super) struct Process;

/// What `/proc` says.
struct Stat {
    cpu_seconds: f64,
    resident_bytes: i64,
    virtual_bytes: i64,
    threads: i64,
    start_seconds: f64,
    open_fds: i64,
}

impl Stat {
    fn read() -> Option<Self> {
        let stat = fs::read_to_string("/proc/self/stat").ok()?;
        let open_fds = fs::read_dir("/proc/self/fd").ok()?.count();
        Self::parse(&stat, &fs::read_to_string("/proc/stat").ok()?, i64::try_from(open_fds).ok()?)
    }

    fn parse(stat: &str, system: &str, open_fds: i64) -> Option<Self> {
        // The second field is the program's name in parentheses, which may hold anything.
        let (_, rest) = stat.rsplit_once(") ")?;
        // The first of `rest` is field 3 of proc(5).
        let fields: Vec<&str> = rest.split_ascii_whitespace().collect();
        let ticks = |field: usize| number::<u32>(fields.get(field.checked_sub(3)?)?).map(f64::from);
        let whole = |field: usize| number::<i64>(fields.get(field.checked_sub(3)?)?);
        let ticks_per_second = f64::from(u32::try_from(clock_ticks_per_second()).ok()?);
        let boot = system.lines().find_map(|line| number::<u32>(line.strip_prefix("btime ")?))?;
        Some(Self {
            cpu_seconds: (ticks(14)? + ticks(15)?) / ticks_per_second,
            threads: whole(20)?,
            start_seconds: f64::from(boot) + ticks(22)? / ticks_per_second,
            virtual_bytes: whole(23)?,
            resident_bytes: whole(24)?.checked_mul(i64::try_from(page_size()).ok()?)?,
            // Less the one that looked.
            open_fds: open_fds.saturating_sub(1),
        })
    }
}

fn number<N: FromStr>(text: &str) -> Option<N> {
    text.trim().parse().ok()
}

impl Group for Process {
    fn write(&self, page: &mut Page) {
        let Some(stat) = Stat::read() else { return };
        page.counter_of_seconds("process_cpu_seconds_total", "CPU time of user and system", stat.cpu_seconds);
        page.gauge("process_resident_memory_bytes", "Memory in RAM", stat.resident_bytes);
        page.gauge("process_virtual_memory_bytes", "Address space", stat.virtual_bytes);
        page.gauge("process_open_fds", "Open files and sockets", stat.open_fds);
        // Without a limit there is no number to write.
        let limit = getrlimit(Resource::Nofile).current.and_then(|limit| i64::try_from(limit).ok());
        page.gauge("process_max_fds", "Most open files and sockets", limit.unwrap_or(i64::MAX));
        page.gauge("process_threads", "Threads", stat.threads);
        page.gauge_of_seconds(
            "process_start_time_seconds",
            "When the process started, since 1970",
            stat.start_seconds,
        );
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_programs_name_may_hold_anything() {
        let stat = "7 (a) b (c) S 1 7 7 0 -1 4194560 9 0 0 0 250 150 0 0 20 0 12 0 5000 1048576 256 99 1";
        let stat = Stat::parse(stat, "cpu 1 2\nbtime 1700000000\n", 9).unwrap();
        let ticks = f64::from(u32::try_from(clock_ticks_per_second()).unwrap());
        assert_eq!(stat.cpu_seconds, 400.0 / ticks);
        assert_eq!(stat.start_seconds, 1_700_000_000.0 + 5_000.0 / ticks);
        assert_eq!((stat.threads, stat.virtual_bytes, stat.open_fds), (12, 1_048_576, 8));
        assert_eq!(stat.resident_bytes, 256 * i64::try_from(page_size()).unwrap());
    }
}
