//! PostgreSQL keeps the plans of what every load runs; they read by index, and do not outlive the tables they are of.

use diesel::QueryableByName;
use diesel::sql_types::{BigInt, Text};
use diesel_async::{AsyncPgConnection, RunQueryDsl};
use keystile::storage::secrets::{self, Of};
use keystile::storage::{StorageError, Store};
use keystile::token::Digest;

use crate::harness::{TestDatabase, eventually};

const KEYS: i64 = 20_000;
/// Nobody analyzes them but the test.
const LEFT_ALONE: [&str; 5] = ["api_keys", "key_secrets", "key_digests", "owners", "budgets"];
/// What leads to a statement of a load.
const OF_LOADS: &str =
    "statement LIKE '%ARRAY(SELECT unnest(%' AND statement NOT LIKE '%pg_prepared_statements%'";

#[derive(QueryableByName)]
struct Prepared {
    #[diesel(sql_type = Text)]
    name: String,
    #[diesel(sql_type = Text)]
    statement: String,
    #[diesel(sql_type = Text)]
    nothing: String,
    #[diesel(sql_type = BigInt)]
    generic_plans: i64,
    #[diesel(sql_type = BigInt)]
    custom_plans: i64,
}

#[derive(QueryableByName)]
struct PlanLine {
    #[diesel(sql_type = Text)]
    #[diesel(column_name = "QUERY PLAN")]
    line: String,
}

async fn database() -> TestDatabase {
    let database = TestDatabase::new().await;
    for table in LEFT_ALONE {
        database.sql(&format!("ALTER TABLE {table} SET (autovacuum_enabled = off)")).await;
    }
    database
}

async fn fill(database: &TestDatabase) {
    let statements = format!(
        "INSERT INTO api_keys (key_id, user_id, display_name, description, tags, metadata, permissions, scopes, observe, \
             revision, created_at, updated_at) \
         SELECT n, n % 400, '', '', '{{}}', '{{}}', '{{}}', '{{}}', '{{}}', 0, now(), now() \
         FROM generate_series(1000, 999 + {KEYS}) n; \
         INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
         SELECT n, true, 'ks_' || md5(n::text), 'x', false, now() FROM generate_series(1000, 999 + {KEYS}) n; \
         INSERT INTO key_digests SELECT sha256(secret_id::text::bytea), 'x', secret_id FROM key_secrets; \
         INSERT INTO owners (user_id, revision, created_at, updated_at) \
         SELECT n, 1, now(), now() FROM generate_series(0, 5000) n ON CONFLICT DO NOTHING; \
         INSERT INTO budgets (key_id, display_name, limit_micros, period, is_hard, default_estimate_micros, \
             require_estimate, revision, created_at, updated_at) \
         SELECT n, '', 1, 'total', true, 0, false, 0, now(), now() FROM generate_series(1000, 999 + {KEYS}) n"
    );
    database.sql(&statements).await;
}

/// Looks for one that is nobody's, as a load does.
async fn look(store: &Store) {
    let look = store.read("look", |session| {
        Box::pin(async move {
            secrets::find_by_digests(session, &[Digest::from_slice(&[7; 32]).unwrap()]).await?;
            let peppers = ["x".to_owned()];
            secrets::candidates(session, &["nobody's".to_owned()], &peppers, Of::Undeleted).await?;
            Ok(())
        })
    });
    look.await.unwrap();
}

async fn prepared(session: &mut AsyncPgConnection) -> Result<Vec<Prepared>, StorageError> {
    let query = diesel::sql_query(format!(
        "SELECT name, statement, generic_plans, custom_plans, \
             (SELECT string_agg('''{{}}''', ', ') FROM unnest(parameter_types)) AS nothing \
         FROM pg_prepared_statements WHERE {OF_LOADS} ORDER BY statement"
    ));
    Ok(query.load::<Prepared>(session).await?)
}

/// The statements of loads, each with the plan that it would be run by, on a store of one connection.
async fn plans(store: &Store) -> Vec<(Prepared, String)> {
    let plans = store.read("plans", |session| {
        Box::pin(async move {
            let mut plans = Vec::new();
            for statement in prepared(session).await? {
                let explain = format!("EXPLAIN EXECUTE {} ({})", statement.name, statement.nothing);
                let lines: Vec<PlanLine> = diesel::sql_query(explain).load(session).await?;
                let lines: Vec<String> = lines.into_iter().map(|line| line.line).collect();
                plans.push((statement, lines.join("\n")));
            }
            Ok(plans)
        })
    });
    plans.await.unwrap()
}

fn reads_as_a_whole(plan: &str) -> bool {
    LEFT_ALONE.iter().any(|table| plan.contains(&format!("Seq Scan on {table} ")))
}

#[tokio::test(flavor = "multi_thread")]
async fn a_statement_of_a_load_is_planned_a_few_times_whatever_is_known_of_the_tables() {
    for state in ["as they were made", "empty", "full"] {
        let database = database().await;
        match state {
            "empty" => database.sql("VACUUM ANALYZE").await,
            "full" => {
                fill(&database).await;
                database.sql("VACUUM ANALYZE").await;
            }
            _ => {}
        }
        let store = Store::new(&database.url().into(), 1).unwrap();
        for _ in 0..20 {
            look(&store).await;
        }
        let plans = plans(&store).await;
        assert_eq!(plans.len(), 2);
        for (Prepared { statement, generic_plans, custom_plans, .. }, plan) in plans {
            assert!(custom_plans <= 5 && generic_plans >= 15, "{state}: {statement}\n{plan}");
            assert!(!plan.contains("JIT"), "{state}: {statement}\n{plan}");
            assert!(state != "full" || !reads_as_a_whole(&plan), "{statement}\n{plan}");
        }
    }
}

#[tokio::test(flavor = "multi_thread")]
async fn a_plan_that_was_made_for_an_empty_table_is_not_kept_when_it_has_grown() {
    let database = database().await;
    database.sql("VACUUM ANALYZE").await;
    let store = Store::new(&database.url().into(), 1).unwrap();
    for _ in 0..20 {
        look(&store).await;
    }
    assert!(plans(&store).await.iter().all(|(_, plan)| reads_as_a_whole(plan)));
    fill(&database).await;
    eventually("all plans are made anew", async || {
        look(&store).await;
        let plans = plans(&store).await;
        plans.len() == 2 && !plans.iter().any(|(_, plan)| reads_as_a_whole(plan))
    })
    .await;
}
