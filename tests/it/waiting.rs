//! What is decided after a wait: not without trust, by the time that it is then, and from what was not changed meanwhile.
//!
//! No service, and nobody who follows: what a follower does, the tests do.

mod admitted;
mod applied;
mod later;
mod trust_ended;
mod ways;

use std::num::NonZeroUsize;
use std::sync::{Arc, Condvar, Mutex};
use std::time::Duration;

use chrono::DateTime;
use keystile::authorize::{Authorizer, Freshness, Question, Settings};
use keystile::cache::{self, Bounds, KeyCache, Loader, LoaderSettings, QueueBounds, ReadAt, Wanted};
use keystile::clock::{BootTime, Clock, ManualClock};
use keystile::metrics::LoaderMetrics;
use keystile::policy::{AccessRequest, CheckSet};
use keystile::storage::secrets::ProvenKey;
use keystile::storage::{Store, secrets};
use keystile::token::{BcryptPool, Brand, Pepper, PepperId, Peppers, Presented, os_rng};
use tokio::runtime::Handle;
use tokio::task::{JoinHandle, block_in_place};

use self::ways::Way;
use crate::harness::{TestDatabase, eventually};
use crate::proving::{COST, import};

const TOKEN: &str = "sk-older-0001-abcdefghijkl";
const KEY: i64 = 101;

/// Nothing that is in memory can be read from the store while this is held.
const HOLD_LOADS: &str = "LOCK TABLE key_secrets IN ACCESS EXCLUSIVE MODE";
/// Nothing that was proven by bcrypt can be stored.
const HOLD_PROOFS: &str = "SELECT 1 FROM key_secrets FOR UPDATE";

/// Holds up whoever makes an entry of memory, until it is opened.
struct Gate {
    /// Whether somebody has come, and whether it is open.
    state: Mutex<(bool, bool)>,
    opened: Condvar,
}

impl Gate {
    const fn new() -> Self {
        Self { state: Mutex::new((false, false)), opened: Condvar::new() }
    }

    fn pass(&self) {
        block_in_place(|| {
            let mut state = self.state.lock().unwrap();
            state.0 = true;
            drop(self.opened.wait_while(state, |(_, is_open)| !*is_open).unwrap());
        });
    }

    async fn until_entered(&self) {
        eventually("an entry is made", async || self.state.lock().unwrap().0).await;
    }

    fn open(&self) {
        self.state.lock().unwrap().1 = true;
        self.opened.notify_all();
    }
}

