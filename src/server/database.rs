//! Which database to use, and whether it may be: named by a URL, or a private one of our own.

use std::time::Duration;

use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::{sleep, timeout};

use super::ServerError;
use crate::config::Database;
use crate::config::effective::redacted;
use crate::embedded::{self, Cluster, Options};
use crate::storage::migrations::{self, SchemaStatus};
use crate::storage::{StorageError, Store, durability, probe};

/// Connections of the embedded server beyond the pool's: commands that work beside a running service.
const EXTRA_CONNECTIONS: u32 = 20;

/// How often a database that does not answer is asked again.
const TRY_EVERY: Duration = Duration::from_millis(250);

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
    reach(config, store).await?;
    let faults = store.read("durability", |session| Box::pin(durability::faults(session))).await?;
    for fault in faults {
        if fault.loses_data() && config.allow_data_loss {
            tracing::warn!("{}", fault.sentence());
        } else {
            return Err(ServerError::Unfit(fault.sentence()));
        }
    }
    if database.is_embedded() || config.auto_migrate {
        let applied = bring_up_to_date(store).await?;
        if !applied.is_empty() {
            tracing::info!(migrations = applied.len(), "the schema was brought up to date");
        }
    } else {
        let status = status_of(store).await?;
        if !status.pending.is_empty() {
            return Err(ServerError::SchemaBehind(status.pending.len()));
        }
    }
    see_that_it_is_whole(store).await
}

/// Waits for a database that does not answer yet, for as long as is configured.
async fn reach(config: &Database, store: &Store) -> Result<(), ServerError> {
    let wait = config.database_wait;
    let ping = async || store.read("reach", |session| Box::pin(durability::ping(session))).await;
    let mut last = match ping().await {
        Err(error) if error.is_outage() && !error.is_refusal() => error,
        answer => return answer.map_err(|error| unreached(config, error)),
    };
    if !wait.is_zero() {
        tracing::warn!(error = %last, seconds = wait.as_secs_f64(), "waiting for the database");
    }
    let trying = async {
        loop {
            sleep(TRY_EVERY).await;
            match ping().await {
                Err(error) if error.is_outage() && !error.is_refusal() => last = error,
                answer => return answer,
            }
        }
    };
    let answer = timeout(wait, trying).await;
    answer.unwrap_or(Err(last)).map_err(|error| unreached(config, error))
}

fn unreached(config: &Database, error: StorageError) -> ServerError {
    let url = config.database_url.as_ref().map(|url| redacted(url.expose_secret()));
    let database = url.unwrap_or_else(|| "in the data directory".to_owned());
    let is_refusal = error.is_refusal();
    match error {
        StorageError::Unavailable(why) if is_refusal => ServerError::Refused { database, why },
        StorageError::Unavailable(why) => {
            ServerError::Unreachable { database, waited: config.database_wait, why }
        }
        error => error.into(),
    }
}

/// Where the schema stands; an error where it cannot be told, or is beyond this program.
async fn status_of(store: &Store) -> Result<SchemaStatus, ServerError> {
    let access = store.read("access", |session| Box::pin(probe::access(session))).await?;
    let role = &access.role;
    if access.schema.is_none() {
        let words = format!(
            "{role} may use no schema of the database: make it the owner of the database, or GRANT USAGE ON SCHEMA \
             public TO {role}"
        );
        return Err(ServerError::MissingRights(words));
    }
    if !access.missing_rights.is_empty() {
        let missing = access.missing_rights.join(", ");
        let words = format!("{role} lacks rights: {missing}; grant them, or make it the owner of the tables");
        return Err(ServerError::MissingRights(words));
    }
    let status = migrations::status(store).await?;
    if status.is_beyond_us() {
        return Err(ServerError::SchemaAhead(status.unknown.len()));
    }
    if !status.unknown.is_empty() {
        tracing::warn!(
            migrations = status.unknown.join(", "),
            "the database's schema is ahead of this program by migrations that it can serve with: finish the upgrade, \
             or the way back"
        );
    }
    if status.applied.is_empty() && !access.present.is_empty() {
        let words = "tables of Keystile are there, but no record of the migrations that make them: restore the \
                     database from a backup, or name an empty one";
        return Err(ServerError::SchemaTorn(words.to_owned()));
    }
    Ok(status)
}

/// Runs what is pending, and returns it.
async fn bring_up_to_date(store: &Store) -> Result<Vec<String>, ServerError> {
    if status_of(store).await?.pending.is_empty() {
        return Ok(Vec::new());
    }
    let access = store.read("access", |session| Box::pin(probe::access(session))).await?;
    if !access.may_create {
        let (role, schema) = (access.role, access.schema.unwrap_or_default());
        let words = format!(
            "{role} may not make tables in the schema {schema}: make it the owner of the database, or GRANT CREATE \
             ON SCHEMA {schema} TO {role}"
        );
        return Err(ServerError::MissingRights(words));
    }
    migrations::run(store).await.map_err(|error| match error {
        StorageError::Defect(words) => ServerError::Migration(words),
        error => error.into(),
    })
}

/// Whether everything that the migrations make is there, as this program knows it.
async fn see_that_it_is_whole(store: &Store) -> Result<(), ServerError> {
    const REMEDY: &str = "though all migrations are recorded as run: restore the database from a backup";
    let access = store.read("access", |session| Box::pin(probe::access(session))).await?;
    let missing = access.missing_tables();
    if !missing.is_empty() {
        let words = format!("these tables are missing, {REMEDY}: {}", missing.join(", "));
        return Err(ServerError::SchemaTorn(words));
    }
    let read = store.read("probe", |session| Box::pin(probe::read_nothing(session))).await;
    read.map_err(|error| match error {
        StorageError::Defect(words) => ServerError::SchemaTorn(format!("{words}, {REMEDY}")),
        error => error.into(),
    })
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
        let store = &database.store;
        reach(config, store).await?;
        let mut applied = Vec::new();
        if !status_only {
            applied = bring_up_to_date(store).await?;
            see_that_it_is_whole(store).await?;
        }
        Ok((migrations::status(store).await?, applied))
    };
    let done = work.await;
    database.close().await?;
    done
}
