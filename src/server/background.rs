//! What runs beside the calls: one line each, and the stage with which it ends.
//!
//! What does not belong here: what the parts do, which their own modules know.

use std::sync::Arc;
use std::time::Duration;

use tokio::sync::watch;
use tokio::time::{MissedTickBehavior, interval};

use super::health::Health;
use super::parts::Parts;
use super::purge;
use super::stage::{Stage, Stages};
use super::supervise::Supervisor;
use crate::admin::{Refusals, Retention, remove_old_lines};
use crate::authorize::{Authorizer, add_up};
use crate::cache::Follower;
use crate::embedded::Cluster;
use crate::storage::Store;

const FLUSH_EVERY: Duration = Duration::from_secs(1);
/// What many keys have used is put down each second, and added to their totals so often.
const ADD_UP_EVERY: Duration = Duration::from_secs(10);

/// Starts everything that works on the open store. What is written for the last time is written from
/// [`Stage::Answered`] on, while the store is still there.
pub(super) fn spawn(
    supervisor: &mut Supervisor,
    health: &Health,
    parts: &Parts,
    store: &Store,
    refusals: Arc<Refusals>,
    retention: Retention,
    follower: Follower,
) {
    let stages = supervisor.stages();
    // Renews to the last answer, then takes its row away.
    let answered = stages.clone().coming(Stage::Answered);
    supervisor.spawn_sure("following the changes", Stage::Answered, follower.run(answered));
    let telling = health.clone().follow_trust(Arc::clone(&parts.cache), stages.clone());
    supervisor.spawn_sure("watching the trust", Stage::Closing, telling);
    let (replicas, closing) = (Arc::clone(&parts.replicas), stages.clone().coming(Stage::Closing));
    supervisor.spawn_sure("watching over replicas", Stage::Closing, async {
        tokio::select! {
            () = replicas.watch_over() => {}
            () = closing => {}
        }
    });
    let flushing = flush_uses(parts.authorizer.clone(), store.clone(), stages.clone());
    supervisor.spawn_sure("flushing counts", Stage::Answered, flushing);
    supervisor.spawn_sure("adding up counts", Stage::Draining, add_up_uses(store.clone(), stages.clone()));
    let answered = stages.clone().coming(Stage::Answered);
    let leasing = parts.leases.clone().run(store.clone(), answered);
    supervisor.spawn_sure("debiting rate limits", Stage::Answered, leasing);
    let following = health.clone().follow(store.clone(), stages.clone());
    supervisor.spawn("following the store", Stage::Closing, following);
    let purging = purge::run(parts.admin.clone(), stages.clone());
    supervisor.spawn_sure("purging", Stage::Draining, purging);
    let on = store.clone();
    let writing =
        told(stages.clone(), Stage::Answered, async move |stop| refusals.keep_writing(&on, stop).await);
    supervisor.spawn_sure("recording refusals", Stage::Answered, writing);
    let on = store.clone();
    let removing =
        told(stages, Stage::Draining, async move |stop| remove_old_lines(on, retention, stop).await);
    supervisor.spawn_sure("removing old lines", Stage::Draining, removing);
}

/// Keeps the private database until nothing needs it any more.
pub(super) fn spawn_cluster(supervisor: &mut Supervisor, mut cluster: Cluster) {
    let stages = supervisor.stages();
    supervisor.spawn("the embedded PostgreSQL", Stage::Flushed, async move {
        tokio::select! {
            error = cluster.ended() => Err(error.into()),
            () = stages.reached(Stage::Flushed) => Ok(cluster.stop().await?),
        }
    });
}

/// Runs a part that is told to stop by a signal of its own, which comes with `stage`.
async fn told<P>(stages: Stages, stage: Stage, part: impl FnOnce(watch::Receiver<bool>) -> P)
where
    P: Future<Output = ()>,
{
    let (stop, told) = watch::channel(false);
    let mut part = std::pin::pin!(part(told));
    tokio::select! {
        () = &mut part => return,
        () = stages.reached(stage) => {}
    }
    stop.send_replace(true);
    part.await;
}

/// Adds up what replicas have put down of many keys: apart from the flushes, which must not wait for it. What is left at
/// the end is added up by other replicas, or after the next start.
async fn add_up_uses(store: Store, stages: Stages) {
    let mut tick = interval(ADD_UP_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut draining = std::pin::pin!(stages.reached(Stage::Draining));
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = &mut draining => return,
        }
        match add_up(&store).await {
            Ok(0) => {}
            // There may be more.
            Ok(_) => tick.reset_immediately(),
            Err(error) => {
                tracing::warn!(error = %error, "counts of uses could not be added up; they are kept")
            }
        }
    }
}

/// Flushes the counts of ALLOWs once a second. The last time is the end's own, once the last call is answered.
async fn flush_uses(authorizer: Authorizer, store: Store, stages: Stages) {
    let mut tick = interval(FLUSH_EVERY);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let mut answered = std::pin::pin!(stages.reached(Stage::Answered));
    let mut is_failing = false;
    loop {
        tokio::select! {
            _ = tick.tick() => {}
            () = &mut answered => return,
        }
        match authorizer.uses().flush(&store).await {
            Ok(()) if std::mem::replace(&mut is_failing, false) => {
                tracing::info!("counts of uses are written again");
            }
            Err(error) if !std::mem::replace(&mut is_failing, true) => {
                tracing::warn!(error = %error, "counts of uses could not be written; they are kept");
            }
            Ok(()) | Err(_) => {}
        }
    }
}
