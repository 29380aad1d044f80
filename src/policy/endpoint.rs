//! Patterns over endpoints: optional methods and a path, exact or prefix.
//!
//! `/v1/models`, `GET,POST /v1/files/*`. The path is normalised as a request's is ([`super::normalise_path`]), so
//! both are compared in one spelling. Methods are compared as RFC 9110 has them: case-sensitive.

use std::collections::BTreeSet;
use std::fmt;

use super::path::normalise_path;
use super::pattern_error::{PATTERN_BYTES_MAX, PatternError};
use super::prefix_table::Stem;

/// A method, in a pattern or in a request, is at most this many bytes.
pub const METHOD_BYTES_MAX: usize = 32;

/// An endpoint pattern in canonical form: methods sorted, each once, path normalised.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct EndpointPattern(Box<str>);

impl EndpointPattern {
    /// Parses `/path`, `/path*`, `GET /path` or `GET,POST /path*`.
    ///
    /// # Errors
    /// [`PatternError`]: among others a method that is not upper-case, a `*` that is not last, a query, a path
    /// that no request could have ([`super::MalformedPath`]), more than 256 bytes as given or in canonical form.
    pub fn parse(text: &str) -> Result<Self, PatternError> {
        if text.is_empty() {
            return Err(PatternError::Empty);
        }
        if text.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        let (methods, path) = split_methods(text);
        let mut canonical = parse_methods(methods)?.into_iter().collect::<Vec<_>>().join(",");
        if !canonical.is_empty() {
            canonical.push(' ');
        }
        let stem = path.strip_suffix('*');
        if stem.unwrap_or(path).contains('*') {
            return Err(PatternError::Wildcard);
        }
        if path.contains(['?', '#']) {
            return Err(PatternError::Query);
        }
        canonical.push_str(&normalise_path(stem.unwrap_or(path).as_bytes())?);
        if stem.is_some() {
            canonical.push('*');
        }
        if canonical.len() > PATTERN_BYTES_MAX {
            return Err(PatternError::TooLong);
        }
        Ok(Self(canonical.into()))
    }

    /// The canonical form.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// The methods that it allows, sorted; none means every method, and requests that name none.
    pub fn methods(&self) -> impl Iterator<Item = &str> {
        split_methods(&self.0).0.into_iter().flat_map(|methods| methods.split(','))
    }

    /// The normalised path, with its `*` if it is a prefix.
    #[must_use]
    pub fn path(&self) -> &str {
        split_methods(&self.0).1
    }

    /// Whether a request for this *normalised* path and this method matches. A pattern with methods does not match
    /// a request that names none.
    #[must_use]
    pub fn matches(&self, path: &str, method: Option<&str>) -> bool {
        let mut methods = self.methods().peekable();
        let method_matches = methods.peek().is_none() || methods.any(|allowed| Some(allowed) == method);
        method_matches && self.stem().matches(path)
    }

    pub(super) fn stem(&self) -> Stem<'_> {
        Stem::of(self.path())
    }
}

