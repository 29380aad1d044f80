//! What waits, served in turns between those who asked for it.
//!
//! - Everybody has a lane. Lanes are served one after the other, each lane first come first served: whoever asks for
//!   much waits behind himself, not others behind him.
//! - A lane is bounded, and so are all together. Where all places are taken, somebody who has few takes the place of
//!   the newest in the longest lane: places are as fair as turns.
//!
//! Who asks is known for certain only where the caller has been let in: [`Asker::current`] is nobody before.

use std::collections::{HashMap, VecDeque};

use crate::call::{self, Call};

/// For whom something waits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Asker {
    /// A caller whose key is this.
    Caller(i64),
    /// Somebody who is not known (yet): all of them share a lane.
    Unknown,
    /// The service itself.
    Service,
}

impl Asker {
    /// The caller of the call that is being answered.
    #[must_use]
    pub fn current() -> Self {
        call::current(Call::caller_key_id).flatten().map_or(Self::Unknown, Self::Caller)
    }
}

/// How many may wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct QueueBounds {
    /// For one asker.
    pub each: usize,
    /// For all together.
    pub all: usize,
}

/// A queue of lanes.
#[derive(Debug)]
pub struct FairQueue<T> {
    /// None is empty.
    lanes: HashMap<Asker, VecDeque<T>>,
    /// The lanes, each once, the one whose turn it is first.
    turns: VecDeque<Asker>,
    len: usize,
    bounds: QueueBounds,
}

/// What became of something that came to a [`FairQueue`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Pushed<T> {
    /// It waits.
    In,
    /// It waits in the place of this, which does not any more.
    InsteadOf(T),
    /// There is no place for it.
    Refused(T),
}

impl<T> FairQueue<T> {
    /// An empty queue.
    #[must_use]
    pub fn new(bounds: QueueBounds) -> Self {
        Self { lanes: HashMap::new(), turns: VecDeque::new(), len: 0, bounds }
    }

    /// How many wait.
    #[must_use]
    pub fn len(&self) -> usize {
        self.len
    }

    /// Whether nothing waits.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.len == 0
    }

    /// Puts something into the lane of `asker`.
    pub fn push(&mut self, asker: Asker, item: T) -> Pushed<T> {
        let waiting = self.lanes.get(&asker).map_or(0, VecDeque::len);
        if waiting >= self.bounds.each {
            return Pushed::Refused(item);
        }
        let mut evicted = None;
        if self.len >= self.bounds.all {
            evicted = self.take_newest_of_a_lane_longer_than(waiting + 1);
            if evicted.is_none() {
                return Pushed::Refused(item);
            }
        }
        let lane = self.lanes.entry(asker).or_default();
        if lane.is_empty() {
            self.turns.push_back(asker);
        }
        lane.push_back(item);
        self.len += 1;
        evicted.map_or(Pushed::In, Pushed::InsteadOf)
    }

    /// What is to be served next.
    pub fn pop(&mut self) -> Option<T> {
        let asker = self.turns.pop_front()?;
        let lane = self.lanes.get_mut(&asker)?;
        let item = lane.pop_front()?;
        self.len -= 1;
        if lane.is_empty() {
            self.lanes.remove(&asker);
        } else {
            self.turns.push_back(asker);
        }
        Some(item)
    }

    /// A lane that is left has something, so that it keeps its turn.
    fn take_newest_of_a_lane_longer_than(&mut self, length: usize) -> Option<T> {
        let longest = self.lanes.values_mut().max_by_key(|lane| lane.len())?;
        if longest.len() <= length {
            return None;
        }
        let newest = longest.pop_back()?;
        self.len -= 1;
        Some(newest)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const ONE: Asker = Asker::Caller(1);
    const TWO: Asker = Asker::Caller(2);

    fn queue(each: usize, all: usize) -> FairQueue<&'static str> {
        FairQueue::new(QueueBounds { each, all })
    }

    fn drained(mut queue: FairQueue<&'static str>) -> Vec<&'static str> {
        std::iter::from_fn(|| queue.pop()).collect()
    }

    #[test]
    fn askers_take_turns_and_each_is_served_in_order() {
        let mut queue = queue(10, 100);
        for item in ["a1", "a2", "a3", "a4"] {
            assert_eq!(queue.push(ONE, item), Pushed::In);
        }
        for (asker, item) in [(TWO, "b1"), (Asker::Unknown, "c1"), (TWO, "b2")] {
            assert_eq!(queue.push(asker, item), Pushed::In);
        }
        assert_eq!(queue.len(), 7);
        assert_eq!(drained(queue), ["a1", "b1", "c1", "a2", "b2", "a3", "a4"]);
    }

    #[test]
    fn whoever_comes_back_waits_for_a_turn_again() {
        let mut queue = queue(10, 100);
        queue.push(ONE, "a1");
        queue.push(TWO, "b1");
        assert_eq!(queue.pop(), Some("a1"));
        queue.push(ONE, "a2");
        assert_eq!(drained(queue), ["b1", "a2"]);
    }

    #[test]
    fn a_full_lane_refuses_and_leaves_places_to_others() {
        let mut queue = queue(2, 3);
        queue.push(ONE, "a1");
        queue.push(ONE, "a2");
        assert_eq!(queue.push(ONE, "a3"), Pushed::Refused("a3"));
        assert_eq!(queue.push(TWO, "b1"), Pushed::In);
        assert_eq!(drained(queue), ["a1", "b1", "a2"]);
    }

    #[test]
    fn where_all_places_are_taken_the_longest_lane_gives_one_to_a_short_one() {
        let mut queue = queue(4, 4);
        for item in ["a1", "a2", "a3", "a4"] {
            queue.push(ONE, item);
        }
        assert_eq!(queue.push(TWO, "b1"), Pushed::InsteadOf("a4"));
        assert_eq!(queue.push(TWO, "b2"), Pushed::InsteadOf("a3"));
        assert_eq!(queue.push(TWO, "b3"), Pushed::Refused("b3"), "they have as many by now");
        assert_eq!(queue.push(ONE, "a5"), Pushed::Refused("a5"));
        assert_eq!(queue.len(), 4);
        assert_eq!(drained(queue), ["a1", "b1", "a2", "b2"]);
    }

    #[test]
    fn a_queue_without_places_refuses() {
        assert_eq!(queue(0, 0).push(ONE, "a"), Pushed::Refused("a"));
        assert_eq!(queue(1, 0).push(ONE, "a"), Pushed::Refused("a"));
    }
}
