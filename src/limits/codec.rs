//! A row's counters as bytes: what is 0 takes no room, numbers take as many bytes as they need.
//!
//! A version; for each limit a tag, the count of its sub-buckets, the number of the first and the distance to each
//! further one, each with its counter. All numbers are unsigned LEB128.

use std::error::Error;
use std::fmt;

use super::row::{Ring, Row};
use super::{Limit, RowTime};

const VERSION: u8 = 1;

/// Bytes that are no counters.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct CorruptRow;

impl fmt::Display for CorruptRow {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        out.write_str("counters of rate limits do not parse")
    }
}

impl Error for CorruptRow {}

/// The counters of a row.
#[must_use]
pub fn encode(row: &Row) -> Vec<u8> {
    let mut bytes = vec![VERSION];
    for ring in &row.rings {
        let tag = Limit::ALL.iter().position(|limit| *limit == ring.limit).unwrap_or_default();
        bytes.push(u8::try_from(tag).unwrap_or_default());
        put(&mut bytes, ring.counts.len().try_into().unwrap_or_default());
        let mut before = 0;
        for (bucket, count) in &ring.counts {
            put(&mut bytes, bucket.saturating_sub(before));
            put(&mut bytes, *count);
            before = *bucket;
        }
    }
    bytes
}

/// The row that has these counters.
///
/// # Errors
/// [`CorruptRow`] for anything that [`encode`] does not make.
pub fn decode(time: RowTime, generation: i64, bytes: &[u8]) -> Result<Row, CorruptRow> {
    let mut row = Row { time, generation, rings: Vec::new() };
    // A row that nothing was debited from yet.
    let Some((version, mut rest)) = bytes.split_first() else { return Ok(row) };
    if *version != VERSION {
        return Err(CorruptRow);
    }
    while let Some((tag, after)) = rest.split_first() {
        rest = after;
        let limit = *Limit::ALL.get(usize::from(*tag)).ok_or(CorruptRow)?;
        if row.rings.last().is_some_and(|ring| ring.limit >= limit) {
            return Err(CorruptRow);
        }
        let mut counts = Vec::new();
        let mut before = 0;
        for position in 0..take(&mut rest)? {
            let distance = take(&mut rest)?;
            let bucket = distance.checked_add(before).ok_or(CorruptRow)?;
            let count = take(&mut rest)?;
            if count == 0 || position > 0 && distance == 0 {
                return Err(CorruptRow);
            }
            counts.push((bucket, count));
            before = bucket;
        }
        row.rings.push(Ring { limit, counts });
    }
    Ok(row)
}

/// Numbers here are never negative.
fn put(bytes: &mut Vec<u8>, number: i64) {
    let mut rest = number.max(0).cast_unsigned();
    loop {
        let low = u8::try_from(rest & 0x7f).unwrap_or_default();
        rest >>= 7;
        if rest == 0 {
            bytes.push(low);
            return;
        }
        bytes.push(low | 0x80);
    }
}

fn take(rest: &mut &[u8]) -> Result<i64, CorruptRow> {
    let mut number: u64 = 0;
    for shift in (0..63).step_by(7) {
        let (byte, after) = rest.split_first().ok_or(CorruptRow)?;
        *rest = after;
        number |= u64::from(byte & 0x7f) << shift;
        if byte & 0x80 == 0 {
            if *byte == 0 && shift > 0 {
                return Err(CorruptRow);
            }
            return i64::try_from(number).map_err(|_| CorruptRow);
        }
    }
    Err(CorruptRow)
}
