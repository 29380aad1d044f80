//! Loads that wait or are under way: who joins which, who is answered with what.
//!
//! - A look-up has one load at a time; whoever asks for it meanwhile joins, with a deadline of his own. One who goes
//!   away takes nothing from the others.
//! - A load is taken out before its result is looked at ([`LoadQueue::take`]). So nobody can join one that has been
//!   admitted already: what it read may have been changed since.
//!
//! - A load says when it is to begin at the latest. When one of those that wait has to, they all do, as far as a batch
//!   has place. So whoever has patience holds up nobody else, and whoever joins a load with less begins it sooner.
//!
//! What does not belong here: the statements, the tasks, the clock, and the fill rule.

use std::collections::HashMap;
use std::collections::hash_map::Entry;
use std::sync::Arc;
use std::time::Instant;

use tokio::sync::oneshot;

use super::Lookup;
use super::fair_queue::{Asker, FairQueue, Pushed, QueueBounds};
use super::fruitless::Presumed;
use super::load::{LoadError, Loaded, Wanted};

/// What somebody who waits is told.
pub(super) type Answer = Result<Loaded, LoadError>;

/// A load.
#[derive(Debug)]
pub(super) struct Job {
    pub(super) wanted: Arc<Wanted>,
    /// Who asked first.
    pub(super) asker: Asker,
    /// Set where it was presumed to be fruitless when it was queued.
    pub(super) presumed: Option<Presumed>,
    waiters: Vec<oneshot::Sender<Answer>>,
    /// How often its result came too late.
    pub(super) tries: u32,
}

impl Job {
    /// Tells everybody who waits for it.
    pub(super) fn answer(self, answer: &Answer) {
        for waiter in self.waiters {
            // Whoever has gone away is not told.
            let _gone = waiter.send(answer.clone());
        }
    }

    /// The service's own loads are for nobody who waits.
    fn is_wanted(&self) -> bool {
        self.asker == Asker::Service || self.waiters.iter().any(|waiter| !waiter.is_closed())
    }
}

/// How somebody's question was taken.
#[derive(Debug)]
pub(super) enum Taken {
    /// A load of its own waits.
    Queued(oneshot::Receiver<Answer>),
    /// It joined a load.
    Joined(oneshot::Receiver<Answer>),
    /// There is no place for it.
    Refused,
}

/// All loads.
#[derive(Debug)]
pub(super) struct LoadQueue {
    jobs: HashMap<Lookup, Job>,
    waiting: FairQueue<Lookup>,
    /// When the next batch is to begin: when the first of those that wait has to. `None` where nothing waits.
    due: Option<Instant>,
}

impl LoadQueue {
    pub(super) fn new(bounds: QueueBounds) -> Self {
        Self { jobs: HashMap::new(), waiting: FairQueue::new(bounds), due: None }
    }

    /// When the next batch is to begin. `None` where nothing waits.
    pub(super) fn due(&self) -> Option<Instant> {
        self.due
    }

    /// Joins the load of a look-up, or queues one, which `presume` may call fruitless. It is to begin at `begin_by` at the
    /// latest. Second: loads that had to make room.
    pub(super) fn ask(
        &mut self,
        wanted: Wanted,
        asker: Asker,
        begin_by: Instant,
        presume: impl FnOnce() -> Option<Presumed>,
    ) -> (Taken, Option<Job>) {
        let (tell, told) = oneshot::channel();
        if let Some(job) = self.jobs.get_mut(&wanted.lookup()) {
            job.waiters.push(tell);
            self.hasten(begin_by);
            return (Taken::Joined(told), None);
        }
        let presumed = presume();
        let job = Job { wanted: Arc::new(wanted), asker, presumed, waiters: vec![tell], tries: 0 };
        match self.put(job, begin_by) {
            Ok(evicted) => (Taken::Queued(told), evicted),
            Err(_refused) => (Taken::Refused, None),
        }
    }

    /// Queues a load that nobody waits for, unless there is one already. Whether it was queued.
    pub(super) fn note(&mut self, wanted: Wanted, begin_by: Instant) -> bool {
        if self.jobs.contains_key(&wanted.lookup()) {
            return false;
        }
        let job = Job {
            wanted: Arc::new(wanted),
            asker: Asker::Service,
            presumed: None,
            waiters: Vec::new(),
            tries: 0,
        };
        self.put(job, begin_by).is_ok()
    }

