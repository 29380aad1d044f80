//! Requests of one batch or stream are charged in their order: those of a token that has to be waited for go one after
//! the other. (What memory knows is in line already: there, requests of a key or an owner are served as they came.)

use std::collections::HashMap;

use prost::bytes::Bytes;
use tokio::sync::oneshot::{self, Receiver, Sender, error::TryRecvError};
use tonic::Status;

use super::Decided;
use crate::grpc::error;

/// So many tokens are remembered before those that do not wait any more are forgotten; fewer wait at once.
const REMEMBERED_MAX: usize = 256;

/// Tokens that wait, each with the end of its last request.
#[derive(Debug, Default)]
pub(super) struct Line(HashMap<Bytes, Receiver<Status>>);

/// A place behind the requests of the same token that came before. Those behind it go on when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    before: Option<Receiver<Status>>,
    end: Sender<Status>,
}

impl Line {
    /// Whether a request of this token waits.
    pub(super) fn has(&mut self, token: &Bytes) -> bool {
        self.0.get_mut(token).is_some_and(waits)
    }

    /// The last place.
    pub(super) fn join(&mut self, token: &Bytes) -> Turn {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.retain(|_, end| waits(end));
        }
        let (sender, receiver) = oneshot::channel();
        // One that has ended was told so, and is not to be asked again.
        let before =
            self.0.insert(token.clone(), receiver).and_then(|mut end| waits(&mut end).then_some(end));
        Turn { before, end: sender }
    }
}

fn waits(end: &mut Receiver<Status>) -> bool {
    matches!(end.try_recv(), Err(TryRecvError::Empty))
}

impl Turn {
    /// Decides when those before have ended. A store that is away to one is so to those that wait behind it:
    /// they wait once together, not each after the other.
    pub(super) async fn decide(self, deciding: impl Future<Output = Decided>) -> Decided {
        let Self { before, end } = self;
        let unavailable = match before {
            // It ends well by being dropped.
            Some(before) => before.await.ok(),
            None => None,
        };
        let decided = match unavailable {
            Some(status) => Err(status),
            None => deciding.await,
        };
        if let Err(status) = &decided
            && (error::is_outage(status) || error::is_limits_away(status))
        {
            // There may be nobody behind it.
            let _unheard = end.send(status.clone());
        }
        decided
    }
}
