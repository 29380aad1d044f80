//! Connections: a pool that gives up soon, and named transactions with their local settings.

use std::any::Any;
use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use deadpool::Runtime;
use diesel_async::pooled_connection::deadpool::{Object, Pool};
use diesel_async::pooled_connection::{AsyncDieselConnectionManager, ManagerConfig, RecyclingMethod};
use diesel_async::{AnsiTransactionManager, AsyncPgConnection, TransactionManager as _};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::sync::Semaphore;
use tokio::time::timeout;
use tokio_postgres_rustls::MakeRustlsConnect;
use tracing::Instrument as _;

use super::connect::Connector;
use super::{StorageError, committed, plans};
use crate::metrics::{Connections, Gauge, Kind, StoreMetrics};
use crate::{call, clock};

/// What a closure that is given a connection returns: `Box::pin(async move { ... })`.
pub type Work<'c, R, E> = Pin<Box<dyn Future<Output = Result<R, E>> + Send + 'c>>;

/// A session with the database, inside or outside of a transaction: what the functions of the store take.
pub type Session = AsyncPgConnection;

/// A connection that is checked out of the pool.
pub type Connection = Object<AsyncPgConnection>;

/// How long a reading call may take in all, connection included, before it is UNAVAILABLE. Bounds what a
/// caller waits for a database that hangs (a failover, a stopped machine).
pub const READ_TIMEOUT: Duration = Duration::from_millis(1_500);

/// The same for a write that has begun, which may still commit. One that cannot begin is given up on after
/// [`READ_TIMEOUT`].
pub const WRITE_TIMEOUT: Duration = Duration::from_secs(10);

const CONNECT_TIMEOUT: Duration = Duration::from_millis(1_200);

/// How a transaction begins, in one go. Each sets these for itself, so that they hold whatever the server's or the
/// role's defaults are, and behind a pooler that hands connections around.
///
/// - `synchronous_commit`: what is acknowledged is on disk.
/// - `idle_in_transaction_session_timeout`: a replica that is stopped in mid-transaction must not hold
///   the revision row.
/// - Whatever the default of the server is: what is read behind a lock has to be of then.
const BEGIN: &str = "BEGIN ISOLATION LEVEL READ COMMITTED; \
     SET LOCAL synchronous_commit = on; \
     SET LOCAL statement_timeout = '8s'; \
     SET LOCAL lock_timeout = '4s'; \
     SET LOCAL idle_in_transaction_session_timeout = '1s'";

/// The store: a pool of connections to PostgreSQL. Clones share the pool.
#[derive(Clone)]
pub struct Store {
    pool: Pool<AsyncPgConnection>,
    connector: Arc<Connector>,
    /// What the requests to cancel are encrypted by.
    tls: MakeRustlsConnect,
    /// One permit for each write. Writes wait for each other's locks, and must not take all connections
    /// while they do: decisions read.
    writes: Arc<Semaphore>,
    metrics: Arc<StoreMetrics>,
}

impl std::fmt::Debug for Store {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Store").field("pool", &self.pool.status()).finish()
    }
}

impl Store {
    /// A store on the database at `url`. Connects when first used, at most `connections_max` times; at most half
    /// of them write at a time.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`] where the URL, or a file that it names, cannot be used;
    /// [`StorageError::Defect`] where the pool cannot be built.
    pub fn new(url: &SecretString, connections_max: u32) -> Result<Self, StorageError> {
        let connector = Connector::of_url(url.expose_secret()).map_err(StorageError::Unavailable)?;
        let (tls, own) = (connector.tls(), Arc::new(connector.clone()));
        let mut config = ManagerConfig::default();
        config.custom_setup = Box::new(move |_url| {
            let connector = connector.clone();
            Box::pin(async move { connector.connect().await })
        });
        // The default recycling asks the server at every checkout; a closed connection is seen anyway.
        config.recycling_method = RecyclingMethod::Fast;
        let connections_max = usize::try_from(connections_max).unwrap_or(usize::MAX);
        let manager = AsyncDieselConnectionManager::new_with_config(url.expose_secret(), config);
        let pool = Pool::builder(manager)
            .max_size(connections_max)
            .runtime(Runtime::Tokio1)
            .wait_timeout(Some(CONNECT_TIMEOUT))
            .create_timeout(Some(CONNECT_TIMEOUT))
            .recycle_timeout(Some(CONNECT_TIMEOUT))
            .pre_recycle(plans::forget_old())
            .build()
            .map_err(|error| StorageError::Defect(error.to_string()))?;
        let writes_max = (connections_max / 2).clamp(1, Semaphore::MAX_PERMITS);
        Ok(Self {
            pool,
            connector: own,
            tls,
            writes: Arc::new(Semaphore::new(writes_max)),
            metrics: Arc::default(),
        })
    }

