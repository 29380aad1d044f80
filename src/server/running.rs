//! The service from its listener to its end.
//!
//! 1. [`Bound`]: the address is taken, health and reflection answer, everything else is answered STARTING.
//! 2. [`Prepared`]: the database is open and fit to be served on, the parts are wired.
//! 3. [`Running`]: every method answers.
//! 4. [`Running::stop`], in the order of [`Stage`]: health says NOT_SERVING while calls are answered as before; the
//!    listener closes and clients are told to go away; calls under way end; counts are written; the database is let
//!    go of. Each step has a bound.
//!
//! What does not belong here: what is served (`router`), how connections come (`loops`).

use std::future::pending;
use std::net::SocketAddr;
use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::runtime::Handle;
use tokio::time::timeout;
use tonic_health::pb::health_server::HealthServer;

use super::certificates::Certificates;
use super::database::{OpenDatabase, open_to_serve};
use super::health::Health;
use super::late::Late;
use super::loops::{self, Limits};
use super::parts::Parts;
use super::router::Service;
use super::stage::Stage;
use super::supervise::Supervisor;
use super::{ServerError, background, first_token, health_listener, listener, router};
use crate::admin::{Admin, Refusals, Retention};
use crate::authorize::Authorizer;
use crate::cache::{Follower, FollowerSettings};
use crate::clock::Clock;
use crate::config::{Drain, HEALTH_LISTEN, LISTEN, OPS_LISTEN, OpsListen, Serve};
use crate::grpc::auth_layer::{AuthLayer, CallerAuth};
use crate::grpc::hot::ShortAuthorize;
use crate::grpc::telemetry_layer::{self, Telemetry, TelemetryLayer};
use crate::grpc::{Movement, Streams};
use crate::metrics::Metrics;
use crate::storage::Store;
use crate::telemetry::Ops;

/// How long the last flush may take, as long as any write.
const FLUSH_MAX: Duration = Duration::from_secs(10);
/// Longer than an embedded PostgreSQL takes to be stopped, by force in the end.
const CLOSE_MAX: Duration = Duration::from_secs(50);
/// What calls under way get where the service ends because a part of it died.
const CRASH_DRAIN_MAX: Duration = Duration::from_secs(2);

/// A service that has its address and says that it is starting.
#[derive(Debug)]
pub(super) struct Bound {
    address: SocketAddr,
    health_address: Option<SocketAddr>,
    certificates: Option<Arc<Certificates>>,
    late: Late,
    telemetry: Arc<Telemetry>,
    health: Health,
    supervisor: Supervisor,
    /// To the last, so that the end can be watched.
    ops: Option<Ops>,
    metrics: Arc<Metrics>,
}

impl Bound {
    /// Takes the address and serves what needs no database.
    pub(super) async fn to(config: &Serve) -> Result<Self, ServerError> {
        config.validate()?;
        let metrics = telemetry_layer::metrics();
        let certificates = Certificates::load(&config.tls, &metrics.tls)?.map(Arc::new);
        let (listener, address) = listener::bind(config.listen, LISTEN).await?;
        let ops = match config.telemetry.ops_listen {
            OpsListen::At(wanted) => {
                let (listener, address) = listener::bind(wanted, OPS_LISTEN).await?;
                Some(Ops::start(listener, address, Arc::clone(&metrics)))
            }
            OpsListen::Off => None,
        };
        let health = Health::starting(Arc::clone(&metrics.service));
        let late = Late::new(router::early(&health)?);
        let mut supervisor = Supervisor::new();
        let health_address = match config.tls.health_listen {
            Some(wanted) => {
                let (listener, address) = listener::bind(wanted, HEALTH_LISTEN).await?;
                let closing = supervisor.stages().coming(Stage::Closing);
                let serving = health_listener::serve(listener, HealthServer::new(health.clone()), closing);
                supervisor.spawn("serving health", Stage::Closing, async { Ok(serving.await?) });
                Some(address)
            }
            None => None,
        };
        let closing = supervisor.stages().coming(Stage::Closing);
        let telemetry = Telemetry::new(Arc::clone(&metrics.calls), config.telemetry.slow_call.threshold());
        let service = Service::new(late.clone(), &TelemetryLayer::new(Arc::clone(&telemetry)));
        let limits = Limits::from(&config.connections);
        let (counted, certified) = (Arc::clone(&metrics), certificates.clone());
        supervisor.spawn("serving", Stage::Closing, async move {
            Ok(loops::serve(listener, certified, service, limits, &counted, closing).await?)
        });
        tracing::info!(address = %address, "listening; the service is starting");
        Ok(Self { address, health_address, certificates, late, telemetry, health, supervisor, ops, metrics })
    }

    /// What it counts and measures of itself.
    pub(super) fn metrics(&self) -> Arc<Metrics> {
        Arc::clone(&self.metrics)
    }

