//! A row's counters as bytes.

use proptest::collection::vec;
use proptest::prelude::*;

use super::terms;
use crate::limits::row::{Ring, Row};
use crate::limits::{CorruptRow, Limit, Need, decode, encode};

#[test]
fn a_row_takes_as_many_bytes_as_it_has_counters() {
    assert_eq!(decode(7, 3, &[]).map(|row| (row.time(), row.generation())), Ok((7, 3)));
    let mut row = Row::default();
    row.advance(1_700_000_000_000_000, &terms([Some(1 << 31), None, None, None, None, Some(9)]));
    assert_eq!(encode(&row), [1, 0, 0, 5, 0]);
    row.debit(1_700_000_000_000_000, Need { requests: 1, tokens: 300 });
    row.debit(1_700_000_002_000_000, Need { requests: 127, tokens: 1 });
    let bytes = [1, 0, 2, 128, 241, 167, 149, 3, 1, 1, 127, 5, 1, 158, 233, 28, 173, 2];
    assert_eq!(encode(&row), bytes);
    assert_eq!(decode(row.time(), row.generation(), &bytes), Ok(row));
}

#[test]
fn bytes_that_no_row_makes_are_corrupt() {
    let corrupt: [&[u8]; 11] = [
        &[0],
        &[2, 0, 0],
        &[1, 6, 0],
        &[1, 0],
        &[1, 0, 1, 5],
        &[1, 0, 1, 5, 0],
        &[1, 0, 2, 5, 1, 0, 1],
        &[1, 5, 0, 0, 0],
        &[1, 0, 0, 0, 0],
        &[1, 0, 1, 128, 0, 1],
        &[1, 0, 1, 255, 255, 255, 255, 255, 255, 255, 255, 255, 1, 1],
    ];
    for bytes in corrupt {
        assert_eq!(decode(0, 0, bytes), Err(CorruptRow), "{bytes:?}");
    }
}

/// Of each limit that there is, counters by distance.
fn row() -> impl Strategy<Value = Row> {
    let counts = vec((1..1_000_000_000_i64, 1..i64::MAX), 0..32);
    vec(proptest::option::of(counts), 6).prop_map(|limits| {
        let ring = |(limit, counts): (Limit, Option<Vec<(i64, i64)>>)| {
            let mut bucket = 0;
            let counts = counts?.into_iter().map(|(distance, count)| {
                bucket += distance;
                (bucket, count)
            });
            Some(Ring { limit, counts: counts.collect() })
        };
        let rings = Limit::ALL.into_iter().zip(limits).filter_map(ring).collect();
        Row { time: 5, generation: 2, rings }
    })
}

proptest! {
    #[test]
    fn every_row_is_read_as_it_was_written(row in row()) {
        prop_assert_eq!(decode(5, 2, &encode(&row)), Ok(row));
    }

    #[test]
    fn what_is_read_would_be_written_so(bytes in vec(prop_oneof![0..6_u8, 128..130_u8], 0..24)) {
        let bytes = [vec![1], bytes].concat();
        if let Ok(row) = decode(0, 0, &bytes) {
            prop_assert_eq!(encode(&row), bytes);
        }
    }
}
