//! Many keys, by SQL: of one owner in ten, with tags, scopes, models and metadata that are common and rare, and times
//! that rise with the ids, as they do.

use diesel_async::{AsyncConnection as _, AsyncPgConnection, SimpleAsyncConnection as _};
use keystile::storage::{Store, migrations};
use secrecy::SecretString;

/// Brings the schema up to date.
///
/// # Errors
/// What the database says.
pub async fn migrate(url: &str) -> anyhow::Result<()> {
    migrations::run(&Store::new(&SecretString::from(url.to_owned()), 2)?).await?;
    Ok(())
}

/// Inserts keys 1 to `count`. Indexes that rows are not found by are made afterwards: it is quicker.
///
/// # Errors
/// What the database says.
pub async fn insert(url: &str, count: i64) -> anyhow::Result<()> {
    let mut session = AsyncPgConnection::establish(url).await?;
    session.batch_execute(TAKE_INDEXES).await?;
    session.batch_execute(&rows(count)).await?;
    session.batch_execute(MAKE_INDEXES).await?;
    session.batch_execute("VACUUM ANALYZE").await?;
    Ok(())
}

const TAKE_INDEXES: &str = "
    SET session_replication_role = replica;
    SET maintenance_work_mem = '512MB';
    CREATE TABLE taken AS SELECT indexname, indexdef FROM pg_indexes
        WHERE tablename IN ('api_keys', 'key_usage') AND indexdef NOT LIKE 'CREATE UNIQUE%';
    DO $$ DECLARE name text; BEGIN
        FOR name IN SELECT indexname FROM taken LOOP EXECUTE format('DROP INDEX %I', name); END LOOP;
    END $$";

const MAKE_INDEXES: &str = "
    DO $$ DECLARE def text; BEGIN
        FOR def IN SELECT indexdef FROM taken LOOP EXECUTE def; END LOOP;
    END $$;
    DROP TABLE taken";

fn rows(count: i64) -> String {
    format!(
        "INSERT INTO api_keys (key_id, user_id, display_name, description, tags, metadata, permissions, scopes, \
             models, observe, expire_at, revoked_at, deleted_at, purge_at, revision, created_at, updated_at) \
         SELECT n, n % ({count} / 10), 'key of ' || substr(md5(n::text), 1, 12), '', \
             ARRAY['default', 'team-' || n % 1000] || CASE WHEN n > {count} * 0.95 THEN '{{late}}' ELSE '{{}}' END::text[], \
             jsonb_build_object('team', 'team-' || n % 1000, 'tier', 'free'), '{{read,chat}}', \
             CASE WHEN n % 50 = 0 THEN ARRAY['*'] ELSE ARRAY['chat.completions', 'app-' || n % 1000 || '.use'] END, \
             CASE WHEN n % 50 = 1 THEN NULL WHEN n % 2 = 0 THEN ARRAY['gpt-4o*', 'o3'] \
                  ELSE ARRAY['m' || n % 1000 || '*'] END, '{{}}', \
             CASE WHEN n % 4 > 0 THEN now() + (n - {count} / 10) * interval '10 seconds' END, \
             CASE WHEN n % 200 = 7 THEN now() END, CASE WHEN n % 500 = 8 THEN now() END, \
             CASE WHEN n % 500 = 8 THEN now() END, 0, now() - ({count} - n) * interval '10 seconds', \
             now() - n * 7919 % {count} * interval '10 seconds' \
         FROM generate_series(1::bigint, {count}) n; \
         INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
         SELECT n, true, 'ks_' || substr(md5('p' || n), 1, 16), 'x', false, now() FROM generate_series(1::bigint, {count}) n; \
         INSERT INTO key_usage (key_id, last_used_at) \
         SELECT n, CASE WHEN n % 3 > 0 THEN now() - n * 104729 % {count} * interval '10 seconds' END \
         FROM generate_series(1::bigint, {count}) n; \
         INSERT INTO owners (user_id, disabled_at, revision, created_at, updated_at) \
         SELECT n, CASE WHEN n % 500 = 0 THEN now() END, 1, now(), now() FROM generate_series(1::bigint, {count} / 10, 5) n"
    )
}
