//! Charging a request: what it needs of its key's and its owner's limits, together or not at all.

use std::sync::atomic::Ordering;
use std::sync::{Arc, MutexGuard};
use std::time::Duration;

use tokio::sync::oneshot;
use tokio::time::timeout;

use super::held::{self, Held};
use super::place::Place;
use super::queue::Waiter;
use super::status::{self, Refused};
use super::{HELD_BYTES, Leases, WithoutStore};
use crate::limits::{Holding, LimitStatus, Metric, Need, OwnTime, Taken, Want};

/// A request waits for units for so long at most.
const WAIT_MAX: Duration = Duration::from_secs(1);

/// What this replica holds of a limited key and its owner.
#[derive(Clone, Debug)]
pub struct Limited {
    leases: Leases,
    key: Option<Arc<Held>>,
    owner: Option<Arc<Held>>,
    limits_tokens: bool,
}

/// What was charged, and how the limits stand after it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Charged {
    /// Of the key's limits.
    pub of_key: Option<Taken>,
    /// Of its owner's.
    pub of_owner: Option<Taken>,
    /// How each limit stands; the key's before its owner's.
    pub statuses: Vec<LimitStatus>,
    /// This replica went on by its own share: the store was away.
    pub is_local: bool,
}

/// What came of a request.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It was charged; nothing was if it was dry.
    Charged(Charged),
    /// A limit is in the way; nothing was charged.
    Refused(Refused, Vec<LimitStatus>),
}

/// Why it is not known whether a request may be charged.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum NotCharged {
    /// The store is away, or took too long.
    StoreAway,
    /// Too many requests wait: try again later.
    Overloaded,
}

/// What can be said at once.
#[derive(Debug)]
pub enum Attempt {
    /// All of it.
    Done(Verdict),
    /// The store has been asked.
    Waits(Ticket),
}

/// A request that waits for its answer. Dropped, it charges nothing.
#[derive(Debug)]
pub struct Ticket {
    limited: Limited,
    need: Need,
    is_dry: bool,
    answer: Option<oneshot::Receiver<Result<Verdict, NotCharged>>>,
}

/// Both holdings under their locks, the key's first.
pub(super) struct BothLocked<'l> {
    pub(super) key: Option<(&'l Held, MutexGuard<'l, Holding>)>,
    pub(super) owner: Option<(&'l Held, MutexGuard<'l, Holding>)>,
}

impl Limited {
    pub(super) fn new(leases: Leases, key: Option<Arc<Held>>, owner: Option<Arc<Held>>) -> Self {
        let limits_tokens = key.iter().chain(&owner).any(|held| held.own().terms.limits(Metric::Tokens));
        Self { leases, key, owner, limits_tokens }
    }

    /// Memory that what is held takes, about.
    #[must_use]
    pub fn bytes(&self) -> usize {
        size_of::<Self>() + self.both().count() * HELD_BYTES
    }

    /// Whether tokens are limited.
    #[must_use]
    pub fn limits_tokens(&self) -> bool {
        self.limits_tokens
    }

    pub(super) fn both(&self) -> impl Iterator<Item = &Arc<Held>> {
        self.key.iter().chain(&self.owner)
    }

