//! Clients that ask about one key, steadily, and note each admission.
//!
//! A client has one connection and one call under way. It asks its replica, wherever that serves by now; what has failed
//! it does not ask again, but goes on with its next request.

use std::net::SocketAddr;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use keystile::clock::monotonic_now;
use keystile::grpc::pb;
use keystile::grpc::pb::authorize_response::{Decision, Reason};
use prost::Message as _;
use tokio::runtime::Builder;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant as Deadline, sleep_until, timeout};

use super::nanoseconds;
use crate::admissions::{Admission, Steady};
use crate::client::{CallFailure, ask, connect};
use crate::failure::Failure;
use crate::question::{Question, Turn};
use crate::random::Random;
use crate::subject::Gateway;

/// How long a call may take, and a connection.
const CALL_MAX: Duration = Duration::from_secs(5);
/// How long a client waits after a failure.
const AFTER_FAILURE: Duration = Duration::from_millis(50);
/// How long calls that are under way at the end may still take.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(30);

/// What clients ask for.
#[derive(Clone)]
pub struct Demand {
    /// Who asks, about which key.
    pub gateway: Gateway,
    /// Where the replica of each client is.
    pub addresses: Vec<watch::Receiver<SocketAddr>>,
    /// From one request of a client to its next.
    pub every: Duration,
    /// When decisions are counted.
    pub steady: Steady,
    /// What all times are counted from.
    pub began: Instant,
}

impl Demand {
    /// Nanoseconds since the beginning.
    fn now(&self) -> u64 {
        nanoseconds(monotonic_now().saturating_duration_since(self.began))
    }
}

/// What clients saw.
#[derive(Debug, Default)]
pub struct Log {
    /// Each ALLOW.
    pub admissions: Vec<Admission>,
    /// Answers that the limit is reached.
    pub denied: usize,
    /// Decisions in the steady time, of both kinds.
    pub decided_steadily: usize,
    /// Calls without a decision. Some of them may have been admitted.
    pub errors: usize,
    /// The first of them.
    pub first_error: Option<String>,
}

/// Clients under way. Dropped, they stop.
pub struct Clients {
    threads: JoinSet<Result<Log, Failure>>,
    stop: StopOnDrop,
    log: Log,
}

struct StopOnDrop(Arc<AtomicBool>);

impl Drop for StopOnDrop {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

impl Clients {
    /// Begins.
    pub fn start(threads: usize, demand: Demand) -> Self {
        let stop = Arc::new(AtomicBool::new(false));
        let count = threads.min(demand.addresses.len()).max(1);
        let mut threads = JoinSet::new();
        for thread in 0..count {
            let addresses = demand.addresses.iter().enumerate().skip(thread).step_by(count);
            let clients: Vec<Client> = addresses
                .map(|(number, address)| Client {
                    number,
                    address: address.clone(),
                    demand: Demand { addresses: Vec::new(), ..demand.clone() },
                    stop: Arc::clone(&stop),
                    connection: None,
                    log: Log::default(),
                })
                .collect();
            threads.spawn_blocking(move || drive(clients));
        }
        Self { threads, stop: StopOnDrop(stop), log: Log::default() }
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
                Some(ended) = self.threads.join_next() => self.log.take(ended)?,
            }
        }
    }

    /// Stops them, and gives what they saw.
    ///
    /// # Errors
    /// Why a client went no further, or that its last call did not end.
    pub async fn finish(mut self) -> Result<Log, Failure> {
        drop(self.stop);
        loop {
            let ended = timeout(LAST_ANSWER_MAX, self.threads.join_next()).await;
            let Some(ended) = ended.map_err(|_| Failure::NoAnswer)? else { return Ok(self.log) };
            self.log.take(ended)?;
        }
    }
}

impl Log {
    fn take(&mut self, ended: Result<Result<Self, Failure>, JoinError>) -> Result<(), Failure> {
        self.add(ended.map_err(|error| Failure::Client(error.to_string()))??);
        Ok(())
    }

