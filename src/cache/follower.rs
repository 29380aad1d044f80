//! The one loop of a replica that follows the change log and renews the replica's row, so that neither can go on without
//! the other.
//!
//! It has a connection of its own. It **looks** when a notification comes or somebody is in a hurry ([`KeyCache::hurry`]):
//! one statement, so that a change is applied soon. It **publishes** what was applied at once, by another one: then others
//! read in its row how far it is. It **renews** every 250 ms: that is its sign of life, and the cache may be trusted for
//! the staleness from before the renewal. What follows from what it reads is decided by [`Lease`].
//!
//! Everything takes at most a part of the staleness: a database that hangs is noticed while there is time to reach
//! another.

use std::pin::Pin;
use std::sync::Arc;
use std::time::{Duration, Instant};

use tokio::time::{sleep, timeout};

use super::lease::{Effect, Lease, Next, Verdict};
use super::{KeyCache, Replicas};
use crate::clock::{self, BootTime};
use crate::metrics::{FreshnessMetrics, Renewal};
use crate::storage::following::Following;
use crate::storage::replicas::{self, ReplicaId};
use crate::storage::{StorageError, Store};

/// How often the row is renewed.
const RENEW_EVERY: Duration = Duration::from_millis(250);
/// At most so many rounds at once: a log that never comes to rest must not take the database's time. Two are usual,
/// four where the row was lost.
const ROUNDS_MAX: u32 = 8;
/// The first pause after a failure; it doubles.
const PAUSE_MIN: Duration = Duration::from_millis(50);
/// How long a start tries to register.
const JOIN_MAX: Duration = Duration::from_secs(10);
/// The longest pause after a failure.
const PAUSE_MAX: Duration = Duration::from_secs(1);
/// How long the end waits for the row to be taken away.
const LEAVE_MAX: Duration = Duration::from_secs(3);

/// How a replica follows.
#[derive(Clone, Debug)]
pub struct FollowerSettings {
    /// For people: where the replica answers.
    pub address: String,
    /// How long it may decide after a renewal: [`super::STALENESS_MIN`] to [`super::STALENESS_MAX`].
    pub staleness: Duration,
}

/// The follower of a replica that is registered and has caught up.
#[derive(Debug)]
pub struct Follower {
    store: Store,
    cache: Arc<KeyCache>,
    replicas: Arc<Replicas>,
    settings: FollowerSettings,
    metrics: Arc<FreshnessMetrics>,
    lease: Lease,
    id: ReplicaId,
    /// Whether there may be a row, of this or an earlier id.
    has_row: bool,
    /// `None` after a failure.
    link: Option<Following>,
    /// When the row was renewed last.
    renewed: Instant,
}

impl Follower {
    /// Registers a replica, and catches up: afterwards `cache` is trusted. To be waited for to its end, which comes soon
    /// after ten seconds: who gives it up does not know whether there is a row.
    ///
    /// # Errors
    /// [`StorageError`]; the row is taken away again.
    pub async fn join(
        store: Store,
        cache: Arc<KeyCache>,
        replicas: Arc<Replicas>,
        settings: FollowerSettings,
        metrics: Arc<FreshnessMetrics>,
    ) -> Result<Self, StorageError> {
        let lease = Lease::new(settings.staleness);
        let id = ReplicaId::generate();
        let renewed = clock::monotonic_now();
        let mut follower = Self {
            store,
            cache,
            replicas,
            settings,
            metrics,
            lease,
            id,
            has_row: false,
            link: None,
            renewed,
        };
        // A database that has just been opened may be slow for a moment.
        let give_up = renewed + JOIN_MAX;
        while let Err(error) = follower.turn(Next::Register).await {
            if !error.is_outage() || clock::monotonic_now() + PAUSE_MAX >= give_up {
                follower.leave().await;
                return Err(error);
            }
            tracing::debug!(error = %error, "the changes cannot be followed yet");
            follower.link = None;
            sleep(PAUSE_MAX).await;
        }
        Ok(follower)
    }

    /// Follows until `stop`, then takes the row away: nothing may be answered from the cache any more then.
    pub async fn run(mut self, stop: impl Future<Output = ()> + Send) {
        self.follow(stop).await;
        self.leave().await;
    }

    /// Follows until `stop`, and keeps the row: somebody has to go on soon.
    pub async fn follow(&mut self, stop: impl Future<Output = ()> + Send) {
        let mut stop = Box::pin(stop);
        let mut next = Next::Wait;
        let mut pause = PAUSE_MIN;
        let mut is_lost = false;
        loop {
            match self.turn(next).await {
                Ok(()) if is_lost => {
                    is_lost = false;
                    tracing::info!(revision = self.cache.applied().get(), "following the changes again");
                }
                Ok(()) => pause = PAUSE_MIN,
                Err(error) => {
                    self.link = None;
                    self.metrics.count(Renewal::Failed);
                    let trusted_ms = u64::try_from(self.cache.trust_left().as_millis()).unwrap_or(u64::MAX);
                    if !std::mem::replace(&mut is_lost, true) {
                        tracing::warn!(error = %error, trusted_ms, "the changes cannot be followed; trying on");
                    }
                    tokio::select! {
                        () = &mut stop => return,
                        () = sleep(pause) => {}
                    }
                    pause = pause.saturating_mul(2).min(self.pause_max());
                    next = if self.lease.applied().is_some() { Next::Renew } else { Next::Register };
                    continue;
                }
            }
            match self.wait(&mut stop).await {
                Some(woken) => next = woken,
                None => return,
            }
        }
    }

