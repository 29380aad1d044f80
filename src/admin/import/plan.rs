//! What is to be done about each row of a page. Reads, never writes.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use super::Import;
use crate::admin::enclava::{
    Converted, ExistingKey, ImportedKey, Rejection, RejectionKind, SyncAction, Warning, convert, sync_action,
    unreadable,
};
use crate::policy::{KeyId, UserId};
use crate::storage::enclava_source::{SourceRow, UnreadableRow};
use crate::storage::keys::KeyStanding;
use crate::storage::{StorageError, Store, keys, owners, usage};

/// A row that can be taken.
#[derive(Debug)]
pub(super) struct Candidate {
    pub(super) key: ImportedKey,
    pub(super) warnings: Vec<Warning>,
    /// Whether the older system knew when it was made.
    created_known: bool,
}

impl Candidate {
    /// Why it cannot be taken after all.
    pub(super) fn reject(&self, kind: RejectionKind, what: impl std::fmt::Display) -> Rejection {
        Rejection::new(self.key.key_id.get(), kind, "id", what)
    }
}

/// Converts a row.
pub(super) fn candidate(
    row: Result<SourceRow, UnreadableRow>,
    repeated: bool,
    import: Import,
) -> Result<Candidate, Rejection> {
    let row = row.map_err(|row| unreadable(&row))?;
    if repeated {
        let what = "a row before has the same id";
        return Err(Rejection::new(row.id, RejectionKind::IdRepeated, "id", what));
    }
    let Converted { key, warnings } = convert(&row, &import.options, import.now)?;
    Ok(Candidate { key, warnings, created_known: row.created_at.is_some() })
}

/// What is to be done.
#[derive(Debug, Default)]
pub(super) struct Plan {
    /// In order of id, like the candidates.
    pub(super) insert: Vec<Arc<Candidate>>,
    pub(super) apply: Vec<Arc<Candidate>>,
    pub(super) unchanged: u64,
    pub(super) rejected: Vec<Rejection>,
    pub(super) disable: Disable,
}

/// Owners that are inactive there and not disabled here.
#[derive(Debug, Default)]
pub(super) struct Disable {
    /// Of keys that are to be inserted or applied. Disabled together with them.
    pub(super) of_written: BTreeSet<UserId>,
    /// Of keys that stay as they are, under `--sync`, where nothing is known here of the owner.
    pub(super) of_unchanged: BTreeSet<UserId>,
}

/// What is here of the keys and owners of a page.
struct Here {
    keys: BTreeMap<KeyId, KeyStanding>,
    purged: BTreeSet<KeyId>,
    /// And whether they are disabled.
    owners: BTreeMap<UserId, bool>,
}

/// Plans what to do about `candidates`, by what is here of them now.
pub(super) async fn look(
    store: &Store,
    candidates: Vec<Arc<Candidate>>,
    import: Import,
) -> Result<Plan, StorageError> {
    let here = read(store, &candidates).await?;
    let mut plan = Plan::default();
    for candidate in candidates {
        sort_in(&mut plan, &here, candidate, import);
    }
    Ok(plan)
}

async fn read(store: &Store, candidates: &[Arc<Candidate>]) -> Result<Here, StorageError> {
    let ids: Vec<KeyId> = candidates.iter().map(|candidate| candidate.key.key_id).collect();
    let inactive = candidates.iter().filter(|candidate| candidate.key.owner_disabled);
    let inactive: BTreeSet<UserId> = inactive.map(|candidate| candidate.key.user_id).collect();
    let inactive: Vec<UserId> = inactive.into_iter().collect();
    store
        .read("import.look", move |session| {
            Box::pin(async move {
                let keys = keys::standings(session, &ids).await?;
                Ok(Here {
                    keys: keys.into_iter().map(|standing| (standing.key_id, standing)).collect(),
                    purged: usage::purged(session, &ids).await?.into_iter().collect(),
                    owners: owners::known(session, &inactive).await?.into_iter().collect(),
                })
            })
        })
        .await
}

fn sort_in(plan: &mut Plan, here: &Here, candidate: Arc<Candidate>, import: Import) {
    let key = &candidate.key;
    let user_id = key.user_id;
    let standing = here.keys.get(&key.key_id);
    if standing.is_none() && here.purged.contains(&key.key_id) {
        let what = "a key with this id was here and is purged; an id is not used again";
        plan.rejected.push(candidate.reject(RejectionKind::IdPurged, what));
        return;
    }
    if let Some(standing) = standing
        && !is_same(&candidate, standing)
    {
        let what = "another key has this id here; import before new keys are created";
        plan.rejected.push(candidate.reject(RejectionKind::IdTaken, what));
        return;
    }
    let owner = here.owners.get(&user_id).copied();
    let action = sync_action(standing.map(existing).as_ref(), key, import.sync, import.now);
    if action == SyncAction::Leave {
        plan.unchanged = plan.unchanged.saturating_add(1);
        if import.sync && key.owner_disabled && owner.is_none() {
            plan.disable.of_unchanged.insert(user_id);
        }
        return;
    }
    if key.owner_disabled && owner != Some(true) {
        plan.disable.of_written.insert(user_id);
    }
    match action {
        SyncAction::Insert => plan.insert.push(candidate),
        SyncAction::Apply { .. } | SyncAction::Leave => plan.apply.push(candidate),
    }
}

/// Whether the key that is here came from the incoming row, and is not another one with the same id: a key
/// that was created here, or imported from elsewhere. The time of creation stays through every change; the
/// hash helps where the older system did not know the time, as long as the token was not rotated here.
fn is_same(candidate: &Candidate, standing: &KeyStanding) -> bool {
    let same_hash = standing.imported_hash.as_deref() == Some(candidate.key.key_hash.expose());
    let same_time = candidate.created_known && standing.create_time == candidate.key.create_time;
    same_hash || same_time
}

/// The key that is here, in the words of [`sync_action`].
pub(super) fn existing(standing: &KeyStanding) -> ExistingKey {
    ExistingKey {
        update_time: standing.update_time,
        revoked: standing.revoked,
        deleted: standing.deleted,
        expire_time: standing.expire_time,
        rotated: standing.imported_hash.is_none(),
    }
}
