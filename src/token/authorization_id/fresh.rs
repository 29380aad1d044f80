//! Ids for authorizations: UUIDv7, made on the path of every request that is allowed.
//!
//! Each thread goes its own way, so that cores wait for nothing. Within a millisecond it counts on from a random place by
//! random steps; a new one starts at a new place. Two threads, of whatever replica, that make ids in one millisecond
//! meet as seldom as if every id had 73 random bits: at a million ids a second in all, once in more than 100 000 years.
//!
//! What does not belong here: reading a clock.

use std::cell::Cell;

use chrono::{DateTime, Utc};
use rand::Rng;
use uuid::Uuid;

/// Bits of a UUIDv7 that are neither time, version nor variant.
const TAIL_BITS: u32 = 74;
/// Those of them that stand behind the variant.
const LOW_BITS: u32 = 62;
const MILLIS_MAX: u64 = (1 << 48) - 1;

thread_local! {
    static LAST: Cell<Serial> = const { Cell::new(Serial { millis: u64::MAX, tail: 0 }) };
}

/// A new UUIDv7 with the millisecond of `now`, greater than this thread's earlier ones unless time went back.
///
/// # Panics
/// A thread's first panics when the operating system has no randomness to give, as [`os_rng`](crate::token::os_rng)
/// does.
#[must_use]
pub fn fresh_id(now: DateTime<Utc>) -> Uuid {
    // Before 1970 and after 10889 the service has other worries; the tail is unique alone.
    let millis = u64::try_from(now.timestamp_millis()).unwrap_or(0).min(MILLIS_MAX);
    let next = LAST.get().next(millis, &mut rand::rng());
    LAST.set(next);
    next.uuid()
}

/// The variable parts of an id.
#[derive(Clone, Copy)]
struct Serial {
    /// Below 2⁴⁸, but for one that was never given away.
    millis: u64,
    /// Below 2⁷⁴.
    tail: u128,
}

impl Serial {
    fn next(self, millis: u64, rng: &mut impl Rng) -> Self {
        let tail = self.tail + 1 + u128::from(rng.next_u32());
        if millis == self.millis && tail >> TAIL_BITS == 0 {
            return Self { millis, tail };
        }
        let random = (u128::from(rng.next_u64()) << u64::BITS) | u128::from(rng.next_u64());
        // The highest bit stays free for counting on.
        Self { millis, tail: random >> (u128::BITS - TAIL_BITS + 1) }
    }

    fn uuid(self) -> Uuid {
        let low = self.tail & ((1 << LOW_BITS) - 1);
        let high = self.tail >> LOW_BITS;
        Uuid::from_u128((u128::from(self.millis) << 80) | (7 << 76) | (high << 64) | (0b10 << LOW_BITS) | low)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::token::base62::tests::Scripted;

    const NEW: Serial = Serial { millis: u64::MAX, tail: 0 };

    #[test]
    fn all_random_bits_but_the_highest_are_used() {
        let most = NEW.next(MILLIS_MAX, &mut Scripted::new([0xff]));
        assert_eq!(most.uuid().to_string(), "ffffffff-ffff-77ff-bfff-ffffffffffff");
        let least = NEW.next(0, &mut Scripted::new([0]));
        assert_eq!(least.uuid().to_string(), "00000000-0000-7000-8000-000000000000");
    }

    #[test]
    fn one_steps_on_within_a_millisecond_and_starts_anew_in_another() {
        let first = Serial { millis: 5, tail: 10 };
        let second = first.next(5, &mut Scripted::new([2, 0, 0, 0]));
        assert_eq!((second.millis, second.tail), (5, 13));
        let later = second.next(6, &mut Scripted::new([0xff]));
        assert_eq!((later.millis, later.tail), (6, (1 << 73) - 1));
    }

    #[test]
    fn the_last_of_a_millisecond_is_followed_by_a_random_one() {
        let last = Serial { millis: 5, tail: (1 << 74) - 1 };
        assert_eq!(last.uuid().to_string(), "00000000-0005-7fff-bfff-ffffffffffff");
        let next = last.next(5, &mut Scripted::new([0]));
        assert_eq!((next.millis, next.tail), (5, 0));
    }
}
