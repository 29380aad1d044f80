//! How far a change has come: whether any replica may still decide from the state before it.
//!
//! - A change has come to a replica when the replica's row says so in the epoch of the change. It needs not come to one
//!   that is not listed **after the commit**: that one reads the log after it has registered. Nor to one that went, or
//!   that has not renewed its row for its staleness and a tenth more: it decides nothing any more, and its row is taken
//!   away, so that it can never renew it.
//! - The own replica is known from memory. The table is read once for all who began to wait before, and then again and
//!   again only while somebody waits for another replica: never once for each who waits.
//! - Waiting has an end. Then it is said from when on no replica can decide from the state before the change.
//!
//! Who waits for whom is `waiter`'s.

mod waiter;

use std::collections::HashMap;
use std::ops::RangeInclusive;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use chrono::{DateTime, Utc};
use tokio::sync::{Notify, watch};
use tokio::time::{sleep, timeout};

use self::waiter::Waiter;
use super::KeyCache;
use crate::clock;
use crate::metrics::FreshnessMetrics;
use crate::storage::changes::Stamp;
use crate::storage::replicas::{self, Replica, ReplicaId};
use crate::storage::{Epoch, StorageError, Store};

/// How long a change is waited for where nothing else is said.
pub const PROPAGATION_WAIT: Duration = Duration::from_secs(2);
/// The longest staleness that a replica can be given.
pub const STALENESS_MAX: Duration = Duration::from_secs(300);
/// The shortest.
pub const STALENESS_MIN: Duration = Duration::from_secs(1);

/// For its way back the answer is left a tenth of what the caller has left, but no less and no more than this: an answer
/// that comes too late is a token that nobody has.
const ANSWER_TIME: RangeInclusive<Duration> = Duration::from_millis(20)..=Duration::from_millis(500);
/// The shortest pause between two looks at the table, and the longest. Mostly a change has come everywhere after a few
/// milliseconds; for one that takes longer, a pause is a third of the time that it has taken so far.
const PAUSE_MIN: Duration = Duration::from_millis(1);
const PAUSE_MAX: Duration = Duration::from_millis(20);
/// How often the table is looked at though nobody waits, so that a replica that died is known to be dead.
const WATCH_EVERY: Duration = Duration::from_secs(1);

/// How far a change has come.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Propagation {
    /// No replica decides from the state before it any more.
    Complete,
    /// Some may.
    Incomplete {
        /// From then on none does; by the database's clock.
        certain_by: DateTime<Utc>,
        /// The same as a length of time from now.
        certain_after: Duration,
    },
}

impl Propagation {
    /// Whether no replica decides from the state before the change any more.
    #[must_use]
    pub fn is_complete(self) -> bool {
        self == Self::Complete
    }
}

/// A replica's staleness and a tenth more, for clocks that do not run alike.
fn certain(staleness: Duration) -> Duration {
    staleness.saturating_add(staleness / 10)
}

/// The table, as it was read last.
#[derive(Clone, Debug, Default)]
struct Seen {
    /// All tickets up to this one were given out before it was read.
    ticket: u64,
    replicas: Arc<[Replica]>,
    /// In which epoch, and when it had arrived.
    read: Option<(Epoch, Instant)>,
}

/// What the task that reads the table has to do.
#[derive(Debug, Default)]
struct Wanted {
    /// The last ticket that was given out.
    ticket: u64,
    /// The last one that was served.
    served: u64,
    /// Tickets that somebody still has.
    waiting: usize,
    /// Those of them who wait for other replicas.
    polling: usize,
    /// Whether the task runs.
    runs: bool,
}

/// The last sign of life of a replica, and since when it is the last.
type Life = (Epoch, i64, Instant);

/// All replicas of the database, as one of its processes sees them.
#[derive(Debug)]
pub struct Replicas {
    store: Store,
    wait: Duration,
    metrics: Arc<FreshnessMetrics>,
    /// What this process decides from; a command decides nothing.
    own: Option<Arc<KeyCache>>,
    own_id: Mutex<Option<ReplicaId>>,
    wanted: Mutex<Wanted>,
    /// A ticket was given out.
    asked: Notify,
    seen: watch::Sender<Seen>,
    lives: Mutex<HashMap<ReplicaId, Life>>,
}

fn locked<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

impl Replicas {
    /// The replicas of a store, seen from one of them that decides from `own`, or from a command. A change is waited for
    /// at most `wait`.
    #[must_use]
    pub fn new(
        store: Store,
        own: Option<Arc<KeyCache>>,
        wait: Duration,
        metrics: Arc<FreshnessMetrics>,
    ) -> Arc<Self> {
        Arc::new(Self {
            store,
            wait,
            metrics,
            own,
            own_id: Mutex::default(),
            wanted: Mutex::default(),
            asked: Notify::new(),
            seen: watch::channel(Seen::default()).0,
            lives: Mutex::default(),
        })
    }

    /// Seen from a command, which decides nothing.
    #[must_use]
    pub fn of_command(store: Store) -> Arc<Self> {
        Self::new(store, None, PROPAGATION_WAIT, Arc::default())
    }

    /// Our own row has this id from now on.
    pub(super) fn set_own(&self, id: ReplicaId) {
        *locked(&self.own_id) = Some(id);
    }

