//! Lists of keys.

use std::collections::BTreeMap;

use super::{Admin, AdminError, KeyView};
use crate::policy::{KeyId, KeyTotals, Revision};
use crate::storage::listing::{self, KeyFilter, Page, Position};
use crate::storage::{changes, usage};

/// Which keys to list.
#[derive(Clone, Debug)]
pub struct ListKeys {
    /// Which.
    pub filter: KeyFilter,
    /// In what order, from where on, how many.
    pub page: Page,
}

/// A page of keys.
#[derive(Clone, Debug)]
pub struct KeyPage {
    /// The keys, each with its place in the order; their budgets are left out.
    pub keys: Vec<(KeyView, Position)>,
    /// There may be more: the next page comes after this.
    pub next: Option<Position>,
    /// The page is at least as new as this.
    pub revision: Revision,
}

impl Admin {
    /// Lists a page of keys. One that is not the last may be short, even empty: see [`listing`].
    ///
    /// # Errors
    /// [`AdminError::Store`].
    pub async fn list_keys(&self, request: ListKeys) -> Result<KeyPage, AdminError> {
        let now = self.settings.clock.now();
        let read = self.store.snapshot("keys.list", move |session| {
            Box::pin(async move {
                let revision = changes::head(session).await?;
                let listed = listing::list(session, &request.filter, &request.page, now).await?;
                let ids: Vec<KeyId> = listed.keys.iter().map(|(key, _)| key.key_id).collect();
                let totals = usage::totals(session, &ids).await?;
                Ok((revision, listed, totals))
            })
        });
        let (revision, listed, totals) = read.await?;
        let mut totals: BTreeMap<KeyId, KeyTotals> = totals.into_iter().collect();
        let keys = listed.keys.into_iter().map(|(key, place)| {
            let view = KeyView {
                totals: totals.remove(&key.key_id).unwrap_or_default(),
                budgets: Vec::new(),
                previous_token_end: None,
                key_hash: None,
                read_time: now,
                key,
            };
            (view, place)
        });
        Ok(KeyPage { keys: keys.collect(), next: listed.next, revision })
    }
}
