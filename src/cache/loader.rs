//! Brings keys from the store into memory.
//!
//! - **Joined**: whatever is asked for several times at once is loaded once ([`super::load_queue`]).
//! - **Fair and bounded**: callers take turns, and what comes on top is refused at once ([`super::fair_queue`]). So a
//!   flood of tokens that are nobody's sheds itself, and only what is not in memory waits behind it.
//! - **Not in vain**: whoever asks for too many tokens that are nobody's is refused for a while ([`super::fruitless`]).
//! - **In batches**: what has come together since the last statement goes into the next one; few are under way at once.
//!   Loads of a caller who has asked for some in vain lately wait a moment for each other, and hold up nobody else.
//! - **Never stuck**: a batch that takes too long is abandoned with its connection, and nobody waits longer than
//!   [`WAIT_MAX`].
//! - **Never stale**: every result passes the fill rule ([`KeyCache::admit`]), and is loaded again where it came too
//!   late.
//!
//! Its work runs on the runtime that it was given, so that a thread that serves calls does none of it.
//!
//! What does not belong here: proving a token by bcrypt, deciding.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::{Duration, Instant};

use tokio::runtime::Handle;
use tokio::time::{sleep, sleep_until, timeout};
use tracing::Instrument as _;

use super::fair_queue::{Asker, QueueBounds};
use super::fruitless::Fruitless;
use super::further_digests::FurtherDigests;
use super::load::{LoadError, Loaded, Wanted};
use super::load_queue::{Answer, Job, LoadQueue, Taken};
use super::reading::{self, Read};
use super::{KeyCache, Lookup, ReadAt, TooOld};
use crate::clock;
use crate::metrics::LoaderMetrics;
use crate::storage::secrets::{self, FurtherDigest};
use crate::storage::{StorageError, Store};
use crate::token::{Digest, Peppers};

/// At most so many look-ups go into one statement.
pub const BATCH_MAX: usize = 256;
/// At most so many batches are under way at once: each has a connection of the pool.
pub const BATCHES_MAX: usize = 2;
/// A batch that takes longer is abandoned.
pub const BATCH_TIME_MAX: Duration = Duration::from_secs(2);
/// Nobody waits longer for a load, its time in the queue included: an outage is told within two seconds.
pub const WAIT_MAX: Duration = Duration::from_millis(1_800);
/// What was read and was changed meanwhile is read again so many times at most.
const TRIES_MAX: u32 = 5;
/// How long the third try waits; each one after it waits twice as long as the one before.
const TRY_AGAIN_AFTER: Duration = Duration::from_millis(10);

/// How a [`Loader`] works.
#[derive(Clone, Debug)]
pub struct LoaderSettings {
    /// How many loads may wait.
    pub bounds: QueueBounds,
    /// How many loads a second may find a token to be nobody's, for each caller.
    pub unknown_each: u32,
    /// Peppers of digests.
    pub peppers: Arc<Peppers>,
    /// Where its work runs.
    pub runtime: Handle,
    /// Told of everything.
    pub metrics: Arc<LoaderMetrics>,
}

/// Brings keys into memory. Clones share everything.
#[derive(Clone, Debug)]
pub struct Loader(Arc<Inner>);

#[derive(Debug)]
struct Inner {
    store: Store,
    cache: Arc<KeyCache>,
    /// The marks of all peppers, as they are stored.
    marks: Arc<[String]>,
    further: Arc<FurtherDigests>,
    fruitless: Arc<Fruitless>,
    state: Mutex<State>,
    settings: LoaderSettings,
}

#[derive(Debug)]
struct State {
    queue: LoadQueue,
    /// Tasks that take batches out of the queue until none is due.
    runners: usize,
    /// Whether there is a task that waits until a batch is due.
    is_awaited: bool,
}

impl Loader {
    /// A loader from `store` into `cache`.
    #[must_use]
    pub fn new(store: Store, cache: Arc<KeyCache>, settings: LoaderSettings) -> Self {
        let (mark, _) = settings.peppers.digest_current(&[]);
        let further = FurtherDigests::new(store.clone(), mark.clone(), &settings);
        Self(Arc::new(Inner {
            marks: settings.peppers.marks().map(|mark| mark.as_str().to_owned()).collect(),
            further,
            fruitless: Fruitless::new(settings.unknown_each),
            state: Mutex::new(State {
                queue: LoadQueue::new(settings.bounds),
                runners: 0,
                is_awaited: false,
            }),
            store,
            cache,
            settings,
        }))
    }

    /// Whether somebody is to be refused what is not in memory, because too much of what he asked for was nobody's. To be
    /// asked before the first load for a token; what follows from one is loaded.
    #[must_use]
    pub fn is_spent(&self, asker: Asker) -> bool {
        self.0.fruitless.is_spent(asker, clock::monotonic_now())
    }

