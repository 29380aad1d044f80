//! What a repeated import does.

use super::{import_time, naive, taken};
use crate::admin::enclava::{ExistingKey, SyncAction, sync_action};

fn existing() -> ExistingKey {
    // The plain row was last changed on day 2.
    ExistingKey {
        update_time: naive(1).and_utc(),
        revoked: false,
        deleted: false,
        expire_time: None,
        rotated: false,
    }
}

fn applied() -> SyncAction {
    SyncAction::Apply { revoked: false, expire_time: Some(naive(4).and_utc()), take_token: true }
}

#[test]
fn a_new_id_is_inserted_and_an_existing_one_is_left_without_sync() {
    let (key, _) = taken(|_row| {});
    for sync in [false, true] {
        assert_eq!(sync_action(None, &key, sync, import_time()), SyncAction::Insert);
    }
    assert_eq!(sync_action(Some(&existing()), &key, false, import_time()), SyncAction::Leave);
}

#[test]
fn sync_applies_only_what_changed_later_than_here() {
    let (key, _) = taken(|_row| {});
    let changed_here = |day| ExistingKey { update_time: naive(day).and_utc(), ..existing() };
    assert_eq!(sync_action(Some(&changed_here(1)), &key, true, import_time()), applied());
    assert_eq!(
        sync_action(Some(&changed_here(2)), &key, true, import_time()),
        SyncAction::Leave,
        "same instant"
    );
    assert_eq!(sync_action(Some(&changed_here(3)), &key, true, import_time()), SyncAction::Leave);
    let (untimed, _) = taken(|row| row.updated_at = None);
    assert_eq!(sync_action(Some(&changed_here(1)), &untimed, true, import_time()), SyncAction::Leave);
}

#[test]
fn sync_never_revives_a_revoked_deleted_expired_or_rotated_key() {
    let (key, _) = taken(|row| row.expires_at = None);
    let action = |existing: ExistingKey| sync_action(Some(&existing), &key, true, import_time());
    let apply = |revoked, expire_time, take_token| SyncAction::Apply { revoked, expire_time, take_token };
    assert_eq!(action(existing()), apply(false, None, true));
    assert_eq!(action(ExistingKey { revoked: true, ..existing() }), apply(true, None, true));
    assert_eq!(action(ExistingKey { deleted: true, ..existing() }), SyncAction::Leave);
    let expired = Some(import_time());
    assert_eq!(action(ExistingKey { expire_time: expired, ..existing() }), apply(false, expired, true));
    let later = Some(import_time() + chrono::TimeDelta::microseconds(1));
    assert_eq!(action(ExistingKey { expire_time: later, ..existing() }), apply(false, None, true));
    assert_eq!(action(ExistingKey { rotated: true, ..existing() }), apply(false, None, false));
}

#[test]
fn sync_takes_a_revocation_over() {
    let (key, _) = taken(|row| row.is_active = Some(false));
    let action = sync_action(Some(&existing()), &key, true, import_time());
    assert!(matches!(action, SyncAction::Apply { revoked: true, .. }), "{action:?}");
}
