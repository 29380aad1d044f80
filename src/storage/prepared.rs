//! Statements that a connection prepares once.
//!
//! diesel keeps most of what its query builder makes prepared, but takes every `sql_query`, every update and whatever has a
//! piece of SQL in it for one that is not seen again: it is prepared, planned, run and dropped, which is a way to the
//! database and back more, and for a join of five tables most of what it costs there. [`Prepared`] says that the text is
//! fixed.
//!
//! - The text must not come from values: every text is kept for as long as the connection lives.
//! - It names its columns: after a migration that adds one, a kept `SELECT *` fails on every connection that knows it.

use diesel::pg::Pg;
use diesel::query_builder::{AstPass, Query, QueryFragment, QueryId};
use diesel::result::QueryResult;

/// A statement with all its values, whose text is fixed.
#[derive(Clone, Copy, Debug)]
pub(super) struct Prepared<Q>(pub(super) Q);

impl<Q: QueryFragment<Pg>> QueryFragment<Pg> for Prepared<Q> {
    fn walk_ast<'b>(&'b self, out: AstPass<'_, 'b, Pg>) -> QueryResult<()> {
        self.0.walk_ast(out)
    }

    fn is_safe_to_cache_prepared(&self, _backend: &Pg) -> QueryResult<bool> {
        Ok(true)
    }
}

/// Known by its text and the types of its values.
impl<Q> QueryId for Prepared<Q> {
    type QueryId = ();

    const HAS_STATIC_QUERY_ID: bool = false;
}

impl<Q: Query> Query for Prepared<Q> {
    type SqlType = Q::SqlType;
}
