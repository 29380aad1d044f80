//! One way to write each path, so that a pattern cannot be passed by spelling the same path differently.
//!
//! Query and fragment are cut off; unreserved characters are percent-decoded once; other escapes get upper-case
//! hex; characters that RFC 3986 does not allow in a path are escaped; repeated slashes become one. A trailing
//! slash and letter case are significant. What a server behind the gateway might read in two ways is malformed.
//!
//! The result is ASCII and its own normal form. Work is bounded by [`PATH_BYTES_MAX`], whatever the input's length.

use std::borrow::Cow;
use std::fmt;

/// A path is at most this many bytes, without query and fragment, as given and normalised.
pub const PATH_BYTES_MAX: usize = 8192;

/// Why a path has no normal form. Its `Display` completes "the field …".
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum MalformedPath {
    /// Does not start with `/`.
    NotAbsolute,
    /// Longer than [`PATH_BYTES_MAX`].
    TooLong,
    /// Has a segment `.` or `..`, written in any way.
    DotSegment,
    /// Has a `%` that two hexadecimal digits do not follow.
    Escape,
    /// Has an encoded `/` or `%`, which decoding twice would reveal.
    EncodedDelimiter,
    /// Has a `\`, written in any way.
    Backslash,
    /// Has a control character (NUL, DEL and C1 included), written in any way.
    ControlCharacter,
    /// Its bytes, once decoded, are not UTF-8.
    NotUtf8,
}

impl fmt::Display for MalformedPath {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str(match self {
            Self::NotAbsolute => "must have a path that starts with '/'",
            Self::TooLong => "must have a path of at most 8192 bytes",
            Self::DotSegment => "must not have a path segment '.' or '..'",
            Self::Escape => "must have two hexadecimal digits after each '%'",
            Self::EncodedDelimiter => "must not have an encoded '/' or '%'",
            Self::Backslash => "must not contain '\\'",
            Self::ControlCharacter => "must not contain control characters",
            Self::NotUtf8 => "must be UTF-8 once decoded",
        })
    }
}

impl std::error::Error for MalformedPath {}

/// The normal form of a request's endpoint; borrowed when it was written that way.
///
/// # Errors
/// [`MalformedPath`] when the endpoint is ambiguous or no path at all.
pub fn normalise_path(endpoint: &[u8]) -> Result<Cow<'_, str>, MalformedPath> {
    match plain_path(endpoint) {
        Some(path) => Ok(Cow::Borrowed(path)),
        None => normalise_bytes(endpoint),
    }
}

/// The path of nearly every request, in one pass: characters that stand for themselves, in segments that are not
/// empty (but for the last) and do not start with a dot. `None` says nothing but that a closer look is needed.
fn plain_path(endpoint: &[u8]) -> Option<&str> {
    let mut after_slash = false;
    let mut end = endpoint.len();
    for (at, &byte) in endpoint.iter().enumerate().take(PATH_BYTES_MAX.saturating_add(1)) {
        match byte {
            b'/' | b'.' if after_slash => return None,
            b'/' => after_slash = true,
            b'?' | b'#' => {
                end = at;
                break;
            }
            _ if stands_for_itself(byte) => after_slash = false,
            _ => return None,
        }
    }
    let path = endpoint.get(..end).filter(|path| path.len() <= PATH_BYTES_MAX && path.starts_with(b"/"))?;
    std::str::from_utf8(path).ok()
}

/// Whether a raw byte is allowed in a path (RFC 3986 3.3) and means only itself there; `/` aside.
fn stands_for_itself(byte: u8) -> bool {
    is_unreserved(byte) || matches!(byte, b':' | b'@' | b'!' | b'$' | b'&'..=b',' | b';' | b'=')
}

fn is_unreserved(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~')
}

fn normalise_bytes(endpoint: &[u8]) -> Result<Cow<'_, str>, MalformedPath> {
    let source = cut_query(endpoint)?;
    if source.first() != Some(&b'/') {
        return Err(MalformedPath::NotAbsolute);
    }
    let mut output = Output { source, owned: None };
    let mut segment = Segment::default();
    let mut character = Character::default();
    let mut at: usize = 0;
    while let Some(&byte) = source.get(at) {
        let escaped = byte == b'%';
        let (taken, value) = if escaped { (3, decode_escape(source, at)?) } else { (1, byte) };
        character.push(value)?;
        let unit = normalise_byte(value, escaped)?;
        if unit == Unit::Plain(b'/') {
            let repeated = at > 0 && segment.is_empty();
            segment.end()?;
            output.write(at, taken, if repeated { Unit::Nothing } else { unit });
        } else {
            segment.push(unit);
            output.write(at, taken, unit);
        }
        at = at.saturating_add(taken);
    }
    character.end()?;
    segment.end()?;
    output.finish()
}

/// What comes before the first `?` or `#`. Never looks further than the longest path.
fn cut_query(endpoint: &[u8]) -> Result<&[u8], MalformedPath> {
    let longest = endpoint.iter().take(PATH_BYTES_MAX.saturating_add(1));
    match longest.clone().position(|byte| matches!(byte, b'?' | b'#')) {
        Some(end) => Ok(endpoint.get(..end).unwrap_or_default()),
        None if longest.len() > PATH_BYTES_MAX => Err(MalformedPath::TooLong),
        None => Ok(endpoint),
    }
}

