//! WatchKeys: changes as they come.
//!
//! One task a watcher, where the database is worked with; it hands over through a bounded channel, so that a watcher
//! who does not read holds up nobody but himself. The caller is judged before each page is sent, by state that is at
//! least as new as the page: what happened after his end is not for him.

use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::sync::mpsc::{self, Sender};
use tokio::time::sleep;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Status;

use super::KeyApi;
use crate::admin::{AdminError, Change, Changes};
use crate::call;
use crate::grpc::closing::Closing;
use crate::grpc::convert::{keys, owners};
use crate::grpc::error::{self, ErrorReason};
use crate::grpc::pb;
use crate::grpc::pb::watch_keys_response::Change as PbChange;
use crate::grpc::session::{Refused, Session};
use crate::grpc::streams::{Movement, Streams};
use crate::grpc::violations::Violations;
use crate::metrics::CallMetrics;
use crate::policy::Revision;
use crate::storage::{Epoch, StorageError};

/// So many changes wait at most for a watcher to read them, beside the page that they are from.
const UNREAD_MAX: usize = 16;
/// After a page that could not be read.
const PAUSE: Duration = Duration::from_secs(1);

type Answers = Sender<Result<pb::WatchKeysResponse, Status>>;

impl KeyApi {
    /// Opens a watch. What is wrong with its beginning is found here.
    pub(super) async fn watch(
        &self,
        session: Session,
        deadline: Option<Instant>,
        closing: Closing,
        request: pb::WatchKeysRequest,
    ) -> Result<ReceiverStream<Result<pb::WatchKeysResponse, Status>>, Status> {
        let pb::WatchKeysRequest { after_revision } = request;
        let mut violations = Violations::default();
        let after = violations.require("after_revision", Revision::new(after_revision), "must be at least 0");
        let mut after = violations.finish(after)?;
        let mut movement = self.streams.movement.clone();
        let seen = movement.seen();
        if after == Revision::ZERO {
            after = self.changes.head().await.map_err(error::admin)?;
        } else {
            self.changes.after(after, seen).await.map_err(error::admin)?;
        }
        let (answers, stream) = mpsc::channel(UNREAD_MAX);
        let watcher = Watcher {
            changes: Arc::clone(&self.changes),
            metrics: Arc::clone(&self.metrics),
            streams: self.streams.clone(),
            session,
            movement,
            epoch: seen.epoch,
            after,
        };
        self.streams.background.spawn(call::inherit(watcher.run(answers, deadline, closing)));
        Ok(ReceiverStream::new(stream))
    }
}

/// Follows the changes for one caller.
struct Watcher {
    changes: Arc<Changes>,
    metrics: Arc<CallMetrics>,
    streams: Streams,
    session: Session,
    movement: Movement,
    /// The history that the revisions are of.
    epoch: Epoch,
    after: Revision,
}

impl Watcher {
    async fn run(self, answers: Answers, deadline: Option<Instant>, mut closing: Closing) {
        let cut_short = self.streams.clone().cut_short(self.session.clone(), deadline);
        let end = tokio::select! {
            biased;
            () = answers.closed() => return,
            status = cut_short => status,
            () = closing.come() => error::draining(),
            status = self.follow(&answers) => status,
        };
        if answers.send(Err(end)).await.is_err() {
            tracing::debug!("a watcher went away before its end");
        }
    }

    /// Sends changes, until that cannot go on.
    async fn follow(mut self, answers: &Answers) -> Status {
        loop {
            let seen = self.movement.seen();
            if seen.epoch != self.epoch {
                return other_history();
            }
            if seen.revision == self.after {
                self.movement.moved().await;
                continue;
            }
            let page = match self.changes.after(self.after, seen).await {
                Ok(page) => page,
                Err(AdminError::Store(StorageError::Unavailable(_) | StorageError::Overloaded)) => {
                    // Nothing changes that could not be told of later, and health tells of the store.
                    sleep(PAUSE).await;
                    continue;
                }
                Err(error) => return error::admin(error),
            };
            if page.head.epoch != self.epoch {
                return other_history();
            }
            // What is not applied here yet is not told: the caller could not be judged by it.
            let is_applied = |(revision, _): &&(Revision, Change)| *revision <= seen.revision;
            let changes: Vec<_> = page.changes.iter().take_while(is_applied).collect();
            if changes.is_empty() {
                self.movement.moved().await;
                continue;
            }
            match self.session.judge().await {
                Ok(()) => {}
                Err(Refused::Gone(status)) => return status,
                Err(Refused::Unknown(_)) => {
                    sleep(PAUSE).await;
                    continue;
                }
            }
            for (revision, change) in changes {
                if answers.send(Ok(answer(*revision, change))).await.is_err() {
                    return ErrorReason::Cancelled.status("the watcher went away");
                }
                self.metrics.watched_changes.increment();
                self.after = *revision;
            }
        }
    }
}

/// What ends a watch when the database is another, or one that went on from an older state: revisions mean something else.
fn other_history() -> Status {
    let message = "the database is another one, or was set back: list the keys anew, and go on from there";
    ErrorReason::RevisionOutOfRange.status(message)
}

fn answer(revision: Revision, change: &Change) -> pb::WatchKeysResponse {
    let mut answer = pb::WatchKeysResponse { revision: revision.get(), ..Default::default() };
    match change {
        Change::Key(view) => {
            answer.set_change(PbChange::KeyChanged);
            answer.key = Some(keys::key(view));
        }
        Change::KeyPurged(key_id) => {
            answer.set_change(PbChange::KeyPurged);
            answer.key_id = key_id.get();
        }
        Change::Owner(view) => {
            answer.set_change(PbChange::OwnerChanged);
            answer.owner = Some(owners::owner(view));
        }
        Change::All => answer.set_change(PbChange::AllChanged),
    }
    answer
}
