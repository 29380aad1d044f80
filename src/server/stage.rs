//! How far the service is on its way to the end. It only ever goes forward.

use tokio::sync::watch;

/// A stage of a service's life, from its start to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Stage {
    /// It starts, or serves.
    Running,
    /// Health says NOT_SERVING, so that callers go elsewhere; what arrives is answered all the same.
    Draining,
    /// No new connections; clients are told to go away, and the calls under way are finished.
    Closing,
    /// The last call was answered or given up. The store is still there.
    Answered,
    /// Nothing needs the database any more.
    Flushed,
}

/// The stage as it goes on, for those who have to end at one.
#[derive(Clone, Debug)]
pub(super) struct Stages(watch::Receiver<Stage>);

impl Stages {
    /// The stages that `sender` announces.
    pub(super) fn of(sender: &watch::Sender<Stage>) -> Self {
        Self(sender.subscribe())
    }

    /// Whether the service has come to `stage`.
    pub(super) fn has_reached(&self, stage: Stage) -> bool {
        *self.0.borrow() >= stage
    }

    /// Returns when the service has come to `stage`, or is gone.
    pub(super) async fn reached(&self, stage: Stage) {
        if self.0.clone().wait_for(|now| *now >= stage).await.is_err() {
            tracing::debug!("the service was dropped");
        }
    }

    /// [`Stages::reached`], for whoever outlives this.
    pub(super) async fn coming(self, stage: Stage) {
        self.reached(stage).await;
    }
}
