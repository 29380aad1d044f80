//! Rows that cannot be taken, and sources that cannot be read.

use keystile::admin::enclava::RejectionKind as Kind;
use keystile::admin::import::{ImportError, import};
use keystile::storage::enclava_source::{EnclavaSource, SourceError};
use secrecy::SecretString;

use super::{Setup, counts, open, plain, rejected};
use crate::harness::TestDatabase;

/// Faults of all sorts in the export; each names its key.
const SPOIL: &str = "\
    ALTER TABLE api_keys DROP CONSTRAINT api_keys_user_id_fkey, DROP CONSTRAINT api_keys_pkey, \
    ALTER key_hash DROP NOT NULL, ALTER tags TYPE text, ALTER id TYPE bigint, ALTER total_cost TYPE bigint; \
    INSERT INTO users VALUES (0, 'zero@example.com', 'zero', true); \
    UPDATE api_keys SET user_id = 0 WHERE id = 3; \
    UPDATE api_keys SET user_id = 4000 WHERE id = 4; \
    UPDATE api_keys SET key_hash = NULL WHERE id = 8; \
    UPDATE api_keys SET key_hash = '$2b$06$tooshort' WHERE id = 9; \
    UPDATE api_keys SET key_prefix = 'en_' WHERE id = 10; \
    UPDATE api_keys SET rate_limit_per_day = 0 WHERE id = 11; \
    UPDATE api_keys SET expires_at = 'infinity' WHERE id = 12; \
    UPDATE api_keys SET allowed_models = 'false' WHERE id = 13; \
    UPDATE api_keys SET tags = '[\"blue\"' WHERE id = 14; \
    UPDATE api_keys SET scopes = '[\"\\ud800\"]' WHERE id = 15; \
    UPDATE api_keys SET budget_type = 'weekly' WHERE id = 16; \
    UPDATE api_keys SET total_cost = 9223372036854775807 WHERE id = 17; \
    INSERT INTO api_keys (id, name, key_hash, key_prefix, user_id) SELECT id, name, 'x' || key_hash, key_prefix, \
    user_id FROM api_keys WHERE id = 18; \
    INSERT INTO api_keys (id, name, key_hash, key_prefix, user_id) VALUES (-1, '', 'a', '', 1), \
    (9223372036854775807, '', 'b', '', 1)";

const SPOILT: [(i64, Kind); 16] = [
    (-1, Kind::IdOutOfRange),
    (3, Kind::UserIdOutOfRange),
    (4, Kind::OwnerMissing),
    (8, Kind::KeyHashInvalid),
    (9, Kind::KeyHashInvalid),
    (10, Kind::KeyPrefixInvalid),
    (11, Kind::RateLimitNotPositive),
    (12, Kind::ValueUnreadable),
    (13, Kind::ShapeUnknown),
    (14, Kind::ValueUnreadable),
    (15, Kind::ValueUnreadable),
    (16, Kind::BudgetTypeUnknown),
    (17, Kind::AmountTooLarge),
    (18, Kind::IdRepeated),
    (100, Kind::RefusedByDatabase),
    (i64::MAX, Kind::IdOutOfRange),
];

/// A rule of the database's own that one row breaks.
const REFUSE: &str = "ALTER TABLE api_keys ADD CONSTRAINT no_100 CHECK (display_name NOT LIKE '% 100')";

#[tokio::test]
async fn bad_rows_are_named_the_rest_is_taken_and_once_repaired_they_are_taken_too() {
    let setup = Setup::new().await;
    let whole = setup.source.dump("api_keys").await;
    setup.source.sql(SPOIL).await;
    setup.source.sql("UPDATE api_keys SET is_unlimited = false, budget_limit_cents = 1 WHERE id = 16").await;
    setup.target.sql(REFUSE).await;

    let report = setup.import().await;
    assert_eq!(rejected(&report), SPOILT);
    assert_eq!(counts(&report), [187, 0, 0, 16]);
    for rejection in &report.rejections {
        let sentence = &rejection.sentence;
        assert!(sentence.starts_with(&format!("key {}: ", rejection.key_id)), "{sentence}");
        assert!(!sentence.contains("$2"), "{sentence}");
    }
    let refused = &report.rejections[14].sentence;
    assert!(refused.contains("no_100"), "{refused}");
    let taken = "SELECT count(*) FROM api_keys WHERE key_id IN (3,4,8,9,10,11,12,13,14,15,16,17,100)";
    assert_eq!(setup.target.number(taken).await, 0);
    // A rejected id moves nothing: new keys still have room.
    assert_eq!(setup.target.number("SELECT last_value FROM api_keys_key_id_seq").await, 200);

    let before = setup.target.dump("(SELECT * FROM api_keys)").await;
    let rows = whole.join(",").replace('\'', "''");
    setup
        .source
        .sql(&format!(
            "TRUNCATE api_keys; DELETE FROM users WHERE id = 0; \
             INSERT INTO api_keys SELECT * FROM json_populate_recordset(NULL::api_keys, '[{rows}]')"
        ))
        .await;
    setup.target.sql("ALTER TABLE api_keys DROP CONSTRAINT no_100").await;
    let report = setup.import().await;
    assert_eq!(counts(&report), [13, 187, 0, 0], "{:?}", report.rejections);
    let after = setup.target.dump("(SELECT * FROM api_keys)").await;
    assert!(before.iter().all(|row| after.contains(row)));
    assert_eq!(after.len(), 200);
}

