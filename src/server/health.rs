//! Health by the names of the contract: `""` and AuthorizeService (ready to decide), `liveness` (the
//! process works, whatever the database does), `keystile.store` (the database answers).
//!
//! This version decides from the store alone: it is ready to decide as long as the store answers.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tonic_health::ServingStatus;
use tonic_health::pb::health_server::{Health, HealthServer};
use tonic_health::server::{HealthReporter, health_reporter};

use super::running::until;
use crate::metrics::ServiceMetrics;
use crate::storage::{StorageError, Store, durability};

const ASK_EVERY: Duration = Duration::from_millis(500);

/// Names that follow the store.
const FOLLOWING: [&str; 3] = ["", "keystile.v1.AuthorizeService", "keystile.store"];

/// Makes every name known, before anybody can ask: a name that is not known is NOT_FOUND, which a prober takes
/// for a fault of its own. The store has just been opened, so it answers.
pub(super) async fn reporter_of_open_store() -> (HealthReporter, HealthServer<impl Health>) {
    let (reporter, service) = health_reporter();
    reporter.set_service_status("liveness", ServingStatus::Serving).await;
    say(&reporter, ServingStatus::Serving).await;
    (reporter, service)
}

/// Asks the store twice a second and says what came of it.
pub(super) async fn follow_store(
    reporter: HealthReporter,
    store: Store,
    ready: Arc<ServiceMetrics>,
    stopped: watch::Receiver<bool>,
) {
    ready.set_ready(true);
    let mut tick = interval(ASK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(until(stopped));
    let mut was_ready = true;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = &mut stop => {
                ready.set_ready(false);
                say(&reporter, ServingStatus::NotServing).await;
                return;
            }
        }
        let answer = store.read("health.ping", |session| Box::pin(durability::ping(session))).await;
        // A busy replica is no broken one: taken out of rotation, it would leave its load to the others.
        let is_ready = matches!(answer, Ok(()) | Err(StorageError::Overloaded));
        if was_ready == is_ready {
            continue;
        }
        match answer {
            Ok(()) | Err(StorageError::Overloaded) => tracing::info!("the store answers again"),
            Err(error) => tracing::warn!(error = %error, "the store does not answer"),
        }
        ready.set_ready(is_ready);
        say(&reporter, if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        was_ready = is_ready;
    }
}

async fn say(reporter: &HealthReporter, status: ServingStatus) {
    for name in FOLLOWING {
        reporter.set_service_status(name, status).await;
    }
}
