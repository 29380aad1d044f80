//! One measurement: connect, warm up, count for a while.
//!
//! Counted is what is answered between start and end (in an open loop: what was to be asked between them); CPU times
//! are read at the same two instants.

use std::time::{Duration, Instant};

use keystile::clock::monotonic_now;
use tokio::time::{sleep, timeout};

use crate::call::{Call, End};
use crate::cpu::{CpuTime, Meter};
use crate::drive::{Drive, Load, Pace};
use crate::failure::Failure;
use crate::options::Plan;
use crate::statistics::{float, micros, percentile};

/// How long clients go on after the measured time.
const RUN_ON: Duration = Duration::from_millis(50);
/// How long it may take to ask about many keys once: a million, at a few thousand a second.
const RUN_DRY_MAX: Duration = Duration::from_secs(900);

/// What was measured of one load.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Decisions (or echoes) a second.
    pub rps: f64,
    /// Half of the calls took at most so long.
    pub p50_us: f64,
    /// 99 per cent of them did.
    pub p99_us: f64,
    /// The server's CPU time for one decision of this load, if it had no other.
    pub cpu_us: f64,
    /// Its database's.
    pub postgres_us: f64,
    /// See [`CpuTime::client_share`].
    pub client_share: f64,
    /// CPUs that were kept busy by others.
    pub others_cpus: f64,
    /// Calls a second that were refused because the server had too much to do, where that is a right answer.
    pub shed_rps: f64,
    /// Calls without an answer, of an open loop that was too fast.
    pub unanswered: usize,
}

impl Round {
    /// Of one load on several servers, from what was measured of each at the same time by a meter of all: their decisions
    /// together, and the times of the slowest.
    ///
    /// # Errors
    /// There are none.
    pub fn together(each: &[Self]) -> Result<Self, Failure> {
        let first = each.first().ok_or(Failure::Unusable("nothing was measured"))?;
        let sum = |value: fn(&Self) -> f64| each.iter().map(value).sum::<f64>();
        let most = |value: fn(&Self) -> f64| each.iter().map(value).fold(0.0, f64::max);
        let rps = sum(|round| round.rps);
        // Each says what all servers used, by its own decisions.
        let share = if rps > 0.0 { first.rps / rps } else { 0.0 };
        Ok(Self {
            rps,
            p50_us: most(|round| round.p50_us),
            p99_us: most(|round| round.p99_us),
            cpu_us: first.cpu_us * share,
            postgres_us: first.postgres_us * share,
            shed_rps: sum(|round| round.shed_rps),
            unanswered: each.iter().map(|round| round.unanswered).sum(),
            ..*first
        })
    }
}

/// What was read at the start and the end of the measured time.
struct Observed {
    started: Instant,
    ended: Instant,
    used: CpuTime,
}

/// Measures some loads at once; the meter's server is the one that they drive.
///
/// # Errors
/// A call went wrong, or a server ended.
pub async fn measure(plan: &Plan, loads: &[Load], meter: Meter) -> Result<Vec<Round>, Failure> {
    let mut drive = Drive::start(plan.threads, loads).await;
    let observed = drive.beside(observe(plan, loads, meter)).await?;
    // An open loop is to make the calls that were due at the very end, too.
    let run_on = async {
        sleep(RUN_ON).await;
        Ok(())
    };
    drive.beside(run_on).await?;
    let calls = drive.finish().await?;
    loads.iter().zip(calls).map(|(load, calls)| summarise(load, &calls, &observed)).collect()
}

/// Measures one load alone.
///
/// # Errors
/// As [`measure`].
pub async fn measure_one(plan: &Plan, load: &Load, meter: Meter) -> Result<Round, Failure> {
    let rounds = measure(plan, std::slice::from_ref(load), meter).await?;
    rounds.into_iter().next().ok_or(Failure::Unusable("nothing was measured"))
}

/// Measures sides in turns, as often as the plan has pairs; the rounds of each.
///
/// # Errors
/// As [`measure`].
pub async fn in_turns<const N: usize>(
    plan: &Plan,
    sides: [(&Load, Meter); N],
) -> Result<[Vec<Round>; N], Failure> {
    let mut rounds = [const { Vec::new() }; N];
    for _ in 0..plan.pairs {
        for (rounds, (load, meter)) in rounds.iter_mut().zip(&sides) {
            rounds.push(measure_one(plan, load, meter.clone()).await?);
        }
    }
    Ok(rounds)
}

/// Asks a load's questions until there are none left, and measures nothing.
///
/// # Errors
/// A call went wrong.
pub async fn run_dry(plan: &Plan, load: &Load) -> Result<(), Failure> {
    let mut drive = Drive::start(plan.threads, std::slice::from_ref(load)).await;
    let dry = async {
        load.target.question.ran_dry().await;
        Ok(())
    };
    let over = timeout(RUN_DRY_MAX, drive.beside(dry)).await;
    over.map_err(|_| Failure::NoAnswer)??;
    drive.finish().await?;
    Ok(())
}

async fn observe(plan: &Plan, loads: &[Load], meter: Meter) -> Result<Observed, Failure> {
    sleep(plan.warm_up).await;
    let (started, before) = (monotonic_now(), meter.read()?);
    until_over(plan.measured, loads).await;
    let (ended, after) = (monotonic_now(), meter.read()?);
    Ok(Observed { started, ended, used: after - before })
}

/// Waits so long, or until the first load has nothing left to ask.
async fn until_over(measured: Duration, loads: &[Load]) {
    let over = sleep(measured);
    let Some(first) = loads.first() else { return over.await };
    tokio::select! {
        () = over => {}
        () = first.target.question.ran_dry() => {}
    }
}

fn summarise(load: &Load, calls: &[Call], observed: &Observed) -> Result<Round, Failure> {
    let Observed { started, ended, used } = observed;
    let is_open = matches!(load.pace, Pace::Open { .. });
    let within = |call: &&Call| {
        let counts = if is_open { call.asked } else { call.answered() };
        (*started..*ended).contains(&counts)
    };
    let counted = || calls.iter().filter(within);
    let ended_so = |end: End| counted().filter(|call| call.end() == end).count();
    let mut took: Vec<Duration> = counted().map(Call::took).collect();
    let p50 = percentile(&mut took, 50).ok_or(Failure::NoAnswer)?;
    let p99 = percentile(&mut took, 99).ok_or(Failure::NoAnswer)?;
    let elapsed = (*ended - *started).as_secs_f64();
    let decisions = float(ended_so(End::Answered) * load.target.question.decisions());
    Ok(Round {
        rps: decisions / elapsed,
        p50_us: micros(p50),
        p99_us: micros(p99),
        cpu_us: micros(used.server) / decisions.max(1.0),
        postgres_us: micros(used.postgres) / decisions.max(1.0),
        client_share: used.client_share(),
        others_cpus: used.others().as_secs_f64() / elapsed,
        shed_rps: float(ended_so(End::Shed)) / elapsed,
        unanswered: ended_so(End::Unanswered),
    })
}
