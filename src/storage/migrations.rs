//! The schema: which migrations there are, which have run, and running the rest.

use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Text};
use diesel_async::{AsyncMigrationHarness, AsyncPgConnection, RunQueryDsl};
use diesel_migrations::{EmbeddedMigrations, MigrationHarness, embed_migrations};

use super::schema::schema_compatibility;
use super::{Connection, StorageError, Store};

const MIGRATIONS: EmbeddedMigrations = embed_migrations!("migrations");

/// Held while migrating, so that replicas that start at once take turns. ("keystile" in ASCII.)
const ADVISORY_LOCK: i64 = 0x6b65_7973_7469_6c65;

/// Where the schema stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SchemaStatus {
    /// Migrations that have run, oldest first.
    pub applied: Vec<String>,
    /// Migrations of this program that have not.
    pub pending: Vec<String>,
    /// Migrations that have run and that this program does not know: a newer one did.
    pub unknown: Vec<String>,
    /// The newest migration that a program must know to be allowed to serve. `None`: the schema does not say.
    pub oldest_needed: Option<String>,
}

impl SchemaStatus {
    /// Whether this program must keep off: a newer one has taken away what this one may need, or does not say that it
    /// has not. What was only added is no hindrance.
    #[must_use]
    pub fn is_beyond_us(&self) -> bool {
        let knows_what_it_must = self
            .oldest_needed
            .as_ref()
            .is_some_and(|needed| self.applied.contains(needed) && !self.unknown.contains(needed));
        // Where each has what the other lacks, they are not two versions of one line.
        let fits = self.pending.is_empty() && knows_what_it_must;
        !(self.unknown.is_empty() || fits)
    }
}

/// Reads where the schema stands and changes nothing.
///
/// # Errors
/// [`StorageError`].
pub async fn status(store: &Store) -> Result<SchemaStatus, StorageError> {
    store.read("schema.status", |connection| Box::pin(read_status(connection))).await
}

async fn read_status(connection: &mut AsyncPgConnection) -> Result<SchemaStatus, StorageError> {
    #[derive(QueryableByName)]
    struct Version {
        #[diesel(sql_type = diesel::sql_types::Text)]
        version: String,
    }
    let applied: Vec<String> = if exists(connection, "__diesel_schema_migrations").await? {
        diesel::sql_query("SELECT version FROM __diesel_schema_migrations ORDER BY version")
            .load::<Version>(connection)
            .await?
            .into_iter()
            .map(|row| row.version)
            .collect()
    } else {
        Vec::new()
    };
    let known = known()?;
    let unknown = applied.iter().filter(|version| !known.contains(version)).cloned().collect();
    let pending = known.into_iter().filter(|version| !applied.contains(version)).collect();
    let oldest_needed = if exists(connection, "schema_compatibility").await? {
        let rows = schema_compatibility::table.select(schema_compatibility::oldest_migration);
        rows.first(connection).await.optional()?
    } else {
        None
    };
    Ok(SchemaStatus { applied, pending, unknown, oldest_needed })
}

async fn exists(connection: &mut AsyncPgConnection, table: &str) -> Result<bool, StorageError> {
    let place =
        diesel::dsl::sql::<Bool>("to_regclass(quote_ident(").bind::<Text, _>(table).sql(")) IS NOT NULL");
    Ok(diesel::select(place).get_result(connection).await?)
}

fn known() -> Result<Vec<String>, StorageError> {
    use diesel::migration::{Migration, MigrationSource};
    let migrations: Vec<Box<dyn Migration<diesel::pg::Pg>>> = MIGRATIONS.migrations().map_err(defect)?;
    let mut versions: Vec<String> =
        migrations.iter().map(|migration| migration.name().version().to_string()).collect();
    versions.sort();
    Ok(versions)
}

/// Runs what is pending and returns its versions. Safe when several replicas start at once.
///
/// # Errors
/// [`StorageError`].
pub async fn run(store: &Store) -> Result<Vec<String>, StorageError> {
    let mut connection = store.connection().await?;
    // Waits for whoever is migrating now. Ends with the session at the latest.
    diesel::sql_query("SELECT pg_advisory_lock($1)")
        .bind::<BigInt, _>(ADVISORY_LOCK)
        .execute(&mut connection)
        .await?;
    let mut harness = AsyncMigrationHarness::new(connection);
    let result = harness
        .run_pending_migrations(MIGRATIONS)
        .map(|versions| versions.iter().map(ToString::to_string).collect())
        .map_err(defect);
    let mut connection = harness.into_inner();
    let unlocked = diesel::sql_query("SELECT pg_advisory_unlock($1)")
        .bind::<BigInt, _>(ADVISORY_LOCK)
        .execute(&mut connection)
        .await;
    if let Err(error) = unlocked {
        // The lock ends with the session; what the migration said is more telling.
        tracing::warn!(error = %error, "the lock on migrations could not be released");
        drop(Connection::take(connection));
    }
    result
}

fn defect(error: Box<dyn std::error::Error + Send + Sync>) -> StorageError {
    StorageError::Defect(format!("migration: {error}"))
}
