//! Text that an administrator gives to a key: names, tags, permissions, metadata.
//!
//! Bounds are those of the contract; none of these may hold control characters, so that they can be shown and
//! logged as they are. Lengths "in characters" are Unicode scalar values.

use std::collections::BTreeMap;
use std::fmt;

/// A key carries at most this many tags.
pub const TAGS_MAX: usize = 50;

/// Keys and values of a key's [`Metadata`] are together at most this many bytes.
pub const METADATA_BYTES_MAX: usize = 4096;

const METADATA_KEY_CHARS_MAX: usize = 64;
const PERMISSION_BYTES_MAX: usize = 64;

/// Why a text was refused. Its `Display` completes "the field …": `must be 1 to 100 characters`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum InvalidText {
    /// Shorter or longer than allowed, in characters.
    Length {
        /// Fewest characters.
        min: usize,
        /// Most characters.
        max: usize,
    },
    /// Holds a control character (`char::is_control`).
    ControlCharacter,
    /// Not 1 to 64 bytes of `[A-Za-z0-9._:-]`.
    Permission,
    /// Not a scope: see [`Scope`](super::Scope) for the grammar.
    Scope,
    /// A metadata key is not 1 to 64 characters.
    MetadataKey,
    /// Metadata is larger than [`METADATA_BYTES_MAX`].
    MetadataSize,
}

impl fmt::Display for InvalidText {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { min: 0, max } => write!(out, "must be at most {max} characters"),
            Self::Length { min, max } => write!(out, "must be {min} to {max} characters"),
            Self::ControlCharacter => out.write_str("must not contain control characters"),
            Self::Permission => out
                .write_str("must be 1 to 64 characters, each a letter, digit, '.', '_', ':' or '-' (ASCII)"),
            Self::Scope => out.write_str(
                "must be '*', or segments of ASCII letters, digits, '_', ':' or '-' joined by '.', \
                 the last of which may be '*', and at most 128 bytes",
            ),
            Self::MetadataKey => out.write_str("must have keys of 1 to 64 characters"),
            Self::MetadataSize => out.write_str("must be at most 4096 bytes, keys and values together"),
        }
    }
}

impl std::error::Error for InvalidText {}

/// Refuses `text` unless it is `min..=max` characters without control characters.
fn check(text: &str, min: usize, max: usize) -> Result<(), InvalidText> {
    // A character is at most four bytes, so a hostile length is refused without counting it.
    if text.len() > max.saturating_mul(4) || !(min..=max).contains(&text.chars().count()) {
        return Err(InvalidText::Length { min, max });
    }
    check_controls(text)
}

fn check_controls(text: &str) -> Result<(), InvalidText> {
    if text.chars().any(char::is_control) { Err(InvalidText::ControlCharacter) } else { Ok(()) }
}

