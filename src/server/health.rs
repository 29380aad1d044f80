//! Health by the names of the contract: `""` and AuthorizeService (ready to decide), `liveness` (the
//! process works, whatever the database does), `keystile.store` (the database answers).
//!
//! - Every name is known from the beginning: one that is not is NOT_FOUND, which a prober takes for a fault of its
//!   own.
//! - Ready to decide is: started, what is in memory may be trusted, and not draining. An outage of the store that is
//!   shorter than the staleness is no reason to take a replica out of rotation.
//! - The store is told of for as long as anything is answered: its word tells a drain from an outage.
//! - A `Watch` ends when the service closes, or its connection is to end: it must not hold up the end.

use std::pin::Pin;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::{mpsc, watch};
use tokio::time::{MissedTickBehavior, interval};
use tokio_stream::Stream;
use tokio_stream::wrappers::ReceiverStream;
use tonic::{Request, Response, Status};
use tonic_health::pb::health_check_response::ServingStatus;
use tonic_health::pb::health_server::Health as HealthService;
use tonic_health::pb::{HealthCheckRequest, HealthCheckResponse};

use super::stage::{Stage, Stages};
use super::supervise::PartResult;
use crate::cache::KeyCache;
use crate::grpc::closing::Closing;
use crate::metrics::ServiceMetrics;
use crate::storage::{StorageError, Store, durability};

const ASK_EVERY: Duration = Duration::from_millis(500);
const LOOK_EVERY: Duration = Duration::from_millis(50);

/// What health is made of.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct State {
    /// Everything is there and was open once.
    has_started: bool,
    /// Never before it was opened.
    store_answers: bool,
    /// What is in memory is fresh enough to be decided from.
    is_trusted: bool,
    stage: Stage,
}

impl State {
    fn is_ready(self) -> bool {
        self.has_started && self.is_trusted && self.stage == Stage::Running
    }

    /// `None` for a name that nobody knows.
    fn of(self, name: &str) -> Option<ServingStatus> {
        let is_serving = match name {
            "liveness" => true,
            "" | "keystile.v1.AuthorizeService" => self.is_ready(),
            "keystile.store" => self.store_answers && self.stage <= Stage::Draining,
            _ => return None,
        };
        Some(if is_serving { ServingStatus::Serving } else { ServingStatus::NotServing })
    }
}

/// The health of this process, which its metrics and its operations port tell too. Clones share it.
#[derive(Clone, Debug)]
pub(super) struct Health {
    state: watch::Sender<State>,
    metrics: Arc<ServiceMetrics>,
}

impl Health {
    /// Of a process that is starting.
    pub(super) fn starting(metrics: Arc<ServiceMetrics>) -> Self {
        let state =
            State { has_started: false, store_answers: false, is_trusted: false, stage: Stage::Running };
        Self { state: watch::channel(state).0, metrics }
    }

    /// Everything is there: the store has just been opened, so it answers, and its changes were followed to the last.
    pub(super) fn has_started(&self) {
        self.change(|state| {
            (state.has_started, state.store_answers, state.is_trusted) = (true, true, true);
        });
    }

    /// The service has come to `stage`.
    pub(super) fn goes_on_to(&self, stage: Stage) {
        self.change(|state| state.stage = stage);
    }

    /// Changes the state, and says whether that made a difference.
    fn change(&self, change: impl FnOnce(&mut State)) -> bool {
        self.state.send_if_modified(|state| {
            let before = *state;
            change(state);
            // Told inside, so that of two changes at once the later one is told last.
            self.metrics.set_ready(state.is_ready());
            *state != before
        })
    }

    /// Whether it is ready to decide, for whoever asks in another way than by gRPC.
    pub(super) fn is_ready(&self) -> bool {
        self.state.borrow().is_ready()
    }

    /// Says whether what is in memory may be trusted, until the service closes.
    pub(super) async fn follow_trust(self, cache: Arc<KeyCache>, stages: Stages) {
        let mut tick = interval(LOOK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut closing = std::pin::pin!(stages.reached(Stage::Closing));
        let mut was_trusted = true;
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = &mut closing => return,
            }
            let is_trusted = cache.is_trusted();
            self.change(|state| state.is_trusted = is_trusted);
            match (std::mem::replace(&mut was_trusted, is_trusted), is_trusted) {
                (false, true) => tracing::info!("ready to decide again"),
                (true, false) => tracing::warn!("not ready to decide: what is in memory may be out of date"),
                _ => {}
            }
        }
    }

    /// Asks the store twice a second and says what came of it, until the service closes.
    pub(super) async fn follow(self, store: Store, stages: Stages) -> PartResult {
        let mut tick = interval(ASK_EVERY);
        tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut closing = std::pin::pin!(stages.reached(Stage::Closing));
        loop {
            tokio::select! {
                _ = tick.tick() => {}
                () = &mut closing => return Ok(()),
            }
            let answer = store.read("health.ping", |session| Box::pin(durability::ping(session))).await;
            // A busy replica is no broken one: taken out of rotation, it would leave its load to the others.
            let answers = matches!(answer, Ok(()) | Err(StorageError::Overloaded));
            let has_changed = self.change(|state| state.store_answers = answers);
            match answer {
                _ if !has_changed => {}
                Ok(()) | Err(StorageError::Overloaded) => tracing::info!("the store answers again"),
                Err(error) => tracing::warn!(error = %error, "the store does not answer"),
            }
        }
    }
}