    /// Where it listens.
    pub(super) fn address(&self) -> SocketAddr {
        self.address
    }

    /// Waits until a part ends that should not have.
    pub(super) async fn died(&mut self) -> ServerError {
        self.supervisor.died().await
    }

    /// Opens every method, and starts what runs beside the calls.
    pub(super) fn open(mut self, config: &Serve, clock: Clock, prepared: Prepared) -> Running {
        let Prepared { database: OpenDatabase { store, cluster }, parts, follower } = prepared;
        let auth =
            if config.no_auth { CallerAuth::Open } else { CallerAuth::Tokens(parts.authorizer.clone()) };
        let refusals = Arc::new(Refusals::measured(Arc::clone(&self.metrics.service)));
        let retention = Retention { audit_days: config.audit.retention.days() };
        background::spawn(
            &mut self.supervisor,
            &self.health,
            &parts,
            &store,
            Arc::clone(&refusals),
            retention,
            follower,
        );
        if let Some(cluster) = cluster {
            background::spawn_cluster(&mut self.supervisor, cluster);
        }
        if let Some(certificates) = &self.certificates {
            let closing = self.supervisor.stages().coming(Stage::Closing);
            let following = Arc::clone(certificates).follow(clock.clone(), closing);
            self.supervisor.spawn_sure("following certificates", Stage::Closing, following);
        }
        let Parts { admin, authorizer, .. } = parts.clone();
        let streams = Streams { movement: Movement::of(&parts.cache), background: Handle::current() };
        let short = ShortAuthorize::new(auth.clone(), authorizer.clone(), Arc::clone(&self.telemetry));
        let auth = AuthLayer::new(auth).noting(refusals);
        self.late.open(router::late(parts, auth, &self.metrics, clock, streams), short);
        self.health.has_started();
        tracing::info!(address = %self.address, auth = !config.no_auth, "serving");
        listener::warn_of_clear(self.address, self.certificates.as_ref());
        Running { bound: self, drain: config.drain.clone(), admin, authorizer, store }
    }

    /// Ends a service that never came to serve.
    pub(super) async fn abandon(mut self) -> Result<(), ServerError> {
        let closed = self.advance(Stage::Closing, CRASH_DRAIN_MAX).await;
        closed.and(self.advance(Stage::Flushed, CLOSE_MAX).await)
    }

    async fn advance(&mut self, stage: Stage, patience: Duration) -> Result<(), ServerError> {
        self.health.goes_on_to(stage);
        self.supervisor.advance(stage, patience).await
    }
}

/// What is behind the methods: an open database and the parts on it.
#[derive(Debug)]
pub(super) struct Prepared {
    database: OpenDatabase,
    parts: Parts,
    /// Registered and caught up.
    follower: Follower,
}

impl Prepared {
    /// Opens the database and wires the parts; `None` where `stop` came first. To be waited for to its end: what it
    /// has made by then is taken back.
    ///
    /// # Errors
    /// [`ServerError`]; the database is let go of then.
    pub(super) async fn by(
        config: &Serve,
        clock: &Clock,
        metrics: &Metrics,
        address: SocketAddr,
        stop: impl Future<Output = ()> + Send,
    ) -> Result<Option<Self>, ServerError> {
        let mut stop = std::pin::pin!(stop);
        let mut database = tokio::select! {
            opened = open_to_serve(&config.database) => opened?,
            () = &mut stop => return Ok(None),
        };
        database.store = database.store.measured(&metrics.store);
        match assemble(config, clock, &database, metrics, address, stop).await {
            Ok(Some((parts, follower))) => Ok(Some(Self { database, parts, follower })),
            other => {
                close(database).await;
                other.map(|_| None)
            }
        }
    }

    /// Takes everything back: it is not needed.
    pub(super) async fn let_go(self) {
        self.follower.leave().await;
        close(self.database).await;
    }
}

async fn close(database: OpenDatabase) {
    if let Err(error) = database.close().await {
        tracing::warn!(error = %error, "the database could not be closed");
    }
}

async fn assemble(
    config: &Serve,
    clock: &Clock,
    database: &OpenDatabase,
    metrics: &Metrics,
    address: SocketAddr,
    mut stop: Pin<&mut (impl Future<Output = ()> + Send)>,
) -> Result<Option<(Parts, Follower)>, ServerError> {
    let wiring = async {
        let parts = Parts::on(&database.store, config, clock, metrics).await?;
        first_token::ensure(&parts.admin, config, database.is_embedded()).await?;
        Ok::<_, ServerError>(parts)
    };
    let parts = tokio::select! {
        parts = wiring => parts?,
        () = &mut stop => return Ok(None),
    };
    let cache = Arc::downgrade(&parts.cache);
    let trust_left = move || cache.upgrade().map_or(Duration::ZERO, |cache| cache.trust_left());
    metrics.freshness.watch_trust(trust_left);
    let staleness = config.freshness.max_staleness;
    let settings = FollowerSettings { address: address.to_string(), staleness };
    let (cache, replicas) = (Arc::clone(&parts.cache), Arc::clone(&parts.replicas));
    let freshness = Arc::clone(&metrics.freshness);
    let mut follower = Follower::join(database.store.clone(), cache, replicas, settings, freshness).await?;
    // Changes wait for this replica already.
    let mut is_stopped = false;
    let warm = async {
        tokio::select! {
            biased;
            () = stop => is_stopped = true,
            () = parts.warm_up(config.cache.warm_up) => {}
        }
    };
    follower.follow(warm).await;
    if is_stopped {
        follower.leave().await;
        return Ok(None);
    }
    Ok(Some((parts, follower)))
}

