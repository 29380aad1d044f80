//! Ids, owner, state, times, prefix and hash.

use secrecy::SecretString;

use super::{HASH, converted, import_time, naive, plain_row, rejected, taken};
use crate::admin::enclava::{RejectionKind, WarningKind, name_ninths};
use crate::policy::KeyId;

#[test]
fn a_plain_row_keeps_everything_and_warns_of_nothing() {
    let (key, warnings) = taken(|_row| {});
    assert_eq!(warnings, []);
    assert_eq!((key.key_id.get(), key.user_id.get()), (7, 3));
    assert_eq!(key.key_prefix, "en_c3j27");
    assert_eq!(key.key_hash.expose(), HASH);
    assert!(!key.owner_disabled && !key.revoked());
    assert_eq!(key.create_time, naive(1).and_utc());
    assert_eq!(key.update_time, naive(2).and_utc());
    assert_eq!(key.source_updated_time, Some(naive(2).and_utc()));
    assert_eq!(key.last_used_time, Some(naive(3).and_utc()));
    assert_eq!(key.expire_time, Some(naive(4).and_utc()));
    assert_eq!((key.total_requests, key.total_tokens, key.total_cost.get()), (5, 6, 700));
}

#[test]
fn ids_below_one_are_rejected_so_that_no_key_becomes_the_operators() {
    for user_id in [0, -1, i64::MIN] {
        assert_eq!(rejected(|row| row.user_id = user_id), (RejectionKind::UserIdOutOfRange, "user_id"));
    }
    for id in [0, -7, i64::MIN] {
        let rejection = converted(|row| row.id = id).expect_err("rejected");
        assert_eq!((rejection.kind, rejection.key_id), (RejectionKind::IdOutOfRange, id));
    }
}

#[test]
fn an_owner_that_is_not_known_to_be_active_is_disabled() {
    for (active, disabled) in [(Some(true), false), (Some(false), true), (None, true)] {
        assert_eq!(taken(|row| row.owner_is_active = active).0.owner_disabled, disabled, "{active:?}");
    }
}

#[test]
fn a_key_that_is_not_known_to_be_active_is_revoked_at_its_last_change_or_now() {
    for active in [Some(false), None] {
        let (key, _) = taken(|row| row.is_active = active);
        assert_eq!(key.revoke_time, Some(naive(2).and_utc()), "{active:?}");
        let (key, _) = taken(|row| {
            row.is_active = active;
            row.updated_at = None;
        });
        assert_eq!(key.revoke_time, Some(import_time()), "{active:?}");
        assert!(key.revoked());
    }
}

#[test]
fn missing_times_are_filled_in_without_making_the_key_look_changed() {
    let (key, warnings) = taken(|row| {
        (row.created_at, row.updated_at, row.last_used_at, row.expires_at) = (None, None, None, None);
    });
    assert_eq!((key.create_time, key.update_time), (import_time(), import_time()));
    assert_eq!((key.source_updated_time, key.last_used_time, key.expire_time), (None, None, None));
    assert_eq!(warnings, []);
    assert_eq!(taken(|row| row.updated_at = None).0.update_time, naive(1).and_utc());
}

#[test]
fn a_prefix_by_which_no_token_is_found_is_rejected_and_not_shown() {
    for prefix in
        ["", "en_c3j2", "en_c3j279", "en_c3jé", "en_c3j\u{1}7", "en_c3j27xdcg2lMLzgeonyLGcTJFiz4soCm"]
    {
        let rejection = converted(|row| row.key_prefix = prefix.to_owned()).expect_err("rejected");
        assert_eq!(rejection.kind, RejectionKind::KeyPrefixInvalid, "{prefix:?}");
        assert!(prefix.is_empty() || !rejection.sentence.contains(prefix));
    }
}

#[test]
fn only_bcrypt_hashes_that_can_be_proved_are_taken() {
    for form in ["$2a$", "$2b$", "$2y$"] {
        let hash = HASH.replace("$2b$", form);
        let (key, _) = taken(|row| row.key_hash = SecretString::from(hash.clone()));
        assert_eq!(key.key_hash.expose(), hash);
    }
    let others = [
        "",
        "plain-text-token",
        "$2x$06$68NFsg9SgyNTECsyDRiY9elqwGp3bBg7ViUeBwSdcc18J.aSMKWmG",
        "$2b$03$68NFsg9SgyNTECsyDRiY9elqwGp3bBg7ViUeBwSdcc18J.aSMKWmG",
        "$2b$15$68NFsg9SgyNTECsyDRiY9elqwGp3bBg7ViUeBwSdcc18J.aSMKWmG",
        "$2b$06$68NFsg9SgyNTECsyDRiY9elqwGp3bBg7ViUeBwSdcc18J.aSMKWm",
        "$argon2id$v=19$m=65536,t=3,p=4$c29tZXNhbHQ$RdescudvJCsgt3ub+b7dWRWJTmaaJObG",
    ];
    for hash in others {
        let rejection = converted(|row| row.key_hash = SecretString::from(hash)).expect_err("rejected");
        assert_eq!((rejection.kind, rejection.field), (RejectionKind::KeyHashInvalid, "key_hash"), "{hash}");
        assert!(hash.is_empty() || !rejection.sentence.contains(hash), "no hash in a sentence");
    }
}

#[test]
fn neither_a_row_nor_a_key_prints_its_hash() {
    let (key, _) = taken(|_row| {});
    assert!(!format!("{:?}", plain_row()).contains("68NFsg9S"));
    assert!(!format!("{key:?}").contains("68NFsg9S"));
}

#[test]
fn the_keys_after_the_eighth_of_a_prefix_are_named_lowest_ids_first() {
    let id = |id| KeyId::new(id).expect("positive");
    let shared = (1..=10).rev().map(|key_id| (id(key_id), "en_aaaaa"));
    let eight = (11..=18).map(|key_id| (id(key_id), "en_bbbbb"));
    let named = name_ninths(shared.chain(eight));
    assert_eq!(named.iter().map(|warning| warning.key_id).collect::<Vec<_>>(), [9, 10]);
    assert!(named.iter().all(|warning| warning.kind == WarningKind::PrefixCrowded));
    assert!(
        named[1].sentence.contains("key 10: key_prefix: \"en_aaaaa\" is shared with 9 keys"),
        "{}",
        named[1]
    );
    let twice = (1..=8).chain(1..=8).map(|key_id| (id(key_id), "en_aaaaa"));
    assert_eq!(name_ninths(twice), [], "a key given twice counts once");
}
