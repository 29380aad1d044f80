//! Somebody who waits for a change to come to every replica: whom it waits for, and what it says in the end.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::{Duration, Instant};

use chrono::{DateTime, TimeDelta, Utc};

use super::{Propagation, Replicas, STALENESS_MAX, Seen, Ticket, certain, locked};
use crate::clock;
use crate::storage::changes::Stamp;
use crate::storage::replicas::{Replica, ReplicaId};
use crate::storage::{ReadAt, WRITE_TIMEOUT};

/// Somebody who waits for a change to come to every replica.
pub(super) struct Waiter {
    ticket: Ticket,
    change: Stamp,
    /// Replicas that it has not come to, of those that were listed after it; `None` before they were listed.
    missing: Option<BTreeMap<ReplicaId, Replica>>,
    /// When they were listed.
    listed: Option<Instant>,
}

impl Waiter {
    pub(super) fn new(replicas: &Arc<Replicas>, change: Stamp) -> Self {
        Self { ticket: Ticket::take(replicas), change, missing: None, listed: None }
    }

    pub(super) async fn until_complete(&mut self) {
        let mut own = self.ticket.replicas.own.as_ref().map(|cache| {
            cache.hurry();
            cache.watch()
        });
        loop {
            let seen = self.ticket.seen.borrow_and_update().clone();
            if seen.ticket >= self.ticket.number {
                self.compare(&seen);
            }
            let applied = own.as_mut().map(|own| *own.borrow_and_update());
            if self.is_complete(applied) {
                return;
            }
            let own_moves = async {
                let moved = match &mut own {
                    Some(own) => own.changed().await.is_ok(),
                    None => false,
                };
                if !moved {
                    std::future::pending::<()>().await;
                }
            };
            tokio::select! {
                // The sender lives as long as what we hold.
                _seen = self.ticket.seen.changed() => {}
                () = own_moves => {}
            }
        }
    }

    /// Crosses off whom the change has come to, and who is gone.
    fn compare(&mut self, seen: &Seen) {
        let change = self.change.at;
        let Some((_, read)) = seen.read.filter(|(epoch, _)| *epoch == change.epoch) else {
            // From a database that is not the one that has the change: replicas may be missing there.
            self.ticket.set_polls(true);
            return;
        };
        let now = seen.replicas.iter().filter(|replica| !covers(replica.applied, change));
        let now: BTreeMap<ReplicaId, Replica> = now.map(|replica| (replica.id, *replica)).collect();
        match &mut self.missing {
            // Who registered since then has read the log after that.
            Some(missing) => missing.retain(|id, _| now.contains_key(id)),
            None => self.missing = Some(now),
        }
        self.listed = self.listed.or(Some(read));
    }

    fn is_complete(&mut self, own: Option<ReadAt>) -> bool {
        let Some(missing) = &mut self.missing else { return false };
        let own_id = *locked(&self.ticket.replicas.own_id);
        if let Some(id) = own_id
            && own.is_some_and(|applied| covers(applied, self.change.at))
        {
            missing.remove(&id);
        }
        let waits_for_others = missing.keys().any(|id| Some(*id) != own_id);
        let is_complete = missing.is_empty();
        self.ticket.set_polls(waits_for_others);
        is_complete
    }

    /// From when on it is certain, where it was not waited for any longer.
    pub(super) fn incomplete(&self) -> Propagation {
        let missing = self.missing.iter().flat_map(BTreeMap::values);
        let ends = missing.map(|replica| (replica.read_time, certain(replica.staleness)));
        let last = ends.max_by_key(|(_, length)| *length).zip(self.listed);
        let (from, length, passed) = match last {
            Some(((time, length), listed)) => (time, length, clock::since(listed)),
            // Nobody knows who may be there: the change committed in the time that a write may take.
            None => (self.change.time, WRITE_TIMEOUT.saturating_add(certain(STALENESS_MAX)), Duration::ZERO),
        };
        let end = TimeDelta::from_std(length).ok().and_then(|length| from.checked_add_signed(length));
        Propagation::Incomplete {
            certain_by: end.unwrap_or(DateTime::<Utc>::MAX_UTC),
            certain_after: length.saturating_sub(passed),
        }
    }
}

/// Whether who has applied `applied` has applied `change`.
fn covers(applied: ReadAt, change: ReadAt) -> bool {
    applied.epoch == change.epoch && applied.revision >= change.revision
}

#[cfg(test)]
mod tests {
    use secrecy::SecretString;

    use super::*;
    use crate::clock::monotonic_now;
    use crate::policy::Revision;
    use crate::storage::{Epoch, Store};

    #[tokio::test]
    async fn a_list_of_another_database_makes_nothing_complete() {
        // Nobody answers there: all that is known comes from here.
        let store = Store::new(&SecretString::from("postgres://127.0.0.1:1/nothing"), 1).unwrap();
        let at = ReadAt { epoch: Epoch::new(1, 2), revision: Revision::ZERO };
        let mut waiter = Waiter::new(&Replicas::of_command(store), Stamp { at, time: DateTime::UNIX_EPOCH });
        let list = |epoch| Seen { ticket: 1, replicas: Arc::default(), read: Some((epoch, monotonic_now())) };
        waiter.compare(&list(Epoch::new(1, 1)));
        assert!(!waiter.is_complete(None), "replicas that are new are missing there");
        waiter.compare(&list(at.epoch));
        assert!(waiter.is_complete(None));
    }
}
