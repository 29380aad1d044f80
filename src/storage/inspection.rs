//! What `keystile doctor` looks at beside what every start does (`probe`): the server's settings, the clock, and
//! under which peppers digests were made. Nothing is changed: the one write is rolled back.

use chrono::{DateTime, Utc};
use diesel::prelude::*;
use diesel::sql_types::{BigInt, Bool, Integer, Text, Timestamptz};
use diesel::{QueryableByName, sql_query};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use secrecy::SecretSlice;

use super::peppers::DATABASE_PEPPER_ID;
use super::schema::{peppers, revision_counter};
use super::{StorageError, Store};

/// How many digests are looked at: enough to see a pepper that is missing, and quick on any table.
pub const DIGESTS_SAMPLED: i64 = 10_000;

/// What the server says about itself and about the role.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct ServerFacts {
    /// As in `server_version_num`.
    #[diesel(sql_type = Integer)]
    pub version: i32,
    /// As people write it.
    #[diesel(sql_type = Text)]
    pub version_text: String,
    /// It is a standby.
    #[diesel(sql_type = Bool)]
    pub is_standby: bool,
    /// Transactions only read unless they say otherwise.
    #[diesel(sql_type = Bool)]
    pub is_read_only: bool,
    /// `fsync`.
    #[diesel(sql_type = Bool)]
    pub fsync: bool,
    /// `full_page_writes`.
    #[diesel(sql_type = Bool)]
    pub full_page_writes: bool,
    /// `synchronous_commit`, which our transactions set for themselves.
    #[diesel(sql_type = Text)]
    pub synchronous_commit: String,
    /// `synchronous_standby_names`; empty: commits wait for no standby.
    #[diesel(sql_type = Text)]
    pub synchronous_standbys: String,
    /// Standbys that are connected.
    #[diesel(sql_type = BigInt)]
    pub standbys: i64,
    /// The role.
    #[diesel(sql_type = Text)]
    pub role: String,
    /// It is a superuser.
    #[diesel(sql_type = Bool)]
    pub is_superuser: bool,
    /// Connections that are left to the role: the lowest of the limits of server, database and role.
    #[diesel(sql_type = BigInt)]
    pub connections_max: i64,
    /// Connections of all clients now.
    #[diesel(sql_type = BigInt)]
    pub connections: i64,
}

const FACTS: &str = "SELECT current_setting('server_version_num')::int AS version, \
    current_setting('server_version') AS version_text, \
    pg_is_in_recovery() AS is_standby, \
    current_setting('transaction_read_only') = 'on' AS is_read_only, \
    current_setting('fsync') = 'on' AS fsync, \
    current_setting('full_page_writes') = 'on' AS full_page_writes, \
    current_setting('synchronous_commit') AS synchronous_commit, \
    current_setting('synchronous_standby_names') AS synchronous_standbys, \
    (SELECT count(*) FROM pg_stat_replication) AS standbys, \
    current_user::text AS role, \
    (SELECT rolsuper FROM pg_roles WHERE rolname = current_user) AS is_superuser, \
    (SELECT min(most) FROM (VALUES \
        (current_setting('max_connections')::bigint - CASE WHEN rolsuper THEN 0 ELSE \
            current_setting('superuser_reserved_connections')::bigint \
            + coalesce(current_setting('reserved_connections', true), '0')::bigint END), \
        (nullif(rolconnlimit, -1)::bigint), (nullif(datconnlimit, -1)::bigint)) AS limits (most)) \
        AS connections_max, \
    (SELECT count(*) FROM pg_stat_activity WHERE backend_type = 'client backend') AS connections \
    FROM pg_roles, pg_database WHERE rolname = current_user AND datname = current_database()";

/// What the server says about itself and about the role.
///
/// # Errors
/// [`StorageError`].
pub async fn server_facts(connection: &mut AsyncPgConnection) -> Result<ServerFacts, StorageError> {
    Ok(sql_query(FACTS).get_result(connection).await?)
}

/// The server's time at this moment.
///
/// # Errors
/// [`StorageError`].
pub async fn server_time(connection: &mut AsyncPgConnection) -> Result<DateTime<Utc>, StorageError> {
    #[derive(QueryableByName)]
    struct Row {
        #[diesel(sql_type = Timestamptz)]
        time: DateTime<Utc>,
    }
    Ok(sql_query("SELECT clock_timestamp() AS time").get_result::<Row>(connection).await?.time)
}