    fn add(&mut self, other: Self) {
        let Self { admissions, denied, decided_steadily, errors, first_error } = other;
        self.admissions.extend(admissions);
        self.denied += denied;
        self.decided_steadily += decided_steadily;
        self.errors += errors;
        self.first_error = self.first_error.take().or(first_error);
    }
}

/// Drives the clients of a thread.
fn drive(clients: Vec<Client>) -> Result<Log, Failure> {
    let runtime =
        Builder::new_current_thread().enable_all().build().map_err(Failure::io("start a runtime"))?;
    runtime.block_on(async {
        let mut running: JoinSet<_> = clients.into_iter().map(Client::run).collect();
        let mut log = Log::default();
        while let Some(ended) = running.join_next().await {
            log.take(ended)?;
        }
        Ok(log)
    })
}

struct Client {
    number: usize,
    address: watch::Receiver<SocketAddr>,
    /// Without the others' addresses.
    demand: Demand,
    stop: Arc<AtomicBool>,
    connection: Option<Connection>,
    log: Log,
}

/// A connection, and what is asked on it.
struct Connection {
    question: Question,
    requests: SendRequest<Bytes>,
}

/// What the service decided.
enum Decided {
    Allowed,
    Limited,
}

impl Client {
    async fn run(mut self) -> Result<Log, Failure> {
        let mut random = Random::new(u64::try_from(self.number).unwrap_or_default());
        let mut due = self.demand.began + self.demand.every.mul_f64(random.unit());
        while !self.stop.load(Ordering::Relaxed) {
            sleep_until(Deadline::from_std(due)).await;
            let outcome = self.call().await;
            due = (due + self.demand.every).max(monotonic_now());
            if let Err(failure) = outcome {
                self.failed(failure)?;
                due += AFTER_FAILURE;
            }
        }
        Ok(self.log)
    }

    /// Asks once, and notes the decision.
    async fn call(&mut self) -> Result<(), CallFailure> {
        let address = *self.address.borrow_and_update();
        let connection = match &mut self.connection {
            Some(connection) => connection,
            none => none.insert(Connection::make(&self.demand.gateway, address).await?),
        };
        let asked = self.demand.now();
        let decided = timeout(CALL_MAX, connection.ask()).await.unwrap_or(Err(CallFailure::TooLate))?;
        let answered = self.demand.now();
        match decided {
            Decided::Allowed => self.log.admissions.push(Admission { asked, answered }),
            Decided::Limited => self.log.denied += 1,
        }
        self.log.decided_steadily += usize::from(self.demand.steady.contains(answered));
        Ok(())
    }

    /// Notes a failure: its call may have been admitted or not.
    fn failed(&mut self, failure: CallFailure) -> Result<(), Failure> {
        if let CallFailure::Wrong(what) = failure {
            return Err(Failure::Broken(what));
        }
        if !matches!(failure, CallFailure::GrpcStatus { .. }) {
            self.connection = None;
        }
        self.log.errors += 1;
        self.log.first_error.get_or_insert_with(|| failure.to_string());
        Ok(())
    }
}

impl Connection {
    async fn make(gateway: &Gateway, address: SocketAddr) -> Result<Self, CallFailure> {
        let question = Question::to_keystile(gateway, address);
        let question = question.map_err(|failure| CallFailure::Wrong(failure.to_string()))?;
        let requests = timeout(CALL_MAX, connect(address)).await.unwrap_or(Err(CallFailure::TooLate))?;
        Ok(Self { question, requests })
    }

    async fn ask(&mut self) -> Result<Decided, CallFailure> {
        let body = self.question.body(&mut Turn::at(0)).unwrap_or_default();
        let answer = ask(&self.question.head, body, &mut self.requests).await?;
        let answer = pb::AuthorizeResponse::decode(answer.message)
            .map_err(|error| CallFailure::Wrong(error.to_string()))?;
        match (answer.decision(), answer.reason()) {
            (Decision::Allow, _) => Ok(Decided::Allowed),
            (Decision::Deny, Reason::RateLimited) => Ok(Decided::Limited),
            (_, reason) => Err(CallFailure::Wrong(format!("the key is refused for {reason:?}"))),
        }
    }
}
