//! Ids: kept, moved past, and never given to another key.

use diesel_async::{AsyncConnection, AsyncPgConnection, SimpleAsyncConnection};
use keystile::admin::enclava::{RejectionKind, WarningKind};
use keystile::admin::import::Import;
use keystile::policy::KeyId;
use keystile::storage::keys;

use super::{Setup, counts, plain, rejected};

/// A key that is created here, as SQL: the id is the next of the sequence.
pub(super) const CREATE: &str = "WITH key AS (INSERT INTO api_keys (user_id, display_name, description, tags, metadata, \
     permissions, scopes, observe, revision, created_at, updated_at) \
     VALUES (1, 'own', '', '{}', '{}', '{}', '{}', '{}', 0, now(), now()) RETURNING key_id) \
     INSERT INTO key_secrets (key_id, is_current, key_prefix, key_hash, imported, created_at) \
     SELECT key_id, true, 'ks_' || lpad(key_id::text, 12, '0'), \
     '$2b$06$68NFsg9SgyNTECsyDRiY9elqwGp3bBg7ViUeBwSdcc18J.aSMKWmG', false, now() FROM key";

const LAST_ID: &str = "SELECT max(key_id) FROM api_keys";

#[tokio::test]
async fn new_keys_get_ids_after_the_imported_ones() {
    let setup = Setup::new().await;
    setup.import().await;
    setup.target.sql(CREATE).await;
    assert_eq!(setup.target.number(LAST_ID).await, 201);
}

#[tokio::test]
async fn a_single_key_with_the_very_first_id_moves_the_sequence_too() {
    let setup = Setup::without_rows().await;
    setup.add_key(1, &[]).await;
    setup.import().await;
    setup.target.sql(CREATE).await;
    assert_eq!(setup.target.number(LAST_ID).await, 2);
}

#[tokio::test]
async fn the_ids_of_new_keys_never_go_back() {
    let setup = Setup::new().await;
    setup.target.sql("SELECT setval('api_keys_key_id_seq', 5000)").await;
    assert_eq!(counts(&setup.import().await), [200, 0, 0, 0]);
    setup.target.sql(CREATE).await;
    assert_eq!(setup.target.number(LAST_ID).await, 5001);
    // Also not where the sequence has not been used yet, and starts higher.
    let setup = Setup::without_rows().await;
    setup.add_key(7, &[]).await;
    setup.target.sql("ALTER SEQUENCE api_keys_key_id_seq RESTART WITH 5000").await;
    setup.import().await;
    setup.target.sql(CREATE).await;
    assert_eq!(setup.target.number(LAST_ID).await, 5000);
}

#[tokio::test]
async fn reserving_ids_waits_for_whoever_is_inserting_a_key() {
    let setup = Setup::without_rows().await;
    let mut creating = AsyncPgConnection::establish(&setup.target.url()).await.unwrap();
    creating.batch_execute(&format!("BEGIN; {CREATE}")).await.unwrap();
    let store = setup.store.clone();
    let reserving = tokio::spawn(async move {
        let reserve = store.write("test", |session| {
            Box::pin(async move { keys::reserve_ids_up_to(session, KeyId::new(50).unwrap()).await })
        });
        reserve.await.unwrap();
    });
    let waiting = "SELECT count(*) FROM pg_locks WHERE NOT granted AND relation = 'api_keys'::regclass";
    while setup.target.number(waiting).await == 0 {
        assert!(!reserving.is_finished(), "it does not wait");
    }
    assert_eq!(setup.target.number("SELECT last_value FROM api_keys_key_id_seq").await, 1);
    creating.batch_execute("COMMIT").await.unwrap();
    reserving.await.unwrap();
    setup.target.sql(CREATE).await;
    assert_eq!(setup.target.number(LAST_ID).await, 51);
}

#[tokio::test]
async fn an_id_that_another_key_has_here_is_named_and_the_key_stays() {
    let setup = Setup::new().await;
    setup.target.sql(CREATE).await;
    setup.target.sql(CREATE).await;
    let own = setup.target.dump("(SELECT * FROM api_keys WHERE key_id < 3)").await;
    let report = setup.import().await;
    assert_eq!(counts(&report), [198, 0, 0, 2]);
    assert_eq!(rejected(&report), [(1, RejectionKind::IdTaken), (2, RejectionKind::IdTaken)]);
    assert_eq!(setup.target.dump("(SELECT * FROM api_keys WHERE key_id < 3)").await, own);
    // Under --sync neither, whatever is newer there.
    setup.source.sql("UPDATE api_keys SET updated_at = '2030-01-01' WHERE id = 1").await;
    let report = setup.sync().await;
    assert_eq!(rejected(&report), [(1, RejectionKind::IdTaken), (2, RejectionKind::IdTaken)]);
    assert_eq!(setup.target.dump("(SELECT * FROM api_keys WHERE key_id < 3)").await, own);
}

#[tokio::test]
async fn a_purged_key_does_not_come_back() {
    let setup = Setup::new().await;
    setup.import().await;
    setup.target.sql("DELETE FROM api_keys WHERE key_id IN (9, 10)").await;
    let before = setup.dump().await;
    for wanted in [plain(), Import { sync: true, ..plain() }] {
        let report = setup.import_with(wanted).await;
        assert_eq!(counts(&report), [0, 198, 0, 2]);
        assert_eq!(rejected(&report), [(9, RejectionKind::IdPurged), (10, RejectionKind::IdPurged)]);
    }
    assert_eq!(setup.dump().await, before);
}

#[tokio::test]
async fn a_deleted_key_stays_deleted() {
    let setup = Setup::new().await;
    setup.import().await;
    setup.target.sql("UPDATE api_keys SET deleted_at = now(), purge_at = now() WHERE key_id = 9").await;
    setup.source.sql("UPDATE api_keys SET updated_at = '2030-01-01' WHERE id = 9").await;
    let before = setup.dump().await;
    assert_eq!(counts(&setup.sync().await), [0, 200, 0, 0]);
    assert_eq!(setup.dump().await, before);
}

#[tokio::test]
async fn the_ninth_key_of_a_prefix_is_named_also_when_the_eight_came_earlier() {
    let setup = Setup::without_rows().await;
    for id in 1..=8 {
        setup.add_key(id, &[("key_prefix", "'en_crowd'")]).await;
    }
    assert_eq!(setup.import().await.warnings, []);
    setup.add_key(9, &[("key_prefix", "'en_crowd'")]).await;
    let dry = setup.import_with(Import { dry_run: true, ..plain() }).await;
    let report = setup.import().await;
    assert_eq!(counts(&report), [1, 8, 0, 0]);
    assert_eq!(report, dry);
    let warnings: Vec<_> = report.warnings.iter().map(|warning| (warning.key_id, warning.kind)).collect();
    assert_eq!(warnings, [(9, WarningKind::PrefixCrowded)]);
}
