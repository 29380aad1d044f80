//! What all streams share: when to look again, when to end, and where to work.

use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::sync::watch;
use tokio::time::sleep_until;
use tonic::{Request, Status};

use super::closing::Closing;
use super::convert::authorize::read_timeout;
use super::error;
use super::session::Session;
use crate::cache::{KeyCache, ReadAt};
use crate::clock;

/// A deadline that is further away is none: no timer counts so far.
const DEADLINE_MAX: Duration = Duration::from_secs(365 * 24 * 3_600);

/// What streams need of their service.
#[derive(Clone, Debug)]
pub struct Streams {
    /// The newest revision that is applied, as it moves.
    pub movement: Movement,
    /// Where everything works that takes the database.
    pub background: Handle,
}

/// The newest revision that is applied, for one who waits for the next.
#[derive(Clone, Debug)]
pub struct Movement(watch::Receiver<ReadAt>);

impl Movement {
    /// Of this cache.
    #[must_use]
    pub fn of(cache: &KeyCache) -> Self {
        Self(cache.watch())
    }

    /// The newest revision. What comes after this call is a move.
    pub(super) fn seen(&mut self) -> ReadAt {
        *self.0.borrow_and_update()
    }

    /// Returns when it has moved since this or [`Movement::seen`] was last asked; may do so at once the first time.
    pub(super) async fn moved(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody follows the changes any more: the service ends.
            std::future::pending::<()>().await;
        }
    }
}

impl Streams {
    /// Returns when a stream has to end at once: its caller may not call any more, or its deadline has come.
    pub(super) async fn cut_short(self, session: Session, deadline: Option<Instant>) -> Status {
        let ended = session.ended(self);
        let Some(deadline) = deadline else { return ended.await };
        tokio::select! {
            status = ended => status,
            () = sleep_until(deadline.into()) => error::deadline(),
        }
    }
}

/// When a stream is to end with its connection, in order.
pub(super) fn closing<T>(request: &Request<T>) -> Result<Closing, Status> {
    let closing = request.extensions().get::<Closing>().cloned();
    closing.ok_or_else(|| error::defect(&"a stream was opened by a connection that does not tell of its end"))
}

/// When the caller gives a stream up, if he said so. The layer that keeps the deadlines of calls sees only its
/// beginning.
pub(super) fn deadline<T>(request: &Request<T>) -> Option<Instant> {
    let header = request.metadata().get("grpc-timeout").and_then(|value| value.to_str().ok());
    read_timeout(header)
        .filter(|timeout| *timeout < DEADLINE_MAX)
        .map(|timeout| clock::monotonic_now() + timeout)
}
