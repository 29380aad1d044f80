//! What `/proc/<pid>/stat` and `/proc/stat` say, as in proc(5). Times are in clock ticks.

/// CPU times of a process: all of its threads, ended ones too.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ProcessTimes {
    /// Its parent.
    pub parent: u32,
    /// User and system time of its own.
    pub own: u64,
    /// User and system time of the children that ended and were waited for, and of theirs.
    pub ended_children: u64,
}

impl ProcessTimes {
    /// Reads the text of `/proc/<pid>/stat`.
    pub fn parse(stat: &str) -> Option<Self> {
        // The second field is the program's name in parentheses; it may hold spaces and parentheses.
        let (_, fields) = stat.rsplit_once(')')?;
        let mut fields = fields.split_ascii_whitespace();
        // state, ppid, pgrp, session, tty_nr, tpgid, flags, minflt, cminflt, majflt, cmajflt, utime, stime,
        // cutime, cstime
        let parent = fields.nth(1)?.parse().ok()?;
        let mut ticks = fields.skip(9).map(|field| field.parse::<u64>().ok());
        let mut next = || ticks.next().flatten();
        let own = next()? + next()?;
        let ended_children = next()? + next()?;
        Some(Self { parent, own, ended_children })
    }
}

/// Time that the machine's CPUs were not idle, for whomever, stolen time included.
pub fn busy_ticks(stat: &str) -> Option<u64> {
    // cpu user nice system idle iowait irq softirq steal guest guest_nice; user includes guest.
    let mut fields = stat.lines().next()?.strip_prefix("cpu ")?.split_ascii_whitespace();
    let mut next = || fields.next().and_then(|field| field.parse::<u64>().ok());
    let (user, nice, system) = (next()?, next()?, next()?);
    let (_idle, _iowait) = (next()?, next()?);
    let (irq, softirq, steal) = (next()?, next()?, next()?);
    Some(user + nice + system + irq + softirq + steal)
}
