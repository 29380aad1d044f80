//! Whose turn it is to have a token proven by bcrypt.
//!
//! [`BcryptPool`] bounds how many run at once. Here is who runs next: callers take turns, so that one who sends many
//! tokens to be proven waits behind himself. As many may wait as the pool's queue has places; what comes on top is
//! refused at once, or takes the place of somebody who has many.

use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::sync::oneshot;

use crate::cache::{Asker, FairQueue, Pushed, QueueBounds};
use crate::metrics::{Gauge, PoolMetrics};
use crate::token::BcryptPool;

#[derive(Debug)]
pub(super) struct BcryptTurns {
    state: Mutex<State>,
    metrics: Arc<PoolMetrics>,
}

#[derive(Debug)]
struct State {
    /// Turns that nobody has.
    free: usize,
    waiting: FairQueue<oneshot::Sender<Turn>>,
}

/// All turns are taken and so are all places to wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Refused;

/// The turn of one computation; it goes to the next with its end.
#[derive(Debug)]
pub(super) struct Turn(Option<Arc<BcryptTurns>>);

impl BcryptTurns {
    /// As many turns as the pool has threads, and as many places as it has in its queue.
    pub(super) fn before(pool: &BcryptPool) -> Arc<Self> {
        Self::new(pool.threads_max(), pool.queue_max(), Arc::clone(pool.metrics()))
    }

    fn new(turns: usize, places: usize, metrics: Arc<PoolMetrics>) -> Arc<Self> {
        let waiting = FairQueue::new(QueueBounds { each: places, all: places });
        Arc::new(Self { state: Mutex::new(State { free: turns, waiting }), metrics })
    }

    fn state(&self) -> MutexGuard<'_, State> {
        self.state.lock().unwrap_or_else(PoisonError::into_inner)
    }

    /// Waits for a turn, for whoever the current call is from.
    pub(super) async fn turn(self: &Arc<Self>) -> Result<Turn, Refused> {
        let told = {
            let mut state = self.state();
            if state.free > 0 {
                state.free -= 1;
                return Ok(Turn(Some(Arc::clone(self))));
            }
            let (tell, told) = oneshot::channel();
            match state.waiting.push(Asker::current(), tell) {
                Pushed::In => {}
                // The end of its channel tells the other.
                Pushed::InsteadOf(_) => self.metrics.refused.increment(),
                Pushed::Refused(_) => {
                    self.metrics.refused.increment();
                    return Err(Refused);
                }
            }
            told
        };
        let _waiting = Gauge::hold(&self.metrics.waiting);
        told.await.map_err(|_| Refused)
    }

    /// Gives a turn to the next who still waits.
    fn pass_on(self: Arc<Self>) {
        let mut turn = Turn(Some(Arc::clone(&self)));
        loop {
            let Some(next) = self.state().waiting.pop() else { break };
            match next.send(turn) {
                Ok(()) => return,
                Err(unheard) => turn = unheard,
            }
        }
        // Under the lock nobody can have come to wait since.
        let mut state = self.state();
        let next = state.waiting.pop();
        if next.is_none() {
            state.free += 1;
            turn.0 = None;
        }
        drop(state);
        if let Some(next) = next {
            // A turn that nobody hears of is passed on by its own end.
            drop(next.send(turn));
        }
    }
}

impl Drop for Turn {
    fn drop(&mut self) {
        if let Some(turns) = self.0.take() {
            turns.pass_on();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::pin::pin;
    use std::task::{Context, Poll, Waker};

    use super::*;
    use crate::call::{self, Call};

    fn poll_once<F: Future>(future: std::pin::Pin<&mut F>) -> Poll<F::Output> {
        future.poll(&mut Context::from_waker(Waker::noop()))
    }

    fn turns(turns: usize, places: usize) -> Arc<BcryptTurns> {
        BcryptTurns::new(turns, places, Arc::default())
    }

    async fn of_caller(key_id: i64, turns: Arc<BcryptTurns>) -> Result<Turn, Refused> {
        let call = Call::new(String::new(), None);
        call::enter(call, async move {
            call::note_caller(key_id);
            turns.turn().await
        })
        .await
    }

    #[tokio::test]
    async fn callers_take_turns() {
        let turns = turns(1, 8);
        let running = turns.turn().await.unwrap();
        let mut first = pin!(of_caller(1, Arc::clone(&turns)));
        let mut second = pin!(of_caller(1, Arc::clone(&turns)));
        let mut other = pin!(of_caller(2, Arc::clone(&turns)));
        assert!(poll_once(first.as_mut()).is_pending());
        assert!(poll_once(second.as_mut()).is_pending());
        assert!(poll_once(other.as_mut()).is_pending());
        drop(running);
        drop(first.await.unwrap());
        assert!(poll_once(second.as_mut()).is_pending(), "the other has come after it, but had no turn yet");
        drop(other.await.unwrap());
        drop(second.await.unwrap());
        assert_eq!(turns.state().free, 1);
    }

    #[tokio::test]
    async fn places_are_bounded_and_shared_out() {
        let turns = turns(1, 2);
        let running = turns.turn().await.unwrap();
        let mut first = pin!(of_caller(1, Arc::clone(&turns)));
        let mut second = pin!(of_caller(1, Arc::clone(&turns)));
        assert!(poll_once(first.as_mut()).is_pending());
        assert!(poll_once(second.as_mut()).is_pending());
        assert_eq!(of_caller(1, Arc::clone(&turns)).await.unwrap_err(), Refused);
        let mut other = pin!(of_caller(2, Arc::clone(&turns)));
        assert!(poll_once(other.as_mut()).is_pending(), "it takes the place of the newest of the first");
        assert_eq!(second.await.unwrap_err(), Refused);
        drop(running);
        drop(first.await.unwrap());
        drop(other.await.unwrap());
        assert_eq!(turns.metrics.refused.get(), 2);
        assert_eq!(turns.metrics.waiting.get(), 0);
    }

    #[tokio::test]
    async fn whoever_goes_away_loses_no_turn() {
        let turns = turns(1, 8);
        let running = turns.turn().await.unwrap();
        let mut gone = Box::pin(of_caller(1, Arc::clone(&turns)));
        let mut told = Box::pin(of_caller(1, Arc::clone(&turns)));
        let mut last = pin!(of_caller(2, Arc::clone(&turns)));
        assert!(poll_once(gone.as_mut()).is_pending());
        assert!(poll_once(told.as_mut()).is_pending());
        assert!(poll_once(last.as_mut()).is_pending());
        drop(gone);
        drop(running);
        // It has been given the turn, and goes away before it looks.
        drop(told);
        drop(last.await.unwrap());
        assert_eq!(turns.state().free, 1);
        drop(turns.turn().await.unwrap());
    }
}