    /// What was loaded for somebody, and left open, has turned out to be nobody's, or was not looked at any further.
    pub fn note_fruitless(&self, asker: Asker) {
        self.0.fruitless.note(asker, None, clock::monotonic_now());
    }

    /// Loads what is not in memory, for whoever the current call is from.
    ///
    /// # Errors
    /// [`LoadError`].
    pub async fn load(&self, wanted: Wanted) -> Answer {
        let waiting = async {
            let told = {
                let mut state = self.0.state();
                let (asker, now) = (Asker::current(), clock::monotonic_now());
                let begin_by = now + self.0.fruitless.patience(asker, now);
                let presume = || self.0.fruitless.presume(asker, now);
                let (taken, evicted) = state.queue.ask(wanted, asker, begin_by, presume);
                self.0.make_room(evicted);
                self.0.start_runner(&mut state, now);
                match taken {
                    Taken::Queued(told) => {
                        self.0.settings.metrics.queued.increment();
                        told
                    }
                    Taken::Joined(told) => {
                        self.0.settings.metrics.joined.increment();
                        told
                    }
                    Taken::Refused => {
                        self.0.settings.metrics.shed.increment();
                        return Err(LoadError::Overloaded);
                    }
                }
            };
            match timeout(WAIT_MAX, told).await {
                Ok(Ok(answer)) => answer,
                Ok(Err(_stopped)) => Err(LoadError::unavailable("a load was given up")),
                Err(_elapsed) => Err(LoadError::unavailable("a load took too long")),
            }
        };
        waiting.instrument(tracing::debug_span!("load", otel.name = "cache.load")).await
    }

    /// Loads something anew in the background, while what is in memory goes on being used. Where there is no place for
    /// it, it is left for the next time.
    pub fn refresh(&self, wanted: Wanted) {
        let mut state = self.0.state();
        let now = clock::monotonic_now();
        if state.queue.note(wanted, now) {
            self.0.settings.metrics.refreshed.increment();
            self.0.start_runner(&mut state, now);
        }
    }

    /// Brings at most `keys` keys into memory, those that were used last; returns how many. Their tokens are known by
    /// their digests under the current pepper.
    ///
    /// # Errors
    /// [`StorageError`]; what came before it stays.
    pub async fn warm_up(&self, keys: usize) -> Result<usize, StorageError> {
        let Inner { store, settings, .. } = self.0.as_ref();
        let (mark, _) = settings.peppers.digest_current(&[]);
        let (mark, limit) = (mark.clone(), i64::try_from(keys).unwrap_or(i64::MAX));
        let digests = store.read("secrets.last_used", move |session| {
            Box::pin(async move { secrets::last_used(session, &mark, limit).await })
        });
        let digests = digests.await?;
        let mut warm = 0_usize;
        for batch in digests.chunks(BATCH_MAX) {
            let batch: Vec<Digest> = batch.to_vec();
            let found = store.read("secrets.find_by_digests", move |session| {
                Box::pin(async move { secrets::find_by_digests(session, &batch).await })
            });
            let found = found.await?;
            let read = ReadAt { epoch: found.epoch, revision: found.revision };
            for (digest, key) in found.keys {
                // What does not parse, or was changed since, is loaded when it is used.
                let Ok(key) = key else { continue };
                warm += usize::from(self.0.cache.admit(Lookup::Token(digest), read, Some(&key)).is_ok());
            }
        }
        Ok(warm)
    }
}

impl Inner {
    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    fn make_room(&self, evicted: Option<Job>) {
        if let Some(job) = evicted {
            self.settings.metrics.shed.increment();
            job.answer(&Err(LoadError::Overloaded));
        }
    }

    /// To be called whenever the queue was told of something: then a batch that is due, or will be, has somebody who
    /// begins it. All who have patience have as much, so nothing becomes due between now and what is awaited.
    fn start_runner(self: &Arc<Self>, state: &mut State, now: Instant) {
        let Some(due) = state.queue.due() else { return };
        if due > now && !state.is_awaited {
            state.is_awaited = true;
            self.settings.runtime.spawn(Arc::clone(self).await_due(due));
        }
        // Where all are at work, the first of them that has done takes the batch.
        if due <= now && state.runners < BATCHES_MAX {
            state.runners += 1;
            self.settings.runtime.spawn(Arc::clone(self).run());
        }
    }

    /// Starts a runner when a batch is due; that may be later than was thought at first, if others took it along.
    async fn await_due(self: Arc<Self>, due: Instant) {
        sleep_until(due.into()).await;
        let mut state = self.state();
        state.is_awaited = false;
        self.start_runner(&mut state, clock::monotonic_now());
    }

