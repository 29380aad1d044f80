//! The call that is being answered: what its log lines are known by.
//!
//! It goes with the task, not with the arguments, so that a line that is written deep in the store has the id of the
//! call as well. Work that a call hands to another task takes it along by [`inherit`]. Nothing is decided by it.
//!
//! What does not belong here: how lines are written; what a caller may do.

mod ids;
mod traceparent;

pub use ids::{REQUEST_ID_MAX, RequestIds, is_fit};
pub use traceparent::TraceParent;

use std::future::Future;
use std::sync::Arc;
use std::sync::atomic::{AtomicI64, Ordering};

use tokio::task::futures::TaskLocalFuture;

tokio::task_local! {
    static CURRENT: Option<Arc<Call>>;
}

/// A call.
#[derive(Debug)]
pub struct Call {
    request_id: String,
    trace: Option<TraceParent>,
    key_id: AtomicI64,
    caller_key_id: AtomicI64,
}

impl Call {
    /// A call with this id, as part of a trace where its caller said so.
    #[must_use]
    pub fn new(request_id: String, trace: Option<TraceParent>) -> Arc<Self> {
        Arc::new(Self { request_id, trace, key_id: AtomicI64::new(0), caller_key_id: AtomicI64::new(0) })
    }

    /// The caller's id of it, or one of ours.
    #[must_use]
    pub fn request_id(&self) -> &str {
        &self.request_id
    }

    /// The trace that it is part of.
    #[must_use]
    pub fn trace(&self) -> Option<&TraceParent> {
        self.trace.as_ref()
    }

    /// The key that it is about; of a batch, the last one that was judged.
    #[must_use]
    pub fn key_id(&self) -> Option<i64> {
        Some(self.key_id.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }

    /// The key of the caller's token.
    #[must_use]
    pub fn caller_key_id(&self) -> Option<i64> {
        Some(self.caller_key_id.load(Ordering::Relaxed)).filter(|id| *id != 0)
    }
}

/// Runs `work` as part of `call`.
pub fn enter<F: Future>(call: Arc<Call>, work: F) -> TaskLocalFuture<Option<Arc<Call>>, F> {
    CURRENT.scope(Some(call), work)
}

/// Runs `work` at once as part of `call`.
pub fn within<R>(call: Arc<Call>, work: impl FnOnce() -> R) -> R {
    CURRENT.sync_scope(Some(call), work)
}

/// Makes `work`, which another task will run, part of the call that hands it over; of none, where there is none.
pub fn inherit<F: Future>(work: F) -> TaskLocalFuture<Option<Arc<Call>>, F> {
    CURRENT.scope(CURRENT.try_with(Clone::clone).ok().flatten(), work)
}

/// Looks at the call that is being answered, if one is.
pub fn current<R>(look: impl FnOnce(&Call) -> R) -> Option<R> {
    // Also where the thread is ending and has no call any more.
    CURRENT.try_with(|call| call.as_deref().map(look)).ok().flatten()
}

/// The call is about this key.
pub fn note_key(key_id: i64) {
    current(|call| call.key_id.store(key_id, Ordering::Relaxed));
}

/// The caller's token is this key's.
pub fn note_caller(key_id: i64) {
    current(|call| call.caller_key_id.store(key_id, Ordering::Relaxed));
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn work_of_another_task_belongs_to_the_call_that_gave_it_away() {
        let id = || current(|call| call.request_id().to_owned());
        let work = enter(Call::new("first".to_owned(), None), async {
            note_key(17);
            let inherited = tokio::spawn(inherit(async move { id() })).await.unwrap();
            let not_inherited = tokio::spawn(async move { id() }).await.unwrap();
            (inherited, not_inherited, current(Call::key_id).flatten())
        });
        assert_eq!(work.await, (Some("first".to_owned()), None, Some(17)));
        assert_eq!(inherit(async { id() }).await, None);
    }
}
