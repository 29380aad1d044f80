//! Faults of a configuration: each names its setting and says what would be right.

use std::error::Error;
use std::fmt;
use std::fs::File;
use std::path::Path;

use clap::error::{ContextKind, ContextValue};

/// One thing that is wrong with the configuration. Never holds a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Fault {
    setting: String,
    problem: String,
}

impl Fault {
    /// `setting` is what the operator wrote (`KEYSTILE_LISTEN`, `--listen`), `problem` one sentence about it.
    pub fn new(setting: impl Into<String>, problem: impl Into<String>) -> Self {
        Self { setting: setting.into(), problem: problem.into() }
    }

    /// What it is about.
    #[must_use]
    pub fn setting(&self) -> &str {
        &self.setting
    }

    /// The same, about `setting` instead: where the value really came from.
    #[must_use]
    pub fn of(self, setting: impl Into<String>) -> Self {
        Self { setting: setting.into(), ..self }
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}: {}", self.setting, self.problem)
    }
}

/// Everything that is wrong with a configuration: at least one fault, in the order of the settings.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Faults(Vec<Fault>);

impl Faults {
    /// `Ok` when `faults` is empty.
    ///
    /// # Errors
    /// All of `faults`, when there are some.
    pub fn check(faults: Vec<Fault>) -> Result<(), Self> {
        if faults.is_empty() { Ok(()) } else { Err(Self(faults)) }
    }

    /// The faults.
    pub fn iter(&self) -> impl Iterator<Item = &Fault> {
        self.0.iter()
    }
}

impl IntoIterator for Faults {
    type Item = Fault;
    type IntoIter = std::vec::IntoIter<Fault>;

    fn into_iter(self) -> Self::IntoIter {
        self.0.into_iter()
    }
}

impl fmt::Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let count = self.0.len();
        write!(f, "{count} {}", if count == 1 { "setting is wrong:" } else { "settings are wrong:" })?;
        self.0.iter().try_for_each(|fault| write!(f, "\n  {fault}"))
    }
}

impl Error for Faults {}

/// Why clap did not take `value`, in a sentence without its usage.
pub fn problem_of(error: &clap::Error, value: &str) -> String {
    let problem = match (error.get(ContextKind::ValidValue), error.source()) {
        (Some(ContextValue::Strings(valid)), _) if !valid.is_empty() => {
            format!("must be one of {}", valid.join(", "))
        }
        (_, Some(source)) => source.to_string(),
        _ => "is not valid".to_owned(),
    };
    if problem.contains(value) || value.is_empty() { problem } else { format!("{value:?}: {problem}") }
}

/// Which of `known` somebody might have meant who wrote `name`.
pub(super) fn similar<'k>(name: &str, known: impl Iterator<Item = &'k str>) -> Option<&'k str> {
    const ENOUGH: f64 = 0.75;
    let scored = known.map(|known| (strsim::normalized_damerau_levenshtein(name, known), known));
    let best = scored.max_by(|(a, _), (b, _)| a.total_cmp(b));
    best.filter(|(score, _)| *score >= ENOUGH).map(|(_, known)| known)
}

/// A fault when the file at `path` cannot be opened for reading.
pub(super) fn unreadable_file(setting: &str, path: &Path) -> Option<Fault> {
    let opened = File::open(path).and_then(|file| file.metadata());
    match opened {
        Ok(metadata) if metadata.is_dir() => {
            Some(Fault::new(setting, format!("{} is a directory, not a file", path.display())))
        }
        Ok(_) => None,
        Err(error) => Some(Fault::new(setting, format!("cannot read {}: {error}", path.display()))),
    }
}
