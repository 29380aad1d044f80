//! The header `traceparent` of W3C Trace Context: which trace a call is part of.

use std::fmt;

/// A `traceparent` that is well formed. Any other is ignored, as the recommendation asks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct TraceParent {
    trace_id: [u8; 16],
    span_id: [u8; 8],
    flags: u8,
}

impl TraceParent {
    /// Of ids that are known to be valid: not all zeros.
    #[must_use]
    pub fn new(trace_id: [u8; 16], span_id: [u8; 8], flags: u8) -> Self {
        Self { trace_id, span_id, flags }
    }

    /// Reads `00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01`. Later versions may have more behind it.
    #[must_use]
    pub fn parse(text: &[u8]) -> Option<Self> {
        let (known, rest) = text.split_at_checked(55)?;
        let mut parts = known.split(|byte| *byte == b'-');
        let [version] = hex(parts.next()?)?;
        let trace_id: [u8; 16] = hex(parts.next()?)?;
        let span_id: [u8; 8] = hex(parts.next()?)?;
        let [flags] = hex(parts.next()?)?;
        let is_whole =
            parts.next().is_none() && (rest.is_empty() || (version != 0 && rest.starts_with(b"-")));
        let is_valid = version != 0xff && trace_id != [0; 16] && span_id != [0; 8];
        (is_whole && is_valid).then_some(Self { trace_id, span_id, flags })
    }

    /// The trace.
    #[must_use]
    pub fn trace_id(&self) -> [u8; 16] {
        self.trace_id
    }

    /// The caller's span.
    #[must_use]
    pub fn span_id(&self) -> [u8; 8] {
        self.span_id
    }

    /// `trace-flags`; the lowest bit says that the caller keeps the trace.
    #[must_use]
    pub fn flags(&self) -> u8 {
        self.flags
    }

    /// [`TraceParent::trace_id`] as it is written.
    #[must_use]
    pub fn trace_id_hex(&self) -> String {
        format!("{:032x}", u128::from_be_bytes(self.trace_id))
    }

    /// [`TraceParent::span_id`] as it is written.
    #[must_use]
    pub fn span_id_hex(&self) -> String {
        format!("{:016x}", u64::from_be_bytes(self.span_id))
    }
}

impl fmt::Debug for TraceParent {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}-{:02x}", self.trace_id_hex(), self.span_id_hex(), self.flags)
    }
}

/// Lower case only: the recommendation has no other.
fn hex<const N: usize>(text: &[u8]) -> Option<[u8; N]> {
    let (pairs, rest) = text.as_chunks::<2>();
    if pairs.len() != N || !rest.is_empty() {
        return None;
    }
    let digit = |byte: u8| match byte {
        b'0'..=b'9' => Some(byte.wrapping_sub(b'0')),
        b'a'..=b'f' => Some(byte.wrapping_sub(b'a').wrapping_add(10)),
        _ => None,
    };
    let mut bytes = [0; N];
    for (byte, [high, low]) in bytes.iter_mut().zip(pairs) {
        *byte = digit(*high)? << 4 | digit(*low)?;
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const GOOD: &str = "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

    #[test]
    fn a_good_one_is_read() {
        let read = TraceParent::parse(GOOD.as_bytes()).unwrap();
        assert_eq!(read.trace_id_hex(), "4bf92f3577b34da6a3ce929d0e0e4736");
        assert_eq!(read.span_id_hex(), "00f067aa0ba902b7");
        assert_eq!(read.flags(), 1);
        let later = GOOD.replacen("00", "cc", 1) + "-what-comes";
        assert_eq!(TraceParent::parse(later.as_bytes()), Some(read));
    }

    #[test]
    fn any_other_is_none() {
        let zero_trace = GOOD.replace("4bf92f3577b34da6a3ce929d0e0e4736", &"0".repeat(32));
        let zero_span = GOOD.replace("00f067aa0ba902b7", &"0".repeat(16));
        let cases = [
            String::new(),
            GOOD.strip_suffix('1').unwrap().to_owned(),
            format!("{GOOD}-more"),
            format!("{GOOD}1"),
            format!(" {GOOD}"),
            GOOD.to_uppercase(),
            GOOD.replace('-', "_"),
            GOOD.replacen("00-", "ff-", 1),
            GOOD.replacen("00-", "cc-", 1) + "x",
            zero_trace,
            zero_span,
            GOOD.replace("01", "0g"),
            "-".repeat(55),
        ];
        for case in cases {
            assert_eq!(TraceParent::parse(case.as_bytes()), None, "{case}");
        }
    }

    proptest! {
        #[test]
        fn any_bytes_are_read_or_not(bytes in prop::collection::vec(any::<u8>(), 0..80)) {
            if let Some(read) = TraceParent::parse(&bytes) {
                prop_assert!(bytes.len() >= 55 && read.trace_id() != [0; 16]);
            }
        }
    }
}
