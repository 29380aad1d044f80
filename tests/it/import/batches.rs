//! More rows than a page holds.

use keystile::admin::enclava::RejectionKind;
use keystile::admin::import::import;
use keystile::storage::enclava_source::PAGE_ROWS;

use super::{Setup, counts, hash, plain, rejected};

/// Fills the source with keys 1 to `count`.
pub(super) async fn fill(setup: &Setup, count: i64) {
    setup.add_key(1, &[]).await;
    let (start, end) = (&hash(1)[..49], &hash(1)[56..]);
    setup
        .source
        .sql(&format!(
            "INSERT INTO api_keys (id, name, key_hash, key_prefix, user_id, is_active, created_at, is_unlimited, \
             budget_limit_cents, budget_type, total_cost) \
             SELECT id, 'key ' || id, '{start}' || lpad(id::text, 7, '0') || '{end}', \
             'p' || lpad(id::text, 7, '0'), 1, true, '2026-01-01', false, id, 'total', id % 2 \
             FROM generate_series(2, {count}) AS id"
        ))
        .await;
}

#[tokio::test]
async fn pages_are_imported_one_after_another_and_progress_is_told() {
    let setup = Setup::without_rows().await;
    fill(&setup, 1_201).await;
    setup.target.sql("ALTER TABLE api_keys ADD CONSTRAINT no_700 CHECK (key_id <> 700)").await;
    let mut source = setup.open().await;
    assert_eq!(source.row_count(), 1_201);
    let mut told = Vec::new();
    let report = import(&setup.store, &mut source, plain(), &mut |rows| told.push(rows)).await.unwrap();
    assert_eq!((told, PAGE_ROWS), (vec![500, 1_000, 1_201], 500));
    assert_eq!(counts(&report), [1_200, 0, 0, 1]);
    assert_eq!(rejected(&report), [(700, RejectionKind::RefusedByDatabase)]);
    let number = async |sql: &str| setup.target.number(sql).await;
    assert_eq!(number("SELECT count(*) FROM budgets JOIN api_keys USING (key_id, revision)").await, 1_199);
    let wrong = "SELECT count(*) FROM budgets LEFT JOIN budget_periods USING (budget_id) \
                 WHERE limit_micros <> key_id * 10000 OR coalesce(spent_micros, 0) <> key_id % 2 * 100";
    assert_eq!(number(wrong).await, 0);
    assert_eq!(number("SELECT revision FROM revision_counter").await, 1_200);
}
