//! `peppers`: the one pepper of an installation without a peppers file.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::schema::peppers;

/// The id of the pepper that is kept in the database.
pub const DATABASE_PEPPER_ID: &str = "database";

/// The pepper that is kept in the database; `fresh` becomes it where there is none. Safe with several
/// replicas: the first one wins, and all read the same.
///
/// # Errors
/// [`StorageError`].
pub async fn get_or_insert(
    connection: &mut AsyncPgConnection,
    fresh: &[u8],
) -> Result<Vec<u8>, StorageError> {
    diesel::insert_into(peppers::table)
        .values((peppers::pepper_id.eq(DATABASE_PEPPER_ID), peppers::secret.eq(fresh)))
        .on_conflict_do_nothing()
        .execute(connection)
        .await?;
    Ok(peppers::table.find(DATABASE_PEPPER_ID).select(peppers::secret).first(connection).await?)
}
