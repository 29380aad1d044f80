//! Clients under way: threads that drive servers until they are told to stop.
//!
//! Each thread has its share of the connections of every load. They all connect first, then begin at once.

use std::future::Future;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use h2::client::SendRequest;
use keystile::grpc::pb;
use tokio::runtime::Builder;
use tokio::sync::{mpsc, watch};
use tokio::task::{JoinError, JoinSet};
use tokio::time::timeout;

use crate::call::Call;
use crate::client::{CallFailure, Target, connect};
use crate::failure::Failure;
use crate::open_loop::OpenLoop;
use crate::question::Turn;
use crate::statistics::float;
use crate::{closed_loop, stream_loop};

/// How long calls that are under way at the end may still take.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(30);

/// What one server is asked, on which connections, how fast.
#[derive(Clone, Debug)]
pub struct Load {
    /// Who is asked what.
    pub target: Target,
    /// A connection for each, with so many calls under way at once; an open loop has as many as it takes.
    pub streams: Vec<usize>,
    /// How fast.
    pub pace: Pace,
}

/// When the next call is made.
#[derive(Clone, Debug)]
pub enum Pace {
    /// When one was answered.
    Closed,
    /// On a schedule.
    Open {
        /// On average so many a second, all connections together.
        per_second: f64,
    },
    /// When one was answered, on streams of requests.
    Streamed {
        /// What is asked.
        request: Box<pb::AuthorizeRequest>,
        /// Requests under way at once on each stream.
        window: usize,
    },
}

impl Load {
    /// A closed loop: so many connections with so many streams each.
    pub fn closed(target: &Target, connections: usize, streams: usize) -> Self {
        Self { target: target.clone(), streams: vec![streams; connections], pace: Pace::Closed }
    }

    /// An open loop.
    pub fn open(target: &Target, connections: usize, per_second: f64) -> Self {
        Self { target: target.clone(), streams: vec![1; connections], pace: Pace::Open { per_second } }
    }
}

/// The calls of each load, in the order of the loads.
type Calls = Vec<Vec<Call>>;

/// Clients under way. Dropped, they stop.
pub struct Drive {
    clients: JoinSet<Result<Calls, Failure>>,
    stop: StopOnDrop,
    calls: Calls,
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

/// What a client thread does.
struct Part {
    shares: Vec<Share>,
    connected: mpsc::Sender<()>,
    go: watch::Receiver<bool>,
    stop: Arc<AtomicBool>,
}

/// A thread's share of a load.
struct Share {
    load: Load,
    /// The number of its first stream.
    first: usize,
    seed: u64,
}

impl Drive {
    /// Connects, and begins when all are connected.
    ///
    /// # Errors
    /// None yet: what went wrong says [`Drive::beside`].
    pub async fn start(threads: usize, loads: &[Load]) -> Self {
        let most = loads.iter().map(|load| load.streams.len()).max().unwrap_or_default();
        let threads = threads.min(most).max(1);
        let (connected, mut connections_made) = mpsc::channel(threads);
        let (start, go) = watch::channel(false);
        let stop = Arc::new(AtomicBool::new(false));
        let mut clients = JoinSet::new();
        for thread in 0..threads {
            let part = Part {
                shares: loads.iter().map(|load| share(load, thread, threads)).collect(),
                connected: connected.clone(),
                go: go.clone(),
                stop: Arc::clone(&stop),
            };
            clients.spawn_blocking(move || part.run());
        }
        drop(connected);
        for _ in 0..threads {
            // A thread that cannot connect ends instead, which is seen later.
            if connections_made.recv().await.is_none() {
                break;
            }
        }
        start.send_replace(true);
        Self { clients, stop: StopOnDrop(stop), calls: vec![Vec::new(); loads.len()] }
    }

    /// Does something while the clients go on.
    ///
    /// # Errors
    /// Its own, or why a client went no further.
    pub async fn beside<T>(&mut self, work: impl Future<Output = Result<T, Failure>>) -> Result<T, Failure> {
        let mut work = pin!(work);
        loop {
            tokio::select! {
                done = &mut work => return done,
                // One that ended well had nothing left to ask.
                Some(ended) = self.clients.join_next() => take(&mut self.calls, ended)?,
            }
        }
    }