    pub(super) fn lock(&self) -> BothLocked<'_> {
        let key = self.key.as_deref().map(|held| (held, held.lock()));
        BothLocked { key, owner: self.owner.as_deref().map(|held| (held, held.lock())) }
    }

    /// Charges a request of so many tokens with what is in hand; `None` where the store has to be asked.
    #[must_use]
    pub fn charge_now(&self, tokens: i64, is_dry: bool) -> Option<Verdict> {
        let need = Need::request(tokens);
        let now = held::now();
        let mut locked = self.lock();
        let verdict = locked.charge(need, is_dry, now)?;
        self.charged_at_once(locked, &verdict, is_dry, now);
        Some(verdict)
    }

    /// Asks for what runs out, and counts.
    fn charged_at_once(&self, mut locked: BothLocked<'_>, verdict: &Verdict, is_dry: bool, now: OwnTime) {
        let renewals = if is_dry { [None, None] } else { self.renewals(&mut locked, now) };
        drop(locked);
        if renewals.iter().any(Option::is_some) {
            self.leases.0.queue.push_due(renewals.into_iter().flatten());
        }
        let metrics = &self.leases.0.metrics;
        match verdict {
            Verdict::Charged(_) => metrics.charged_at_once.increment(),
            Verdict::Refused(..) => metrics.refused_at_once.increment(),
        }
    }

    /// Charges a request of so many tokens, or puts it in the queue: behind every request of the same key or owner that
    /// waits already.
    #[must_use]
    pub fn charge(&self, tokens: i64, is_dry: bool) -> Attempt {
        let need = Need::request(tokens);
        let now = held::now();
        let mut locked = self.lock();
        if let Some(verdict) = locked.charge(need, is_dry, now) {
            self.charged_at_once(locked, &verdict, is_dry, now);
            return Attempt::Done(verdict);
        }
        // Under the locks, so that the queue has requests of a subject in the order in which they found nothing.
        let answer = Place::take(&self.leases).map(|place| {
            let (sender, receiver) = oneshot::channel();
            let limited = self.clone();
            self.leases.0.queue.push(Waiter {
                limited,
                need,
                is_dry,
                since: now,
                answer: sender,
                _place: place,
            });
            locked.count_waiting(true);
            receiver
        });
        drop(locked);
        Attempt::Waits(Ticket { limited: self.clone(), need, is_dry, answer })
    }

    /// Takes back what was charged for a request that did not come to be.
    pub fn put_back(&self, charged: &Charged) {
        let now = held::now();
        let both = [(&self.key, &charged.of_key), (&self.owner, &charged.of_owner)];
        for (held, taken) in both {
            if let (Some(held), Some(taken)) = (held, taken) {
                held.lock().put_back(taken, now);
                self.leases.0.active.add([Arc::clone(held)]);
            }
        }
    }

    fn renewals(&self, locked: &mut BothLocked<'_>, now: OwnTime) -> [Option<Arc<Held>>; 2] {
        let due = |held: &Option<Arc<Held>>, locked: &mut Option<(&Held, MutexGuard<'_, Holding>)>| {
            let (_, holding) = locked.as_mut()?;
            if holding.claims_renewal(now) { held.clone() } else { None }
        };
        [due(&self.key, &mut locked.key), due(&self.owner, &mut locked.owner)]
    }

    pub(super) fn stops_waiting(&self) {
        self.lock().count_waiting(false);
    }

    /// Goes on without the store, if that is how it is to be.
    pub(super) fn without_store(&self, need: Need, is_dry: bool) -> Result<Verdict, NotCharged> {
        let inner = &self.leases.0;
        match inner.without_store {
            WithoutStore::LocalShare if inner.is_away.load(Ordering::Relaxed) => {
                inner.metrics.local.increment();
                Ok(super::alone::charge(self, need, is_dry, self.leases.replicas(), held::now()))
            }
            // A row that somebody holds, or that does not parse, is no reason to admit.
            WithoutStore::Refuse | WithoutStore::LocalShare => {
                inner.metrics.away.increment();
                Err(NotCharged::StoreAway)
            }
        }
    }
}

impl BothLocked<'_> {
    pub(super) fn each(&mut self) -> impl Iterator<Item = (&Held, &mut Holding)> {
        self.key.iter_mut().chain(&mut self.owner).map(|(held, holding)| (&**held, &mut **holding))
    }

    fn count_waiting(&mut self, waits: bool) {
        self.each().for_each(|(_, holding)| holding.count_waiting(waits));
    }

    fn statuses(&mut self, now: OwnTime) -> Vec<LimitStatus> {
        let mut statuses = Vec::with_capacity(6);
        for (held, holding) in self.each() {
            status::add(&mut statuses, held, holding, Need::default(), now);
        }
        statuses
    }

    /// All of it or nothing; `None` where the store has to be asked.
    fn charge(&mut self, need: Need, is_dry: bool, now: OwnTime) -> Option<Verdict> {
        let mut refused: Option<Refused> = None;
        let mut places = [None, None];
        let mut asks = false;
        for ((held, holding), place) in self.each().zip(&mut places) {
            match holding.want(need, now) {
                Want::Here(position) => *place = Some(position),
                Want::Refused(refusal) => {
                    refused = Some(Refused::by(held, &refusal, need, now).longer(refused))
                }
                Want::Ask => asks = true,
            }
        }
        if let Some(refused) = refused {
            return Some(Verdict::Refused(refused, self.statuses(now)));
        }
        if asks {
            return None;
        }
        let mut charged = Charged::default();
        if !is_dry {
            let mut places = places.into_iter().flatten();
            if let Some((_, holding)) = &mut self.key {
                charged.of_key = holding.take(places.next()?, need, now);
            }
            if let Some((_, holding)) = &mut self.owner {
                charged.of_owner = holding.take(places.next()?, need, now);
            }
        }
        charged.statuses = self.statuses(now);
        Some(Verdict::Charged(charged))
    }
}

impl Ticket {
    /// The answer, within a second.
    ///
    /// # Errors
    /// [`NotCharged`]: nothing is known, and nothing was charged.
    pub async fn answered(&mut self) -> Result<Verdict, NotCharged> {
        let Some(answer) = &mut self.answer else {
            self.limited.leases.0.metrics.shed.increment();
            return Err(NotCharged::Overloaded);
        };
        match timeout(WAIT_MAX, answer).await {
            Ok(Ok(answer)) => {
                self.answer = None;
                answer
            }
            // Nobody works for this replica's requests, or the store hangs.
            Ok(Err(_)) | Err(_) => {
                self.give_up();
                self.limited.without_store(self.need, self.is_dry)
            }
        }
    }

    /// What is held of its key and owner.
    #[must_use]
    pub fn limited(&self) -> &Limited {
        &self.limited
    }

    /// Nobody waits any more: what has been charged meanwhile is put back, and nothing is from now on.
    fn give_up(&mut self) {
        let Some(mut answer) = self.answer.take() else { return };
        answer.close();
        if let Ok(Ok(Verdict::Charged(charged))) = answer.try_recv() {
            self.limited.put_back(&charged);
        }
    }
}

impl Drop for Ticket {
    fn drop(&mut self) {
        self.give_up();
    }
}
