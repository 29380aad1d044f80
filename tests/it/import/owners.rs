//! Owners: disabled with their keys, never enabled, and left to administrators afterwards.

use keystile::admin::import::{Import, ImportReport};

use super::{Setup, counts, plain};

const DISABLED: &str = "SELECT count(*) FROM owners WHERE disabled_at IS NOT NULL";
const ENABLE: &str = "UPDATE owners SET disabled_at = NULL";

fn disabled(report: &ImportReport) -> Vec<i64> {
    report.owners_disabled.iter().map(|user_id| user_id.get()).collect()
}

#[tokio::test]
async fn an_owner_who_is_inactive_or_null_there_is_disabled() {
    let setup = Setup::without_rows().await;
    setup.add_key(1, &[]).await;
    setup
        .source
        .sql("INSERT INTO users VALUES (2, 'b@example.com', 'b', false), (3, 'c@example.com', 'c', NULL)")
        .await;
    setup.add_key(2, &[("user_id", "2")]).await;
    setup.add_key(3, &[("user_id", "3")]).await;
    let dry = setup.import_with(Import { dry_run: true, ..plain() }).await;
    let report = setup.import().await;
    assert_eq!((disabled(&report), &report), (vec![2, 3], &dry));
    for (id, is_disabled) in [(1, false), (2, true), (3, true)] {
        assert_eq!(setup.key(id).await.unwrap().policy.owner_disabled, is_disabled, "key {id}");
    }
    // Active owners have no row here until something is said of them.
    assert_eq!(setup.target.number("SELECT count(*) FROM owners").await, 2);
}

#[tokio::test]
async fn an_owner_is_never_enabled() {
    let setup = Setup::without_rows().await;
    setup.add_key(1, &[]).await;
    setup
        .target
        .sql(
            "INSERT INTO owners (user_id, disabled_at, revision, created_at, updated_at) VALUES \
         (1, now(), 0, now(), now())",
        )
        .await;
    setup.import().await;
    assert!(setup.key(1).await.unwrap().policy.owner_disabled);
}

#[tokio::test]
async fn an_owner_who_was_enabled_here_is_disabled_only_with_a_key_that_is_written() {
    let setup = Setup::without_rows().await;
    setup.add_key(1, &[("updated_at", "'2026-02-01'")]).await;
    setup.source.sql("UPDATE users SET is_active = false").await;
    setup.import().await;
    setup.target.sql(ENABLE).await;
    assert_eq!(disabled(&setup.import().await), [0; 0]);
    assert_eq!(disabled(&setup.sync().await), [0; 0]);
    assert_eq!(setup.target.number(DISABLED).await, 0);
    setup.add_key(2, &[]).await;
    assert_eq!(disabled(&setup.import().await), [1]);
    setup.target.sql(ENABLE).await;
    setup.source.sql("UPDATE api_keys SET updated_at = '2026-02-02' WHERE id = 1").await;
    assert_eq!(disabled(&setup.sync().await), [1]);
}

#[tokio::test]
async fn an_owner_who_became_inactive_there_is_disabled_by_a_sync_alone() {
    let setup = Setup::without_rows().await;
    setup.add_key(1, &[]).await;
    setup.import().await;
    setup.source.sql("UPDATE users SET is_active = false").await;
    let before = setup.dump().await;
    assert_eq!(disabled(&setup.import().await), [0; 0]);
    assert_eq!(disabled(&setup.import_with(Import { sync: true, dry_run: true, ..plain() }).await), [1]);
    assert_eq!(setup.dump().await, before);
    let report = setup.sync().await;
    assert_eq!((disabled(&report), counts(&report)), (vec![1], [0, 1, 0, 0]));
    assert!(setup.key(1).await.unwrap().policy.owner_disabled);
    let logged =
        "SELECT count(*) FROM owners JOIN audit_events USING (revision) WHERE action = 'owners.disable'";
    assert_eq!(setup.target.number(logged).await, 1);
    let before = setup.dump().await;
    assert_eq!(disabled(&setup.sync().await), [0; 0]);
    assert_eq!(setup.dump().await, before);
}
