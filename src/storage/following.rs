//! A connection that follows the change log: woken by notifications; one statement that reads what is new and one that
//! says so in the replica's row; and one transaction that renews the row and reads.
//!
//! It is no connection of the pool's: it listens for as long as it lives, and has to work while the pool is busy. Behind
//! a pooler that hands connections around no notification arrives; nothing rests on one.
//!
//! What does not belong here: what follows from what was read (`cache`).

use std::pin::pin;
use std::time::Duration;

use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use tokio::time::timeout;
use tokio_stream::StreamExt as _;

use super::changes::{self, CHANNEL, Line};
use super::replicas::{self, ReplicaId};
use super::{ReadAt, StorageError, Store};
use crate::policy::Revision;

/// At most so many lines are read at once; where there are more, one more than that is.
pub const LINES_MAX: i64 = 10_000;

/// Where the log stands, and its lines after a revision, in their order.
pub type News = (ReadAt, Vec<Line>);

/// A connection that follows the change log. Not to be used any more after an error.
pub struct Following {
    session: AsyncPgConnection,
    patience: Duration,
}

impl std::fmt::Debug for Following {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Following").field("patience", &self.patience).finish_non_exhaustive()
    }
}

impl Following {
    /// Connects and listens. Whatever is asked of it takes at most `patience`.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub async fn connect(store: &Store, patience: Duration) -> Result<Self, StorageError> {
        let mut session = store.connect().await?;
        let listen = async { Ok(session.batch_execute(&format!("LISTEN {CHANNEL}")).await?) };
        bounded(patience, listen).await?;
        Ok(Self { session, patience })
    }

    /// The next notification: the revision of a change, where it says one. May be given up on and called again.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] when the connection is lost.
    pub async fn notified(&mut self) -> Result<Option<Revision>, StorageError> {
        let mut notifications = pin!(self.session.notifications_stream());
        match notifications.next().await {
            Some(notification) => Ok(notification?.payload.parse().ok().and_then(Revision::new)),
            None => Err(StorageError::Unavailable("the connection that listens is closed".to_owned())),
        }
    }

    /// What is newer than `after`. Renews nothing.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn look(&mut self, after: Revision) -> Result<News, StorageError> {
        bounded(self.patience, changes::since(&mut self.session, after, LINES_MAX + 1)).await
    }

    /// Says in a replica's row that it has applied `applied`; `false` where the row is gone. Renews nothing, and may be
    /// forgotten by a database that crashes.
    ///
    /// # Errors
    /// [`StorageError`]; the row may say so all the same.
    pub async fn publish(&mut self, id: ReplicaId, applied: ReadAt) -> Result<bool, StorageError> {
        bounded(self.patience, replicas::publish(&mut self.session, id, applied)).await
    }

    /// Where the log stands. Renews nothing.
    ///
    /// # Errors
    /// [`StorageError`].
    pub async fn head(&mut self) -> Result<ReadAt, StorageError> {
        let (head, _) = bounded(self.patience, changes::since(&mut self.session, Revision::ZERO, 0)).await?;
        Ok(head)
    }

    /// Makes the row of a replica. It is committed, and on disk, when this returns.
    ///
    /// # Errors
    /// [`StorageError`]; the row may be there all the same.
    pub async fn register(
        &mut self,
        id: ReplicaId,
        address: &str,
        staleness: Duration,
    ) -> Result<(), StorageError> {
        let (session, begin) = (&mut self.session, begin(self.patience));
        let work = async {
            session.batch_execute(&begin).await?;
            replicas::register(session, id, address, staleness).await?;
            Ok(session.batch_execute("COMMIT").await?)
        };
        bounded(self.patience, work).await
    }

    /// Renews a replica's row, which says that it has applied `applied`, and reads what is newer, in one transaction;
    /// `None` where the row is gone.
    ///
    /// # Errors
    /// [`StorageError`]; the row may be renewed all the same.
    pub async fn renew(
        &mut self,
        id: ReplicaId,
        applied: ReadAt,
        staleness: Duration,
    ) -> Result<Option<News>, StorageError> {
        let (session, begin) = (&mut self.session, begin(self.patience));
        let work = async {
            session.batch_execute(&begin).await?;
            let is_there = replicas::beat(session, id, applied, staleness).await?;
            let news = changes::since(session, applied.revision, LINES_MAX + 1).await?;
            session.batch_execute("COMMIT").await?;
            Ok(is_there.then_some(news))
        };
        bounded(self.patience, work).await
    }
}

/// Begins a transaction that the server gives up before we do.
fn begin(patience: Duration) -> String {
    let limit = patience.as_millis();
    format!(
        "BEGIN ISOLATION LEVEL READ COMMITTED; SET LOCAL synchronous_commit = on; SET LOCAL statement_timeout = {limit}; \
         SET LOCAL lock_timeout = {limit}; SET LOCAL idle_in_transaction_session_timeout = '1s'"
    )
}

async fn bounded<R>(
    patience: Duration,
    work: impl Future<Output = Result<R, StorageError>>,
) -> Result<R, StorageError> {
    let gave_up = |_| Err(StorageError::Unavailable("following the changes took too long".to_owned()));
    timeout(patience, work).await.unwrap_or_else(gave_up)
}