    /// The same store, which tells these metrics of its work.
    #[must_use]
    pub fn measured(self, metrics: &Arc<StoreMetrics>) -> Self {
        // Weak: whoever still reads metrics must not keep connections open.
        let pool = self.pool.weak();
        metrics.watch_pool(move || {
            let status = pool.upgrade().map(|pool| pool.status());
            status.map_or_else(Connections::default, |status| Connections {
                idle: status.available,
                open: status.size,
                max: status.max_size,
                waiters: status.waiting,
            })
        });
        Self { metrics: Arc::clone(metrics), ..self }
    }

    /// A connection of its own, outside the limits of [`Store::read`] and [`Store::write`]; for
    /// migrations and the like.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub async fn connection(&self) -> Result<Connection, StorageError> {
        Ok(self.pool.get().await?)
    }

    /// A new connection beside the pool, for whoever keeps it.
    ///
    /// # Errors
    /// [`StorageError::Unavailable`].
    pub(super) async fn connect(&self) -> Result<Session, StorageError> {
        match timeout(CONNECT_TIMEOUT, self.connector.connect()).await {
            Ok(connected) => Ok(connected?),
            Err(_) => Err(StorageError::Unavailable("connecting took too long".to_owned())),
        }
    }

    /// A connection with a transaction that has the local settings every one of ours has.
    async fn begin(&self) -> Result<Connection, StorageError> {
        let mut connection = self.connection().await?;
        let begun = AnsiTransactionManager::begin_transaction_sql(&mut *connection, BEGIN).await;
        if let Err(error) = begun {
            // Nobody knows how much of it was done.
            drop(Connection::take(connection));
            return Err(error.into());
        }
        Ok(connection)
    }

    /// Runs a reading call of one statement, at most [`READ_TIMEOUT`]. Several statements of it would see
    /// several states: see [`Store::snapshot`].
    ///
    /// # Errors
    /// Those of `f`, and [`StorageError::Unavailable`].
    pub async fn read<R, F>(&self, name: &'static str, f: F) -> Result<R, StorageError>
    where
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> Work<'c, R, StorageError> + Send,
    {
        let began = clock::monotonic_now();
        let work = async {
            let mut lease = Lease::of(self.connection().await?, self.tls.clone());
            let answer = f(lease.session()?).await;
            lease.end();
            answer
        };
        let work = work.instrument(tracing::debug_span!("read", otel.name = name, read.name = name));
        let gave_up = |_| Err(StorageError::Unavailable(format!("{name} took too long")));
        let answer = timeout(READ_TIMEOUT, work).await.unwrap_or_else(gave_up);
        self.metrics.took(name, Kind::Read, clock::since(began));
        answer.map_err(|error| self.failed(error))
    }

    /// Runs a reading call whose statements all see one state, at most [`READ_TIMEOUT`].
    ///
    /// # Errors
    /// Those of `f`, and [`StorageError::Unavailable`].
    pub async fn snapshot<R, F>(&self, name: &'static str, f: F) -> Result<R, StorageError>
    where
        R: Send + 'static,
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> Work<'c, R, StorageError> + Send + 'static,
    {
        self.read(name, move |session| {
            Box::pin(async move {
                let mut transaction = session.build_transaction().repeatable_read().read_only();
                transaction.run(async move |session| f(session).await).await
            })
        })
        .await
    }

    /// Runs `f` in one transaction, in a task of its own: a caller that goes away (its deadline came)
    /// cannot tear it. At most [`WRITE_TIMEOUT`].
    ///
    /// # Errors
    /// Those of `f`, which roll the transaction back, and [`StorageError::Unavailable`] (then it may or
    /// may not have committed).
    pub async fn write<R, E, F>(&self, name: &'static str, f: F) -> Result<R, E>
    where
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> Work<'c, R, E> + Send + 'static,
        R: Send + 'static,
        E: From<StorageError> + Send + 'static,
    {
        let began = clock::monotonic_now();
        let store = self.clone();
        let bounded = async move {
            match timeout(WRITE_TIMEOUT, store.transact(began, f)).await {
                Ok(result) => result,
                Err(_) => Err(store.failed(StorageError::Unavailable(format!("{name} took too long")))),
            }
        };
        let span = tracing::debug_span!("transaction", otel.name = name, transaction.name = name);
        let result = match tokio::spawn(call::inherit(bounded.instrument(span))).await {
            Ok(result) => result,
            Err(error) => Err(self.failed(StorageError::Defect(format!("{name} ended early: {error}")))),
        };
        self.metrics.took(name, Kind::Write, clock::since(began));
        result
    }

    /// Counts a transaction on a connection beside the pool.
    pub(super) fn took(&self, name: &'static str, kind: Kind, took: Duration) {
        self.metrics.took(name, kind, took);
    }

    /// A transaction, from its wait to its end.
    async fn transact<R, E, F>(&self, began: Instant, f: F) -> Result<R, E>
    where
        F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> Work<'c, R, E> + Send,
        R: Send,
        E: From<StorageError> + Send + 'static,
    {
        // First come, first served. Not bounded as the rest of the beginning is: it is not the database that
        // is waited for, but the writes before.
        let waiting = Gauge::hold(&self.metrics.write_waiters);
        let turn = self.writes.acquire().await;
        let _turn = turn.map_err(|closed| self.failed(StorageError::Defect(closed.to_string())))?;
        drop(waiting);
        // Nothing is written yet: a database that hangs may be given up on soon.
        let begun = timeout(READ_TIMEOUT, self.begin()).await;
        let begun =
            begun.unwrap_or_else(|_| Err(StorageError::Unavailable("BEGIN took too long".to_owned())));
        let mut connection = begun.map_err(|error| self.failed(error))?;
        let (result, noted) = committed::gather(complete(&mut connection, f)).await;
        match &result {
            Ok(_) => noted.log(clock::since(began)),
            Err(error) => {
                let error: &dyn Any = error;
                // What a use case makes of the store's failure is its own affair: then the statement that failed
                // counts.
                let own = error.downcast_ref::<StorageError>().map(StorageError::kind);
                if let Some(kind) = own.or(noted.failure()) {
                    self.metrics.count_error(kind);
                }
            }
        }
        result
    }

    /// Counts a failure that the store itself found.
    fn failed<E: From<StorageError>>(&self, error: StorageError) -> E {
        self.metrics.count_error(error.kind());
        error.into()
    }
}

/// A connection that goes back to the pool only from a reading call that has ended. One that was given up
/// on (by our time limit, or by a caller who went away) may lead to a machine that is gone, and would fail
/// the next call too: it is discarded, and the server is told to stop working for it.
struct Lease(Option<Connection>, MakeRustlsConnect);

impl Lease {
    fn of(connection: Connection, tls: MakeRustlsConnect) -> Self {
        Self(Some(connection), tls)
    }

    fn session(&mut self) -> Result<&mut AsyncPgConnection, StorageError> {
        match &mut self.0 {
            Some(connection) => Ok(connection),
            None => Err(StorageError::Defect("a lease was used after its end".to_owned())),
        }
    }

    fn end(mut self) {
        drop(self.0.take());
    }
}

impl Drop for Lease {
    fn drop(&mut self) {
        let Some(connection) = self.0.take() else { return };
        let (cancel, tls) = (connection.cancel_token(), self.1.clone());
        drop(Connection::take(connection));
        // Outside a runtime there is nobody to tell the server; it finds the connection closed.
        if let Ok(runtime) = tokio::runtime::Handle::try_current() {
            runtime.spawn(async move {
                let told = timeout(CONNECT_TIMEOUT, cancel.cancel_query(tls)).await;
                tracing::debug!(told = matches!(told, Ok(Ok(()))), "a reading call was given up");
            });
        }
    }
}

/// Runs `f` in the transaction that has begun, and commits it or rolls it back.
async fn complete<R, E, F>(connection: &mut AsyncPgConnection, f: F) -> Result<R, E>
where
    F: for<'c> FnOnce(&'c mut AsyncPgConnection) -> Work<'c, R, E> + Send,
    R: Send,
    E: From<StorageError> + Send,
{
    match f(connection).await {
        Ok(value) => {
            AnsiTransactionManager::commit_transaction(connection).await.map_err(StorageError::from)?;
            Ok(value)
        }
        Err(error) => {
            // What cannot be rolled back is a broken connection, which the pool discards.
            if let Err(rollback) = AnsiTransactionManager::rollback_transaction(connection).await {
                tracing::warn!(error = %rollback, "a rollback failed");
            }
            Err(error)
        }
    }
}
