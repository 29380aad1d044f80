//! Why a pattern was refused when it was written. What requests do wrong is a reason, not an error.

use std::fmt;

use super::path::MalformedPath;

/// A pattern of any kind is at most this many bytes, as given and in canonical form.
pub const PATTERN_BYTES_MAX: usize = 256;

/// Why a pattern was refused. Its `Display` completes "the field …": `must be at most 256 bytes`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum PatternError {
    /// Nothing was given.
    Empty,
    /// Longer than [`PATTERN_BYTES_MAX`].
    TooLong,
    /// Holds a control character.
    ControlCharacter,
    /// `*` stands elsewhere than at the end, or more than once.
    Wildcard,
    /// A method is not 1 to 32 upper-case ASCII letters.
    Method,
    /// An endpoint carries a query or a fragment, which requests are matched without.
    Query,
    /// The path cannot be normalised.
    Path(MalformedPath),
    /// Neither an IP address nor a CIDR (zone ids, ports and leading zeros included).
    Address,
    /// The prefix length is not a number from 0 to 32 (IPv4) or 128 (IPv6).
    PrefixLength,
    /// The address has bits set beyond its prefix length.
    HostBits,
}

impl fmt::Display for PatternError {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::Empty => "must not be empty",
            Self::TooLong => "must be at most 256 bytes",
            Self::ControlCharacter => "must not contain control characters",
            Self::Wildcard => "may hold one '*', as the last character only",
            Self::Method => "must start with '/', or with upper-case methods joined by ',' and one space",
            Self::Query => "must not hold a query or a fragment: requests are matched without",
            Self::Path(malformed) => return malformed.fmt(out),
            Self::Address => "must be an IPv4 or IPv6 address or CIDR, without zone id or port",
            Self::PrefixLength => "must have a prefix length of at most 32 (IPv4) or 128 (IPv6)",
            Self::HostBits => "must not have bits set beyond its prefix length",
        })
    }
}

impl std::error::Error for PatternError {}

impl From<MalformedPath> for PatternError {
    fn from(malformed: MalformedPath) -> Self {
        Self::Path(malformed)
    }
}
