//! The threads: each has a runtime of its own, and the connections that it was given.
//!
//! A thread ends when there will be no more connections and its last one has ended; at once where the [`Crew`] is
//! dropped. One that ends otherwise has panicked.

use std::collections::hash_map::RandomState;
use std::hash::BuildHasher as _;
use std::io;
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;
use std::thread;
use std::time::Duration;

use tokio::runtime::{Builder, Handle, Runtime};
use tokio::sync::{mpsc, oneshot, watch};
use tokio::task::{JoinError, JoinSet};

use super::answers::Answers;
use super::connection::{Surroundings, Terms};
use super::entrance::Entrance;
use crate::grpc::closing::Closing;
use crate::metrics::{LoopMetrics, OnLoop};

/// What the threads share.
#[derive(Clone, Debug)]
pub(super) struct Duties<A> {
    pub(super) answers: A,
    pub(super) entrance: Arc<Entrance>,
    pub(super) background: Handle,
    pub(super) terms: Terms,
    pub(super) metrics: Arc<LoopMetrics>,
}

/// All threads.
#[derive(Debug)]
pub(super) struct Crew {
    hands: Vec<Hand>,
    closing: watch::Sender<bool>,
    ends: mpsc::UnboundedReceiver<Ended>,
}

/// One thread.
#[derive(Debug)]
struct Hand {
    newcomers: Option<mpsc::UnboundedSender<Newcomer>>,
    runtime: Handle,
    /// Dropped, the thread ends at once.
    _goes_on: oneshot::Sender<()>,
}

/// A thread has ended.
#[derive(Debug)]
struct Ended {
    has_panicked: bool,
}

/// A connection, and its place.
struct Newcomer {
    stream: TcpStream,
    address: SocketAddr,
    place: OnLoop,
}

impl Crew {
    /// Starts `count` threads.
    ///
    /// # Errors
    /// A runtime or a thread cannot be had.
    pub(super) fn start<A: Answers>(count: usize, duties: &Duties<A>) -> io::Result<Self> {
        let (closing, _) = watch::channel(false);
        let (told, ends) = mpsc::unbounded_channel();
        let mut crew = Self { hands: Vec::with_capacity(count), closing, ends };
        for number in 0..count {
            let runtime = Builder::new_current_thread().enable_all().build()?;
            let handle = runtime.handle().clone();
            let (newcomers, incoming) = mpsc::unbounded_channel();
            let (goes_on, stop) = oneshot::channel();
            let (duties, closing) = (duties.clone(), Closing::of(&crew.closing));
            let end = TellEnd(told.clone());
            let work = move || {
                // Said after everything else is gone.
                let _end = end;
                run(&runtime, duties, incoming, closing, stop);
                drop(runtime);
            };
            thread::Builder::new().name(format!("loop-{number}")).spawn(work)?;
            crew.hands.push(Hand { newcomers: Some(newcomers), runtime: handle, _goes_on: goes_on });
        }
        Ok(crew)
    }

    /// Hands a connection to a thread.
    pub(super) fn give(&self, number: usize, stream: TcpStream, address: SocketAddr, place: OnLoop) {
        let newcomers = self.hands.get(number).and_then(|hand| hand.newcomers.as_ref());
        let given = newcomers.map(|newcomers| newcomers.send(Newcomer { stream, address, place }));
        if !matches!(given, Some(Ok(()))) {
            tracing::debug!("a connection came when the service was stopping");
        }
    }

    /// Looks how busy the threads were in the time since the last look.
    pub(super) fn look(&self, metrics: &LoopMetrics, since: Duration) {
        for (hand, load) in self.hands.iter().zip(metrics.loops()) {
            load.note_busy(hand.runtime.metrics().worker_total_busy_duration(0), since);
        }
    }

    /// Waits until a thread ends that should not have.
    pub(super) async fn died(&mut self) -> &'static str {
        match self.ends.recv().await {
            Some(Ended { has_panicked: false }) => "a thread that serves connections ended unasked",
            Some(Ended { has_panicked: true }) | None => "a thread that serves connections panicked",
        }
    }

    /// There are no more connections: tells clients to go away, and waits until the last call has ended.
    ///
    /// # Errors
    /// A thread panicked.
    pub(super) async fn close(mut self) -> Result<(), &'static str> {
        self.closing.send_replace(true);
        for hand in &mut self.hands {
            hand.newcomers = None;
        }
        let mut all = Ok(());
        for _ in 0..self.hands.len() {
            if let Some(Ended { has_panicked: true }) | None = self.ends.recv().await {
                all = Err("a thread that serves connections panicked");
            }
        }
        all
    }
}

/// Tells when a thread has ended, whatever way.
struct TellEnd(mpsc::UnboundedSender<Ended>);

impl Drop for TellEnd {
    fn drop(&mut self) {
        // Nobody listens where the service is gone.
        let _unheard = self.0.send(Ended { has_panicked: thread::panicking() });
    }
}

/// What a thread does.
fn run<A: Answers>(
    runtime: &Runtime,
    duties: Duties<A>,
    mut incoming: mpsc::UnboundedReceiver<Newcomer>,
    closing: Closing,
    mut stop: oneshot::Receiver<()>,
) {
    runtime.block_on(async {
        let mut connections = JoinSet::new();
        loop {
            tokio::select! {
                newcomer = incoming.recv() => match newcomer {
                    Some(newcomer) => {
                        connections.spawn(serve(newcomer, &duties, closing.clone()));
                    }
                    None => break,
                },
                Some(ended) = connections.join_next() => tell_panic(ended),
                _ = &mut stop => return,
            }
        }
        loop {
            tokio::select! {
                ended = connections.join_next() => match ended {
                    Some(ended) => tell_panic(ended),
                    None => return,
                },
                _ = &mut stop => return,
            }
        }
    });
}

fn serve<A: Answers>(
    newcomer: Newcomer,
    duties: &Duties<A>,
    closing: Closing,
) -> impl Future<Output = ()> + Send + 'static {
    let Newcomer { stream, address, place } = newcomer;
    let around = Surroundings {
        answers: duties.answers.clone(),
        background: duties.background.clone(),
        terms: Terms {
            age: duties.terms.age.map(|(age, grace)| (jittered(age, random()), grace)),
            ..duties.terms
        },
        place,
        metrics: Arc::clone(&duties.metrics),
        closing,
    };
    Arc::clone(&duties.entrance).serve(stream, address, around)
}

fn tell_panic(ended: Result<(), JoinError>) {
    if let Err(error) = ended {
        tracing::error!(error = %error, "a connection ended early");
    }
}

/// Any number, good enough to keep clients from coming back all at once.
fn random() -> u64 {
    RandomState::new().hash_one(0)
}

/// A tenth less to a tenth more.
fn jittered(age: Duration, random: u64) -> Duration {
    let permille = u32::try_from(random % 201).unwrap_or_default().saturating_add(900);
    age.saturating_mul(permille).checked_div(1_000).unwrap_or(age)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_age_is_a_tenth_less_to_a_tenth_more() {
        let age = Duration::from_secs(100);
        let all: Vec<u128> = (0..201).map(|random| jittered(age, random).as_millis()).collect();
        assert_eq!((all[0], all[100], all[200]), (90_000, 100_000, 110_000));
        assert_ne!(random(), random());
    }
}
