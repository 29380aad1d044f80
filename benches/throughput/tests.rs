//! The tests of the throughput harness's arithmetic. They have a target of their own, because the benchmark's
//! cannot run tests.

mod admissions;
#[cfg(test)]
mod admissions_tests;
mod call;
mod cells;
#[cfg(test)]
mod cells_tests;
mod message;
mod metrics_page;
mod proc_stat;
mod random;
mod scale;
mod schedule;
mod statistics;
mod svg;
mod template;
mod tokens;
mod zipf;

use std::collections::HashSet;
use std::time::Duration;

use bytes::Bytes;
use call::{Call, End, Record};
use keystile::token::{Brand, Presented};
use message::{Echo, PREFIX_BYTES, framed, unframed};
use proc_stat::{ProcessTimes, busy_ticks};
use prost::Message;
use random::Random;
use scale::{Linear, Logarithmic, short};
use schedule::Schedule;
use statistics::{Spread, float, micros, percentile};
use svg::{Chart, Panel, Series};
use template::Template;
use tokens::{Forgery, Tokens};
use zipf::Zipf;

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

#[test]
fn a_ratio_is_taken_pair_by_pair() {
    // The ratio of the medians would be 2.
    let ratio = Spread::of_ratios([(10.0, 1.0), (20.0, 20.0), (30.0, 10.0)]).unwrap();
    assert_eq!(ratio, Spread { median: 3.0, min: 1.0, max: 10.0 });
    assert_eq!(Spread::of_ratios([]), None);
}

