//! Stores the digests under the current pepper of tokens that were found by an older one's, so that the older pepper
//! can go one day.
//!
//! In the background and bounded: what has no place, or fails, comes again with the next load of its token. Nothing
//! that decides depends on it.

use std::collections::HashMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;

use super::loader::LoaderSettings;
use crate::metrics::LoaderMetrics;
use crate::storage::secrets::{self, FurtherDigest};
use crate::storage::{StorageError, Store};
use crate::token::{Digest, PepperMark};

/// At most so many wait.
const WAITING_MAX: usize = 10_000;
/// So many are stored in one transaction.
const BATCH_MAX: usize = 256;

#[derive(Debug)]
pub(super) struct FurtherDigests {
    store: Store,
    mark: PepperMark,
    runtime: Handle,
    metrics: Arc<LoaderMetrics>,
    state: Mutex<State>,
}

#[derive(Debug, Default)]
struct State {
    /// By the digest to be stored, so that each is stored once.
    waiting: HashMap<Digest, FurtherDigest>,
    is_running: bool,
}

impl FurtherDigests {
    pub(super) fn new(store: Store, mark: PepperMark, settings: &LoaderSettings) -> Arc<Self> {
        let (runtime, metrics) = (settings.runtime.clone(), Arc::clone(&settings.metrics));
        Arc::new(Self { store, mark, runtime, metrics, state: Mutex::default() })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Has them stored soon.
    pub(super) fn store(self: &Arc<Self>, digests: Vec<FurtherDigest>) {
        if digests.is_empty() {
            return;
        }
        let mut state = self.state();
        let places = WAITING_MAX.saturating_sub(state.waiting.len());
        state.waiting.extend(digests.into_iter().take(places).map(|it| (it.digest, it)));
        if !state.is_running {
            state.is_running = true;
            self.runtime.spawn(Arc::clone(self).run());
        }
    }

    async fn run(self: Arc<Self>) {
        while let Some(batch) = self.next() {
            let mark = self.mark.clone();
            let stored = self.store.write::<_, StorageError, _>("secrets.add_digests", move |session| {
                Box::pin(async move { secrets::add_digests(session, &mark, &batch).await })
            });
            match stored.await {
                Ok(count) => self.metrics.further_digests.add(u64::try_from(count).unwrap_or_default()),
                Err(error) => tracing::warn!(
                    error = %error,
                    "digests under the current pepper could not be stored; they come again with their tokens"
                ),
            }
        }
    }

    /// The next batch; none ends the run.
    fn next(&self) -> Option<Vec<FurtherDigest>> {
        let mut state = self.state();
        let batch: Vec<FurtherDigest> = state.waiting.values().take(BATCH_MAX).copied().collect();
        for it in &batch {
            state.waiting.remove(&it.digest);
        }
        state.is_running = !batch.is_empty();
        state.is_running.then_some(batch)
    }
}
