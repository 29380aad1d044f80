//! Sums over threads, buckets at their bounds, labels that nobody outside can make.

use std::thread;
use std::time::Duration;

use super::*;
use crate::policy::Reason;

fn metrics() -> Arc<Metrics> {
    Metrics::new(vec!["a.B/C".to_owned(), "a.B/D".to_owned()], vec!["WRONG"])
}

/// The value of a series on the page.
fn value(metrics: &Metrics, series: &str) -> Option<String> {
    let page = metrics.page();
    let line = page.lines().find(|line| line.rsplit_once(' ').is_some_and(|(name, _)| name == series))?;
    line.rsplit_once(' ').map(|(_, value)| value.to_owned())
}

#[test]
fn counts_of_many_threads_add_up() {
    let metrics = metrics();
    thread::scope(|scope| {
        for _ in 0..20 {
            scope.spawn(|| {
                for _ in 0..1_000 {
                    metrics.calls.accepted.increment();
                    metrics.calls.batches.observe_members(3);
                    drop(Gauge::hold(&*metrics.calls.connections));
                }
            });
        }
    });
    assert_eq!(value(&metrics, "keystile_connections_accepted_total").as_deref(), Some("20000"));
    assert_eq!(value(&metrics, "keystile_batch_requests_sum").as_deref(), Some("60000"));
    assert_eq!(value(&metrics, "keystile_connections").as_deref(), Some("0"));
}

#[test]
fn what_is_taken_on_one_thread_and_given_back_on_another_is_zero() {
    let gauge = Arc::new(Gauge::default());
    let held: Vec<_> = (0..3).map(|_| Gauge::hold(Arc::clone(&gauge))).collect();
    assert_eq!(gauge.get(), 3);
    thread::spawn(move || drop(held)).join().unwrap();
    assert_eq!(gauge.get(), 0);
}

#[test]
fn a_bound_belongs_to_its_bucket() {
    let histogram = Histogram::new(Scale::MEMBERS);
    for members in [0, 1, 2, 3, 1_000, 1_001] {
        histogram.observe_members(members);
    }
    let said = histogram.read();
    let count_of = |bound: f64| said.buckets.iter().find(|(it, _)| *it == bound).unwrap().1;
    assert_eq!((count_of(1.0), count_of(2.0), count_of(5.0)), (2, 1, 1));
    assert_eq!((count_of(1_000.0), count_of(f64::INFINITY)), (1, 1));
    assert_eq!((said.count, said.sum), (6, 2_007.0));
}

#[test]
fn times_are_in_seconds() {
    let metrics = metrics();
    metrics.decisions.took(Some(true), Duration::from_micros(1_500));
    metrics.decisions.took(Some(true), Duration::from_millis(500));
    let series = |rest: &str| format!("keystile_decision_duration_seconds_{rest}");
    assert_eq!(value(&metrics, &series("sum{decision=\"ALLOW\"}")).as_deref(), Some("0.5015"));
    let below = |le: &str| value(&metrics, &series(&format!("bucket{{decision=\"ALLOW\",le=\"{le}\"}}")));
    assert_eq!(below("0.001").as_deref(), Some("0"));
    assert_eq!(below("0.0025").as_deref(), Some("1"));
    assert_eq!(below("+Inf").as_deref(), Some("2"));
}

#[test]
fn a_path_that_is_no_method_is_unknown_whatever_it_says() {
    let metrics = metrics();
    for path in ["/a.B/C", "/a.B/X", "a.B/C", "/", "", "/a.B/C\"} 7\nx 1", "*"] {
        let method = metrics.calls.method(path);
        drop(method.begin());
        method.end(0, Duration::ZERO);
    }
    let count = |method: &str| {
        value(&metrics, &format!("keystile_rpc_duration_seconds_count{{method=\"{method}\",code=\"OK\"}}"))
    };
    assert_eq!(count("a.B/C").as_deref(), Some("1"));
    assert_eq!(count("unknown").as_deref(), Some("6"));
    assert_eq!(count("a.B/D"), None, "never called");
}

#[test]
fn errors_are_counted_by_reasons_that_are_known() {
    let metrics = metrics();
    for reason in [Some("WRONG"), Some("MADE_UP"), None] {
        metrics.calls.count_error(reason);
    }
    assert_eq!(value(&metrics, "keystile_rpc_errors_total{reason=\"WRONG\"}").as_deref(), Some("1"));
    assert_eq!(value(&metrics, "keystile_rpc_errors_total{reason=\"OTHER\"}").as_deref(), Some("2"));
}

#[test]
fn every_reason_has_its_own_count() {
    let metrics = metrics();
    for (position, reason) in Reason::ALL.into_iter().enumerate() {
        (0..=position).for_each(|_| metrics.decisions.count(Some(reason), Some(reason)));
    }
    for (position, reason) in Reason::ALL.into_iter().enumerate() {
        let denied = format!("keystile_decisions_total{{decision=\"DENY\",reason=\"{reason}\"}}");
        let observed = format!("keystile_decisions_observed_total{{reason=\"{reason}\"}}");
        let expected = (position + 1).to_string();
        assert_eq!(value(&metrics, &denied), Some(expected.clone()), "{reason}");
        assert_eq!(value(&metrics, &observed), Some(expected), "{reason}");
    }
}

#[test]
fn a_pool_is_asked_when_somebody_reads() {
    let metrics = metrics();
    assert_eq!(value(&metrics, "keystile_store_connections_max").as_deref(), Some("0"));
    metrics.store.watch_pool(|| Connections { idle: 2, open: 5, max: 16, waiters: 3 });
    assert_eq!(value(&metrics, "keystile_store_connections{state=\"in_use\"}").as_deref(), Some("3"));
    assert_eq!(value(&metrics, "keystile_store_connection_waiters").as_deref(), Some("3"));
}

#[test]
fn handshakes_that_fail_are_counted_by_reasons_that_are_known() {
    let metrics = metrics();
    let failures = |reason: &str| {
        value(&metrics, &format!("keystile_tls_handshake_failures_total{{reason=\"{reason}\"}}"))
    };
    for reason in ["expired", "expired", "made up", "other"] {
        metrics.tls.count_failure(reason);
    }
    assert_eq!(failures("expired").as_deref(), Some("2"));
    assert_eq!(failures("other").as_deref(), Some("2"));
    assert_eq!(failures("left").as_deref(), Some("0"), "there from the start");
    assert_eq!(failures("made up"), None);
}

#[test]
fn a_certificate_expires_only_where_there_is_one() {
    let metrics = metrics();
    let expiry = || value(&metrics, "keystile_tls_certificate_expiry_timestamp_seconds");
    assert_eq!(expiry(), None, "0 would be an alert");
    metrics.tls.set_expiry(2_272_233_600);
    metrics.tls.set_expiry(2_272_233_601);
    assert_eq!(expiry().as_deref(), Some("2272233601"));
}
