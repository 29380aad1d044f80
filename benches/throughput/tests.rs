//! The tests of the throughput harness's arithmetic. They have a target of their own, because the benchmark's
//! cannot run tests.

mod message;
mod proc_stat;
mod statistics;

use std::time::Duration;

use bytes::Bytes;
use message::{Echo, PREFIX_BYTES, framed, unframed};
use proc_stat::{ProcessTimes, busy_ticks};
use prost::Message;
use statistics::{Spread, float, micros, percentile};

fn milliseconds(range: impl Iterator<Item = u64>) -> Vec<Duration> {
    range.map(Duration::from_millis).collect()
}

#[test]
fn the_median_of_an_odd_number_is_the_middle_one() {
    let spread = Spread::of([9.0, 1.0, 5.0]).unwrap();
    assert_eq!(spread, Spread { median: 5.0, min: 1.0, max: 9.0 });
}

#[test]
fn the_median_of_an_even_number_is_the_mean_of_the_middle_two() {
    let spread = Spread::of([4.0, 1.0, 100.0, 2.0]).unwrap();
    assert_eq!(spread, Spread { median: 3.0, min: 1.0, max: 100.0 });
}

#[test]
fn one_measurement_is_all_three_and_none_has_no_spread() {
    assert_eq!(Spread::of([2.5]), Some(Spread { median: 2.5, min: 2.5, max: 2.5 }));
    assert_eq!(Spread::of([]), None);
}

#[test]
fn a_percentile_is_the_nearest_rank() {
    let mut hundred = milliseconds((1..=100).rev());
    assert_eq!(percentile(&mut hundred, 99), Some(Duration::from_millis(99)));
    assert_eq!(percentile(&mut hundred, 50), Some(Duration::from_millis(50)));
    assert_eq!(percentile(&mut hundred, 100), Some(Duration::from_millis(100)));
    let mut two_hundred_and_one = milliseconds((1..=201).rev());
    assert_eq!(percentile(&mut two_hundred_and_one, 99), Some(Duration::from_millis(199)));
}

#[test]
fn a_percentile_of_few_is_the_greatest_and_of_none_is_none() {
    assert_eq!(percentile(&mut milliseconds(1..=3), 99), Some(Duration::from_millis(3)));
    assert_eq!(percentile(&mut milliseconds(7..=7), 0), Some(Duration::from_millis(7)));
    assert_eq!(percentile(&mut [], 99), None);
}

#[test]
fn units() {
    assert!((float(250_000) - 250_000.0).abs() < f64::EPSILON);
    assert!((micros(Duration::from_millis(3)) - 3000.0).abs() < 1e-6);
}

#[test]
fn the_fields_of_a_process() {
    let stat = "4711 (postgres) S 4700 4711 4711 0 -1 4194304 1 2 3 4 50 60 700 800 20 0 1 0 99 5 6 7";
    let times = ProcessTimes::parse(stat).unwrap();
    assert_eq!(times, ProcessTimes { parent: 4700, own: 110, ended_children: 1500 });
}

#[test]
fn a_name_may_hold_what_separates_fields() {
    let stat = "1 (a) b (c) 9 9) R 2 1 1 0 -1 0 0 0 0 0 5 6 7 8 20";
    let times = ProcessTimes::parse(stat).unwrap();
    assert_eq!(times, ProcessTimes { parent: 2, own: 11, ended_children: 15 });
}

#[test]
fn what_is_cut_short_is_refused() {
    assert_eq!(ProcessTimes::parse("1 (a) R 2 1 1 0 -1 0 0 0 0 0 5 6 7"), None);
    assert_eq!(ProcessTimes::parse(""), None);
    assert_eq!(busy_ticks("cpu 1 2 3 4"), None);
    assert_eq!(busy_ticks("cpu0 1 2 3 4 5 6 7 8"), None);
}

#[test]
fn the_machine_is_busy_unless_it_idles_or_waits() {
    let stat = "cpu  1 20 300 4000 50000 600000 7000000 80000000 1 0\ncpu0 1 1 1 1 1 1 1 1 1 1\n";
    assert_eq!(busy_ticks(stat), Some(87_600_321));
}

#[test]
#[cfg(target_os = "linux")]
fn this_machine_says_so_too() {
    let stat = std::fs::read_to_string("/proc/self/stat").unwrap();
    assert_eq!(ProcessTimes::parse(&stat).unwrap().parent, std::os::unix::process::parent_id());
    assert!(busy_ticks(&std::fs::read_to_string("/proc/stat").unwrap()).unwrap() > 0);
}

#[test]
fn an_echo_is_as_long_as_asked_for_or_the_next_shorter() {
    for bytes in (0..600).chain(16_000..17_000) {
        let length = Echo::of_size(bytes).encoded_len();
        // A payload of one byte takes three; of 128 bytes, one more than the length field before had.
        let odd = [1, 2, 130, 16_387].contains(&bytes);
        assert!(length == bytes || (odd && length < bytes), "{length} for {bytes}");
    }
}

#[test]
fn an_answer_is_cut_or_repeated() {
    let asked = Echo { payload: Bytes::from_static(b"abc") };
    assert_eq!(asked.answer(2).payload, "ab");
    assert_eq!(asked.answer(3).payload, "abc");
    assert_eq!(asked.answer(7).payload, "abcabca");
}

#[test]
fn a_frame_is_read_as_it_was_written() {
    let message = Echo::of_size(300);
    let frame = framed(&message);
    assert_eq!(frame.len(), PREFIX_BYTES + 300);
    assert_eq!(unframed(frame), Some(message.encode_to_vec().into()));
}

#[test]
fn what_is_not_one_whole_message_is_refused() {
    for body in [&b""[..], b"\0\0\0\0", b"\0\0\0\0\x02a", b"\0\0\0\0\x01ab", b"\x01\0\0\0\x01a"] {
        assert_eq!(unframed(Bytes::copy_from_slice(body)), None, "{body:?}");
    }
}