    /// Stops the clients and gives the calls of each load.
    ///
    /// # Errors
    /// A call went wrong, or was not answered.
    pub async fn finish(mut self) -> Result<Calls, Failure> {
        drop(self.stop);
        loop {
            let ended = timeout(LAST_ANSWER_MAX, self.clients.join_next()).await;
            let Some(ended) = ended.map_err(|_| Failure::NoAnswer)? else { return Ok(self.calls) };
            take(&mut self.calls, ended)?;
        }
    }
}

fn take(calls: &mut Calls, ended: Result<Result<Calls, Failure>, JoinError>) -> Result<(), Failure> {
    let ended = ended.map_err(|error| Failure::Client(error.to_string()))??;
    for (all, of_one) in calls.iter_mut().zip(ended) {
        all.extend(of_one);
    }
    Ok(())
}

/// Of `threads` threads, each takes every so manieth connection.
fn share(load: &Load, thread: usize, threads: usize) -> Share {
    let streams: Vec<usize> = load.streams.iter().copied().skip(thread).step_by(threads).collect();
    let part = float(streams.len()) / float(load.streams.len().max(1));
    let pace = match &load.pace {
        Pace::Open { per_second } => Pace::Open { per_second: per_second * part },
        pace @ (Pace::Closed | Pace::Streamed { .. }) => pace.clone(),
    };
    // No thread has as many streams.
    let first = thread << 16;
    let seed = u64::try_from(thread).unwrap_or_default();
    Share { load: Load { target: load.target.clone(), streams, pace }, first, seed }
}

impl Part {
    /// Drives this part on a runtime of its own until it is to stop.
    fn run(self) -> Result<Calls, Failure> {
        let runtime =
            Builder::new_current_thread().enable_all().build().map_err(Failure::io("start a runtime"))?;
        runtime.block_on(self.drive())
    }

    async fn drive(mut self) -> Result<Calls, Failure> {
        let mut connections = Vec::with_capacity(self.shares.len());
        for share in &self.shares {
            let target = &share.load.target;
            let mut of_share = Vec::with_capacity(share.load.streams.len());
            for _ in &share.load.streams {
                of_share.push(connect(target.address).await.map_err(target.failure())?);
            }
            connections.push(of_share);
        }
        // Where nobody listens any more, the measurement has failed, and we are to stop anyway.
        let _nobody_listens = self.connected.send(()).await;
        let _nobody_starts = self.go.wait_for(|go| *go).await;
        let mut streams = JoinSet::new();
        for (load, (share, connections)) in self.shares.iter().zip(connections).enumerate() {
            share.spawn(load, connections, &self.stop, &mut streams);
        }
        let mut calls = vec![Vec::new(); self.shares.len()];
        while let Some(ended) = streams.join_next().await {
            let (load, ended) = ended.map_err(|error| Failure::Client(error.to_string()))?;
            let Some((of_load, share)) = calls.get_mut(load).zip(self.shares.get(load)) else { continue };
            of_load.extend(ended.map_err(share.load.target.failure())?);
        }
        Ok(calls)
    }
}

type Stream = (usize, Result<Vec<Call>, CallFailure>);

impl Share {
    /// Starts what asks.
    fn spawn(
        &self,
        load: usize,
        connections: Vec<SendRequest<Bytes>>,
        stop: &Arc<AtomicBool>,
        streams: &mut JoinSet<Stream>,
    ) {
        let Load { target, pace, .. } = &self.load;
        let question = &target.question;
        if let Pace::Open { per_second } = *pace {
            let (question, stop) = (Arc::clone(question), Arc::clone(stop));
            let open = OpenLoop { question, connections, per_second, seed: self.seed, stop };
            streams.spawn(async move { (load, open.run().await) });
            return;
        }
        let mut number = self.first;
        for (connection, count) in connections.iter().zip(&self.load.streams) {
            for _ in 0..*count {
                let (question, stop) = (Arc::clone(question), Arc::clone(stop));
                let connection = connection.clone();
                let turn = Turn::new(number);
                number += 1;
                if let Pace::Streamed { request, window } = pace {
                    let (request, window) = (request.as_ref().clone(), *window);
                    let calls = stream_loop::run(question, request, connection, window, stop);
                    streams.spawn(async move { (load, calls.await) });
                } else {
                    let calls = closed_loop::run(question, connection, turn, stop);
                    streams.spawn(async move { (load, calls.await) });
                }
            }
        }
    }
}
