//! bcrypt on bounded threads with a bounded queue.
//!
//! bcrypt takes tens of milliseconds of a core on purpose, so it never runs on the async threads, never more
//! than `threads` times at once, and never lets more than `queue_max` callers wait: what comes on top is
//! refused at once, so that a flood of unknown tokens sheds itself. Its threads step back behind all others.
//!
//! bcrypt reads 72 bytes of a password at most, a closing NUL included where there is room, and goes round
//! where it is shorter. So a longer one would be cut, and one with a NUL inside may equal another (`ab` and
//! `ab\0ab` do): both are errors here, although no [`Token`] can be either. The crate's `non_truncating_*`
//! functions count the closing NUL and refuse 72 bytes, which lose nothing and which other implementations
//! take; hence its plain functions behind a check of our own.
//!
//! What does not belong here: fairness between callers and throttling by prefix.

use std::num::NonZeroUsize;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::{Arc, Once};
use std::{io, thread};

#[cfg(target_os = "linux")]
use rustix::process::{getpriority_process, setpriority_process};
use tokio::sync::{Semaphore, TryAcquireError, oneshot};

use super::{BcryptCost, InvalidKeyHash, KeyHash, Token};
use crate::clock;
use crate::metrics::{Gauge, PoolMetrics};

#[cfg(test)]
#[expect(clippy::string_slice, reason = "test texts are ASCII where they are cut")]
mod tests;

/// The most bytes that bcrypt reads.
const MAX_LEN: usize = 72;
/// What its threads are nicer by than the others: they have a third of their weight.
#[cfg(target_os = "linux")]
const NICE: i32 = 5;

/// Runs bcrypt, bounded. Clones share their threads, their queue and their counts.
#[derive(Clone, Debug)]
pub struct BcryptPool {
    /// One permit for each run and each waiting caller.
    places: Arc<Semaphore>,
    /// One permit for each run.
    threads: Arc<Semaphore>,
    counts: Arc<Counts>,
    metrics: Arc<PoolMetrics>,
    threads_max: usize,
    queue_max: usize,
}

#[derive(Debug, Default)]
struct Counts {
    verifications: AtomicU64,
    hashes: AtomicU64,
}

