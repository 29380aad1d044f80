//! When the connection of a call is to end, for those whose answer has no end of its own.

use tokio::sync::watch;

/// Says when a connection is to end: because it has become too old, or because the service ends. Every request that is
/// not answered at once has its connection's among its extensions. Clones tell the same.
#[derive(Clone, Debug)]
pub struct Closing(watch::Receiver<bool>);

impl Closing {
    /// Comes when `sender` says true.
    #[must_use]
    pub fn of(sender: &watch::Sender<bool>) -> Self {
        Self(sender.subscribe())
    }

    /// Returns when it has come.
    pub async fn come(&mut self) {
        if self.0.wait_for(|closing| *closing).await.is_err() {
            // Nobody can say so any more: the connection is gone, and whoever asks goes with it.
            std::future::pending::<()>().await;
        }
    }
}
