//! Everything that runs beside the calls: one place knows all of it, and none of it dies unseen.
//!
//! A part is a task with a name and the [`Stage`] from which on it may end. One that ends earlier, fails or
//! panics takes the process down with its reason: half a service that looks like a whole one is worse than a
//! restart, which recovers everything.
//!
//! To add one: `supervisor.spawn("what it does", Stage::…, async move { … })`; it is given
//! [`Supervisor::stages`] to know when to end.
//!
//! What does not belong here: what the parts do, and the order of the end (`running`).

use std::collections::HashMap;
use std::error::Error;
use std::future::pending;
use std::time::Duration;

use tokio::sync::watch;
use tokio::task::{AbortHandle, Id, JoinError, JoinSet};
use tokio::time::timeout;

use super::ServerError;
use super::stage::{Stage, Stages};

/// What a part ends with.
pub(super) type PartResult = Result<(), Box<dyn Error + Send + Sync>>;

/// A task that is supervised.
#[derive(Debug)]
struct Part {
    name: &'static str,
    /// From this stage on it may end.
    until: Stage,
    handle: AbortHandle,
}

/// All parts, and the stage that they are told of. Dropping it ends them at once.
#[derive(Debug)]
pub(super) struct Supervisor {
    stage: watch::Sender<Stage>,
    tasks: JoinSet<PartResult>,
    parts: HashMap<Id, Part>,
}

impl Supervisor {
    /// Without any part yet.
    pub(super) fn new() -> Self {
        let (stage, _) = watch::channel(Stage::Running);
        Self { stage, tasks: JoinSet::new(), parts: HashMap::new() }
    }

    /// The stages, as they come.
    pub(super) fn stages(&self) -> Stages {
        Stages::of(&self.stage)
    }

    /// Runs `part`, which must not end before the stage `until`, and has to soon after it. `name` is what it does:
    /// `serving`.
    pub(super) fn spawn(
        &mut self,
        name: &'static str,
        until: Stage,
        part: impl Future<Output = PartResult> + Send + 'static,
    ) {
        let handle = self.tasks.spawn(part);
        self.parts.insert(handle.id(), Part { name, until, handle });
    }

    /// [`Supervisor::spawn`] for a part that has no way to fail but to panic.
    pub(super) fn spawn_sure(
        &mut self,
        name: &'static str,
        until: Stage,
        part: impl Future<Output = ()> + Send + 'static,
    ) {
        self.spawn(name, until, async {
            part.await;
            Ok(())
        });
    }

    /// Waits until a part ends that should not have, and says why. May be given up on and called again.
    pub(super) async fn died(&mut self) -> ServerError {
        loop {
            match self.tasks.join_next_with_id().await {
                Some(ended) => {
                    if let Err(error) = self.judge(ended) {
                        return error;
                    }
                }
                None => pending().await,
            }
        }
    }

    /// Goes on to `stage`, and waits until the parts that end with it have ended. What has not after `patience` is
    /// ended by force.
    ///
    /// # Errors
    /// The first part that failed; the others have ended all the same.
    pub(super) async fn advance(&mut self, stage: Stage, patience: Duration) -> Result<(), ServerError> {
        self.stage.send_replace(stage);
        let mut first = None;
        let ending = async {
            while self.parts.values().any(|part| part.until <= stage) {
                let Some(ended) = self.tasks.join_next_with_id().await else { return };
                if let Err(error) = self.judge(ended) {
                    tracing::error!(error = %error, "a part of the service failed while it was stopped");
                    first.get_or_insert(error);
                }
            }
        };
        if timeout(patience, ending).await.is_err() {
            self.parts.retain(|_, part| {
                if part.until <= stage {
                    tracing::warn!(
                        part = part.name,
                        seconds = patience.as_secs_f64(),
                        "given up: it took too long"
                    );
                    part.handle.abort();
                }
                part.until > stage
            });
        }
        first.map_or(Ok(()), Err)
    }

    /// Whether a part that has ended was right to.
    fn judge(&mut self, ended: Result<(Id, PartResult), JoinError>) -> Result<(), ServerError> {
        let (id, why) = match ended {
            Ok((id, Ok(()))) => (id, None),
            Ok((id, Err(error))) => (id, Some(error.to_string())),
            Err(error) => (error.id(), Some(end_of(error))),
        };
        // What was given up on is no part any more.
        let Some(part) = self.parts.remove(&id) else { return Ok(()) };
        match why {
            None if *self.stage.borrow() >= part.until => Ok(()),
            None => Err(ServerError::PartDied { part: part.name, why: "it ended unasked".to_owned() }),
            Some(why) => Err(ServerError::PartDied { part: part.name, why }),
        }
    }
}

/// What a task ended of that returned nothing.
fn end_of(error: JoinError) -> String {
    match error.try_into_panic() {
        Ok(panic) => {
            let words = panic.downcast_ref::<String>().map(String::as_str);
            let words = words.or_else(|| panic.downcast_ref::<&str>().copied());
            format!("it panicked: {}", words.unwrap_or("without a word"))
        }
        Err(error) => error.to_string(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    async fn death_of(part: impl Future<Output = PartResult> + Send + 'static) -> String {
        let mut supervisor = Supervisor::new();
        let stages = supervisor.stages();
        supervisor.spawn("going on", Stage::Answered, async move {
            stages.reached(Stage::Answered).await;
            Ok(())
        });
        supervisor.spawn("counting", Stage::Closing, part);
        supervisor.died().await.to_string()
    }

    #[tokio::test]
    async fn a_part_that_panics_fails_or_ends_unasked_is_told_with_its_reason() {
        let died = |why: &str| format!("a part of the service died: counting: {why}");
        assert_eq!(death_of(async { panic!("7 is not 8") }).await, died("it panicked: 7 is not 8"));
        assert_eq!(death_of(async { panic!("{} of {}", 1, 2) }).await, died("it panicked: 1 of 2"));
        assert_eq!(death_of(async { Err("no space".into()) }).await, died("no space"));
        assert_eq!(death_of(async { Ok(()) }).await, died("it ended unasked"));
    }

    #[tokio::test]
    async fn parts_end_with_their_stage_and_the_others_go_on() {
        let mut supervisor = Supervisor::new();
        for (name, until) in [("first", Stage::Draining), ("second", Stage::Answered)] {
            let stages = supervisor.stages();
            supervisor.spawn(name, until, async move {
                stages.reached(until).await;
                Ok(())
            });
        }
        let patience = Duration::from_secs(60);
        supervisor.advance(Stage::Closing, patience).await.unwrap();
        let left: Vec<_> = supervisor.parts.values().map(|part| part.name).collect();
        assert_eq!(left, ["second"]);
        supervisor.advance(Stage::Answered, patience).await.unwrap();
        assert!(supervisor.parts.is_empty());
    }

    #[tokio::test]
    async fn a_part_that_fails_at_its_end_is_told_and_one_that_does_not_end_is_given_up() {
        let mut supervisor = Supervisor::new();
        let stages = supervisor.stages();
        supervisor.spawn("saving", Stage::Answered, async move {
            stages.reached(Stage::Answered).await;
            Err("disk full".into())
        });
        supervisor.spawn("hanging", Stage::Answered, pending());
        let failed = supervisor.advance(Stage::Answered, Duration::from_millis(20)).await.unwrap_err();
        assert_eq!(failed.to_string(), "a part of the service died: saving: disk full");
        assert!(supervisor.parts.is_empty());
    }
}
