//! The peppers file: which pepper is current, and all that are accepted.
//!
//! ```toml
//! current = "2026-11"
//!
//! [peppers]
//! "2026-11" = "base64 of at least 32 bytes: openssl rand -base64 32"
//! "2026-05" = "…"
//! ```
//!
//! Errors name a line and never what stands there: a secret may have been put in any place, and the TOML
//! parser's own messages quote the text. Reading the file is the caller's.

use std::ops::Range;

use base64::Engine;
use base64::engine::general_purpose::STANDARD_PAD_INDIFFERENT;
use secrecy::zeroize::Zeroizing;
use toml::Spanned;
use toml::de::{DeTable, DeValue};

use super::pepper::{DuplicatePepperId, Pepper, PepperId, PepperTooShort, Peppers};

/// What is wrong with a peppers file, and where. Lines count from 1.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum PepperFileError {
    /// The text is not TOML, or gives a key twice.
    #[error("peppers file, line {line}: not valid TOML, or a key given twice")]
    Syntax {
        /// Where the parser stopped.
        line: usize,
    },
    /// Something besides `current` and `peppers`.
    #[error("peppers file, line {line}: unknown key; only `current` and `[peppers]` are known")]
    UnknownKey {
        /// Where the key stands.
        line: usize,
    },
    /// No `current`.
    #[error("peppers file: `current` is missing; it names the pepper of new digests")]
    CurrentMissing,
    /// `current` is not a string that could be an id.
    #[error("peppers file, line {line}: `current` must be the id of a pepper, as a string")]
    CurrentInvalid {
        /// Where its value stands.
        line: usize,
    },
    /// `current` is not among the peppers.
    #[error("peppers file, line {line}: `current` names an id that `[peppers]` does not have")]
    CurrentUnknown {
        /// Where its value stands.
        line: usize,
    },
    /// No table `[peppers]`.
    #[error("peppers file: the table `[peppers]` is missing")]
    PeppersMissing,
    /// `peppers` is something other than a table.
    #[error("peppers file, line {line}: `peppers` must be a table of id = \"base64\"")]
    PeppersInvalid {
        /// Where its value stands.
        line: usize,
    },
    /// A key of `[peppers]` that cannot be an id.
    #[error("peppers file, line {line}: a pepper id is 1 to 64 of A-Z, a-z, 0-9, dot, underscore and hyphen")]
    IdInvalid {
        /// Where the key stands.
        line: usize,
    },
    /// A pepper that is not a string of base64.
    #[error("peppers file, line {line}: a pepper must be a string of base64 (an id with a dot needs quotes)")]
    NotBase64 {
        /// Where the value stands.
        line: usize,
    },
    /// A pepper of fewer than 32 bytes.
    #[error("peppers file, line {line}: a pepper has at least 32 bytes, not {bytes}")]
    TooShort {
        /// Where the value stands.
        line: usize,
        /// How many bytes it has.
        bytes: usize,
    },
    /// Two peppers with one id.
    #[error("peppers file: {0}")]
    Duplicate(#[from] DuplicatePepperId),
}

impl Peppers {
    /// Reads the text of a peppers file. Base64 is the standard alphabet, with or without padding.
    ///
    /// # Errors
    /// [`PepperFileError`] with the line and without the secrets.
    pub fn parse_file(text: &str) -> Result<Self, PepperFileError> {
        let line = |span: Range<usize>| line_of(text, span.start);
        let file = DeTable::parse(text).map_err(|error| PepperFileError::Syntax {
            line: line_of(text, error.span().map_or(text.len(), |span| span.start)),
        })?;
        let known = |key: &str| key == "current" || key == "peppers";
        if let Some(key) = file.get_ref().keys().find(|key| !known(key.get_ref())) {
            return Err(PepperFileError::UnknownKey { line: line(key.span()) });
        }
        let current = file.get_ref().get("current").ok_or(PepperFileError::CurrentMissing)?;
        let current_line = line(current.span());
        let current = current
            .get_ref()
            .as_str()
            .and_then(|id| PepperId::parse(id).ok())
            .ok_or(PepperFileError::CurrentInvalid { line: current_line })?;

        let table = file.get_ref().get("peppers").ok_or(PepperFileError::PeppersMissing)?;
        let entries = table
            .get_ref()
            .as_table()
            .ok_or_else(|| PepperFileError::PeppersInvalid { line: line(table.span()) })?;
        let mut accepted = Vec::with_capacity(entries.len());
        for (key, value) in entries {
            let id = PepperId::parse(key.get_ref())
                .map_err(|_| PepperFileError::IdInvalid { line: line(key.span()) })?;
            accepted.push(pepper(id, value, line(value.span()))?);
        }
        let position = accepted
            .iter()
            .position(|pepper| *pepper.id() == current)
            .ok_or(PepperFileError::CurrentUnknown { line: current_line })?;
        let current = accepted.remove(position);
        Ok(Self::new(current, accepted)?)
    }
}