/// What the role may do beyond what serving needs at once ([`probe`](super::probe) has that).
#[derive(Clone, Copy, Debug, PartialEq, Eq, QueryableByName)]
pub struct FurtherRights {
    /// It may remove old lines of the change log.
    #[diesel(sql_type = Bool)]
    pub may_prune_changes: bool,
    /// It may remove old lines of the audit log.
    #[diesel(sql_type = Bool)]
    pub may_prune_audit: bool,
    /// It may raise the ids of new keys above imported ones.
    #[diesel(sql_type = Bool)]
    pub may_import: bool,
}

/// What the role may do beyond serving; what is not there may be done.
///
/// # Errors
/// [`StorageError`].
pub async fn further_rights(connection: &mut AsyncPgConnection) -> Result<FurtherRights, StorageError> {
    // Lines are locked before they are removed, which takes UPDATE.
    let asked = "SELECT coalesce(has_table_privilege(to_regclass('change_log'), 'DELETE') \
                     AND has_table_privilege(to_regclass('change_log'), 'UPDATE'), true) AS may_prune_changes, \
                 coalesce(has_table_privilege(to_regclass('audit_events'), 'DELETE') \
                     AND has_table_privilege(to_regclass('audit_events'), 'UPDATE'), true) AS may_prune_audit, \
                 coalesce(has_sequence_privilege(to_regclass('api_keys_key_id_seq'), 'SELECT') \
                     AND has_sequence_privilege(to_regclass('api_keys_key_id_seq'), 'UPDATE'), true) AS may_import";
    Ok(sql_query(asked).get_result(connection).await?)
}

/// The pepper that is kept in the database, where there is one.
///
/// # Errors
/// [`StorageError`].
pub async fn database_pepper(
    connection: &mut AsyncPgConnection,
) -> Result<Option<SecretSlice<u8>>, StorageError> {
    let found: Option<Vec<u8>> =
        peppers::table.find(DATABASE_PEPPER_ID).select(peppers::secret).first(connection).await.optional()?;
    Ok(found.map(SecretSlice::from))
}

/// Digests that were made under one pepper.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct DigestCount {
    /// The pepper's mark, `<id>~<fingerprint>`.
    #[diesel(sql_type = Text)]
    pub mark: String,
    /// How many.
    #[diesel(sql_type = BigInt)]
    pub digests: i64,
}

/// Under which peppers digests were made, of [`DIGESTS_SAMPLED`] of them.
///
/// # Errors
/// [`StorageError`].
pub async fn digest_counts(connection: &mut AsyncPgConnection) -> Result<Vec<DigestCount>, StorageError> {
    let counted = sql_query(
        "SELECT pepper_id AS mark, count(*) AS digests FROM (SELECT pepper_id FROM key_digests LIMIT $1) AS sampled \
         GROUP BY pepper_id ORDER BY digests DESC, mark",
    );
    Ok(counted.bind::<BigInt, _>(DIGESTS_SAMPLED).load(connection).await?)
}

/// Why the trial's transaction ends.
enum Trial {
    Passed,
    Failed(StorageError),
}

impl From<StorageError> for Trial {
    fn from(error: StorageError) -> Self {
        Self::Failed(error)
    }
}

/// Takes the lock that every change takes, writes the row as it is, and rolls that back.
///
/// # Errors
/// What a change would fail with.
pub async fn trial_write(store: &Store) -> Result<(), StorageError> {
    let tried: Result<(), Trial> = store
        .write("doctor.trial", |session| {
            Box::pin(async move {
                let write = diesel::update(revision_counter::table)
                    .set(revision_counter::revision.eq(revision_counter::revision));
                match write.execute(session).await.map_err(StorageError::from)? {
                    1 => Err(Trial::Passed),
                    rows => Err(Trial::Failed(StorageError::Defect(format!(
                        "revision_counter has {rows} rows, not 1"
                    )))),
                }
            })
        })
        .await;
    match tried {
        Ok(()) | Err(Trial::Passed) => Ok(()),
        Err(Trial::Failed(error)) => Err(error),
    }
}
