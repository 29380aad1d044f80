//! One measurement of one server: connect, warm up, count for a while.
//!
//! Each stream of each connection asks again as soon as it is answered. Counted is what is answered between
//! start and end; CPU times are read at the same two instants.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use keystile::clock::monotonic_now;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::{sleep, timeout};

use crate::client::{CallFailure, Question, Target, connect};
use crate::cpu::{CpuTime, Meter};
use crate::failure::Failure;
use crate::options::Plan;
use crate::statistics::{float, micros, percentile};

/// How long calls that are under way at the end may still take.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(30);

/// What was measured.
#[derive(Clone, Copy, Debug)]
pub struct Round {
    /// Answers a second.
    pub rps: f64,
    /// 99 per cent of the answers took at most so long.
    pub p99_us: f64,
    /// The server's CPU time for one answer.
    pub cpu_us: f64,
    /// Its database's.
    pub postgres_us: f64,
    /// See [`CpuTime::client_share`].
    pub client_share: f64,
    /// CPUs that were kept busy by others.
    pub others_cpus: f64,
}

/// What was read at the start and the end of the measured time.
struct Observed {
    started: Instant,
    ended: Instant,
    used: CpuTime,
}

/// A client thread's part.
struct Part {
    target: Target,
    connections: usize,
    streams: usize,
    connected: mpsc::Sender<()>,
    go: watch::Receiver<bool>,
    stop: Arc<AtomicBool>,
}

/// An answered call.
#[derive(Clone, Copy, Debug)]
struct Call {
    answered: Instant,
    took: Duration,
}

type Calls = Result<Vec<Call>, CallFailure>;

/// Has the client's threads stop when the measurement is over, also when it failed.
struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// Measures once.
///
/// # Errors
/// A call went wrong, or a server ended.
pub async fn measure(
    plan: &Plan,
    connections: usize,
    target: &Target,
    meter: Meter,
) -> Result<Round, Failure> {
    let threads = plan.threads.min(connections);
    let (connected, mut connections_made) = mpsc::channel(threads);
    let (start, go) = watch::channel(false);
    let stop = Arc::new(AtomicBool::new(false));
    let stopping = StopOnDrop(Arc::clone(&stop));
    let mut clients = JoinSet::new();
    for thread in 0..threads {
        let part = Part {
            target: target.clone(),
            connections: connections / threads + usize::from(thread < connections % threads),
            streams: plan.streams,
            connected: connected.clone(),
            go: go.clone(),
            stop: Arc::clone(&stop),
        };
        clients.spawn_blocking(move || part.run());
    }
    drop(connected);
    for _ in 0..threads {
        // A thread that cannot connect ends instead, which is seen below.
        if connections_made.recv().await.is_none() {
            break;
        }
    }
    start.send_replace(true);
    let observed = tokio::select! {
        observed = observe(plan, meter) => observed?,
        Some(ended) = clients.join_next() => return Err(ended_early(target, ended)),
    };
    drop(stopping);
    let mut calls = Vec::new();
    loop {
        let ended = timeout(LAST_ANSWER_MAX, clients.join_next()).await;
        let Some(ended) = ended.map_err(|_| Failure::NoAnswer(target.name.to_owned()))? else { break };
        let ended = ended.map_err(|error| Failure::Client(error.to_string()))?;
        calls.extend(ended.map_err(|source| Failure::Call { target: target.name.to_owned(), source })?);
    }
    summarise(target, &calls, &observed)
}

async fn observe(plan: &Plan, meter: Meter) -> Result<Observed, Failure> {
    sleep(plan.warm_up).await;
    let (started, before) = (monotonic_now(), meter.read()?);
    sleep(plan.measured).await;
    let (ended, after) = (monotonic_now(), meter.read()?);
    Ok(Observed { started, ended, used: after - before })
}

/// Why a thread ended before the time was up.
fn ended_early(target: &Target, ended: Result<Calls, JoinError>) -> Failure {
    match ended {
        Ok(Err(source)) => Failure::Call { target: target.name.to_owned(), source },
        Ok(Ok(_)) => Failure::Client("before the time was up".to_owned()),
        Err(error) => Failure::Client(error.to_string()),
    }
}

fn summarise(target: &Target, calls: &[Call], observed: &Observed) -> Result<Round, Failure> {
    let Observed { started, ended, used } = observed;
    let counted = calls.iter().filter(|call| (*started..*ended).contains(&call.answered));
    let mut took: Vec<Duration> = counted.map(|call| call.took).collect();
    let elapsed = *ended - *started;
    let no_answer = || Failure::NoAnswer(target.name.to_owned());
    let p99 = percentile(&mut took, 99).ok_or_else(no_answer)?;
    let count = float(took.len());
    Ok(Round {
        rps: count / elapsed.as_secs_f64(),
        p99_us: micros(p99),
        cpu_us: micros(used.server) / count,
        postgres_us: micros(used.postgres) / count,
        client_share: used.client_share(),
        others_cpus: used.others().as_secs_f64() / elapsed.as_secs_f64(),
    })
}

impl Part {
    /// Drives this part on a runtime of its own until it is to stop.
    fn run(self) -> Calls {
        let runtime = Builder::new_current_thread().enable_all().build()?;
        runtime.block_on(self.drive())
    }

    async fn drive(mut self) -> Calls {
        let mut connections = Vec::with_capacity(self.connections);
        for _ in 0..self.connections {
            connections.push(connect(self.target.address).await?);
        }
        // Where nobody listens any more, the measurement has failed, and we are to stop anyway.
        let _nobody_listens = self.connected.send(()).await;
        let _nobody_starts = self.go.wait_for(|go| *go).await;
        let mut streams = JoinSet::new();
        for connection in &connections {
            for _ in 0..self.streams {
                let question = Arc::clone(&self.target.question);
                streams.spawn(ask_through(question, connection.clone(), Arc::clone(&self.stop)));
            }
        }
        let mut calls = Vec::new();
        while let Some(ended) = streams.join_next().await {
            calls.extend(ended.map_err(|error| CallFailure::Wrong(error.to_string()))??);
        }
        Ok(calls)
    }
}

/// Asks until it is to stop, one call after the other.
async fn ask_through(
    question: Arc<Question>,
    mut connection: SendRequest<Bytes>,
    stop: Arc<AtomicBool>,
) -> Calls {
    let mut calls = Vec::new();
    let mut asked = monotonic_now();
    while !stop.load(Ordering::Relaxed) {
        let answer = question.ask(&mut connection).await?;
        let answered = monotonic_now();
        question.check(&answer, calls.len())?;
        calls.push(Call { answered, took: answered - asked });
        asked = answered;
    }
    Ok(calls)
}
