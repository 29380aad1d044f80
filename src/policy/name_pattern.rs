//! Patterns over names that someone else made up: models and chatbots.
//!
//! Exact, or a prefix that ends in one `*`. Case-sensitive, byte for byte: no Unicode normalisation, because a
//! gateway will pass the same bytes on.

use std::fmt;

use super::pattern_error::{PATTERN_BYTES_MAX, PatternError};
use super::prefix_table::Stem;

/// A model or chatbot that a request names is at most this many bytes; longer ones are denied.
pub const NAME_BYTES_MAX: usize = 256;

/// `gpt-4o`, `gpt-4o*` or `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NamePattern(Box<str>);

impl NamePattern {
    /// Checks 1 to 256 bytes, no control characters, `*` only as the last character.
    ///
    /// # Errors
    /// [`PatternError`].
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        if text.chars().any(char::is_control) {
            return Err(PatternError::ControlCharacter);
        }
        if text.strip_suffix('*').unwrap_or(text).contains('*') {
            return Err(PatternError::Wildcard);
        }
        Ok(Self(text.into()))
    }

    /// The pattern as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether `name` is this name or starts with this prefix. A `*` in `name` is a character like any other.
    #[must_use]
    pub fn matches(&self, name: &str) -> bool {
        self.stem().matches(name)
    }

    /// Every pattern, as it can be written, that [matches](Self::matches) `name`: what to look for among the
    /// patterns of many keys. At most one more than `name` has characters, and two; some of them are no patterns,
    /// and nobody has them.
    #[must_use]
    pub fn all_matching(name: &str) -> Vec<String> {
        let ends = name.char_indices().map(|(at, _)| at).chain([name.len()]);
        let prefixes = ends.filter_map(|end| Some(format!("{}*", name.split_at_checked(end)?.0)));
        prefixes.chain([name.to_owned()]).collect()
    }

    pub(super) fn stem(&self) -> Stem<'_> {
        Stem::of(&self.0)
    }
}

impl fmt::Display for NamePattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Whether a request may name this at all: 1 to [`NAME_BYTES_MAX`] bytes without control characters.
#[must_use]
pub fn is_name(text: &str) -> bool {
    parse_name(text.as_bytes()).is_some()
}

/// The name that a request gives, or `None` when no key may be allowed it: empty, longer than
/// [`NAME_BYTES_MAX`], not UTF-8, or with control characters in it.
pub(super) fn parse_name(value: &[u8]) -> Option<&str> {
    if value.is_empty() || value.len() > NAME_BYTES_MAX {
        return None;
    }
    let name = std::str::from_utf8(value).ok()?;
    let is_clean = if name.is_ascii() {
        !name.bytes().any(|byte| byte.is_ascii_control())
    } else {
        !name.chars().any(char::is_control)
    };
    is_clean.then_some(name)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;
    use proptest::{prop_assert, prop_assert_eq};

    use super::{NamePattern, parse_name};
    use crate::policy::PatternError;

    fn matches(pattern: &str, name: &str) -> bool {
        NamePattern::parse(pattern).unwrap().matches(name)
    }

    #[test]
    fn a_name_matches_itself_and_a_prefix_what_starts_with_it() {
        assert!(matches("gpt-4o", "gpt-4o"));
        assert!(!matches("gpt-4o", "gpt-4o-mini"));
        assert!(!matches("gpt-4o", "GPT-4o"));
        assert!(matches("gpt-4o*", "gpt-4o"));
        assert!(matches("gpt-4o*", "gpt-4o-mini"));
        assert!(matches("gpt-4o*", "gpt-4o*"));
        assert!(!matches("gpt-4o*", "gpt-4"));
        assert!(matches("*", "anything"));
        assert!(matches("é*", "école"));
        assert!(!matches("é*", "e\u{301}cole"));
    }

    #[test]
    fn what_is_no_pattern_is_refused_with_its_reason() {
        for (bad, why) in [
            ("", PatternError::Empty),
            ("**", PatternError::Wildcard),
            ("*a", PatternError::Wildcard),
            ("a*b*", PatternError::Wildcard),
            ("a\nb", PatternError::ControlCharacter),
            ("a\u{85}", PatternError::ControlCharacter),
            (&"x".repeat(257), PatternError::TooLong),
        ] {
            assert_eq!(NamePattern::parse(bad), Err(why), "{bad}");
        }
        assert!(NamePattern::parse(&"x".repeat(256)).is_ok());
        assert!(NamePattern::parse("org/model:7b (beta)").is_ok());
    }

    #[test]
    fn a_requested_name_is_short_clean_utf8() {
        assert_eq!(parse_name(b"gpt-4o"), Some("gpt-4o"));
        assert_eq!(parse_name(&[b'x'; 256]).map(str::len), Some(256));
        assert_eq!(parse_name(&[b'x'; 257]), None);
        assert_eq!(parse_name(b""), None);
        assert_eq!(parse_name(b"gpt\0"), None);
        assert_eq!(parse_name("gpt\u{9b}".as_bytes()), None);
        assert_eq!(parse_name(b"gpt\xff"), None);
    }
    proptest! {
        #[test]
        fn a_name_matches_its_own_beginnings_and_no_other_name(name in "[^*\\pC]{1,20}", other in "[^*\\pC]{1,20}") {
            for (end, _) in name.char_indices().chain([(name.len(), ' ')]) {
                let (beginning, _) = name.split_at(end);
                let prefix = NamePattern::parse(&format!("{beginning}*")).unwrap();
                prop_assert!(prefix.matches(&name));
                prop_assert_eq!(prefix.matches(&other), other.starts_with(beginning));
            }
            for pattern in NamePattern::all_matching(&name) {
                prop_assert!(matches(&pattern, &name), "{}", pattern);
            }
            prop_assert_eq!(NamePattern::all_matching(&name).len(), name.chars().count() + 2);
            let exact = NamePattern::parse(&name).unwrap();
            prop_assert!(exact.matches(&name));
            prop_assert_eq!(exact.matches(&other), name == other);
        }
    }
}