    /// Waits until a change that was committed has come to every replica; no longer than is configured, and not beyond
    /// `answer_by`.
    pub async fn wait_for(self: &Arc<Self>, change: Stamp, answer_by: Option<Instant>) -> Propagation {
        let began = clock::monotonic_now();
        let left = answer_by.map(|by| by.saturating_duration_since(began));
        let left =
            left.map(|left| left.saturating_sub((left / 10).clamp(*ANSWER_TIME.start(), *ANSWER_TIME.end())));
        let mut waiter = Waiter::new(self, change);
        let limit = left.map_or(self.wait, |left| left.min(self.wait));
        let propagation = match timeout(limit, waiter.until_complete()).await {
            Ok(()) => Propagation::Complete,
            Err(_) => waiter.incomplete(),
        };
        self.metrics.propagated(clock::since(began), propagation.is_complete());
        propagation
    }

    /// Looks at the table once a second for as long as it is polled, so that replicas that died are known and taken away
    /// also where nothing changes.
    pub async fn watch_over(self: Arc<Self>) {
        loop {
            sleep(WATCH_EVERY).await;
            let mut ticket = Ticket::take(&self);
            // One that is not served in time is given up: the table is out of reach.
            let _served = timeout(WATCH_EVERY, ticket.served()).await;
        }
    }

    /// Reads the table while somebody wants it.
    async fn poll(self: Arc<Self>) {
        let (mut newest, mut asked) = (0, clock::monotonic_now());
        loop {
            let ticket = {
                let mut wanted = locked(&self.wanted);
                if wanted.waiting == 0 || (wanted.served == wanted.ticket && wanted.polling == 0) {
                    (wanted.served, wanted.runs) = (wanted.ticket, false);
                    return;
                }
                if newest != wanted.ticket {
                    (newest, asked) = (wanted.ticket, clock::monotonic_now());
                }
                newest
            };
            match self.look().await {
                Ok((epoch, found)) => {
                    locked(&self.wanted).served = ticket;
                    let read = Some((epoch, clock::monotonic_now()));
                    self.seen.send_replace(Seen { ticket, replicas: found.into(), read });
                }
                // Whoever waits says so in the end: that his change is not known to have come everywhere.
                Err(error) => tracing::debug!(error = %error, "the replicas could not be listed"),
            }
            let pause = (clock::since(asked) / 3).clamp(PAUSE_MIN, PAUSE_MAX);
            tokio::select! {
                () = self.asked.notified() => {}
                () = sleep(pause) => {}
            }
        }
    }

    /// The replicas that are left once those are taken away that gave no sign of life for too long.
    async fn look(&self) -> Result<(Epoch, Vec<Replica>), StorageError> {
        let list = self.store.read("replicas.list", |session| Box::pin(replicas::list(session)));
        let (epoch, mut found) = list.await?;
        let dead = self.note_lives(&found, clock::monotonic_now());
        for Replica { id, beat, .. } in dead {
            let collect = self.store.write::<_, StorageError, _>("replicas.collect", move |session| {
                Box::pin(async move { replicas::collect(session, id, beat).await })
            });
            if collect.await? {
                found.retain(|replica| replica.id != id);
                self.metrics.collected.increment();
                tracing::warn!(replica.id = %id, "a replica went without a word: it is not counted on any more");
            }
        }
        Ok((epoch, found))
    }

    /// Remembers since when each replica shows the beat that it shows, and answers those that are dead.
    fn note_lives(&self, found: &[Replica], now: Instant) -> Vec<Replica> {
        let mut lives = locked(&self.lives);
        lives.retain(|id, _| found.iter().any(|replica| replica.id == *id));
        let is_dead = |replica: &&Replica| {
            let shows = (replica.applied.epoch, replica.beat);
            let life = lives.entry(replica.id).or_insert((shows.0, shows.1, now));
            if (life.0, life.1) != shows {
                *life = (shows.0, shows.1, now);
            }
            now.saturating_duration_since(life.2) >= certain(replica.staleness)
        };
        found.iter().filter(is_dead).copied().collect()
    }
}

/// Somebody's wish to know the table as it is from now on. Given back when dropped.
struct Ticket {
    replicas: Arc<Replicas>,
    number: u64,
    polls: bool,
    seen: watch::Receiver<Seen>,
}

impl Ticket {
    fn take(replicas: &Arc<Replicas>) -> Self {
        let seen = replicas.seen.subscribe();
        let mut wanted = locked(&replicas.wanted);
        wanted.ticket = wanted.ticket.saturating_add(1);
        wanted.waiting = wanted.waiting.saturating_add(1);
        wanted.run(replicas);
        Self { replicas: Arc::clone(replicas), number: wanted.ticket, polls: false, seen }
    }

    /// Whether the table has to be read again and again.
    fn set_polls(&mut self, polls: bool) {
        if self.polls != polls {
            self.polls = polls;
            let mut wanted = locked(&self.replicas.wanted);
            if polls {
                wanted.polling = wanted.polling.saturating_add(1);
                wanted.run(&self.replicas);
            } else {
                wanted.polling = wanted.polling.saturating_sub(1);
            }
        }
    }

    /// Waits until the table was read that this asks for.
    async fn served(&mut self) {
        let number = self.number;
        // The sender lives as long as what we hold.
        let _seen = self.seen.wait_for(|seen| seen.ticket >= number).await;
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.set_polls(false);
        let mut wanted = locked(&self.replicas.wanted);
        wanted.waiting = wanted.waiting.saturating_sub(1);
    }
}

impl Wanted {
    /// Sees to it that the task runs, and soon.
    fn run(&mut self, replicas: &Arc<Replicas>) {
        if self.runs {
            replicas.asked.notify_one();
        } else {
            self.runs = true;
            tokio::spawn(Arc::clone(replicas).poll());
        }
    }
}