#[test]
fn a_spread_is_written_short() {
    let spread = Spread { median: 1.0 / 3.0, min: 0.0, max: 2.0 };
    assert_eq!(spread.text(2), "0.33 (0.00 to 2.00)");
    assert_eq!(spread.times(3.0).text(0), "1 (0 to 6)");
    assert_eq!(serde_json::to_string(&spread).unwrap(), r#"{"median":0.3333,"min":0.0,"max":2.0}"#);
}

#[test]
fn random_numbers_are_the_same_in_every_run_and_spread_evenly() {
    // SplitMix64 of Vigna's reference, seed 1234567.
    assert_eq!(Random::new(1_234_567).bits(), 6_457_827_717_110_365_317);
    let mut random = Random::new(3);
    let units: Vec<f64> = (0..10_000).map(|_| random.unit()).collect();
    assert!(units.iter().all(|unit| *unit > 0.0 && *unit <= 1.0));
    let mean = units.iter().sum::<f64>() / 10_000.0;
    assert!((mean - 0.5).abs() < 0.02, "{mean}");
    let digits: HashSet<u8> = (0..10_000).map(|_| random.digit()).collect();
    assert_eq!(digits.len(), 62);
    assert!(digits.iter().all(u8::is_ascii_alphanumeric));
}

#[test]
fn a_schedule_has_so_many_calls_a_second_at_uneven_gaps() {
    let calls: Vec<Duration> = Schedule::new(1000.0, 7).take(100_000).collect();
    let lasted = calls.last().unwrap().as_secs_f64();
    assert!((lasted - 100.0).abs() < 2.0, "{lasted}");
    assert!(calls.is_sorted());
    // Of exponential gaps, e⁻¹ are longer than the mean.
    let gaps = calls.windows(2).map(|pair| (pair[1] - pair[0]).as_secs_f64());
    let long = float(gaps.filter(|gap| *gap > 0.001).count()) / 100_000.0;
    assert!((long - 0.3679).abs() < 0.01, "{long}");
}

#[test]
fn a_schedule_is_the_same_for_the_same_seed_and_none_at_no_rate() {
    let of = |seed| Schedule::new(500.0, seed).take(100).collect::<Vec<_>>();
    assert_eq!(of(1), of(1));
    assert_ne!(of(1), of(2));
    assert_eq!(Schedule::new(0.0, 1).next(), None);
}

#[test]
fn zipf_prefers_low_ranks_by_its_law() {
    let zipf = Zipf::new(1000, 1.0);
    let draws = zipf.sequence(200_000, &mut Random::new(5));
    let share = |rank: usize| float(draws.iter().filter(|draw| **draw == rank).count()) / 200_000.0;
    // The sum of 1/r up to 1000 is 7.4855.
    for (rank, expected) in [(0, 1.0 / 7.4855), (1, 0.5 / 7.4855), (9, 0.1 / 7.4855)] {
        assert!((share(rank) - expected).abs() < 0.004, "{rank}: {} for {expected}", share(rank));
    }
    assert!(draws.iter().all(|draw| *draw < 1000));
}

#[test]
fn zipf_reaches_its_ends_and_without_an_exponent_is_even() {
    let even = Zipf::new(4, 0.0);
    let ranks = [0.0001, 0.25, 0.2501, 0.75, 1.0].map(|place| even.rank(place));
    assert_eq!(ranks, [0, 0, 1, 2, 3]);
    assert_eq!(Zipf::new(0, 1.0).rank(1.0), 0);
}

#[test]
fn tokens_lie_side_by_side() {
    let mut tokens = Tokens::of_length(3);
    assert!(tokens.push("abc") && tokens.push("def") && !tokens.push("toolong"));
    let mut all = Tokens::default();
    assert_eq!((all.len(), all.get(0)), (0, Some(&b""[..])));
    all.append(&tokens);
    all.append(&tokens);
    assert_eq!(all.len(), 4);
    assert_eq!((all.get(0), all.get(3), all.get(4)), (Some(&b"abc"[..]), Some(&b"def"[..]), None));
}

#[test]
fn forged_tokens_have_the_form_that_they_claim() {
    let brand = Brand::default();
    let mut random = Random::new(1);
    for _ in 0..100 {
        let nobodys = Forgery::Nobodys.token(&mut random);
        assert!(Presented::classify(&nobodys, &brand).unwrap().is_own());
        let wrong = Forgery::WrongSecret("ks_0123456789AB".to_owned()).token(&mut random);
        let wrong = Presented::classify(&wrong, &brand).unwrap();
        assert!(wrong.is_own() && wrong.prefix() == "ks_0123456789AB");
        let forgery = Forgery::WrongImported { prefix: "abcdefgh".to_owned(), length: 40 };
        let imported = forgery.token(&mut random);
        let wrong = Presented::classify(&imported, &brand).unwrap();
        assert!(!wrong.is_own() && wrong.prefix() == "abcdefgh" && imported.len() == 40);
    }
    assert_ne!(Forgery::Nobodys.token(&mut random), Forgery::Nobodys.token(&mut random));
}

#[test]
fn a_template_changes_the_token_only() {
    let request = |payload: &'static str| Echo { payload: Bytes::from_static(payload.as_bytes()) };
    let template = Template::of(&request("before TOKEN after"), b"TOKEN").unwrap();
    assert_eq!(template.with(b"other"), Some(framed(&request("before other after"))));
    assert_eq!(template.with(b"longer"), None);
    assert!(Template::of(&request("nothing here"), b"TOKEN").is_none());
}

#[test]
fn samples_are_read_from_a_metrics_page() {
    let page = "# HELP a_keys Keys\na_keys 12\na_keys_more 3\nb_total{kind=\"x\"} 2\nb_total{kind=\"y\"} 5\n";
    assert_eq!(metrics_page::value(page, "a_keys"), Some(12.0));
    assert_eq!(metrics_page::value(page, "b_total"), None);
    assert_eq!(metrics_page::value(page, "nothing"), None);
    assert_eq!(metrics_page::body("HTTP/1.1 200 OK\r\nA: b\r\n\r\nall of it"), Some("all of it"));
    assert_eq!(metrics_page::body("HTTP/1.1 404 Not Found\r\n\r\nno"), None);
}

#[test]
fn equal_ratios_are_equally_far_apart() {
    let axis = Logarithmic::over([1000.0, 1e6, 1e4]).unwrap();
    for (number, place) in [(1e3, 0.0), (1e4, 1.0 / 3.0), (1e5, 2.0 / 3.0), (1e6, 1.0)] {
        assert!((axis.place(number) - place).abs() < 1e-9, "{number}");
    }
    assert!(Logarithmic::over([5.0, 5.0]).is_none());
    assert!(Logarithmic::over([0.0, 5.0]).is_none());
    assert!(Logarithmic::over([]).is_none());
}

#[test]
fn marks_are_round_and_reach_over_the_most() {
    for (most, step, to) in
        [(100.0, 20.0, 100.0), (101.0, 20.0, 120.0), (7.3, 1.0, 8.0), (83_000.0, 20_000.0, 100_000.0)]
    {
        let axis = Linear::up_to(most);
        assert!((axis.step - step).abs() < 1e-9 && (axis.to - to).abs() < 1e-9, "{most}: {axis:?}");
        assert!((4..=8).contains(&(axis.marks().len() - 1)), "{most}: {:?}", axis.marks());
        assert!((axis.marks().last().unwrap() - to).abs() < 1e-6);
    }
    assert!((Linear::up_to(50.0).place(25.0) - 0.5).abs() < 1e-9);
    assert!(Linear::up_to(0.0).to > 0.0);
}

#[test]
fn numbers_at_an_axis_are_short() {
    let written = [0.0, 1.0, 2.5, 0.05, 64.0, 1000.0, 1500.0, 1250.0, 80_000.0, 1e6, 2.5e6].map(short);
    assert_eq!(written, ["0", "1", "2.5", "0.05", "64", "1k", "1.5k", "1.25k", "80k", "1M", "2.5M"]);
}

#[test]
fn a_chart_names_its_axes_and_escapes_what_it_is_told() {
    let spread = |median| Spread { median, min: median - 1.0, max: median + 1.0 };
    let series = |name: &str| Series {
        name: name.to_owned(),
        points: vec![(1.0, spread(10.0)), (100.0, spread(20.0))],
    };
    let panel = Panel { up: "decisions/s".to_owned(), series: vec![series("a < b"), series("echo")] };
    let chart = Chart { title: "T & U".to_owned(), across: "keys".to_owned(), panels: vec![panel] };
    let svg = chart.svg().unwrap();
    for part in
        ["T &amp; U", "decisions/s", ">keys<", "a &lt; b", ">echo<", "prefers-color-scheme:dark", ">100<"]
    {
        assert!(svg.contains(part), "{part} is not in {svg}");
    }
    assert_eq!(svg.matches("<circle").count(), 4);
    // The first point stands at the left, the last at the right; their medians at their heights: 10 and 20 of 25.
    assert!(svg.contains("M70.0 216.0 L400.0 128.0"), "{svg}");
    let empty = Chart { title: String::new(), across: String::new(), panels: Vec::new() };
    assert!(empty.svg().is_none());
}

#[test]
fn a_call_is_remembered_as_it_was_however_many_there_are() {
    let began = keystile::clock::monotonic_now();
    let ends = [End::Answered, End::Shed, End::Unanswered];
    let mut record = Record::default();
    for (number, end) in (0..10_000).zip(ends.into_iter().cycle()) {
        record.push(Call::new(began, Duration::from_nanos(number), end));
    }
    assert_eq!(record.len(), 10_000);
    let calls = record.into_calls();
    assert_eq!(calls.len(), 10_000);
    for ((number, end), call) in (0..10_000).zip(ends.into_iter().cycle()).zip(calls) {
        let took = Duration::from_nanos(number);
        assert_eq!((call.took(), call.end(), call.answered()), (took, end, began + took));
    }
    let longest = Call::new(began, Duration::MAX, End::Shed);
    assert_eq!((longest.took(), longest.end()), (Duration::from_nanos(u64::MAX >> 2), End::Shed));
}
