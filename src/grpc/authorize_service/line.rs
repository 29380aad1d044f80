//! Requests of one batch or stream are charged in their order: those of a token that has to be waited for go one after
//! the other. (What memory knows is in line already: there, requests of a key or an owner are served as they came.)

use std::collections::HashMap;

use prost::bytes::Bytes;
use tokio::sync::oneshot::{self, Receiver, Sender, error::TryRecvError};

/// So many tokens are remembered before those that do not wait any more are forgotten; fewer wait at once.
const REMEMBERED_MAX: usize = 256;

/// Tokens that wait, each with the end of its last request.
#[derive(Debug, Default)]
pub(super) struct Line(HashMap<Bytes, Receiver<()>>);

/// A place behind the requests of the same token that came before. Those behind it go on when it is dropped.
#[derive(Debug)]
pub(super) struct Turn {
    before: Option<Receiver<()>>,
    _end: Sender<()>,
}

impl Line {
    /// Whether a request of this token waits.
    pub(super) fn has(&mut self, token: &Bytes) -> bool {
        let waits = |end: &mut Receiver<()>| matches!(end.try_recv(), Err(TryRecvError::Empty));
        self.0.get_mut(token).is_some_and(waits)
    }

    /// The last place.
    pub(super) fn join(&mut self, token: &Bytes) -> Turn {
        if self.0.len() >= REMEMBERED_MAX {
            self.0.retain(|_, end| matches!(end.try_recv(), Err(TryRecvError::Empty)));
        }
        let (sender, receiver) = oneshot::channel();
        Turn { before: self.0.insert(token.clone(), receiver), _end: sender }
    }
}

impl Turn {
    /// Returns when those before have ended.
    pub(super) async fn come(&mut self) {
        if let Some(before) = self.before.take() {
            // Nothing is ever sent: it ends by being dropped.
            let _ended = before.await;
        }
    }
}