    /// Does what is next until there is nothing left but to wait, or it has been enough for now.
    async fn turn(&mut self, mut next: Next) -> Result<(), StorageError> {
        let mut rounds = 0;
        while next != Next::Wait && rounds < ROUNDS_MAX {
            rounds += 1;
            let verdict = match (next, self.lease.applied()) {
                (Next::Renew, Some(applied)) => {
                    // Before the transaction begins: what commits from now on may not be in it.
                    let began = BootTime::now();
                    self.renewed = clock::monotonic_now();
                    let (id, staleness) = (self.id, self.settings.staleness);
                    let news = self.link().await?.renew(id, applied, staleness).await?;
                    self.metrics.count(if news.is_some() { Renewal::Done } else { Renewal::Fenced });
                    self.metrics.took(clock::since(self.renewed));
                    self.lease.renewed(began, news)
                }
                (Next::Publish, Some(applied)) => {
                    let id = self.id;
                    let is_there = self.link().await?.publish(id, applied).await?;
                    if !is_there {
                        self.metrics.count(Renewal::Fenced);
                    }
                    self.lease.published(is_there)
                }
                (Next::Look, Some(applied)) => {
                    let news = self.link().await?.look(applied.revision).await?;
                    self.lease.looked(news)
                }
                _ => self.register().await?,
            };
            next = self.carry_out(verdict);
        }
        Ok(())
    }

    /// Makes the row, and reads the head once it is committed.
    async fn register(&mut self) -> Result<Verdict, StorageError> {
        let (id, staleness, address) = (self.id, self.settings.staleness, self.settings.address.clone());
        self.link().await?;
        self.has_row = true;
        let link = self.link().await?;
        link.register(id, &address, staleness).await?;
        let head = link.head().await?;
        self.replicas.set_own(id);
        tracing::debug!(replica.id = %id, revision = head.revision.get(), epoch = %head.epoch, "registered");
        Ok(self.lease.registered(head))
    }

    fn carry_out(&mut self, verdict: Verdict) -> Next {
        let Verdict { effect, trust_until, next } = verdict;
        match effect {
            Effect::Nothing => {}
            Effect::Apply(lines, head) => self.cache.apply(&lines, head),
            Effect::Restart(head, why) => {
                self.cache.restart(head);
                self.metrics.count_restart(why);
                let (revision, why) = (head.revision.get(), why.as_str());
                tracing::info!(revision, epoch = %head.epoch, why, "following the changes from here");
            }
            Effect::Distrust => {
                self.cache.distrust();
                tracing::warn!(replica.id = %self.id, "this replica was given up by others: it registers anew");
                self.id = ReplicaId::generate();
            }
        }
        self.metrics.set_applied(self.cache.applied());
        if let Some(until) = trust_until {
            self.cache.trust_until(until);
        }
        next
    }

    /// Waits until something is to be done; `None`: it is to stop.
    async fn wait(&mut self, stop: &mut Pin<Box<impl Future<Output = ()> + Send>>) -> Option<Next> {
        let due = RENEW_EVERY.saturating_sub(clock::since(self.renewed));
        let mut due = std::pin::pin!(sleep(due));
        let Some(link) = &mut self.link else { return Some(Next::Renew) };
        loop {
            tokio::select! {
                biased;
                () = &mut *stop => return None,
                () = &mut due => return Some(Next::Renew),
                () = self.cache.hurried() => return Some(Next::Look),
                notified = link.notified() => match notified {
                    Ok(Some(revision)) if revision <= self.cache.applied() => {}
                    Ok(_) => return Some(Next::Look),
                    // The renewal says what is wrong.
                    Err(_) => return Some(Next::Renew),
                },
            }
        }
    }

    async fn link(&mut self) -> Result<&mut Following, StorageError> {
        let link = match self.link.take() {
            Some(link) => link,
            None => Following::connect(&self.store, self.patience()).await?,
        };
        Ok(self.link.insert(link))
    }

    /// How long anything may take.
    fn patience(&self) -> Duration {
        (self.settings.staleness / 3).clamp(Duration::from_millis(300), Duration::from_secs(5))
    }

    fn pause_max(&self) -> Duration {
        (self.settings.staleness / 10).clamp(PAUSE_MIN, PAUSE_MAX)
    }

    /// Takes the row away, if there may be one: nothing is answered from the cache any more.
    pub async fn leave(self) {
        self.cache.distrust();
        let Self { store, id, has_row: true, .. } = self else { return };
        let leaving = store.write::<_, StorageError, _>("replicas.leave", move |session| {
            Box::pin(async move { replicas::leave(session, id).await })
        });
        match timeout(LEAVE_MAX, leaving).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => {
                tracing::warn!(error = %error, "this replica's row stays until others take it away")
            }
            Err(_) => tracing::warn!("this replica's row stays until others take it away: the store hangs"),
        }
    }
}
