//! An open loop: calls are made on a schedule, whether those before them were answered or not.
//!
//! A call's time runs from the instant that the schedule names, so that a stall of the server counts for every call
//! behind it, and so does this client's own lateness (a tick at most, where it keeps up).

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use bytes::Bytes;
use h2::client::SendRequest;
use keystile::clock::monotonic_now;
use tokio::task::{JoinError, JoinSet};
use tokio::time::{Instant as Deadline, timeout_at};

use crate::call::{Call, End};
use crate::client::CallFailure;
use crate::closed_loop::call_at;
use crate::question::{Question, Turn};
use crate::schedule::Schedule;
use crate::ticks::Ticks;

/// How often it is looked for calls that are due.
const TICK: Duration = Duration::from_micros(100);
/// Calls under way at once; more wait here, and their time runs.
const UNDER_WAY_MAX: usize = 4_096;
/// How long calls that are under way at the end may still take.
const LAST_ANSWER_MAX: Duration = Duration::from_secs(2);

type Ended = Result<Result<Call, CallFailure>, JoinError>;

/// One client thread's part of an open loop.
pub struct OpenLoop {
    /// What is asked.
    pub question: Arc<Question>,
    /// On which connections, in turns.
    pub connections: Vec<SendRequest<Bytes>>,
    /// Calls a second.
    pub per_second: f64,
    /// Another for each thread.
    pub seed: u64,
    /// Set when it is to end.
    pub stop: Arc<AtomicBool>,
}

impl OpenLoop {
    /// Calls until it is to stop. The calls that were not answered, or not even made by then, are named too.
    ///
    /// # Errors
    /// A call went wrong.
    pub async fn run(self) -> Result<Vec<Call>, CallFailure> {
        let mut ticks = Ticks::every(TICK)?;
        let mut turn = Turn::new(usize::try_from(self.seed).unwrap_or_default());
        let mut under_way = JoinSet::new();
        let mut made = Vec::new();
        let mut ended = Vec::new();
        let started = monotonic_now();
        let mut due = Schedule::new(self.per_second, self.seed).map(|after| started + after).peekable();
        let mut dry = false;
        while !self.stop.load(Ordering::Relaxed) && !dry {
            let now = monotonic_now();
            while under_way.len() < UNDER_WAY_MAX {
                let Some(asked) = due.next_if(|due| *due <= now) else { break };
                let Some(body) = self.question.body(&mut turn) else {
                    dry = true;
                    break;
                };
                let Some(connection) = pick(&self.connections, made.len()) else { break };
                under_way.spawn(call(asked, made.len(), Arc::clone(&self.question), body, connection));
                made.push(asked);
            }
            tokio::select! {
                tick = ticks.next() => tick?,
                Some(call) = under_way.join_next() => ended.push(taken(call)?),
            }
            while let Some(call) = under_way.try_join_next() {
                ended.push(taken(call)?);
            }
        }
        let stopped = monotonic_now();
        let never_made = std::iter::from_fn(|| due.next_if(|due| *due <= stopped && !dry));
        let unanswered = |asked| Call::new(asked, stopped - asked, End::Unanswered);
        let never_made: Vec<Call> = never_made.map(unanswered).collect();
        wait_for_the_last(&mut under_way, &mut ended).await?;
        add_unanswered(&mut ended, made);
        ended.extend(never_made);
        Ok(ended)
    }
}

async fn wait_for_the_last(
    under_way: &mut JoinSet<Result<Call, CallFailure>>,
    ended: &mut Vec<Call>,
) -> Result<(), CallFailure> {
    let deadline = Deadline::from_std(monotonic_now() + LAST_ANSWER_MAX);
    while let Ok(Some(call)) = timeout_at(deadline, under_way.join_next()).await {
        ended.push(taken(call)?);
    }
    under_way.abort_all();
    Ok(())
}

/// Adds those of the calls that were made that have not ended. Both are put into the order of their instants.
fn add_unanswered(ended: &mut Vec<Call>, made: Vec<Instant>) {
    let now = monotonic_now();
    ended.sort_unstable_by_key(|call| call.asked);
    let mut answered = ended.iter().map(|call| call.asked).peekable();
    let open = made.into_iter().filter(|asked| answered.next_if_eq(asked).is_none());
    let open: Vec<Call> = open.map(|asked| Call::new(asked, now - asked, End::Unanswered)).collect();
    ended.extend(open);
}

fn pick(connections: &[SendRequest<Bytes>], at: usize) -> Option<SendRequest<Bytes>> {
    connections.get(at.checked_rem(connections.len())?).cloned()
}

async fn call(
    asked: Instant,
    count: usize,
    question: Arc<Question>,
    body: Bytes,
    mut connection: SendRequest<Bytes>,
) -> Result<Call, CallFailure> {
    call_at(asked, &question, body, &mut connection, count).await
}

fn taken(ended: Ended) -> Result<Call, CallFailure> {
    ended.map_err(|error| CallFailure::Wrong(error.to_string()))?
}
