//! The newest revision that this replica knows of, as it moves: what streams wait for.
//!
//! One part of the service looks, however many streams there are, and only while there are some.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use crate::policy::Revision;
use crate::storage::{Store, changes};

const LOOK_EVERY: Duration = Duration::from_millis(250);

/// The newest revision, for one who waits for the next.
#[derive(Clone, Debug)]
pub struct Movement(watch::Receiver<Revision>);

impl Movement {
    /// The newest revision; 0 before the first look. What comes after this call is a move.
    pub fn seen(&mut self) -> Revision {
        *self.0.borrow_and_update()
    }

    /// Returns when it has moved since this or [`Movement::seen`] was last asked; may do so at once the first time.
    pub async fn moved(&mut self) {
        if self.0.changed().await.is_err() {
            // Nobody looks any more: the service ends.
            std::future::pending::<()>().await;
        }
    }
}

/// The one who looks.
#[derive(Debug)]
pub struct Lookout(watch::Sender<Revision>);

impl Lookout {
    /// A lookout, and what it tells to whoever clones it.
    #[must_use]
    pub fn new() -> (Self, Movement) {
        let (sender, receiver) = watch::channel(Revision::ZERO);
        (Self(sender), Movement(receiver))
    }

    /// Looks until `end` comes. `kept`: so many of those who could wait are only kept to be cloned.
    pub async fn keep_looking(self, store: Store, kept: usize, end: impl Future<Output = ()>) {
        let mut end = std::pin::pin!(end);
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = &mut end => return,
            }
            if self.0.receiver_count() <= kept {
                continue;
            }
            match store.read("movement", |session| Box::pin(changes::head(session))).await {
                Ok(head) => {
                    self.0.send_if_modified(|seen| std::mem::replace(seen, head) != head);
                }
                // The health of the service tells of it; whoever waits goes on waiting.
                Err(error) => tracing::debug!(error = %error, "the newest revision could not be read"),
            }
        }
    }
}
