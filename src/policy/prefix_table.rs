//! Many exact texts and prefixes, looked up at once: binary search, no hashing, no allocation.
//!
//! Not for patterns with structure (addresses have their own table).

use std::cmp::Ordering;

/// One pattern: an exact text, or a prefix.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Stem<'a> {
    /// Matches this text.
    Exact(&'a str),
    /// Matches every text that starts with this one.
    Prefix(&'a str),
}

impl<'a> Stem<'a> {
    /// Reads a `*` at the end as "starts with".
    pub(super) fn of(pattern: &'a str) -> Self {
        pattern.strip_suffix('*').map_or(Self::Exact(pattern), Self::Prefix)
    }

    pub(super) fn matches(self, text: &str) -> bool {
        match self {
            Self::Exact(exact) => text == exact,
            Self::Prefix(prefix) => text.starts_with(prefix),
        }
    }
}

/// A set of [`Stem`]s.
///
/// Invariants: both lists are sorted; no prefix starts with another one. Therefore the only prefix that can match
/// a text is the greatest one that is not greater than the text: any other prefix `q` between a matching `p` and
/// the text would have to start with `p`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub(super) struct PrefixTable {
    exact: Box<[Entry]>,
    prefixes: Box<[Entry]>,
}

/// A text with its head beside it, so that most comparisons are of two numbers and follow no pointer.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
struct Entry {
    /// First in the derived order, and in accord with it: a smaller head is a smaller text.
    head: u64,
    text: Box<str>,
}

impl Entry {
    fn new(text: &str) -> Self {
        Self { head: head(text), text: text.into() }
    }

    fn compare(&self, head: u64, text: &str) -> Ordering {
        self.head.cmp(&head).then_with(|| (*self.text).cmp(text))
    }
}

/// The first eight bytes as a number, as if zeros followed a shorter text.
fn head(text: &str) -> u64 {
    match text.as_bytes().first_chunk() {
        Some(first) => u64::from_be_bytes(*first),
        None => text.bytes().rfold(0, |head, byte| head >> 8 | u64::from(byte) << 56),
    }
}

impl PrefixTable {
    /// Bytes on the heap, about.
    pub(super) fn heap_bytes(&self) -> usize {
        let entries = self.exact.iter().chain(&self.prefixes);
        entries.map(|entry| size_of::<Entry>() + entry.text.len().next_multiple_of(16)).sum()
    }

    pub(super) fn contains(&self, text: &str) -> bool {
        let head = head(text);
        self.matches_prefix(head, text)
            || self.exact.binary_search_by(|exact| exact.compare(head, text)).is_ok()
    }

    fn matches_prefix(&self, head: u64, text: &str) -> bool {
        let after = self.prefixes.partition_point(|prefix| prefix.compare(head, text).is_le());
        after
            .checked_sub(1)
            .and_then(|last| self.prefixes.get(last))
            .is_some_and(|prefix| text.starts_with(&*prefix.text))
    }
}

impl<'a> FromIterator<Stem<'a>> for PrefixTable {
    fn from_iter<I: IntoIterator<Item = Stem<'a>>>(stems: I) -> Self {
        let (mut exact, mut prefixes) = (Vec::new(), Vec::new());
        for stem in stems {
            match stem {
                Stem::Exact(text) => exact.push(Entry::new(text)),
                Stem::Prefix(text) => prefixes.push(Entry::new(text)),
            }
        }
        exact.sort_unstable();
        exact.dedup();
        prefixes.sort_unstable();
        // Sorted, a prefix stands directly before everything that it covers; `dedup_by` compares with the last kept.
        prefixes.dedup_by(|longer, kept| longer.text.starts_with(&*kept.text));
        Self { exact: exact.into(), prefixes: prefixes.into() }
    }
}

#[cfg(test)]
mod tests {
    use proptest::collection::vec;
    use proptest::prelude::proptest;

    use super::{PrefixTable, Stem};

    #[test]
    fn an_empty_table_holds_nothing_and_the_empty_prefix_everything() {
        let none = PrefixTable::default();
        assert!(!none.contains("") && !none.contains("a"));
        let all: PrefixTable = [Stem::of("*"), Stem::of("b")].into_iter().collect();
        assert!(all.contains("") && all.contains("a") && all.contains("b"));
    }

    #[test]
    fn a_longer_prefix_does_not_hide_a_shorter_one() {
        let table: PrefixTable = ["a*", "ab*", "ac*", "b"].map(Stem::of).into_iter().collect();
        for held in ["a", "aa", "ab", "abz", "ad", "az", "b"] {
            assert!(table.contains(held), "{held}");
        }
        for absent in ["", "A", "ba", "c"] {
            assert!(!table.contains(absent), "{absent}");
        }
    }

    proptest! {
        /// Few letters, and texts that are short or differ around the end of their heads: nearly every text is a
        /// neighbour of some pattern.
        #[test]
        fn a_table_answers_as_its_patterns_one_by_one(
            patterns in vec("(aaaaaa)?[abÿ]{0,4}[*]?", 0..12),
            texts in vec("(aaaaaa)?[abÿ*]{0,6}", 1..12),
        ) {
            let table: PrefixTable = patterns.iter().map(|pattern| Stem::of(pattern)).collect();
            for text in &texts {
                let one_by_one = patterns.iter().any(|pattern| Stem::of(pattern).matches(text));
                proptest::prop_assert_eq!(table.contains(text), one_by_one, "{} in {:?}", text, patterns);
            }
        }
    }
}