/// Why bcrypt gave no answer. Never holds any of the token or the hash.
#[derive(Debug, thiserror::Error)]
pub enum BcryptError {
    /// All threads are busy and the queue is full.
    #[error("too many bcrypt computations are waiting")]
    Overloaded,
    /// The token is longer than bcrypt's 72 bytes, which would cut it.
    #[error("bcrypt takes at most 72 bytes, not {0}")]
    TooLong(usize),
    /// The token has a NUL byte, which bcrypt takes for an end.
    #[error("bcrypt takes no NUL bytes")]
    Nul,
    /// The library failed: no randomness for a salt.
    #[error("bcrypt failed")]
    Library(#[from] bcrypt::BcryptError),
    /// The library made a hash that it would not read.
    #[error("bcrypt made an unreadable hash")]
    Made(#[from] InvalidKeyHash),
    /// The computation panicked; its thread is free again.
    #[error("bcrypt panicked")]
    Panicked,
    /// There is no thread to run it on.
    #[error("no thread for bcrypt could be started")]
    Thread(#[source] io::Error),
    /// The runtime is shutting down.
    #[error("bcrypt was stopped: the process is shutting down")]
    Stopped,
}

impl BcryptPool {
    /// At most `threads` computations at once, and at most `queue_max` callers waiting for one.
    #[must_use]
    pub fn new(threads: NonZeroUsize, queue_max: usize) -> Self {
        let threads = threads.get().min(Semaphore::MAX_PERMITS);
        let places = threads.saturating_add(queue_max).min(Semaphore::MAX_PERMITS);
        Self {
            places: Arc::new(Semaphore::new(places)),
            threads: Arc::new(Semaphore::new(threads)),
            counts: Arc::default(),
            metrics: Arc::default(),
            threads_max: threads,
            queue_max,
        }
    }

    /// The same pool, which tells these metrics of its work.
    #[must_use]
    pub fn measured(self, metrics: &Arc<PoolMetrics>) -> Self {
        metrics.set_threads(self.threads_max);
        Self { metrics: Arc::clone(metrics), ..self }
    }

    /// At most so many computations at once.
    #[must_use]
    pub fn threads_max(&self) -> usize {
        self.threads_max
    }

    /// At most so many callers wait for one.
    #[must_use]
    pub fn queue_max(&self) -> usize {
        self.queue_max
    }

    /// Who is told of its work.
    #[must_use]
    pub fn metrics(&self) -> &Arc<PoolMetrics> {
        &self.metrics
    }

    /// Whether `hash` was made from `token`. The comparison takes the same time wherever they differ.
    ///
    /// A caller that goes away while it waits leaves the queue; a computation that has begun is finished.
    ///
    /// # Errors
    /// [`BcryptError::Overloaded`] at once when the queue is full; the others as they say.
    pub async fn verify(&self, token: Token, hash: KeyHash) -> Result<bool, BcryptError> {
        let counts = Arc::clone(&self.counts);
        self.run(move || {
            let password = checked(token.expose().as_bytes())?;
            counts.verifications.fetch_add(1, Ordering::Relaxed);
            Ok(bcrypt::verify(password, hash.expose())?)
        })
        .await?
    }

    /// Makes a `$2b$` hash of `token` with a fresh random salt.
    ///
    /// # Errors
    /// [`BcryptError::Overloaded`] at once when the queue is full; the others as they say.
    pub async fn hash(&self, token: Token, cost: BcryptCost) -> Result<KeyHash, BcryptError> {
        let counts = Arc::clone(&self.counts);
        self.run(move || {
            let password = checked(token.expose().as_bytes())?;
            counts.hashes.fetch_add(1, Ordering::Relaxed);
            Ok(KeyHash::parse(&bcrypt::hash(password, cost.get())?)?)
        })
        .await?
    }

    /// How many verifications have been run, whatever came of them. Refused ones do not count.
    #[must_use]
    pub fn runs(&self) -> u64 {
        self.counts.verifications.load(Ordering::Relaxed)
    }

    /// How many hashes have been made.
    #[must_use]
    pub fn hashes_run(&self) -> u64 {
        self.counts.hashes.load(Ordering::Relaxed)
    }

    /// Both permits go with the work, not with the caller: what runs is counted until it ends, and unwinding
    /// gives them back. The thread is given back before the place, so that the queue never exceeds its bound.
    async fn run<T: Send + 'static>(
        &self,
        work: impl FnOnce() -> T + Send + 'static,
    ) -> Result<T, BcryptError> {
        let place = Arc::clone(&self.places).try_acquire_owned().map_err(|error| match error {
            TryAcquireError::NoPermits => {
                self.metrics.refused.increment();
                BcryptError::Overloaded
            }
            TryAcquireError::Closed => BcryptError::Stopped,
        })?;
        let waiting = Gauge::hold(&self.metrics.waiting);
        let thread = Arc::clone(&self.threads).acquire_owned().await.map_err(|_| BcryptError::Stopped)?;
        drop(waiting);
        let metrics = Arc::clone(&self.metrics);
        let (tell, told) = oneshot::channel();
        let run = move || {
            step_back();
            let answer = {
                let _permits = (thread, place);
                let _running = Gauge::hold(&metrics.running);
                let began = clock::monotonic_now();
                let answer = work();
                metrics.durations.observe(clock::since(began));
                answer
            };
            // Whoever has gone away is not told.
            let _gone = tell.send(answer);
        };
        // A thread costs a thousandth of what it is for.
        thread::Builder::new().name("bcrypt".to_owned()).spawn(run).map_err(BcryptError::Thread)?;
        told.await.map_err(|_| BcryptError::Panicked)
    }
}

/// Lets the rest of the service have the processors first: what takes milliseconds must not wait behind what takes fifty
/// of them. Where nothing else wants to run, it costs no time.
fn step_back() {
    // On Linux a thread has a priority of its own; elsewhere it would be the process's.
    #[cfg(target_os = "linux")]
    if let Err(error) = getpriority_process(None).and_then(|own| setpriority_process(None, own + NICE)) {
        static TOLD: Once = Once::new();
        TOLD.call_once(
            || tracing::warn!(error = %error, "threads of bcrypt do not step back behind the others"),
        );
    }
}

/// Lets through what bcrypt reads whole and tells apart from everything else.
fn checked(password: &[u8]) -> Result<&[u8], BcryptError> {
    if password.len() > MAX_LEN {
        return Err(BcryptError::TooLong(password.len()));
    }
    if password.contains(&0) {
        return Err(BcryptError::Nul);
    }
    Ok(password)
}
