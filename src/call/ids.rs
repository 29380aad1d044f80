//! Ids for calls that bring none: a random number of the process, and a count.

use std::cell::Cell;
use std::sync::atomic::{AtomicU64, Ordering};

use uuid::Uuid;

/// The longest id that is taken from a caller, in bytes.
pub const REQUEST_ID_MAX: usize = 128;
/// Bytes of an id of ours.
pub const OWN_ID_BYTES: usize = 2 * NUMBER_BYTES + 1;

/// A number of 50 bits.
const NUMBER_BYTES: usize = 10;
const NUMBER_MAX: u64 = (1 << (5 * NUMBER_BYTES)) - 1;
/// Without letters that look like others.
const DIGITS: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";
/// A thread takes so many numbers at a time, so that threads do not wait for each other.
const BLOCK: u64 = 1 << 16;

thread_local! {
    static MINE: Cell<Block> = const { Cell::new(Block { process: 0, next: 0, end: 0 }) };
}

/// Numbers that a thread may still give away.
#[derive(Clone, Copy)]
struct Block {
    process: u64,
    next: u64,
    end: u64,
}

/// Makes ids.
#[derive(Debug)]
pub struct RequestIds {
    /// Not 0.
    process: u64,
    next_block: AtomicU64,
}

impl Default for RequestIds {
    fn default() -> Self {
        let (high, low) = Uuid::new_v4().as_u64_pair();
        Self { process: ((high ^ low) & NUMBER_MAX) | 1, next_block: AtomicU64::new(0) }
    }
}

impl RequestIds {
    /// The id of a call whose caller gave this one, if it gave one that is fit.
    #[must_use]
    pub fn of(&self, given: Option<&[u8]>) -> String {
        match given.filter(|id| is_fit(id)).and_then(|id| std::str::from_utf8(id).ok()) {
            Some(id) => id.to_owned(),
            None => self.own().map(char::from).iter().collect(),
        }
    }

    /// A new id, of letters and digits and one `-`.
    #[must_use]
    pub fn own(&self) -> [u8; OWN_ID_BYTES] {
        let mut id = [b'-'; OWN_ID_BYTES];
        let (process, rest) = id.split_at_mut(NUMBER_BYTES);
        write(self.process, process);
        if let Some((_, count)) = rest.split_first_mut() {
            write(self.count(), count);
        }
        id
    }

    fn count(&self) -> u64 {
        // A thread that is ending takes a block for each of its last.
        let mine = MINE.try_with(Cell::get).ok();
        let mine = mine.filter(|mine| mine.process == self.process && mine.next < mine.end);
        let mut mine = mine.unwrap_or_else(|| {
            let next = self.next_block.fetch_add(1, Ordering::Relaxed).wrapping_mul(BLOCK);
            Block { process: self.process, next, end: next.wrapping_add(BLOCK) }
        });
        let count = mine.next;
        mine.next = count.wrapping_add(1);
        let _kept = MINE.try_with(|it| it.set(mine));
        count
    }
}

/// Whether an id of a caller is fit to stand in a log line and a header.
#[must_use]
pub fn is_fit(id: &[u8]) -> bool {
    (1..=REQUEST_ID_MAX).contains(&id.len())
        && id.iter().all(|byte| (b' '..=b'~').contains(byte))
        && id.trim_ascii().len() == id.len()
}

/// The lowest bits, five a byte, the highest first.
fn write(number: u64, into: &mut [u8]) {
    let mut rest = number;
    for byte in into.iter_mut().rev() {
        let digit = usize::try_from(rest % 32).ok().and_then(|digit| DIGITS.get(digit));
        *byte = digit.copied().unwrap_or(b'0');
        rest /= 32;
    }
}

#[cfg(test)]
mod tests {
    use std::collections::HashSet;
    use std::thread;

    use super::*;

    #[test]
    fn an_id_that_is_fit_is_kept_and_any_other_replaced() {
        let ids = RequestIds::default();
        for fit in ["a", "2f1b/6f0e:8a5e=~", "with space", &"x".repeat(128)] {
            assert_eq!(ids.of(Some(fit.as_bytes())), fit);
        }
        let long = "x".repeat(129);
        for unfit in
            [&b""[..], b" a", b"a ", b"a\nb", b"a\x1b[31m", b"\xff", "\u{e9}".as_bytes(), long.as_bytes()]
        {
            let made = ids.of(Some(unfit));
            assert_eq!(made.len(), OWN_ID_BYTES);
            assert!(
                made.bytes().all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-'),
                "{made}"
            );
        }
        assert_ne!(ids.of(None), RequestIds::default().of(None));
    }

    #[test]
    fn ids_of_all_threads_differ() {
        let ids = RequestIds::default();
        let other = RequestIds::default();
        let all: Vec<String> = thread::scope(|scope| {
            let make = || (0..70_000).map(|_| ids.of(None)).chain([other.of(None), ids.of(None)]).collect();
            let threads: Vec<_> = (0..3).map(|_| scope.spawn::<_, Vec<String>>(make)).collect();
            threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
        });
        assert_eq!(all.iter().collect::<HashSet<_>>().len(), 3 * 70_002);
    }

    #[test]
    fn a_number_is_written_with_its_highest_digits_first() {
        let mut text = [0; 4];
        write(32 * 32 * 31 + 1, &mut text);
        assert_eq!(&text, b"0z01");
    }
}
