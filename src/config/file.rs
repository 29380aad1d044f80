//! The configuration file: TOML, one key a setting, named as its flag with `_` for `-`.
//!
//! - A switch is `true` or `false`, a number a number, everything else a string. A list may be an array of strings
//!   instead of one string with commas.
//! - There are no tables: the sections of `--help` are for people.
//! - Paths in it are relative to the working directory, as in flags.
//!
//! What does not belong here: which keys there are, and what their values may be (`sources`).

use std::collections::BTreeMap;
use std::fs;
use std::ops::Range;
use std::path::Path;

use secrecy::zeroize::Zeroizing;
use toml::de::{DeTable, DeValue};

use super::Fault;

/// What a key is set to.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Value {
    /// `true` or `false`.
    Switch(bool),
    /// A number, as text.
    Number(String),
    /// A string, or an array of strings joined by commas.
    Text(String),
    /// Anything that no setting takes: an array of something else, a date, a table. The word for it.
    Other(&'static str),
}

/// One line of the file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Entry {
    /// Counted from 1.
    pub(super) line: usize,
    /// `keystile.toml:12`.
    pub(super) place: String,
    pub(super) value: Value,
}

/// The keys of a file. May hold secrets, and has no `Debug` for that.
#[derive(Default)]
pub(super) struct File {
    pub(super) entries: BTreeMap<String, Entry>,
}

impl File {
    /// Reads the file at `path`, which `named_by` (a flag or variable) names.
    ///
    /// # Errors
    /// Every fault of reading and syntax.
    pub(super) fn read(path: &Path, named_by: &str) -> Result<Self, Vec<Fault>> {
        let text = fs::read_to_string(path).map(Zeroizing::new).map_err(|error| {
            vec![Fault::new(named_by, format!("cannot read {}: {error}", path.display()))]
        })?;
        Self::parse(&text, &path.display().to_string())
    }

    fn parse(text: &str, name: &str) -> Result<Self, Vec<Fault>> {
        let line = |span: Range<usize>| line_of(text, span.start);
        let (table, errors) = DeTable::parse_recoverable(text);
        if !errors.is_empty() {
            let fault = |error: &toml::de::Error| {
                let line = line(error.span().unwrap_or_default());
                Fault::new(format!("{name}:{line}"), format!("not TOML: {}", error.message()))
            };
            return Err(errors.iter().map(fault).collect());
        }
        let entry = |(key, value): (&toml::Spanned<_>, &toml::Spanned<DeValue<'_>>)| {
            let key: &std::borrow::Cow<'_, str> = key.get_ref();
            let line = line(value.span());
            let entry = Entry { line, place: format!("{name}:{line}"), value: read_value(value.get_ref()) };
            (key.clone().into_owned(), entry)
        };
        Ok(Self { entries: table.get_ref().iter().map(entry).collect() })
    }
}

fn read_value(value: &DeValue<'_>) -> Value {
    match value {
        DeValue::Boolean(on) => Value::Switch(*on),
        DeValue::Integer(number) => match i64::from_str_radix(number.as_str(), number.radix()) {
            Ok(number) => Value::Number(number.to_string()),
            Err(_) => Value::Other("a number out of all bounds"),
        },
        DeValue::Float(number) => Value::Number(number.as_str().to_owned()),
        DeValue::String(text) => Value::Text(text.clone().into_owned()),
        DeValue::Array(values) => {
            let texts = values.iter().map(|value| match value.get_ref() {
                DeValue::String(text) => Some(text.as_ref()),
                _ => None,
            });
            match texts.collect::<Option<Vec<_>>>() {
                Some(texts) => Value::Text(texts.join(",")),
                None => Value::Other("an array of something else than strings"),
            }
        }
        DeValue::Datetime(_) => Value::Other("a date"),
        DeValue::Table(_) => Value::Other("a table"),
    }
}

/// Counted from 1.
fn line_of(text: &str, at: usize) -> usize {
    1 + text.bytes().take(at).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn faults(text: &str) -> Vec<String> {
        let Err(faults) = File::parse(text, "k.toml") else { panic!("no fault: {text}") };
        faults.iter().map(ToString::to_string).collect()
    }

    #[test]
    fn values_are_read_by_their_type_with_their_line() {
        let text =
            "# one\na = true\nb = 0x10\nc = \"x\"\n\nd = [\"x\", \"y\"]\ne = 1.5\nf = [1]\n[g]\nh = 1\n";
        let Ok(file) = File::parse(text, "dir/k.toml") else { panic!() };
        let text = |text: &str| Value::Text(text.to_owned());
        let number = |text: &str| Value::Number(text.to_owned());
        for (key, line, value) in [
            ("a", 2, Value::Switch(true)),
            ("b", 3, number("16")),
            ("c", 4, text("x")),
            ("d", 6, text("x,y")),
            ("e", 7, number("1.5")),
            ("f", 8, Value::Other("an array of something else than strings")),
            ("g", 9, Value::Other("a table")),
        ] {
            let place = format!("dir/k.toml:{line}");
            assert_eq!(file.entries[key], Entry { line, place, value }, "{key}");
        }
        assert_eq!(file.entries.len(), 7);
    }

    #[test]
    fn every_fault_of_syntax_is_told_with_its_line() {
        let told =
            faults("listen = here\npool_size = 4\nlog = \"info\nobserve = \"ips\"\nlog = 1\nobserve = 2\n");
        assert!(told.len() >= 3, "{told:#?}");
        assert!(told[0].starts_with("k.toml:1: not TOML: "), "{told:#?}");
        assert!(told[1].starts_with("k.toml:3: not TOML: "), "{told:#?}");
        assert!(told.iter().any(|fault| fault.contains("k.toml:6: not TOML: duplicate key")), "{told:#?}");
    }
}