fn response(status: ServingStatus) -> HealthCheckResponse {
    HealthCheckResponse { status: status.into() }
}

#[tonic::async_trait]
impl HealthService for Health {
    async fn check(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<HealthCheckResponse>, Status> {
        let status = self.state.borrow().of(&request.get_ref().service);
        status.map(|status| Response::new(response(status))).ok_or_else(|| Status::not_found(""))
    }

    type WatchStream = Pin<Box<dyn Stream<Item = Result<HealthCheckResponse, Status>> + Send>>;

    async fn watch(
        &self,
        request: Request<HealthCheckRequest>,
    ) -> Result<Response<Self::WatchStream>, Status> {
        let (send, receive) = mpsc::channel(1);
        let closing = request.extensions().get::<Closing>().cloned();
        tokio::spawn(tell(self.state.subscribe(), request.into_inner().service, send, closing));
        Ok(Response::new(Box::pin(ReceiverStream::new(receive))))
    }
}

/// Tells the status of `name` now and whenever it changes, until the listener goes away, or the service or his
/// connection closes. As the contract has it, a name that nobody knows is SERVICE_UNKNOWN: it might come to be known.
async fn tell(
    mut states: watch::Receiver<State>,
    name: String,
    listener: mpsc::Sender<Result<HealthCheckResponse, Status>>,
    mut closing: Option<Closing>,
) {
    let mut told = None;
    loop {
        let state = *states.borrow_and_update();
        let status = state.of(&name).unwrap_or(ServingStatus::ServiceUnknown);
        if told.replace(status) != Some(status) && listener.send(Ok(response(status))).await.is_err() {
            return;
        }
        if state.stage >= Stage::Closing {
            return;
        }
        let closes = async {
            match &mut closing {
                Some(closing) => closing.come().await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            // What has changed is told first.
            biased;
            changed = states.changed() => if changed.is_err() { return },
            () = closes => return,
            () = listener.closed() => return,
        }
    }
}

#[cfg(test)]
mod tests {
    use tokio_stream::StreamExt;

    use super::*;

    fn request(name: &str) -> Request<HealthCheckRequest> {
        Request::new(HealthCheckRequest { service: name.to_owned() })
    }

    async fn check(health: &Health, name: &str) -> ServingStatus {
        health.check(request(name)).await.unwrap().into_inner().status()
    }

    #[tokio::test]
    async fn liveness_is_serving_at_every_stage_and_the_rest_while_it_is_so() {
        use ServingStatus::{NotServing, Serving};
        let health = Health::starting(Arc::default());
        let expect = async |ready: ServingStatus, store: ServingStatus| {
            for name in ["", "keystile.v1.AuthorizeService"] {
                assert_eq!(check(&health, name).await, ready, "{name}");
            }
            assert_eq!(check(&health, "keystile.store").await, store);
            assert_eq!(check(&health, "liveness").await, Serving);
        };
        expect(NotServing, NotServing).await;
        health.has_started();
        expect(Serving, Serving).await;
        health.change(|state| state.store_answers = false);
        expect(Serving, NotServing).await;
        health.change(|state| state.is_trusted = false);
        expect(NotServing, NotServing).await;
        health.change(|state| state.store_answers = true);
        expect(NotServing, Serving).await;
        health.change(|state| state.is_trusted = true);
        expect(Serving, Serving).await;
        health.goes_on_to(Stage::Draining);
        expect(NotServing, Serving).await;
        for stage in [Stage::Closing, Stage::Answered, Stage::Flushed] {
            health.goes_on_to(stage);
            expect(NotServing, NotServing).await;
        }
    }

    #[tokio::test]
    async fn a_watch_ends_with_its_connection_after_what_has_changed() {
        let health = Health::starting(Arc::default());
        let close = watch::Sender::new(false);
        let mut asked = request("");
        asked.extensions_mut().insert(Closing::of(&close));
        let mut watched = health.watch(asked).await.unwrap().into_inner();
        let mut next = async || watched.next().await.map(|told| told.unwrap().status());
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        health.has_started();
        close.send_replace(true);
        assert_eq!(next().await, Some(ServingStatus::Serving));
        assert_eq!(next().await, None);
    }

    #[tokio::test]
    async fn a_watch_tells_changes_only_and_ends_when_the_service_closes() {
        let health = Health::starting(Arc::default());
        let mut watched = health.watch(request("")).await.unwrap().into_inner();
        let mut unknown = health.watch(request("nobody")).await.unwrap().into_inner();
        let mut next = async || watched.next().await.map(|told| told.unwrap().status());
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        health.has_started();
        assert_eq!(next().await, Some(ServingStatus::Serving));
        // At once, as where there is no time to drain: the last word is told all the same.
        health.goes_on_to(Stage::Draining);
        health.goes_on_to(Stage::Closing);
        assert_eq!(next().await, Some(ServingStatus::NotServing));
        assert_eq!(next().await, None);
        assert_eq!(unknown.next().await.unwrap().unwrap().status(), ServingStatus::ServiceUnknown);
        assert!(unknown.next().await.is_none());
        assert_eq!(health.check(request("nobody")).await.unwrap_err().code(), tonic::Code::NotFound);
    }
}
