//! Statements that are put together at run time: lists with filters, orders and pages.
//!
//! Text comes from this program only; every value of a caller's is bound.

use chrono::{DateTime, Utc};
use diesel::pg::Pg;
use diesel::query_builder::{BoxedSqlQuery, SqlQuery};
use diesel::sql_types::{Array, BigInt, Jsonb, Text, Timestamptz};
use diesel_async::{AsyncPgConnection, SimpleAsyncConnection as _};
use serde_json::Value;

use super::StorageError;

/// A value of a statement.
#[derive(Clone, Debug)]
pub(super) enum Bind {
    Number(i64),
    Text(String),
    Texts(Vec<String>),
    Time(DateTime<Utc>),
    Json(Value),
}

/// A statement so far.
#[derive(Clone, Debug, Default)]
pub(super) struct Statement {
    text: String,
    binds: Vec<Bind>,
}

impl Statement {
    /// Goes on with `text`, in which each `?` stands for the next of `binds`.
    pub(super) fn add(&mut self, text: &str, binds: impl IntoIterator<Item = Bind>) {
        let mut values = binds.into_iter();
        for (position, part) in text.split('?').enumerate() {
            if position > 0
                && let Some(value) = values.next()
            {
                self.binds.push(value);
                self.text.push_str(&format!("${}", self.binds.len()));
            }
            self.text.push_str(part);
        }
    }

    /// For diesel to run. Prepared anew each time, so that it is planned for these very values.
    pub(super) fn into_query(self) -> BoxedSqlQuery<'static, Pg, SqlQuery> {
        let query = diesel::sql_query(self.text).into_boxed::<Pg>();
        self.binds.into_iter().fold(query, |query, bind| match bind {
            Bind::Number(value) => query.bind::<BigInt, _>(value),
            Bind::Text(value) => query.bind::<Text, _>(value),
            Bind::Texts(value) => query.bind::<Array<Text>, _>(value),
            Bind::Time(value) => query.bind::<Timestamptz, _>(value),
            Bind::Json(value) => query.bind::<Jsonb, _>(value),
        })
    }
}

/// Settings of a transaction that lists: the statistics of a table that has just grown may suggest reading all
/// of it, and a page is never worth compiling a plan for.
pub(super) async fn plan_by_index(session: &mut AsyncPgConnection) -> Result<(), StorageError> {
    Ok(session.batch_execute("SET LOCAL enable_seqscan = off; SET LOCAL jit = off").await?)
}

#[cfg(test)]
mod tests {
    use super::{Bind, Statement};

    #[test]
    fn values_are_numbered_in_their_order() {
        let mut statement = Statement::default();
        statement.add("SELECT a WHERE b = ? AND c = ?", [Bind::Number(1), Bind::Text("?".to_owned())]);
        statement.add(" LIMIT ?", [Bind::Number(2)]);
        assert_eq!(statement.text, "SELECT a WHERE b = $1 AND c = $2 LIMIT $3");
        assert_eq!(statement.binds.len(), 3);
    }
}