#[tokio::test]
async fn a_refused_row_leaves_nothing_behind() {
    let setup = Setup::new().await;
    // Key 2 is the only one of owner 25 here, who is inactive.
    setup.source.sql("DELETE FROM api_keys WHERE user_id = 25 AND id <> 2 OR id > 10").await;
    setup.target.sql("ALTER TABLE key_usage ADD CONSTRAINT no_2 CHECK (key_id <> 2)").await;
    let report = setup.import().await;
    assert_eq!(rejected(&report), [(2, Kind::RefusedByDatabase)]);
    assert!(report.owners_disabled.is_empty());
    for table in ["api_keys", "key_secrets", "key_usage", "change_log", "audit_events"] {
        let count = setup.target.number(&format!("SELECT count(*) FROM {table}")).await;
        assert_eq!(count, i64::try_from(report.inserted).unwrap(), "{table}");
    }
    assert_eq!(setup.target.number("SELECT count(*) FROM owners").await, 0);
}

#[tokio::test]
async fn a_target_that_takes_nothing_ends_the_import() {
    let setup = Setup::new().await;
    setup.target.sql("ALTER TABLE audit_events DROP COLUMN peer_address").await;
    let stopped = import(&setup.store, &mut setup.open().await, plain(), &mut |_| {}).await.unwrap_err();
    assert!(matches!(stopped.cause, ImportError::Store(_)), "{stopped}");
    assert!(stopped.to_string().contains("peer_address"), "{stopped}");
    assert_eq!(stopped.so_far.inserted, 0);
    assert_eq!(setup.target.number("SELECT count(*) FROM api_keys").await, 0);
}

#[tokio::test]
async fn a_source_that_is_none_is_told_in_words() {
    let empty = TestDatabase::unmigrated().await;
    let error = open(&empty).await.unwrap_err();
    assert!(matches!(error, SourceError::MissingTable("api_keys")), "{error}");
    assert!(error.to_string().contains("no table api_keys"), "{error}");

    let setup = Setup::new().await;
    setup.source.sql("ALTER TABLE api_keys DROP COLUMN tags, DROP COLUMN total_cost").await;
    let error = open(&setup.source).await.unwrap_err();
    assert_eq!(error.to_string(), "the older system's table api_keys has no column tags, total_cost");
    setup
        .source
        .sql("DROP TABLE users CASCADE; ALTER TABLE api_keys ADD tags json, ADD total_cost int")
        .await;
    assert!(matches!(open(&setup.source).await.unwrap_err(), SourceError::MissingTable("users")));
    // Our own database is no source either.
    let error = open(&setup.target).await.unwrap_err();
    assert!(matches!(error, SourceError::MissingColumns { table: "api_keys", .. }), "{error}");
}

#[tokio::test]
async fn a_source_out_of_reach_is_told_without_its_password() {
    let url = SecretString::from("postgres://reader:sesame@127.0.0.1:1/enclava");
    let error = EnclavaSource::open(&url).await.unwrap_err();
    assert!(matches!(error, SourceError::Unreachable(_)), "{error}");
    assert!(!error.to_string().contains("sesame"), "{error}");
    let malformed = SecretString::from("postgres://reader:sesame@[/enclava");
    let error = EnclavaSource::open(&malformed).await.unwrap_err();
    assert!(!error.to_string().contains("sesame"), "{error}");
}

#[tokio::test]
async fn a_source_that_goes_away_ends_the_import_and_the_next_one_goes_on() {
    let setup = Setup::without_rows().await;
    super::batches::fill(&setup, 1_100).await;
    let mut source = setup.open().await;
    setup.source.allow_connections(false).await;
    let stopped = import(&setup.store, &mut source, plain(), &mut |_| {}).await.unwrap_err();
    assert!(matches!(stopped.cause, ImportError::Source(SourceError::Unreachable(_))), "{stopped}");
    setup.source.allow_connections(true).await;
    assert_eq!(counts(&setup.import().await), [1_100, 0, 0, 0]);
}