fn decode_escape(source: &[u8], at: usize) -> Result<u8, MalformedPath> {
    let digit = |offset: usize| {
        let byte = *source.get(at.saturating_add(offset))?;
        char::from(byte).to_digit(16).and_then(|value| u8::try_from(value).ok())
    };
    match (digit(1), digit(2)) {
        (Some(high), Some(low)) => Ok(high << 4 | low),
        _ => Err(MalformedPath::Escape),
    }
}

/// How one decoded byte is written in normal form.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unit {
    Plain(u8),
    Escape(u8),
    Nothing,
}

fn normalise_byte(value: u8, escaped: bool) -> Result<Unit, MalformedPath> {
    match value {
        0..=0x1F | 0x7F => Err(MalformedPath::ControlCharacter),
        b'\\' => Err(MalformedPath::Backslash),
        b'/' | b'%' if escaped => Err(MalformedPath::EncodedDelimiter),
        _ if is_unreserved(value) => Ok(Unit::Plain(value)),
        // Sub-delimiters and the like mean something else when escaped (RFC 3986 2.2): each stays as it is.
        _ if !escaped && (value == b'/' || stands_for_itself(value)) => Ok(Unit::Plain(value)),
        _ => Ok(Unit::Escape(value)),
    }
}

/// Whether the segment that is being read is `.` or `..`.
#[derive(Default)]
struct Segment {
    units: usize,
    dots: usize,
}

impl Segment {
    fn is_empty(&self) -> bool {
        self.units == 0
    }

    fn push(&mut self, unit: Unit) {
        self.units = self.units.saturating_add(1);
        self.dots = self.dots.saturating_add(usize::from(unit == Unit::Plain(b'.')));
    }

    fn end(&mut self) -> Result<(), MalformedPath> {
        let is_dots = self.units == self.dots && matches!(self.units, 1 | 2);
        *self = Self::default();
        if is_dots { Err(MalformedPath::DotSegment) } else { Ok(()) }
    }
}

/// The UTF-8 sequence that is being read, raw and escaped bytes alike.
#[derive(Default)]
struct Character {
    bytes: [u8; 4],
    len: usize,
}

impl Character {
    fn push(&mut self, value: u8) -> Result<(), MalformedPath> {
        if value.is_ascii() {
            return self.end();
        }
        *self.bytes.get_mut(self.len).ok_or(MalformedPath::NotUtf8)? = value;
        self.len = self.len.saturating_add(1);
        match std::str::from_utf8(self.bytes.get(..self.len).unwrap_or_default()) {
            Ok(character) if character.contains(char::is_control) => Err(MalformedPath::ControlCharacter),
            Ok(_) => {
                self.len = 0;
                Ok(())
            }
            Err(error) if error.error_len().is_none() => Ok(()),
            Err(_) => Err(MalformedPath::NotUtf8),
        }
    }

    fn end(&self) -> Result<(), MalformedPath> {
        if self.len == 0 { Ok(()) } else { Err(MalformedPath::NotUtf8) }
    }
}

/// The normal form so far: the source itself until it first differs.
struct Output<'a> {
    source: &'a [u8],
    owned: Option<String>,
}

impl<'a> Output<'a> {
    /// Appends what replaces `taken` bytes of the source from `at` on.
    fn write(&mut self, at: usize, taken: usize, unit: Unit) {
        if self.owned.is_none() && self.is_unchanged(at, taken, unit) {
            return;
        }
        // All before `at` is already normal, and so ASCII.
        let normal = self.source.iter().take(at).copied().map(char::from);
        let owned = self.owned.get_or_insert_with(|| normal.collect());
        match unit {
            Unit::Plain(byte) => owned.push(char::from(byte)),
            Unit::Escape(byte) => owned.extend(['%', hex_digit(byte >> 4), hex_digit(byte & 0xF)]),
            Unit::Nothing => {}
        }
    }

    fn is_unchanged(&self, at: usize, taken: usize, unit: Unit) -> bool {
        match unit {
            Unit::Plain(_) => taken == 1,
            Unit::Escape(_) => {
                taken == 3 && !self.source.iter().skip(at).take(taken).any(u8::is_ascii_lowercase)
            }
            Unit::Nothing => false,
        }
    }

    fn finish(self) -> Result<Cow<'a, str>, MalformedPath> {
        match self.owned {
            Some(path) if path.len() > PATH_BYTES_MAX => Err(MalformedPath::TooLong),
            Some(path) => Ok(Cow::Owned(path)),
            None => std::str::from_utf8(self.source).map(Cow::Borrowed).map_err(|_| MalformedPath::NotUtf8),
        }
    }
}

fn hex_digit(nibble: u8) -> char {
    char::from_digit(u32::from(nibble), 16).unwrap_or('0').to_ascii_uppercase()
}

#[cfg(test)]
mod tests;
