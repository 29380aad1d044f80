//! What a transaction notes on its way: its changes, for one line of the log each, written when it has committed
//! and never before; and whether a statement failed.
//!
//! [`super::changes`] notes what it writes into the audit log; [`super::Store::write`] gathers the notes of its
//! transaction. So no use case has to think of it, and what was rolled back is not told.

use std::cell::RefCell;
use std::time::Duration;

use super::changes::Actor;
use crate::metrics::ErrorKind;
use crate::policy::Revision;

tokio::task_local! {
    static NOTES: RefCell<Notes>;
}

/// Notes of a transaction.
#[derive(Debug, Default)]
pub(super) struct Notes {
    changes: Vec<Change>,
    failure: Option<ErrorKind>,
}

/// What will be told of a change; of many that were made together, of the last.
#[derive(Debug)]
struct Change {
    actor: String,
    action: &'static str,
    resource: String,
    revision: Revision,
    count: usize,
}

/// Runs a transaction and gathers what it notes.
pub(super) async fn gather<F: Future>(transaction: F) -> (F::Output, Notes) {
    let work = async {
        let output = transaction.await;
        (output, NOTES.with(RefCell::take))
    };
    NOTES.scope(RefCell::default(), work).await
}

/// Notes a change; the last of `count`. Outside of [`gather`] it is told by whoever runs the transaction.
pub(super) fn note(actor: &Actor, action: &'static str, resource: &str, revision: Revision, count: usize) {
    let change =
        || Change { actor: actor.name.clone(), action, resource: resource.to_owned(), revision, count };
    // Not there outside of `gather`.
    let _is_gathered = NOTES.try_with(|notes| notes.borrow_mut().changes.push(change()));
}

/// Notes that a statement failed, which ends the transaction. The first one counts: those that were sent together with it
/// fail because of it.
pub(super) fn note_failure(kind: ErrorKind) {
    let _is_gathered = NOTES.try_with(|notes| _ = notes.borrow_mut().failure.get_or_insert(kind));
}

impl Notes {
    /// The first failure of a statement. A constraint that refuses is a use case's way to find out.
    pub(super) fn failure(&self) -> Option<ErrorKind> {
        self.failure.filter(|kind| *kind != ErrorKind::Constraint)
    }

    /// Tells of the changes: who did what, to which resource. Where from is in the audit log alone.
    pub(super) fn log(self, took: Duration) {
        let took_us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX);
        for Change { actor, action, resource, revision, count } in self.changes {
            let revision = revision.get();
            match count {
                1 => tracing::info!(actor, action, resource, revision, took_us, "changed"),
                _ => tracing::info!(actor, action, count, revision, took_us, "changed many"),
            }
        }
    }
}