/// Opens a gate when it is dropped: also a test that fails has an end.
struct Opening(&'static Gate);

impl Drop for Opening {
    fn drop(&mut self) {
        self.0.open();
    }
}

/// What decides, on a database that has the key of [`TOKEN`].
struct Deciding {
    database: TestDatabase,
    store: Store,
    cache: Arc<KeyCache>,
    loader: Loader,
    peppers: Arc<Peppers>,
    metrics: Arc<LoaderMetrics>,
    authorizer: Authorizer,
    clock: ManualClock,
}

impl Deciding {
    async fn new() -> Self {
        Self::describing(|_| Box::default()).await
    }

    async fn describing(describe: fn(&ProvenKey) -> Box<[u8]>) -> Self {
        let database = TestDatabase::new().await;
        import(&database, KEY, TOKEN, COST).await;
        let store = Store::new(&database.url().into(), 4).unwrap();
        let cache = KeyCache::new(cache::Settings {
            bounds: Bounds { entries: 1_000, bytes: 1 << 20, unknown: 1_000 },
            observe: CheckSet::EMPTY,
            describe,
            refresh: Duration::from_secs(600),
            leases: keystile::leases::Leases::new(keystile::leases::WithoutStore::Refuse, Arc::default()),
            metrics: Arc::default(),
        });
        let pepper = Pepper::generate(PepperId::parse("test").unwrap(), &mut os_rng());
        let peppers = Arc::new(Peppers::new(pepper, Vec::new()).unwrap());
        let metrics: Arc<LoaderMetrics> = Arc::default();
        let settings = LoaderSettings {
            unknown_each: 1_000,
            bounds: QueueBounds { each: 10, all: 10 },
            peppers: Arc::clone(&peppers),
            runtime: Handle::current(),
            metrics: Arc::clone(&metrics),
        };
        let loader = Loader::new(store.clone(), Arc::clone(&cache), settings);
        let clock = ManualClock::new(DateTime::from_timestamp(1_800_000_000, 0).unwrap());
        let settings = Settings {
            brand: Brand::default(),
            cache: Arc::clone(&cache),
            loader: loader.clone(),
            peppers: Arc::clone(&peppers),
            bcrypt: BcryptPool::new(NonZeroUsize::MIN, 10),
            clock: Clock::Manual(clock.clone()),
            metrics: Arc::default(),
            lookups: Arc::clone(&metrics),
        };
        let authorizer = Authorizer::new(store.clone(), settings);
        let deciding = Self { database, store, cache, loader, peppers, metrics, authorizer, clock };
        deciding.begin_anew().await;
        deciding
    }

    /// Where the store is.
    async fn head(&self) -> ReadAt {
        let nothing = self
            .store
            .read("head", |session| Box::pin(async move { secrets::find_by_ids(session, &[]).await }));
        let found = nothing.await.unwrap();
        ReadAt { epoch: found.epoch, revision: found.revision }
    }

    /// Memory is empty, and trusted.
    async fn begin_anew(&self) {
        self.cache.restart(self.head().await);
        self.trust();
    }

    fn trust(&self) {
        self.cache.trust_until(BootTime::now().plus(Duration::from_secs(600)));
    }

    /// The token has its digest, which leads to its key without bcrypt.
    async fn give_digest(&self) {
        self.authorizer.authorize(&question()).await.unwrap();
        self.begin_anew().await;
    }

    /// What memory has to know of the token.
    fn wanted(&self) -> Wanted {
        let presented = Presented::classify(TOKEN.as_bytes(), &Brand::default()).unwrap();
        Wanted::token(presented, &self.peppers)
    }

    /// Begins a call, and does something as soon as it waits for what `hold` holds; then lets it go on.
    async fn meanwhile<T: Send + 'static>(
        &self,
        hold: &str,
        call: impl Future<Output = T> + Send + 'static,
        something: impl AsyncFnOnce(),
    ) -> T {
        let lock = self.database.hold(hold).await;
        let call: JoinHandle<T> = tokio::spawn(call);
        self.database.until_blocked().await;
        something().await;
        lock.let_go().await;
        call.await.unwrap()
    }
}

/// Whatever a call about a key that is not in memory waits for, on every way: `check` is given what to hold.
async fn whoever_loads(check: impl AsyncFn(&Deciding, &str, Way)) {
    let deciding = Deciding::new().await;
    deciding.give_digest().await;
    for way in Way::ALL {
        deciding.begin_anew().await;
        check(&deciding, HOLD_LOADS, way).await;
    }
}

/// The same of a token that bcrypt has to prove.
async fn whoever_proves(check: impl AsyncFn(&Deciding, &str, Way)) {
    for way in Way::BY_BCRYPT {
        check(&Deciding::new().await, HOLD_PROOFS, way).await;
    }
}

/// The same of a key that is in memory, and is read whole from the store.
async fn whoever_reads_the_key_itself(check: impl AsyncFn(&Deciding, &str, Way)) {
    let deciding = Deciding::new().await;
    deciding.authorizer.authorize(&question()).await.unwrap();
    check(&deciding, HOLD_LOADS, Way::Introspect).await;
}

fn question() -> Question<'static> {
    Question {
        token: TOKEN.as_bytes(),
        access: AccessRequest::default(),
        tokens: 0,
        dry_run: true,
        freshness: Freshness::NONE,
    }
}