fn pepper(id: PepperId, value: &Spanned<DeValue<'_>>, line: usize) -> Result<Pepper, PepperFileError> {
    let encoded = value.get_ref().as_str().ok_or(PepperFileError::NotBase64 { line })?;
    let secret = STANDARD_PAD_INDIFFERENT
        .decode(encoded)
        .map(Zeroizing::new)
        .map_err(|_| PepperFileError::NotBase64 { line })?;
    Pepper::new(id, &secret).map_err(|PepperTooShort(bytes)| PepperFileError::TooShort { line, bytes })
}

fn line_of(text: &str, offset: usize) -> usize {
    1 + text.bytes().take(offset).filter(|byte| *byte == b'\n').count()
}

#[cfg(test)]
#[expect(clippy::string_slice, reason = "test texts are ASCII where they are cut")]
mod tests {
    use super::*;
    use crate::token::PepperMark;

    /// `bytes(range(32))` and `bytes(range(100, 133))`, encoded by Python.
    const A: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=";
    const B: &str = "ZGVmZ2hpamtsbW5vcHFyc3R1dnd4eXp7fH1+f4CBgoOE";
    /// Of 31 bytes.
    const SHORT: &str = "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHg==";

    #[test]
    fn all_are_accepted_and_one_is_current() {
        let text = format!(
            "# rotated in November\ncurrent = '2026-11'\n[peppers]\n2026-05 = \"{A}\"\n\"2026-11\" = '{B}'\n"
        );
        let peppers = Peppers::parse_file(&text).unwrap();
        let marks: Vec<&str> = peppers.marks().map(PepperMark::as_str).collect();
        assert!(marks[0].starts_with("2026-11~") && marks[1].starts_with("2026-05~") && marks.len() == 2);
        assert_eq!(peppers.current().expose(), (100..133).collect::<Vec<u8>>());
        let old = Pepper::new(PepperId::parse("x").unwrap(), &(0..32).collect::<Vec<u8>>()).unwrap();
        assert_eq!(peppers.digests(b"token")[1].1, old.digest(b"token"));
    }

    #[test]
    fn padding_and_inline_tables_are_a_matter_of_taste() {
        let unpadded = A.trim_end_matches('=');
        let text = format!("peppers = {{ \"a.b\" = \"{unpadded}\" }}\ncurrent = \"a.b\"");
        assert_eq!(Peppers::parse_file(&text).unwrap().current().expose(), (0..32).collect::<Vec<u8>>());
    }

    #[test]
    fn errors_name_the_line_and_never_the_secret() {
        use PepperFileError as E;
        let cases: [(String, E); 20] = [
            (String::new(), E::CurrentMissing),
            (format!("[peppers]\na = \"{A}\""), E::CurrentMissing),
            ("current = \"a\"".into(), E::PeppersMissing),
            ("current = \"a\"\n[peppers]\n".into(), E::CurrentUnknown { line: 1 }),
            (format!("\ncurrent = \"b\"\n[peppers]\na = \"{A}\""), E::CurrentUnknown { line: 2 }),
            (format!("current = \"{A}\"\n[peppers]\na = \"{A}\""), E::CurrentInvalid { line: 1 }),
            (format!("current = 1\n[peppers]\na = \"{A}\""), E::CurrentInvalid { line: 1 }),
            (format!("current = \"a\"\npeppers = \"{A}\""), E::PeppersInvalid { line: 2 }),
            (format!("current = \"a\"\n[[peppers]]\na = \"{A}\""), E::PeppersInvalid { line: 2 }),
            (format!("current = \"a\"\n[pepper]\na = \"{A}\""), E::UnknownKey { line: 2 }),
            (format!("current = \"a\"\n\"{A}\" = 1\n[peppers]\na = \"{A}\""), E::UnknownKey { line: 2 }),
            (format!("current = \"a\"\n[peppers]\n\"{A}\" = \"a\""), E::IdInvalid { line: 3 }),
            (format!("current = \"a\"\n[peppers]\na = \"{A}!\""), E::NotBase64 { line: 3 }),
            (format!("current = \"a\"\n[peppers]\na = [\"{A}\"]"), E::NotBase64 { line: 3 }),
            (format!("current = \"a\"\n[peppers]\na = \"{B}\"\nb.c = \"{A}\""), E::NotBase64 { line: 4 }),
            (format!("current = \"a\"\n[peppers]\na = \"{SHORT}\""), E::TooShort { line: 3, bytes: 31 }),
            (format!("current = \"a\"\n[peppers]\na = \"{A}\"\nb = \"\""), E::TooShort { line: 4, bytes: 0 }),
            (format!("current = \"a\"\n[peppers]\na = {A}"), E::Syntax { line: 3 }),
            (format!("current = \"a\"\n[peppers]\na = \"{A}\n"), E::Syntax { line: 3 }),
            (format!("current = \"a\"\n[peppers]\na = \"{A}\"\na = \"{B}\""), E::Syntax { line: 4 }),
        ];
        for (text, expected) in cases {
            let error = Peppers::parse_file(&text).unwrap_err();
            assert_eq!(error, expected, "{text}");
            let shown = format!("{error} {error:?}");
            for secret in [A, B, SHORT] {
                assert!(!shown.contains(&secret[..8]), "{shown}");
            }
        }
    }
}
