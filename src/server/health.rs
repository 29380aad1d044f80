//! Health by the names of the contract: `""` and AuthorizeService (ready to decide), `liveness` (the
//! process works, whatever the database does), `keystile.store` (the database answers).
//!
//! This version decides from the store alone: it is ready to decide as long as the store answers.

use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};
use tonic_health::ServingStatus;
use tonic_health::server::HealthReporter;

use super::running::until;
use crate::storage::{StorageError, Store, durability};

const ASK_EVERY: Duration = Duration::from_millis(500);

/// Names that follow the store.
const FOLLOWING: [&str; 3] = ["", "keystile.v1.AuthorizeService", "keystile.store"];

/// Asks the store twice a second and says what came of it.
pub(super) async fn follow_store(reporter: HealthReporter, store: Store, stopped: watch::Receiver<bool>) {
    reporter.set_service_status("liveness", ServingStatus::Serving).await;
    let mut tick = interval(ASK_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(until(stopped));
    let mut was_ready = None;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = &mut stop => {
                say(&reporter, ServingStatus::NotServing).await;
                return;
            }
        }
        let answer = store.read("health.ping", |session| Box::pin(durability::ping(session))).await;
        // A busy replica is no broken one: taken out of rotation, it would leave its load to the others.
        let is_ready = matches!(answer, Ok(()) | Err(StorageError::Overloaded));
        if was_ready == Some(is_ready) {
            continue;
        }
        match answer {
            _ if is_ready && was_ready == Some(false) => tracing::info!("the store answers again"),
            Ok(()) => {}
            Err(error) => tracing::warn!(error = %error, "the store does not answer"),
        }
        say(&reporter, if is_ready { ServingStatus::Serving } else { ServingStatus::NotServing }).await;
        was_ready = Some(is_ready);
    }
}

async fn say(reporter: &HealthReporter, status: ServingStatus) {
    for name in FOLLOWING {
        reporter.set_service_status(name, status).await;
    }
}