    /// Takes batches out of the queue until none is due.
    async fn run(self: Arc<Self>) {
        let mut turn = Turn { inner: &self, batch: Vec::new(), is_over: false };
        while turn.take() {
            let began = clock::monotonic_now();
            self.settings.metrics.members.observe_members(turn.batch.len());
            let reading = reading::read(&self.store, &self.marks, &turn.batch);
            let mut results = match timeout(BATCH_TIME_MAX, reading).await {
                Ok(Ok(results)) => Ok(results),
                Ok(Err(error)) => Err(LoadError::from(error)),
                Err(_elapsed) => {
                    self.settings.metrics.abandoned.increment();
                    Err(LoadError::unavailable("loading keys took too long"))
                }
            };
            self.settings.metrics.durations.observe(clock::since(began));
            let mut further = Vec::new();
            while let Some(wanted) = turn.batch.pop() {
                let missing = || Err(LoadError::unavailable("a load was left out"));
                let result = match &mut results {
                    Ok(results) => results.remove(&wanted.lookup()).unwrap_or_else(missing),
                    Err(error) => Err(error.clone()),
                };
                further.extend(result.as_ref().ok().and_then(|(_, read)| further_digest(&wanted, read)));
                self.settle(&wanted, result);
            }
            self.further.store(further);
        }
    }

    /// Answers everybody who waits for a load, or has it loaded again.
    fn settle(self: &Arc<Self>, wanted: &Wanted, result: Result<(ReadAt, Read), LoadError>) {
        // First of all: from now on nobody joins it.
        let job = self.state().queue.take(&wanted.lookup());
        let answer = match result {
            Ok((at, read)) => match self.admit(wanted.lookup(), at, read) {
                Ok(loaded) => Ok(loaded),
                Err(TooOld) => return job.map_or((), |job| self.load_again(job)),
            },
            Err(error) => Err(error),
        };
        if answer.is_err() {
            self.settings.metrics.failed.increment();
        }
        if let Some(mut job) = job {
            if matches!(answer, Ok(Loaded::Unknown)) {
                self.fruitless.note(job.asker, job.presumed.take(), clock::monotonic_now());
            }
            job.answer(&answer);
        }
    }

    fn admit(&self, lookup: Lookup, at: ReadAt, read: Read) -> Result<Loaded, TooOld> {
        match read {
            Read::Key(key, _) => {
                let admitted = self.cache.admit(lookup, at, Some(&key))?;
                Ok(admitted.map_or(Loaded::Unknown, Loaded::Key))
            }
            Read::Unknown => self.cache.admit(lookup, at, None).map(|_| Loaded::Unknown),
            Read::Open(candidates) => {
                self.cache.may_use(at, None)?;
                self.cache.forget(&lookup);
                Ok(Loaded::Open(candidates.into()))
            }
        }
    }

    fn load_again(self: &Arc<Self>, mut job: Job) {
        job.tries += 1;
        if job.tries >= TRIES_MAX {
            self.settings.metrics.failed.increment();
            job.answer(&Err(LoadError::unavailable("what was read kept being changed")));
            return;
        }
        let wait = match job.tries {
            1 => Duration::ZERO,
            tries => TRY_AGAIN_AFTER.saturating_mul(1 << (tries - 2)),
        };
        // What is known may be of another epoch than what is read.
        self.cache.hurry();
        let inner = Arc::clone(self);
        self.settings.runtime.spawn(async move {
            if !wait.is_zero() {
                sleep(wait).await;
            }
            let mut state = inner.state();
            let now = clock::monotonic_now();
            let left_over = state.queue.put_back(job, now);
            inner.make_room(left_over);
            inner.start_runner(&mut state, now);
        });
    }
}

/// The token's digest under the current pepper, where it was found by another.
fn further_digest(wanted: &Wanted, read: &Read) -> Option<FurtherDigest> {
    let (Wanted::Token { current, .. }, Read::Key(_, Some(known))) = (wanted, read) else { return None };
    (known != current).then_some(FurtherDigest { known: *known, digest: *current })
}

/// The turn of a runner. However it ends, what it has taken out of the queue is not waited for any more, and another
/// runner may begin.
struct Turn<'i> {
    inner: &'i Arc<Inner>,
    batch: Vec<Arc<Wanted>>,
    is_over: bool,
}

impl Turn<'_> {
    /// Takes the next batch; the turn is over where there is none.
    fn take(&mut self) -> bool {
        let mut state = self.inner.state();
        self.batch = state.queue.begin(BATCH_MAX, clock::monotonic_now());
        if self.batch.is_empty() {
            state.runners -= 1;
            self.is_over = true;
        }
        !self.is_over
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        if self.is_over {
            return;
        }
        let mut state = self.inner.state();
        for wanted in self.batch.drain(..) {
            // Whoever waits is told by the end of the channel.
            drop(state.queue.take(&wanted.lookup()));
        }
        state.runners -= 1;
    }
}