    /// Queues a load again whose result came too late, and gives those who asked meanwhile and those who waited one
    /// load. First: loads that are not to be waited for any more, because there is no place for them.
    pub(super) fn put_back(&mut self, mut job: Job, begin_by: Instant) -> Option<Job> {
        if let Some(newer) = self.jobs.get_mut(&job.wanted.lookup()) {
            newer.waiters.append(&mut job.waiters);
            newer.tries = newer.tries.max(job.tries);
            self.hasten(begin_by);
            return None;
        }
        match self.put(job, begin_by) {
            Ok(evicted) => evicted,
            Err(refused) => Some(refused),
        }
    }

    fn put(&mut self, job: Job, begin_by: Instant) -> Result<Option<Job>, Job> {
        let lookup = job.wanted.lookup();
        let evicted = match self.waiting.push(job.asker, lookup) {
            Pushed::In => None,
            Pushed::InsteadOf(evicted) => self.jobs.remove(&evicted),
            Pushed::Refused(_) => return Err(job),
        };
        self.jobs.insert(lookup, job);
        self.hasten(begin_by);
        Ok(evicted)
    }

    fn hasten(&mut self, begin_by: Instant) {
        // What is under way has begun.
        if self.waiting.is_empty() {
            return;
        }
        self.due = Some(self.due.map_or(begin_by, |due| due.min(begin_by)));
    }

    /// The next loads to be begun together, where one has to begin. Those that nobody waits for any more are left out.
    pub(super) fn begin(&mut self, max: usize, now: Instant) -> Vec<Arc<Wanted>> {
        let mut batch = Vec::new();
        if self.due.is_some_and(|due| due > now) {
            return batch;
        }
        while batch.len() < max
            && let Some(lookup) = self.waiting.pop()
        {
            let Entry::Occupied(job) = self.jobs.entry(lookup) else { continue };
            if job.get().is_wanted() {
                batch.push(Arc::clone(&job.get().wanted));
            } else {
                job.remove();
            }
        }
        // What is left over goes next: it was to go with these.
        if self.waiting.is_empty() {
            self.due = None;
        }
        batch
    }

