//! `change_log`: its lines in pages, for whoever follows the changes.

use diesel::prelude::*;
use diesel_async::{AsyncPgConnection, RunQueryDsl};

use super::StorageError;
use super::changes::{self, Subject};
use super::schema::change_log;
use crate::policy::{KeyId, Revision, UserId};

/// A line of the change log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Line {
    /// The revision of the change.
    pub revision: Revision,
    /// What was changed; `None`: everything may have been.
    pub subject: Option<Subject>,
}

/// At most `limit` lines after a revision, oldest first, and the newest revision that there is. Each revision has
/// one line until that is removed for its age: see [`changes::remove_old`].
///
/// # Errors
/// [`StorageError`].
pub async fn page(
    connection: &mut AsyncPgConnection,
    after: Revision,
    limit: i64,
) -> Result<(Revision, Vec<Line>), StorageError> {
    let head = changes::head(connection).await?;
    let rows: Vec<(i64, String, Option<i64>)> = change_log::table
        .filter(change_log::revision.gt(after.get()))
        .order(change_log::revision)
        .limit(limit)
        .select((change_log::revision, change_log::subject, change_log::subject_id))
        .load(connection)
        .await?;
    let lines = rows.into_iter().map(|(revision, subject, id)| line(revision, &subject, id));
    Ok((head, lines.collect::<Result<_, _>>()?))
}

fn line(revision: i64, subject: &str, id: Option<i64>) -> Result<Line, StorageError> {
    let corrupt = || StorageError::Corrupt {
        table: "change_log",
        id: revision,
        what: format!("the subject is {subject:?} {id:?}"),
    };
    let subject = match (subject, id) {
        ("key", Some(id)) => Some(Subject::Key(KeyId::new(id).ok_or_else(corrupt)?)),
        ("owner", Some(id)) => Some(Subject::Owner(UserId::new(id).ok_or_else(corrupt)?)),
        ("all", None) => None,
        _ => return Err(corrupt()),
    };
    Ok(Line { revision: changes::parse(revision)?, subject })
}