/// A service that has started.
#[derive(Debug)]
pub struct Running {
    bound: Bound,
    drain: Drain,
    admin: Admin,
    authorizer: Authorizer,
    store: Store,
}

impl Running {
    /// Starts the service and returns when it answers.
    ///
    /// # Errors
    /// [`ServerError`]; nothing is left running then.
    pub async fn start(config: &Serve, clock: Clock) -> Result<Self, ServerError> {
        let bound = Bound::to(config).await?;
        let ended = match Prepared::by(config, &clock, &bound.metrics(), bound.address(), pending()).await {
            Ok(Some(prepared)) => return Ok(bound.open(config, clock, prepared)),
            Ok(None) => ServerError::Serving("the start was given up unasked".to_owned()),
            Err(error) => error,
        };
        bound.abandon().await?;
        Err(ended)
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.bound.address
    }

    /// Where it answers for health alone, if anywhere.
    #[must_use]
    pub fn health_address(&self) -> Option<SocketAddr> {
        self.bound.health_address
    }

    /// The listener's certificates, where it speaks TLS.
    #[must_use]
    pub fn certificates(&self) -> Option<&Arc<Certificates>> {
        self.bound.certificates.as_ref()
    }

    /// Where the operations port listens, if there is one.
    #[must_use]
    pub fn ops_address(&self) -> Option<SocketAddr> {
        self.bound.ops.as_ref().map(Ops::address)
    }

    /// What it counts and measures of itself.
    #[must_use]
    pub fn metrics(&self) -> &Metrics {
        &self.bound.metrics
    }

    /// The use cases of administration.
    #[must_use]
    pub fn admin(&self) -> &Admin {
        &self.admin
    }

    /// The use case of the hot path, for looking at its counts.
    #[must_use]
    pub fn authorizer(&self) -> &Authorizer {
        &self.authorizer
    }

    /// Whether it is ready to decide, as its health says.
    #[must_use]
    pub fn is_ready(&self) -> bool {
        self.bound.health.is_ready()
    }

    /// Waits until a part of the service ends by itself, which none should. Whoever started the process starts it
    /// again: that recovers everything.
    pub async fn ended(&mut self) -> ServerError {
        self.bound.died().await
    }

    /// Stops in order: health says NOT_SERVING while calls are answered as before, for the configured moment; then no
    /// new connections, and the calls under way get their time; then counts are written and the database is let
    /// go of.
    ///
    /// # Errors
    /// [`ServerError`]; it has stopped all the same.
    pub async fn stop(mut self) -> Result<(), ServerError> {
        let drained = self.drain_calls().await;
        let closed = self.close(self.drain.drain_timeout).await;
        tracing::info!("stopped");
        drained.and(closed)
    }

    /// Stops because a part has died: as [`Running::stop`], without waiting for callers to go elsewhere.
    pub(super) async fn give_up(mut self) -> Result<(), ServerError> {
        self.close(self.drain.drain_timeout.min(CRASH_DRAIN_MAX)).await
    }

    /// Goes on answering, so that callers who watch the health go elsewhere in peace. A part that dies meanwhile cuts
    /// it short.
    async fn drain_calls(&mut self) -> Result<(), ServerError> {
        let delay = self.drain.drain_delay;
        self.bound.advance(Stage::Draining, CRASH_DRAIN_MAX).await?;
        tracing::info!(seconds = delay.as_secs_f64(), "draining: NOT_SERVING, and calls are still answered");
        timeout(delay, self.bound.died()).await.map_or(Ok(()), Err)
    }

    async fn close(&mut self, patience: Duration) -> Result<(), ServerError> {
        let answered = self.bound.advance(Stage::Closing, patience).await;
        // A flush that is under way ends first.
        let flushed = self.bound.advance(Stage::Answered, FLUSH_MAX).await;
        match timeout(FLUSH_MAX, self.authorizer.uses().flush(&self.store)).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::warn!(error = %error, "the last counts of uses could not be written"),
            Err(_) => tracing::warn!("the last counts of uses could not be written in time"),
        }
        answered.and(flushed).and(self.bound.advance(Stage::Flushed, CLOSE_MAX).await)
    }
}
