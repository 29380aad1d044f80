//! Scopes: what kinds of call a key may make.
//!
//! Grammar: segments of `[A-Za-z0-9_:-]+` joined by `.`, at most [`SCOPE_BYTES_MAX`] bytes, case-sensitive.
//! A *granted* scope may end with the wildcard segment `.*`, or be `*` alone. A scope that is *asked for* is
//! always literal: a request cannot widen itself.
//!
//! `keystile.*` is reserved for calling Keystile itself. The plain `*` does not grant it. Who may hold it is not
//! decided here, nor that `keystile.admin` implies the others: that is the rule of each rpc.

use std::fmt;

use super::text::InvalidText;

/// A scope, asked for or granted, is at most this many bytes.
pub const SCOPE_BYTES_MAX: usize = 128;

/// Reserved: call `AuthorizeService`.
pub const SCOPE_AUTHORIZE: &str = "keystile.authorize";
/// Reserved: read keys, owners, usage and budgets.
pub const SCOPE_READ: &str = "keystile.read";
/// Reserved: change them.
pub const SCOPE_ADMIN: &str = "keystile.admin";

const RESERVED_PREFIX: &str = "keystile.";

/// A granted scope: `chat.completions`, `chat.*` or `*`.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Scope(Box<str>);

/// What a granted scope covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Grant<'a> {
    /// Every scope that is not reserved.
    All,
    /// Every scope that starts with this text, which ends in `.`.
    Below(&'a str),
    /// This scope.
    Exactly(&'a str),
}

impl Scope {
    /// Checks the grammar of a granted scope.
    ///
    /// # Errors
    /// [`InvalidText::Scope`].
    pub fn parse(text: &str) -> Result<Self, InvalidText> {
        let literal_part = text.strip_suffix(".*").unwrap_or(text);
        if text.len() <= SCOPE_BYTES_MAX && (text == "*" || is_literal_scope(literal_part)) {
            Ok(Self(text.into()))
        } else {
            Err(InvalidText::Scope)
        }
    }

    /// The scope as it was given.
    #[must_use]
    pub fn as_str(&self) -> &str {
        &self.0
    }

    /// Whether it lies under `keystile.`; only keys of the operator may hold such a scope.
    #[must_use]
    pub fn is_reserved(&self) -> bool {
        is_reserved(&self.0)
    }

    /// Whether holding this scope answers for `asked`. What is not a literal scope is never granted.
    #[must_use]
    pub fn grants(&self, asked: &str) -> bool {
        is_literal_scope(asked)
            && match self.grant() {
                Grant::All => !is_reserved(asked),
                Grant::Below(prefix) => asked.starts_with(prefix),
                Grant::Exactly(scope) => asked == scope,
            }
    }

    /// Every scope, as it can be granted, that [grants](Self::grants) `asked`: what to look for among the scopes of
    /// many keys. Empty for what is no literal scope.
    #[must_use]
    pub fn all_granting(asked: &str) -> Vec<String> {
        if !is_literal_scope(asked) {
            return Vec::new();
        }
        let mut granting = vec![asked.to_owned()];
        granting.extend(asked.match_indices('.').filter_map(|(dot, _)| {
            let (above, _) = asked.split_at_checked(dot)?;
            Some(format!("{above}.*"))
        }));
        if !is_reserved(asked) {
            granting.push("*".to_owned());
        }
        granting
    }

    pub(super) fn grant(&self) -> Grant<'_> {
        match self.0.strip_suffix('*') {
            Some("") => Grant::All,
            Some(prefix) => Grant::Below(prefix),
            None => Grant::Exactly(&self.0),
        }
    }
}

impl fmt::Display for Scope {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(out)
    }
}

