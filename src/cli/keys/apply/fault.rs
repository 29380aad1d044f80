//! What is wrong with the files, each fault with its place; all are told at once.

use std::fmt;

use super::source::STDIN;

/// Most faults that are told; the others are counted.
const SHOWN_MAX: usize = 50;

/// Where something stands. Lines and columns count from 1.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// The file, as it was named.
    pub source: String,
    /// Its line.
    pub line: usize,
    /// Its column, in characters.
    pub column: usize,
}

impl fmt::Display for Place {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let source = if self.source == STDIN { "stdin" } else { &self.source };
        write!(f, "{source}:{}:{}", self.line, self.column)
    }
}

/// One thing that is wrong.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    /// Where.
    pub place: Place,
    /// What, and what would be right.
    pub what: String,
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.place, self.what)
    }
}

/// Everything that is wrong, at least one fault.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// `Ok` where there are none.
    ///
    /// # Errors
    /// All of `faults`, where there are some.
    pub fn check(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self(faults)) }
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} {}", if count == 1 { "fault:" } else { "faults:" })?;
        self.0.iter().take(SHOWN_MAX).try_for_each(|fault| write!(f, "\n  {fault}"))?;
        match count.saturating_sub(SHOWN_MAX) {
            0 => {}
            more => write!(f, "\n  and {more} more")?,
        }
        f.write_str("\nNothing was changed; correct that and run the command again.")
    }
}
