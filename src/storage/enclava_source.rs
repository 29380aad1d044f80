//! The older system's ("Enclava") tables `api_keys` and `users`, read live, never written.
//!
//! One read-only transaction sees one state of the source from the first row to the last; a cursor hands its
//! rows out in pages, by id, so that a big source needs no memory here. What the rows mean is up to the
//! import.

mod row;

use std::time::Duration;

use diesel::QueryableByName;
use diesel::result::Error as DieselError;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl as _, SimpleAsyncConnection as _};
use secrecy::{ExposeSecret as _, SecretString};
use tokio::time::timeout;

pub use row::{SourceRow, UnreadableRow};

use super::StorageError;
use super::connect::Connector;
use row::{KEY_COLUMNS, OWNER_COLUMNS, TextRow};

/// Rows of a page.
pub const PAGE_ROWS: usize = 500;

const CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// For one statement: counting or sorting many rows on a busy machine takes a while.
const STATEMENT_TIMEOUT: Duration = Duration::from_secs(120);

/// One state for the whole import. Times and dates are shown in one form, whatever the server's defaults are;
/// and the source must not hang up while a page of its rows is being written elsewhere.
const BEGIN: &str = "BEGIN ISOLATION LEVEL REPEATABLE READ READ ONLY; \
     SET LOCAL timezone = 'UTC'; \
     SET LOCAL datestyle = 'ISO, YMD'; \
     SET LOCAL idle_in_transaction_session_timeout = 0";

/// Why the source cannot be read. `Display` is for the operator: it may hold words of PostgreSQL, never the
/// URL.
#[derive(Debug, thiserror::Error)]
pub enum SourceError {
    /// It doesn't answer, or went away.
    #[error("the older system's database cannot be reached: {0}")]
    Unreachable(String),
    /// There is no such table: probably another database.
    #[error("the older system's database has no table {0}: does the URL name the right database and schema?")]
    MissingTable(&'static str),
    /// Another version of the older system, or another system.
    #[error("the older system's table {table} has no column {}", columns.join(", "))]
    MissingColumns {
        /// Which table.
        table: &'static str,
        /// What it lacks.
        columns: Vec<&'static str>,
    },
    /// It refused a statement; say, for lack of a privilege.
    #[error("the older system's database refused to be read: {0}")]
    Refused(String),
}

impl From<DieselError> for SourceError {
    fn from(error: DieselError) -> Self {
        match StorageError::from(error) {
            StorageError::Unavailable(words) => Self::Unreachable(words),
            StorageError::Constraint { message, .. } | StorageError::Defect(message) => {
                Self::Refused(message)
            }
            other @ (StorageError::Corrupt { .. } | StorageError::Overloaded) => {
                Self::Refused(other.to_string())
            }
        }
    }
}

/// An open source; dropping it ends its transaction.
pub struct EnclavaSource {
    connection: AsyncPgConnection,
    row_count: u64,
}

impl std::fmt::Debug for EnclavaSource {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EnclavaSource").field("row_count", &self.row_count).finish_non_exhaustive()
    }
}

#[derive(QueryableByName)]
struct Column {
    #[diesel(sql_type = Text)]
    name: String,
}

#[derive(QueryableByName)]
struct Count {
    #[diesel(sql_type = BigInt)]
    count: i64,
}

impl EnclavaSource {
    /// Opens the source at `url`: checks that the tables and columns are there, and counts the rows.
    ///
    /// # Errors
    /// [`SourceError`].
    pub async fn open(url: &SecretString) -> Result<Self, SourceError> {
        let connector = Connector::of_url(url.expose_secret()).map_err(SourceError::Unreachable)?;
        let mut connection = match timeout(CONNECT_TIMEOUT, connector.connect()).await {
            Ok(connected) => connected.map_err(|error| SourceError::Unreachable(error.to_string()))?,
            Err(_) => return Err(no_answer(CONNECT_TIMEOUT)),
        };
        bounded(connection.batch_execute(BEGIN)).await?;
        check_table(&mut connection, "api_keys", &KEY_COLUMNS).await?;
        check_table(&mut connection, "users", &OWNER_COLUMNS).await?;
        let count = diesel::sql_query("SELECT count(*) AS count FROM api_keys");
        let count: Count = bounded(count.get_result(&mut connection)).await?;
        bounded(connection.batch_execute(&cursor())).await?;
        Ok(Self { connection, row_count: u64::try_from(count.count).unwrap_or(0) })
    }

    /// Rows of `api_keys`.
    #[must_use]
    pub fn row_count(&self) -> u64 {
        self.row_count
    }

    /// The next rows, by id, at most [`PAGE_ROWS`]; none at the end. A row that cannot be read is told apart.
    ///
    /// # Errors
    /// [`SourceError`]; nothing more can be read then.
    pub async fn next_page(&mut self) -> Result<Vec<Result<SourceRow, UnreadableRow>>, SourceError> {
        let fetch = diesel::sql_query(format!("FETCH FORWARD {PAGE_ROWS} FROM enclava_keys"));
        let rows: Vec<TextRow> = bounded(fetch.load(&mut self.connection)).await?;
        Ok(rows.into_iter().map(TextRow::parse).collect())
    }
}

async fn bounded<T>(statement: impl Future<Output = Result<T, DieselError>>) -> Result<T, SourceError> {
    match timeout(STATEMENT_TIMEOUT, statement).await {
        Ok(result) => Ok(result?),
        Err(_) => Err(no_answer(STATEMENT_TIMEOUT)),
    }
}

fn no_answer(patience: Duration) -> SourceError {
    SourceError::Unreachable(format!("no answer within {} s", patience.as_secs()))
}

async fn check_table(
    connection: &mut AsyncPgConnection,
    table: &'static str,
    needed: &[&'static str],
) -> Result<(), SourceError> {
    let query = diesel::sql_query(
        "SELECT attname::text AS name FROM pg_attribute \
         WHERE attrelid = to_regclass($1) AND attnum > 0 AND NOT attisdropped",
    );
    let found: Vec<Column> = bounded(query.bind::<Text, _>(table).load(connection)).await?;
    if found.is_empty() {
        return Err(SourceError::MissingTable(table));
    }
    let missing = needed.iter().copied().filter(|name| found.iter().all(|column| column.name != *name));
    let columns: Vec<&'static str> = missing.collect();
    if columns.is_empty() { Ok(()) } else { Err(SourceError::MissingColumns { table, columns }) }
}

/// A key whose owner has no row is handed out too, so that it can be named.
fn cursor() -> String {
    let columns = KEY_COLUMNS.map(|column| format!("api_keys.{column}::text AS {column}")).join(", ");
    format!(
        "DECLARE enclava_keys NO SCROLL CURSOR FOR SELECT {columns}, users.id IS NOT NULL AS owner_exists, \
         users.is_active::text AS owner_is_active \
         FROM api_keys LEFT JOIN users ON users.id = api_keys.user_id ORDER BY api_keys.id"
    )
}
