//! Changes of keys and owners as they come, for those who follow them.
//!
//! The change log says what has changed; what is there now is read in the same state. One who falls behind what is
//! kept of the log is told so, never given a part. All who follow share one reader: those who are at the same place
//! are given the same page.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use chrono::{DateTime, Utc};
use tokio::sync::Mutex;

use super::{Admin, AdminError, KeyView, OwnerView, owners};
use crate::policy::{BudgetSubject, KeyId, Revision, UserId};
use crate::storage::changes::{self, Line, Subject};
use crate::storage::{ReadAt, Session, StorageError, budgets, listing, rotation, usage};

/// A page has at most so many changes.
const PAGE: usize = 64;

/// A change.
#[derive(Clone, Debug)]
pub enum Change {
    /// The key was created or changed; this is what it is now.
    Key(Arc<KeyView>),
    /// The key was purged.
    KeyPurged(KeyId),
    /// The owner was changed; this is what it is now.
    Owner(Arc<OwnerView>),
    /// Everything may have been changed.
    All,
}

/// Changes in the order of their revisions.
#[derive(Clone, Debug)]
pub struct ChangePage {
    after: Revision,
    /// Where the log stood when it was read.
    pub head: ReadAt,
    /// The changes right after the revision that was asked for.
    pub changes: Vec<(Revision, Change)>,
}

/// Reads changes for all who follow them.
#[derive(Debug)]
pub struct Changes {
    admin: Admin,
    /// The page that was read last.
    last: Mutex<Option<Arc<ChangePage>>>,
}

impl Changes {
    /// The changes of a store.
    #[must_use]
    pub fn new(admin: Admin) -> Arc<Self> {
        Arc::new(Self { admin, last: Mutex::default() })
    }

    /// The newest revision.
    ///
    /// # Errors
    /// [`AdminError::Store`].
    pub async fn head(&self) -> Result<Revision, AdminError> {
        let head = self.admin.store.read("changes.head", |session| Box::pin(changes::head(session)));
        Ok(head.await?)
    }

    /// The changes right after a revision, of a state that is as new as `seen` at least.
    ///
    /// # Errors
    /// [`AdminError::RevisionGone`], [`AdminError::RevisionToCome`], [`AdminError::Store`].
    pub async fn after(&self, after: Revision, seen: ReadAt) -> Result<Arc<ChangePage>, AdminError> {
        let mut last = self.last.lock().await;
        // A newest revision that lies before `after` may be a database that was set back: to be looked at anew.
        let is_fresh = |page: &&Arc<ChangePage>| {
            let is_reached = (after..=page.head.revision).contains(&seen.revision);
            page.after == after && page.head.epoch == seen.epoch && is_reached
        };
        if let Some(page) = last.as_ref().filter(is_fresh) {
            return Ok(Arc::clone(page));
        }
        let page = Arc::new(self.admin.changes_after(after).await?);
        *last = Some(Arc::clone(&page));
        Ok(page)
    }
}

impl Admin {
    async fn changes_after(&self, after: Revision) -> Result<ChangePage, AdminError> {
        let now = self.settings.clock.now();
        let read = self.store.snapshot("changes.page", move |session| {
            Box::pin(async move {
                let limit = i64::try_from(PAGE).unwrap_or(i64::MAX);
                let (head, lines) = changes::since(session, after, limit).await?;
                let now = Now::of(session, &lines, now).await?;
                Ok((head, lines, now))
            })
        });
        let (head, lines, now) = read.await?;
        let first = lines.first().map(|line| line.revision.get());
        if after > head.revision {
            return Err(AdminError::RevisionToCome { after, head: head.revision });
        }
        if after < head.revision && first != Some(after.get().saturating_add(1)) {
            return Err(AdminError::RevisionGone(after));
        }
        let changes = lines.into_iter().map(|line| (line.revision, now.change(line.subject)));
        Ok(ChangePage { after, head, changes: changes.collect() })
    }
}

/// What some lines are about, as it is now.
struct Now {
    keys: BTreeMap<KeyId, Arc<KeyView>>,
    owners: BTreeMap<UserId, Arc<OwnerView>>,
}

impl Now {
    async fn of(session: &mut Session, lines: &[Line], now: DateTime<Utc>) -> Result<Self, StorageError> {
        let subjects = || lines.iter().filter_map(|line| line.subject);
        let keys: BTreeSet<KeyId> =
            subjects().filter_map(|it| if let Subject::Key(id) = it { Some(id) } else { None }).collect();
        let users: BTreeSet<UserId> =
            subjects().filter_map(|it| if let Subject::Owner(id) = it { Some(id) } else { None }).collect();
        let keys = key_views(session, &keys.into_iter().collect::<Vec<_>>(), now).await?;
        let owners = owners::views(session, users.into_iter().collect()).await?;
        let owners = owners.into_iter().map(|view| (view.owner.user_id, Arc::new(view))).collect();
        Ok(Self { keys, owners })
    }

    fn change(&self, subject: Option<Subject>) -> Change {
        match subject {
            None => Change::All,
            Some(Subject::Key(key_id)) => {
                self.keys.get(&key_id).map_or(Change::KeyPurged(key_id), |view| Change::Key(Arc::clone(view)))
            }
            // Every owner that was asked for has a view: what is purged of one is nothing.
            Some(Subject::Owner(user_id)) => {
                self.owners.get(&user_id).map_or(Change::All, |view| Change::Owner(Arc::clone(view)))
            }
        }
    }
}

/// Those of some keys that are there, each as `GetKey` shows it.
async fn key_views(
    session: &mut Session,
    ids: &[KeyId],
    now: DateTime<Utc>,
) -> Result<BTreeMap<KeyId, Arc<KeyView>>, StorageError> {
    if ids.is_empty() {
        return Ok(BTreeMap::new());
    }
    let keys = listing::load(session, ids).await?;
    let mut totals: BTreeMap<_, _> = usage::totals(session, ids).await?.into_iter().collect();
    let mut ends = rotation::grace_ends(session, ids, now).await?;
    let budgets = budgets::of_keys(session, ids, now).await?;
    let views = keys.into_iter().map(|(key_id, key)| {
        let of_key = budgets.iter().filter(|it| it.subject == BudgetSubject::Key(key_id)).cloned();
        let view = KeyView {
            totals: totals.remove(&key_id).unwrap_or_default(),
            budgets: of_key.collect(),
            previous_token_end: ends.remove(&key_id),
            key_hash: None,
            read_time: now,
            key,
        };
        (key_id, Arc::new(view))
    });
    Ok(views.collect())
}
