//! The threads that serve connections, one for each core, each with a runtime of its own.
//!
//! - A connection belongs to one thread from its handshake to its end: what is read there is answered and written there,
//!   and no core waits for another. A new one goes to the thread that has least to do (`place`).
//! - What memory knows is answered on the thread itself ([`Answers::answer_now`]). Everything else, whatever waits for
//!   the database, runs bcrypt or takes long, runs on the runtime that [`serve`] was called in, the *background*:
//!   these threads have nothing to do but to answer.
//! - There is a bound for connections, for those that have not begun to speak (`newcomers`), for calls on each, and
//!   for their age.
//!
//! What does not belong here: what is answered ([`Answers`]), and who may ask.

mod answers;
mod body;
mod connection;
mod crew;
mod entrance;
mod exchange;
mod newcomers;
mod place;
mod short_body;
mod upkeep;

#[cfg(test)]
mod tests;

pub use answers::Answers;

use std::io;
use std::net::SocketAddr;
use std::num::NonZeroUsize;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::{TcpListener, TcpStream};
use tokio::runtime::Handle;
use tokio::time::{MissedTickBehavior, interval};

use self::connection::Terms;
use self::crew::{Crew, Duties};
use self::entrance::{Entrance, NEWCOMERS_MAX};
use self::newcomers::Newcomers;
use self::place::{Seen, least_loaded};
use super::certificates::Certificates;
use super::handshakes::HandshakeLog;
use super::listener;
use crate::clock;
use crate::config::Connections;
use crate::metrics::Metrics;

/// A client that says nothing for so long is asked whether it is still there, and given up after as long again: machines
/// and networks that fail say no goodbye, and such connections would pile up for ever.
const SILENCE_MAX: Duration = Duration::from_secs(60);
/// How often it is looked how busy the threads are.
const LOOK_EVERY: Duration = Duration::from_secs(1);

/// How many threads there are, and what bounds their connections.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    threads: NonZeroUsize,
    connections: usize,
    terms: Terms,
}

impl From<&Connections> for Limits {
    fn from(settings: &Connections) -> Self {
        let age = settings.max_connection_age;
        Self {
            threads: settings.loops,
            connections: settings.max_connections,
            terms: Terms {
                streams: settings.max_streams,
                silence: SILENCE_MAX,
                age: (!age.is_zero()).then_some((age, settings.max_connection_age_grace)),
            },
        }
    }
}

/// Why connections are not served any more.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum LoopsError {
    /// A thread or its runtime cannot be had.
    #[error("threads to serve connections cannot be started: {0}")]
    Start(#[from] io::Error),
    /// A thread is gone, with its connections.
    #[error("{0}")]
    Died(&'static str),
}

/// Serves the connections of `listener` until `stop` ends: takes in what the kernel has by then, tells all clients to go
/// away, and returns when the last call has ended. Dropped, it ends everything at once.
///
/// # Errors
/// [`LoopsError`].
pub async fn serve<A: Answers>(
    listener: TcpListener,
    certificates: Option<Arc<Certificates>>,
    answers: A,
    limits: Limits,
    metrics: &Metrics,
    stop: impl Future<Output = ()>,
) -> Result<(), LoopsError> {
    metrics.loops.start(limits.threads.get());
    let entrance = Entrance {
        certificates,
        newcomers: Newcomers::new(NEWCOMERS_MAX),
        log: HandshakeLog::default(),
        metrics: Arc::clone(&metrics.calls),
    };
    let duties = Duties {
        answers,
        entrance: Arc::new(entrance),
        background: Handle::current(),
        terms: limits.terms,
        metrics: Arc::clone(&metrics.loops),
    };
    let mut crew = Crew::start(limits.threads.get(), &duties)?;
    let (arrivals, mut arrived) = tokio::sync::mpsc::unbounded_channel();
    let accepting = listener::accept(listener, stop, move |stream, address| {
        // The other end is below, in the same task.
        let _received = arrivals.send((stream, address));
    });
    let mut accepting = std::pin::pin!(accepting);
    let mut is_accepting = true;
    let mut look = interval(LOOK_EVERY);
    look.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut looked = clock::monotonic_now();
    loop {
        tokio::select! {
            () = &mut accepting, if is_accepting => is_accepting = false,
            arrival = arrived.recv() => match arrival {
                Some((stream, address)) => duties.place(&crew, limits.connections, stream, address),
                None => break,
            },
            _ = look.tick() => {
                crew.look(&duties.metrics, clock::since(looked));
                looked = clock::monotonic_now();
            }
            why = crew.died() => return Err(LoopsError::Died(why)),
        }
    }
    crew.close().await.map_err(LoopsError::Died)
}

impl<A: Answers> Duties<A> {
    /// Gives a connection to the thread that has least to do, unless there are too many.
    fn place(&self, crew: &Crew, connections_max: usize, stream: TcpStream, address: SocketAddr) {
        if self.metrics.connections() >= connections_max {
            self.metrics.refused.increment();
            self.entrance.log.full(connections_max);
            return;
        }
        let seen: Vec<Seen> = self.metrics.loops().iter().map(Seen::of).collect();
        let number = least_loaded(&seen);
        match stream.into_std() {
            Ok(stream) => crew.give(number, stream, address, self.metrics.place(number)),
            Err(error) => tracing::warn!(error = %error, "a connection could not be taken in"),
        }
    }
}