impl fmt::Display for EndpointPattern {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// The part before the path, if there is one, and the path. A path may hold spaces, methods may not.
fn split_methods(text: &str) -> (Option<&str>, &str) {
    match text.split_once(' ') {
        Some((methods, path)) if !text.starts_with('/') => (Some(methods), path),
        _ => (None, text),
    }
}

fn parse_methods(methods: Option<&str>) -> Result<BTreeSet<&str>, PatternError> {
    let is_method = |method: &str| {
        (1..=METHOD_BYTES_MAX).contains(&method.len()) && method.bytes().all(|byte| byte.is_ascii_uppercase())
    };
    methods
        .into_iter()
        .flat_map(|methods| methods.split(','))
        .map(|method| if is_method(method) { Ok(method) } else { Err(PatternError::Method) })
        .collect()
}

/// The method that a request gives, or `None` when it is no RFC 9110 token or longer than [`METHOD_BYTES_MAX`].
pub(super) fn parse_request_method(value: &[u8]) -> Option<&str> {
    let is_token_byte = |byte: &u8| {
        byte.is_ascii_alphanumeric()
            || matches!(
                byte,
                b'!' | b'#'..=b'\'' | b'*' | b'+' | b'-' | b'.' | b'^' | b'_' | b'`' | b'|' | b'~'
            )
    };
    if !(1..=METHOD_BYTES_MAX).contains(&value.len()) || !value.iter().all(is_token_byte) {
        return None;
    }
    std::str::from_utf8(value).ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::proptest;
    use proptest::{prop_assert, prop_assert_eq};

    use super::{EndpointPattern, parse_request_method};
    use crate::policy::{MalformedPath, PatternError, normalise_path};

    fn canonical(text: &str) -> String {
        EndpointPattern::parse(text).unwrap().to_string()
    }

    fn matches(pattern: &str, path: &str, method: Option<&str>) -> bool {
        EndpointPattern::parse(pattern).unwrap().matches(path, method)
    }

    #[test]
    fn a_pattern_is_kept_in_one_canonical_spelling() {
        for (given, kept) in [
            ("/v1/models", "/v1/models"),
            ("POST,GET,POST /v1//files/*", "GET,POST /v1/files/*"),
            ("/caf\u{e9}*", "/caf%C3%A9*"),
            ("/a b", "/a%20b"),
            ("GET /a b", "GET /a%20b"),
            ("/%76%31/", "/v1/"),
            ("/*", "/*"),
            ("/%2a", "/%2A"),
        ] {
            assert_eq!(canonical(given), kept);
            assert_eq!(canonical(kept), kept, "the canonical form parses to itself");
        }
        let pattern = EndpointPattern::parse("POST,GET /a b*").unwrap();
        assert_eq!(pattern.methods().collect::<Vec<_>>(), ["GET", "POST"]);
        assert_eq!(pattern.path(), "/a%20b*");
        assert_eq!(EndpointPattern::parse("/a").unwrap().methods().count(), 0);
    }

    #[test]
    fn a_prefix_is_cut_where_its_star_stands() {
        for path in ["/v1/files/", "/v1/files/a", "/v1/files/a/b"] {
            assert!(matches("/v1/files/*", path, None), "{path}");
        }
        assert!(!matches("/v1/files/*", "/v1/files", None));
        assert!(!matches("/v1/files/*", "/v1/filesystem", None));
        for path in ["/v1/files", "/v1/files/a", "/v1/filesystem"] {
            assert!(matches("/v1/files*", path, None), "{path}");
        }
        assert!(matches("/v1/files", "/v1/files", None));
        assert!(!matches("/v1/files", "/v1/files/", None));
    }

    #[test]
    fn a_pattern_with_methods_wants_one_of_them() {
        assert!(matches("GET,POST /a", "/a", Some("GET")));
        assert!(matches("GET,POST /a", "/a", Some("POST")));
        assert!(!matches("GET,POST /a", "/a", Some("PUT")));
        assert!(!matches("GET,POST /a", "/a", Some("get")));
        assert!(!matches("GET,POST /a", "/a", Some("GET,POST")));
        assert!(!matches("GET,POST /a", "/a", None));
        assert!(matches("/a", "/a", None));
        assert!(matches("/a", "/a", Some("anything")));
    }

    #[test]
    fn what_no_request_could_match_is_refused_with_its_reason() {
        for (bad, why) in [
            ("", PatternError::Empty),
            ("*", PatternError::Path(MalformedPath::NotAbsolute)),
            ("v1/models", PatternError::Path(MalformedPath::NotAbsolute)),
            ("GET", PatternError::Path(MalformedPath::NotAbsolute)),
            ("GET ", PatternError::Path(MalformedPath::NotAbsolute)),
            ("GET  /a", PatternError::Path(MalformedPath::NotAbsolute)),
            ("get /a", PatternError::Method),
            ("GET, POST /a", PatternError::Method),
            (",GET /a", PatternError::Method),
            ("G-T /a", PatternError::Method),
            (" /a", PatternError::Method),
            ("/a*b", PatternError::Wildcard),
            ("/a**", PatternError::Wildcard),
            ("/a?x=1", PatternError::Query),
            ("/a#b*", PatternError::Query),
            ("/a/..", PatternError::Path(MalformedPath::DotSegment)),
            ("/a/.*", PatternError::Path(MalformedPath::DotSegment)),
            ("/a%2Fb", PatternError::Path(MalformedPath::EncodedDelimiter)),
            ("/a%4*", PatternError::Path(MalformedPath::Escape)),
            ("/a%C3*", PatternError::Path(MalformedPath::NotUtf8)),
            ("/a\n", PatternError::Path(MalformedPath::ControlCharacter)),
        ] {
            assert_eq!(EndpointPattern::parse(bad), Err(why), "{bad}");
        }
        assert_eq!(EndpointPattern::parse(&format!("{} /a", "G".repeat(33))), Err(PatternError::Method));
    }

    #[test]
    fn the_length_is_bounded_as_given_and_in_canonical_form() {
        assert!(EndpointPattern::parse(&format!("/{}", "x".repeat(255))).is_ok());
        assert_eq!(EndpointPattern::parse(&format!("/{}", "x".repeat(256))), Err(PatternError::TooLong));
        assert_eq!(EndpointPattern::parse(&"/".repeat(257)), Err(PatternError::TooLong));
        assert!(EndpointPattern::parse(&format!("/{}", " ".repeat(85))).is_ok());
        assert_eq!(EndpointPattern::parse(&format!("/{}", " ".repeat(86))), Err(PatternError::TooLong));
    }

    #[test]
    fn a_requested_method_is_a_short_token() {
        for good in ["GET", "get", "M-SEARCH", "!#$%&'*+-.^_`|~09", &"x".repeat(32)] {
            assert_eq!(parse_request_method(good.as_bytes()), Some(good));
        }
        for bad in ["", "GET ", "GET,POST", "GET/", "GÉT", "\"", "(", "GET\0", "@", "{", &"x".repeat(33)] {
            assert_eq!(parse_request_method(bad.as_bytes()), None, "{bad}");
        }
        assert_eq!(parse_request_method(b"G\xff"), None);
    }
    proptest! {
        #[test]
        fn what_is_accepted_parses_to_itself(text in "(([A-C]{1,2},){0,3}[A-C]{1,2} )?/[ -~é\u{80}-\u{a5}]{0,12}[*]?") {
            if let Ok(pattern) = EndpointPattern::parse(&text) {
                prop_assert_eq!(EndpointPattern::parse(pattern.as_str()), Ok(pattern.clone()));
                prop_assert!(pattern.methods().is_sorted());
            }
        }

        /// However a path is spelled, in the pattern and in the request, both mean the same.
        #[test]
        fn a_path_as_a_pattern_matches_itself(path in "(/|/[a-zA-Z0-9 é%~.]{1,6}){1,4}", other in "/[a-z/]{0,6}") {
            if let (Ok(pattern), Ok(normal)) = (EndpointPattern::parse(&path), normalise_path(path.as_bytes())) {
                prop_assert!(pattern.matches(&normal, None));
                let below = EndpointPattern::parse(&format!("GET {path}*")).unwrap();
                prop_assert!(below.matches(&normal, Some("GET")) && !below.matches(&normal, None));
                let longer = format!("{normal}x");
                prop_assert!(below.matches(&longer, Some("GET")) && !pattern.matches(&longer, None));
                let other = normalise_path(other.as_bytes()).unwrap();
                prop_assert_eq!(pattern.matches(&other, None), other == normal);
                prop_assert_eq!(below.matches(&other, Some("GET")), other.starts_with(&*normal));
            }
        }
    }
}