    /// Takes out a load that has an end: nobody joins it from now on.
    pub(super) fn take(&mut self, lookup: &Lookup) -> Option<Job> {
        self.jobs.remove(lookup)
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::clock::monotonic_now;
    use crate::policy::KeyId;

    fn wanted(id: i64) -> Wanted {
        Wanted::Key(KeyId::new(id).unwrap())
    }

    fn queue(each: usize, all: usize) -> LoadQueue {
        LoadQueue::new(QueueBounds { each, all })
    }

    fn begun(queue: &mut LoadQueue, max: usize) -> Vec<i64> {
        ids(&queue.begin(max, monotonic_now()))
    }

    fn ids(batch: &[Arc<Wanted>]) -> Vec<i64> {
        batch
            .iter()
            .map(|wanted| match wanted.lookup() {
                Lookup::Key(id) => id.get(),
                Lookup::Token(_) => panic!("no key"),
            })
            .collect()
    }

    fn ask(queue: &mut LoadQueue, wanted: Wanted, asker: Asker) -> (Taken, Option<Job>) {
        queue.ask(wanted, asker, monotonic_now(), || None)
    }

    fn receiver(taken: (Taken, Option<Job>)) -> oneshot::Receiver<Answer> {
        match taken {
            (Taken::Queued(told) | Taken::Joined(told), None) => told,
            other => panic!("{other:?}"),
        }
    }

    const ONE: Asker = Asker::Caller(1);
    const TWO: Asker = Asker::Caller(2);
    const DONE: Answer = Ok(Loaded::Unknown);

    #[test]
    fn one_load_answers_all_who_join_it_before_its_end() {
        let mut queue = queue(8, 8);
        let (first, evicted) = ask(&mut queue, wanted(1), ONE);
        assert!(matches!(first, Taken::Queued(_)) && evicted.is_none());
        let mut first = receiver((first, None));
        let mut waiting = receiver(ask(&mut queue, wanted(1), TWO));
        assert_eq!(begun(&mut queue, 8), [1], "once");
        let (under_way, _) = ask(&mut queue, wanted(1), TWO);
        assert!(matches!(under_way, Taken::Joined(_)));
        let mut under_way = receiver((under_way, None));
        assert!(begun(&mut queue, 8).is_empty());
        let job = queue.take(&wanted(1).lookup()).unwrap();
        let (later, _) = ask(&mut queue, wanted(1), TWO);
        assert!(matches!(later, Taken::Queued(_)), "what was read may be too old for it");
        let mut later = receiver((later, None));
        job.answer(&DONE);
        for told in [&mut first, &mut waiting, &mut under_way] {
            assert!(matches!(told.try_recv(), Ok(Ok(Loaded::Unknown))));
        }
        assert!(later.try_recv().is_err());
        assert_eq!(begun(&mut queue, 8), [1]);
    }

    #[test]
    fn one_who_goes_away_takes_nothing_from_the_others_and_the_last_one_takes_the_load_along() {
        let mut queue = queue(8, 8);
        let first = receiver(ask(&mut queue, wanted(1), ONE));
        let mut second = receiver(ask(&mut queue, wanted(1), ONE));
        let third = receiver(ask(&mut queue, wanted(2), ONE));
        drop(first);
        drop(third);
        assert_eq!(begun(&mut queue, 8), [1]);
        assert!(queue.take(&wanted(2).lookup()).is_none());
        queue.take(&wanted(1).lookup()).unwrap().answer(&DONE);
        assert!(second.try_recv().is_ok());
    }

    #[test]
    fn batches_are_bounded_and_shared_out_between_callers() {
        let mut queue = queue(100, 100);
        let flood: Vec<_> = (1..=10).map(|id| receiver(ask(&mut queue, wanted(id), ONE))).collect();
        let _other = receiver(ask(&mut queue, wanted(11), TWO));
        assert_eq!(begun(&mut queue, 3), [1, 11, 2]);
        assert_eq!(begun(&mut queue, 100).len(), 8, "what is left over goes next");
        drop(flood);
    }

    #[test]
    fn beyond_its_bound_a_caller_is_refused_at_once_and_joining_needs_no_place() {
        let mut queue = queue(2, 3);
        let _first = receiver(ask(&mut queue, wanted(1), ONE));
        let _second = receiver(ask(&mut queue, wanted(2), ONE));
        assert!(matches!(ask(&mut queue, wanted(3), ONE), (Taken::Refused, None)));
        assert!(matches!(ask(&mut queue, wanted(1), ONE).0, Taken::Joined(_)));
        let _third = receiver(ask(&mut queue, wanted(3), TWO));
        assert!(matches!(ask(&mut queue, wanted(4), TWO), (Taken::Refused, None)), "all places are taken");
    }

    #[test]
    fn a_load_that_makes_room_is_handed_back_to_be_answered() {
        let mut queue = queue(3, 3);
        let mut flood: Vec<_> = (1..=3).map(|id| receiver(ask(&mut queue, wanted(id), ONE))).collect();
        let (taken, evicted) = ask(&mut queue, wanted(4), TWO);
        assert!(matches!(taken, Taken::Queued(_)));
        evicted.unwrap().answer(&Err(LoadError::Overloaded));
        assert!(matches!(flood[2].try_recv(), Ok(Err(LoadError::Overloaded))));
        let _told = receiver((taken, None));
        assert_eq!(begun(&mut queue, 8), [1, 4, 2]);
    }

    #[test]
    fn what_came_too_late_is_loaded_again_for_those_who_waited_and_those_who_came_since() {
        let mut queue = queue(8, 8);
        let mut first = receiver(ask(&mut queue, wanted(1), ONE));
        begun(&mut queue, 8);
        let mut job = queue.take(&wanted(1).lookup()).unwrap();
        job.tries += 1;
        let mut second = receiver(ask(&mut queue, wanted(1), TWO));
        assert!(queue.put_back(job, monotonic_now()).is_none());
        assert_eq!(begun(&mut queue, 8), [1], "one for both");
        let job = queue.take(&wanted(1).lookup()).unwrap();
        assert_eq!(job.tries, 1, "it does not begin anew for ever");
        job.answer(&DONE);
        assert!(first.try_recv().is_ok() && second.try_recv().is_ok());
    }

    #[test]
    fn a_load_without_a_place_to_go_back_to_is_handed_back() {
        let mut queue = queue(1, 1);
        let _first = receiver(ask(&mut queue, wanted(1), ONE));
        begun(&mut queue, 8);
        let job = queue.take(&wanted(1).lookup()).unwrap();
        let _second = receiver(ask(&mut queue, wanted(2), ONE));
        assert_eq!(queue.put_back(job, monotonic_now()).unwrap().wanted.lookup(), wanted(1).lookup());
    }

    #[test]
    fn a_refresh_is_noted_once_and_goes_on_although_nobody_waits() {
        let mut queue = queue(8, 8);
        assert!(queue.note(wanted(1), monotonic_now()));
        assert!(!queue.note(wanted(1), monotonic_now()));
        let joined = receiver(ask(&mut queue, wanted(1), ONE));
        drop(joined);
        assert_eq!(begun(&mut queue, 8), [1]);
    }

    const MOMENT: Duration = Duration::from_millis(20);

    #[test]
    fn loads_of_one_who_has_patience_wait_for_each_other() {
        let (mut queue, now) = (queue(8, 8), monotonic_now());
        let late = now + MOMENT / 2;
        let _first = receiver(queue.ask(wanted(1), ONE, now + MOMENT, || None));
        let _second = receiver(queue.ask(wanted(2), ONE, late + MOMENT, || None));
        assert_eq!(queue.due(), Some(now + MOMENT));
        assert!(queue.begin(8, late).is_empty());
        assert_eq!(ids(&queue.begin(8, now + MOMENT)), [1, 2], "all go with the first");
        assert_eq!(queue.due(), None);
        let _third = receiver(queue.ask(wanted(3), ONE, now + 3 * MOMENT, || None));
        assert_eq!(queue.due(), Some(now + 3 * MOMENT), "the next ones wait anew");
    }

    #[test]
    fn one_who_has_no_patience_is_not_held_up_and_takes_along_those_who_wait() {
        let (mut queue, now) = (queue(8, 8), monotonic_now());
        let _patient = receiver(queue.ask(wanted(1), ONE, now + MOMENT, || None));
        let _other = receiver(queue.ask(wanted(2), TWO, now, || None));
        assert_eq!((queue.due(), ids(&queue.begin(8, now))), (Some(now), vec![1, 2]));
        // The same for what the service itself wants, and for what is loaded again.
        let _patient = receiver(queue.ask(wanted(3), ONE, now + MOMENT, || None));
        assert!(queue.note(wanted(4), now));
        assert_eq!(ids(&queue.begin(8, now)), [3, 4]);
        let again = queue.take(&wanted(3).lookup()).unwrap();
        assert!(queue.put_back(again, now).is_none());
        assert_eq!(ids(&queue.begin(8, now)), [3]);
    }

    #[test]
    fn one_who_has_no_patience_begins_a_load_that_waits_by_joining_it() {
        let (mut queue, now) = (queue(8, 8), monotonic_now());
        let _patient = receiver(queue.ask(wanted(1), ONE, now + MOMENT, || None));
        let _joined = receiver(queue.ask(wanted(1), TWO, now, || None));
        assert_eq!((queue.due(), ids(&queue.begin(8, now))), (Some(now), vec![1]));
        let _under_way = receiver(queue.ask(wanted(1), TWO, now, || None));
        let _patient = receiver(queue.ask(wanted(2), ONE, now + MOMENT, || None));
        assert_eq!(queue.due(), Some(now + MOMENT), "what is under way hastens nothing");
    }

    #[test]
    fn what_a_batch_has_no_place_for_waits_no_longer() {
        let (mut queue, now) = (queue(8, 8), monotonic_now());
        let _patient: Vec<_> =
            (1..=3).map(|id| receiver(queue.ask(wanted(id), ONE, now + MOMENT, || None))).collect();
        assert_eq!(queue.begin(2, now + MOMENT).len(), 2);
        assert_eq!(ids(&queue.begin(2, now + MOMENT)), [3]);
    }
}