/// Whether `asked` is a scope that a request may ask for: the grammar without wildcards.
#[must_use]
pub fn is_literal_scope(asked: &str) -> bool {
    let mut segment_is_empty = true;
    for byte in asked.bytes() {
        match byte {
            b'.' if segment_is_empty => return false,
            b'.' => segment_is_empty = true,
            b'A'..=b'Z' | b'a'..=b'z' | b'0'..=b'9' | b'_' | b':' | b'-' => segment_is_empty = false,
            _ => return false,
        }
    }
    !segment_is_empty && asked.len() <= SCOPE_BYTES_MAX
}

pub(super) fn is_reserved(scope: &str) -> bool {
    scope.starts_with(RESERVED_PREFIX)
}

#[cfg(test)]
mod tests {
    use super::{SCOPE_ADMIN, SCOPE_AUTHORIZE, SCOPE_READ, Scope, is_literal_scope};

    fn grants(granted: &str, asked: &str) -> bool {
        Scope::parse(granted).unwrap().grants(asked)
    }

    #[test]
    fn the_grammar_allows_a_wildcard_only_as_a_whole_last_segment() {
        for good in ["a", "chat.completions", "A_b:c-9.x", "*", "chat.*", "a.b.*", &"x".repeat(128)] {
            assert_eq!(Scope::parse(good).unwrap().as_str(), good);
        }
        let too_long = [format!("{}.*", "x".repeat(127)), "x".repeat(129)];
        for bad in
            ["", ".", "a.", ".a", "a..b", ".*", "chat*", "*.chat", "a.*.b", "**", "*.*", "a b", "é", "a/b"]
                .into_iter()
                .chain(too_long.iter().map(String::as_str))
        {
            assert!(Scope::parse(bad).is_err(), "{bad}");
        }
        assert!(Scope::parse(&format!("{}.*", "x".repeat(126))).is_ok());
    }

    #[test]
    fn a_wildcard_grants_what_is_below_it_and_not_itself() {
        assert!(grants("chat.*", "chat.completions"));
        assert!(grants("chat.*", "chat.a.b"));
        assert!(!grants("chat.*", "chat"));
        assert!(!grants("chat.*", "chats.a"));
        assert!(!grants("chat.*", "Chat.a"));
        assert!(grants("chat", "chat"));
        assert!(!grants("chat", "chat.a"));
    }

    #[test]
    fn a_star_grants_all_but_the_reserved() {
        assert!(grants("*", "chat"));
        assert!(grants("*", "keystile"));
        assert!(grants("*", "keystiles.admin"));
        for reserved in [SCOPE_ADMIN, SCOPE_AUTHORIZE, SCOPE_READ, "keystile.any.thing"] {
            assert!(!grants("*", reserved));
            assert!(grants("keystile.*", reserved));
            assert!(grants(reserved, reserved));
            assert!(Scope::parse(reserved).unwrap().is_reserved());
        }
        assert!(Scope::parse("keystile.*").unwrap().is_reserved());
        assert!(!Scope::parse("keystile").unwrap().is_reserved());
        assert!(!Scope::parse("*").unwrap().is_reserved());
    }

    #[test]
    fn the_scopes_that_grant_one_are_all_there() {
        assert_eq!(Scope::all_granting("a.b:c.d"), ["a.b:c.d", "a.*", "a.b:c.*", "*"]);
        assert_eq!(Scope::all_granting("keystile.read"), ["keystile.read", "keystile.*"]);
        assert_eq!(Scope::all_granting("chat"), ["chat", "*"]);
        assert!(Scope::all_granting("chat.*").is_empty());
        for granting in Scope::all_granting("a.b.c.d") {
            assert!(grants(&granting, "a.b.c.d"), "{granting}");
        }
    }

    #[test]
    fn what_is_not_a_literal_scope_is_never_granted() {
        for asked in ["", "*", "chat.*", "chat.", "chat..a", "chat.a b", &format!("chat.{}", "x".repeat(124))]
        {
            assert!(!is_literal_scope(asked), "{asked}");
            assert!(!grants("*", asked), "{asked}");
            assert!(!grants("chat.*", asked), "{asked}");
        }
    }
}
