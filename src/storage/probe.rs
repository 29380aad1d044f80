//! Whether the tables of this program are there as it knows them, and whether its role may use them.
//!
//! Asked once at start, so that a schema that was half brought up to date, restored in part or granted too little is
//! one sentence then, and not an error of every call later. Answers do not rest on PostgreSQL's words, which depend on
//! its language.

use diesel::dsl::sql;
use diesel::pg::Pg;
use diesel::query_builder::QueryFragment;
use diesel::sql_types::{Array, Bool, Nullable, Text};
use diesel::{QueryDsl as _, QueryableByName, debug_query, sql_query};
use diesel_async::{RunQueryDsl as _, SimpleAsyncConnection as _};

use super::pool::Session;
use super::{StorageError, schema};

/// The tables, each with the rights on it that the service needs.
pub const TABLES: [(&str, &[&str]); 16] = [
    ("owners", &CHANGE),
    ("api_keys", &CHANGE),
    ("key_secrets", &CHANGE),
    ("key_digests", &CHANGE),
    ("key_usage", &CHANGE),
    ("budgets", &CHANGE),
    ("budget_periods", &CHANGE),
    ("revision_counter", &["SELECT", "UPDATE"]),
    ("change_log", &LOG),
    ("audit_events", &LOG),
    ("idempotent_requests", &CHANGE),
    ("peppers", &APPEND),
    ("pending_uses", &CHANGE),
    ("schema_compatibility", &["SELECT"]),
    ("replicas", &CHANGE),
    ("limit_counters", &CHANGE),
];
const CHANGE: [&str; 4] = ["SELECT", "INSERT", "UPDATE", "DELETE"];
const APPEND: [&str; 2] = ["SELECT", "INSERT"];
/// Old lines are removed, none is changed.
const LOG: [&str; 3] = ["SELECT", "INSERT", "DELETE"];
/// Where diesel records which migrations have run.
const RECORD: &str = "__diesel_schema_migrations";

/// Who we are to the database, and what it lets us do.
#[derive(Clone, Debug, PartialEq, Eq, QueryableByName)]
pub struct Access {
    /// The role.
    #[diesel(sql_type = Text)]
    pub role: String,
    /// The schema that new tables go to; `None`: there is none on the search path that the role may use.
    #[diesel(sql_type = Nullable<Text>)]
    pub schema: Option<String>,
    /// Whether it may make tables there.
    #[diesel(sql_type = Bool)]
    pub may_create: bool,
    /// Tables of this program that are there, in no order.
    #[diesel(sql_type = Array<Text>)]
    pub present: Vec<String>,
    /// Rights on them that are needed and missing, as `UPDATE on api_keys`.
    #[diesel(sql_type = Array<Text>)]
    pub missing_rights: Vec<String>,
}

impl Access {
    /// Tables of this program that are not there.
    #[must_use]
    pub fn missing_tables(&self) -> Vec<&'static str> {
        let tables = TABLES.iter().map(|(table, _)| *table);
        tables.filter(|table| !self.present.iter().any(|present| present == table)).collect()
    }
}

/// Asks who we are and what we may.
///
/// # Errors
/// [`StorageError`].
pub async fn access(session: &mut Session) -> Result<Access, StorageError> {
    let needed = TABLES.iter().flat_map(|(table, rights)| rights.iter().map(move |right| (*table, *right)));
    let (tables, rights): (Vec<&str>, Vec<&str>) = needed.chain([(RECORD, "SELECT")]).unzip();
    let access = sql_query(
        "WITH needed AS MATERIALIZED ( \
             SELECT name, privilege, to_regclass(quote_ident(name)) AS place \
             FROM unnest($1::text[], $2::text[]) AS t (name, privilege)) \
         SELECT current_user::text AS role, current_schema()::text AS schema, \
             coalesce(has_schema_privilege(current_schema(), 'CREATE'), false) AS may_create, \
             ARRAY(SELECT DISTINCT name FROM needed WHERE place IS NOT NULL AND name <> $3) AS present, \
             ARRAY(SELECT format('%s on %s', privilege, name) FROM needed \
                   WHERE NOT has_table_privilege(place, privilege) ORDER BY name, privilege) AS missing_rights",
    )
    .bind::<Array<Text>, _>(tables)
    .bind::<Array<Text>, _>(rights)
    .bind::<Text, _>(RECORD)
    .get_result(session)
    .await?;
    Ok(access)
}

/// Reads no row of every column of every table.
///
/// # Errors
/// [`StorageError`], which names the first that is not as this program knows it.
pub async fn read_nothing(session: &mut Session) -> Result<(), StorageError> {
    Ok(session.batch_execute(&queries().join(";\n")).await?)
}

/// One for each table. They have nothing to bind.
fn queries() -> [String; 16] {
    fn of(query: impl QueryFragment<Pg>) -> String {
        // What diesel writes behind it about binds is a comment in SQL.
        format!("{}\n", debug_query::<Pg, _>(&query))
    }
    let nothing = || sql::<Bool>("false");
    [
        of(schema::owners::table.filter(nothing())),
        of(schema::api_keys::table.filter(nothing())),
        of(schema::key_secrets::table.filter(nothing())),
        of(schema::key_digests::table.filter(nothing())),
        of(schema::key_usage::table.filter(nothing())),
        of(schema::budgets::table.filter(nothing())),
        of(schema::budget_periods::table.filter(nothing())),
        of(schema::revision_counter::table.filter(nothing())),
        of(schema::change_log::table.filter(nothing())),
        of(schema::audit_events::table.filter(nothing())),
        of(schema::idempotent_requests::table.filter(nothing())),
        of(schema::peppers::table.filter(nothing())),
        of(schema::pending_uses::table.filter(nothing())),
        of(schema::schema_compatibility::table.filter(nothing())),
        of(schema::replicas::table.filter(nothing())),
        of(schema::limit_counters::table.filter(nothing())),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_table_of_the_schema_is_probed() {
        let text = include_str!("schema.rs");
        let blocks = text.split("diesel::table! {\n").skip(1);
        let names: Vec<&str> = blocks.map(|block| block.trim_start().split_once(' ').unwrap().0).collect();
        assert_eq!(names, TABLES.map(|(table, _)| table));
        for (name, query) in names.iter().zip(queries()) {
            assert!(query.contains(&format!("FROM \"{name}\"")), "{query}");
            assert!(query.contains("WHERE false -- binds: []\n"), "{query}");
        }
    }
}
