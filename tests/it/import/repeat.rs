//! Doing it again, and doing it dry: nothing is written.

use keystile::admin::import::{Import, ImportReport};

use super::{Setup, counts, plain};

#[tokio::test]
async fn a_second_import_changes_nothing() {
    let setup = Setup::new().await;
    let first = setup.import().await;
    let before = setup.dump().await;
    for wanted in [plain(), Import { sync: true, ..plain() }, Import { dry_run: true, ..plain() }] {
        let again = setup.import_with(wanted).await;
        assert_eq!(counts(&again), [0, 200, 0, 0]);
        assert!(again.warnings.is_empty() && again.owners_disabled.is_empty());
    }
    assert_eq!(setup.dump().await, before);
    assert_eq!(first.rows, 200);
}

#[tokio::test]
async fn a_dry_run_says_what_an_import_does_and_does_nothing() {
    let setup = Setup::new().await;
    // Something of everything: rejected, crowded, sorted.
    let crowd = "UPDATE api_keys SET key_prefix = 'en_crowd' WHERE id BETWEEN 11 AND 19; \
                 UPDATE api_keys SET key_hash = 'x' WHERE id = 50";
    setup.source.sql(crowd).await;
    let before = setup.dump().await;
    let dry = setup.import_with(Import { dry_run: true, ..plain() }).await;
    assert_eq!(setup.dump().await, before);
    assert_eq!(counts(&dry), [199, 0, 0, 1]);
    assert_eq!(setup.import().await, dry);
    assert_ne!(setup.dump().await, before);
}

#[tokio::test]
async fn a_key_that_was_changed_here_stays_as_it_is() {
    let setup = Setup::new().await;
    setup.import().await;
    // All kinds of changes by administrators.
    setup
        .target
        .sql(
            "UPDATE api_keys SET display_name = 'mine', updated_at = now() WHERE key_id = 1; \
             UPDATE api_keys SET deleted_at = now(), purge_at = now() WHERE key_id = 2; \
             UPDATE api_keys SET revoked_at = NULL WHERE key_id = 5; \
             DELETE FROM key_secrets WHERE key_id = 3; \
             INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
             SELECT 3, true, 'ks_aaaaaaaaaaaa', key_hash, false, now() FROM key_secrets WHERE key_id = 4; \
             UPDATE owners SET disabled_at = NULL WHERE user_id = 25",
        )
        .await;
    let before = setup.dump().await;
    let again: ImportReport = setup.import().await;
    assert_eq!(counts(&again), [0, 200, 0, 0], "{:?}", again.rejections);
    assert_eq!(setup.dump().await, before);
}
