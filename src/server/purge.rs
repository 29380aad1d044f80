//! The task that takes away what time has made useless, each minute, on every replica.

use std::time::Duration;

use tokio::time::{MissedTickBehavior, interval};

use super::stage::{Stage, Stages};
use crate::admin::Admin;

const EVERY: Duration = Duration::from_secs(60);

/// Purges at once and each minute until the service drains; a batch that has begun is waited for. A store out of
/// reach is asked again at the next turn: what is due stays due.
pub(super) async fn run(admin: Admin, stages: Stages) {
    let mut tick = interval(EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut stop = std::pin::pin!(stages.reached(Stage::Draining));
    loop {
        tokio::select! {
            _ = tick.tick() => pass(&admin, &stages).await,
            () = &mut stop => return,
        }
    }
}

async fn pass(admin: &Admin, stages: &Stages) {
    while !stages.has_reached(Stage::Draining) {
        match admin.purge_batch().await {
            Ok(purged) if purged.is_empty() => return,
            Ok(purged) => tracing::info!(
                purged.keys = purged.keys,
                purged.secrets = purged.secrets,
                purged.requests = purged.requests,
                "purged what was due"
            ),
            Err(error) => {
                tracing::warn!(error = %error, "what is due could not be purged; it is tried again");
                return;
            }
        }
    }
}