/// A text newtype of `min..=max` characters.
macro_rules! bounded_text {
    ($(#[$doc:meta])* $name:ident, $min:literal, $max:literal) => {
        $(#[$doc])*
        #[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(String);

        impl $name {
            /// Checks length and content.
            ///
            /// # Errors
            /// [`InvalidText`] when the length is out of bounds or a control character is in it.
            pub fn parse(text: impl Into<String>) -> Result<Self, InvalidText> {
                let text = text.into();
                check(&text, $min, $max)?;
                Ok(Self(text))
            }
        }

        as_text!($name);
    };
}

/// `as_str` and `Display` of a newtype over `String`.
macro_rules! as_text {
    ($name:ident) => {
        impl $name {
            /// The text as it was given.
            #[must_use]
            pub fn as_str(&self) -> &str {
                &self.0
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(out)
            }
        }
    };
}

bounded_text!(
    /// What a person calls a key: 1 to 100 characters.
    DisplayName, 1, 100
);
bounded_text!(
    /// What a key is for: at most 500 characters, empty by default.
    #[derive(Default)]
    Description, 0, 500
);
bounded_text!(
    /// A label to find keys by: 1 to 64 characters. A key has at most [`TAGS_MAX`].
    Tag, 1, 64
);

/// A granted permission: 1 to 64 bytes of `[A-Za-z0-9._:-]`, compared byte for byte. No wildcards.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Permission(String);

impl Permission {
    /// Checks length and alphabet.
    ///
    /// # Errors
    /// [`InvalidText::Permission`].
    pub fn parse(text: impl Into<String>) -> Result<Self, InvalidText> {
        let text = text.into();
        let allowed = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'.' | b'_' | b':' | b'-');
        if (1..=PERMISSION_BYTES_MAX).contains(&text.len()) && text.bytes().all(allowed) {
            Ok(Self(text))
        } else {
            Err(InvalidText::Permission)
        }
    }
}

as_text!(Permission);

/// Free key-value pairs of the administrator, returned with each decision.
///
/// At most [`METADATA_BYTES_MAX`] bytes of keys and values together; keys of 1 to 64 characters; no control
/// characters in either. A value may be empty.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Metadata(BTreeMap<String, String>);

impl Metadata {
    /// Checks sizes and content.
    ///
    /// # Errors
    /// [`InvalidText::MetadataSize`], [`InvalidText::MetadataKey`] or [`InvalidText::ControlCharacter`].
    pub fn parse(pairs: BTreeMap<String, String>) -> Result<Self, InvalidText> {
        let bytes: usize = pairs.iter().map(|(key, value)| key.len().saturating_add(value.len())).sum();
        if bytes > METADATA_BYTES_MAX {
            return Err(InvalidText::MetadataSize);
        }
        for (key, value) in &pairs {
            if !(1..=METADATA_KEY_CHARS_MAX).contains(&key.chars().count()) {
                return Err(InvalidText::MetadataKey);
            }
            check_controls(key)?;
            check_controls(value)?;
        }
        Ok(Self(pairs))
    }

    /// The pairs, in order of their keys.
    #[must_use]
    pub fn as_map(&self) -> &BTreeMap<String, String> {
        &self.0
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::{Description, DisplayName, InvalidText, Metadata, Permission, Tag};

    #[test]
    fn lengths_count_characters_and_both_ends_are_included() {
        assert_eq!(DisplayName::parse(""), Err(InvalidText::Length { min: 1, max: 100 }));
        assert!(DisplayName::parse("é".repeat(100)).is_ok());
        assert!(DisplayName::parse("𝄞".repeat(100)).is_ok());
        assert!(DisplayName::parse("é".repeat(101)).is_err());
        assert_eq!(Description::parse("").unwrap(), Description::default());
        assert!(Description::parse("x".repeat(500)).is_ok());
        assert!(Description::parse("x".repeat(501)).is_err());
        assert!(Tag::parse("").is_err());
        assert!(Tag::parse("x".repeat(64)).is_ok());
        assert!(Tag::parse("x".repeat(65)).is_err());
    }

    #[test]
    fn control_characters_are_refused_everywhere() {
        for control in ['\0', '\n', '\u{7f}', '\u{85}'] {
            let text = format!("a{control}b");
            assert_eq!(DisplayName::parse(text.clone()), Err(InvalidText::ControlCharacter));
            assert_eq!(Description::parse(text.clone()), Err(InvalidText::ControlCharacter));
            assert_eq!(Tag::parse(text.clone()), Err(InvalidText::ControlCharacter));
            assert_eq!(Permission::parse(text.clone()), Err(InvalidText::Permission));
            let pair = |key: &str, value: &str| BTreeMap::from([(key.to_owned(), value.to_owned())]);
            assert_eq!(Metadata::parse(pair(&text, "v")), Err(InvalidText::ControlCharacter));
            assert_eq!(Metadata::parse(pair("k", &text)), Err(InvalidText::ControlCharacter));
        }
    }

    #[test]
    fn a_permission_is_plain_ascii_without_wildcards() {
        for good in ["read", "a.b:c-d_E9", "-", &"x".repeat(64)] {
            assert_eq!(Permission::parse(good).unwrap().as_str(), good);
        }
        for bad in ["", "*", "read*", "a b", "a/b", "é", &"x".repeat(65)] {
            assert_eq!(Permission::parse(bad), Err(InvalidText::Permission), "{bad}");
        }
    }

    #[test]
    fn metadata_is_bounded_by_bytes_of_keys_and_values_together() {
        let of = |key: String, value: String| Metadata::parse(BTreeMap::from([(key, value)]));
        assert!(of("k".to_owned(), String::new()).is_ok());
        assert_eq!(of(String::new(), "v".to_owned()), Err(InvalidText::MetadataKey));
        assert!(of("é".repeat(64), "v".to_owned()).is_ok());
        assert_eq!(of("k".repeat(65), "v".to_owned()), Err(InvalidText::MetadataKey));
        assert!(of("k".repeat(64), "v".repeat(4032)).is_ok());
        assert_eq!(of("k".repeat(64), "v".repeat(4033)), Err(InvalidText::MetadataSize));
    }

    #[test]
    fn a_refusal_reads_as_the_end_of_a_sentence_about_the_field() {
        let said = |refused: Result<DisplayName, InvalidText>| refused.unwrap_err().to_string();
        assert_eq!(said(DisplayName::parse("")), "must be 1 to 100 characters");
        assert_eq!(said(DisplayName::parse("\u{1}")), "must not contain control characters");
        assert_eq!(
            Description::parse("x".repeat(501)).unwrap_err().to_string(),
            "must be at most 500 characters"
        );
    }
}
