//! Which database to use, and whether it may be: named by a URL, or a private one of our own.

use secrecy::SecretString;

use super::ServerError;
use crate::config::Database;
use crate::embedded::{self, Cluster, Options};
use crate::storage::migrations::{self, SchemaStatus};
use crate::storage::{Store, durability};

/// Connections of the embedded server beyond the pool's: commands that work beside a running service.
const EXTRA_CONNECTIONS: u32 = 20;

/// An open database.
#[derive(Debug)]
pub struct OpenDatabase {
    /// The store on it.
    pub store: Store,
    /// The embedded server, where this process runs it.
    pub(super) cluster: Option<Cluster>,
}

impl OpenDatabase {
    /// Whether this process runs the database server.
    #[must_use]
    pub fn is_embedded(&self) -> bool {
        self.cluster.is_some()
    }

    /// Lets go of the database; stops the server where this process runs it.
    ///
    /// # Errors
    /// [`ServerError::Embedded`].
    pub async fn close(self) -> Result<(), ServerError> {
        drop(self.store);
        match self.cluster {
            Some(cluster) => Ok(cluster.stop().await?),
            None => Ok(()),
        }
    }
}

/// Opens the database for the service itself: an embedded one is started, and migrated.
///
/// # Errors
/// [`ServerError`].
pub(super) async fn open_to_serve(config: &Database) -> Result<OpenDatabase, ServerError> {
    let database = match &config.database_url {
        Some(url) => OpenDatabase { store: Store::new(url, config.pool_size)?, cluster: None },
        None => start_embedded(config).await?,
    };
    ready(config, database).await
}

/// Opens the database for a command: beside a running service where there is one, else as the service
/// would.
///
/// # Errors
/// [`ServerError`].
pub async fn open_database(config: &Database) -> Result<OpenDatabase, ServerError> {
    let database = open_unchecked(config).await?;
    ready(config, database).await
}

/// Opens it without a look at the schema.
pub(super) async fn open_unchecked(config: &Database) -> Result<OpenDatabase, ServerError> {
    match &config.database_url {
        Some(url) => Ok(OpenDatabase { store: Store::new(url, config.pool_size)?, cluster: None }),
        None => match embedded::attach_url(&config.data_dir, embedded::DATABASE)? {
            Some(url) => Ok(OpenDatabase {
                store: Store::new(&SecretString::from(url), config.pool_size)?,
                cluster: None,
            }),
            None => start_embedded(config).await,
        },
    }
}

async fn start_embedded(config: &Database) -> Result<OpenDatabase, ServerError> {
    let options = Options {
        data_dir: config.data_dir.clone(),
        durable: !config.allow_data_loss,
        max_connections: config.pool_size.saturating_add(EXTRA_CONNECTIONS),
    };
    let cluster = Cluster::start(options).await?;
    let url = SecretString::from(cluster.url(embedded::DATABASE));
    Ok(OpenDatabase { store: Store::new(&url, config.pool_size)?, cluster: Some(cluster) })
}

/// Checks what the guarantees rest on, and brings the schema up to date where that is ours to do. On a
/// failure the embedded server is stopped again.
async fn ready(config: &Database, database: OpenDatabase) -> Result<OpenDatabase, ServerError> {
    match check(config, &database).await {
        Ok(()) => Ok(database),
        Err(error) => {
            if let Err(closing) = database.close().await {
                tracing::warn!(error = %closing, "the database could not be closed");
            }
            Err(error)
        }
    }
}

async fn check(config: &Database, database: &OpenDatabase) -> Result<(), ServerError> {
    let store = &database.store;
    let faults = store.read("durability", |session| Box::pin(durability::faults(session))).await?;
    for fault in faults {
        if fault.loses_data() && config.allow_data_loss {
            tracing::warn!("{}", fault.sentence());
        } else {
            return Err(ServerError::Unfit(fault.sentence()));
        }
    }
    let SchemaStatus { pending, unknown, .. } = migrations::status(store).await?;
    if !unknown.is_empty() {
        return Err(ServerError::SchemaAhead(unknown.len()));
    }
    if pending.is_empty() {
        return Ok(());
    }
    if database.is_embedded() || config.auto_migrate {
        let applied = migrations::run(store).await?;
        tracing::info!(migrations = applied.len(), "the schema was brought up to date");
        return Ok(());
    }
    Err(ServerError::SchemaBehind(pending.len()))
}

/// `keystile migrate`: brings the schema up to date, or says where it stands; and the migrations that were
/// applied just now.
///
/// # Errors
/// [`ServerError`].
pub async fn migrate(
    config: &Database,
    status_only: bool,
) -> Result<(SchemaStatus, Vec<String>), ServerError> {
    let database = open_unchecked(config).await?;
    let work = async {
        let applied = if status_only { Vec::new() } else { migrations::run(&database.store).await? };
        Ok((migrations::status(&database.store).await?, applied))
    };
    let done = work.await;
    database.close().await?;
    done
}
