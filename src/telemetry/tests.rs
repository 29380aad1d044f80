//! Lines as they are written, into memory.

use std::io;
use std::sync::{Arc, Mutex};

use super::*;
use crate::call::{self, Call, TraceParent};
use crate::config::LogFormat;

#[derive(Clone, Default)]
struct Lines(Arc<Mutex<Vec<u8>>>);

impl io::Write for Lines {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        self.0.lock().unwrap().write(bytes)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

fn lines_of(format: LogFormat, filter: &str, work: impl FnOnce()) -> String {
    let lines = Lines::default();
    let writer = lines.clone();
    let log = Log { format, filter: filter.to_owned() };
    let subscriber = subscriber(&log, false, move || writer.clone(), None).unwrap();
    tracing::subscriber::with_default(subscriber, work);
    let bytes = lines.0.lock().unwrap().clone();
    String::from_utf8(bytes).unwrap()
}

fn logged(format: LogFormat, filter: &str) -> String {
    lines_of(format, filter, || {
        tracing::info!(key.id = 17, "key loaded");
        tracing::debug!("detail");
    })
}

const TRACEPARENT: &[u8] = b"00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01";

fn within_call(format: LogFormat, request_id: &str) -> String {
    let call = Call::new(request_id.to_owned(), TraceParent::parse(TRACEPARENT));
    lines_of(format, "info", || call::within(call, || tracing::info!(key.id = 17, "key loaded")))
}

#[test]
fn json_lines_of_a_call_say_which_on_their_top_level() {
    let logged = within_call(LogFormat::Json, "a \"quoted\" \\ id");
    let line: serde_json::Value = serde_json::from_str(logged.trim()).unwrap();
    assert_eq!(line["key.id"], 17);
    assert_eq!(line["request.id"], "a \"quoted\" \\ id");
    assert_eq!(line["trace.id"], "4bf92f3577b34da6a3ce929d0e0e4736");
    assert_eq!(line["span.id"], "00f067aa0ba902b7");
    assert!(logged.ends_with("}\n") && logged.lines().count() == 1, "{logged}");
}

#[test]
fn pretty_lines_of_a_call_say_which_at_their_end() {
    let logged = within_call(LogFormat::Pretty, "r-1");
    let end = "key loaded key.id=17 request.id=r-1 trace.id=4bf92f3577b34da6a3ce929d0e0e4736 \
               span.id=00f067aa0ba902b7\n";
    assert!(logged.ends_with(end), "{logged}");
}

#[test]
fn json_lines_have_the_fields_on_their_top_level() {
    let logged = logged(LogFormat::Json, "info");
    let line: serde_json::Value = serde_json::from_str(logged.trim()).unwrap();
    assert_eq!(line["key.id"], 17);
    assert_eq!(line["message"], "key loaded");
    assert_eq!(line["level"], "INFO");
}

#[test]
fn pretty_lines_are_plain_without_a_terminal() {
    let logged = logged(LogFormat::Pretty, "debug");
    assert_eq!(logged.lines().count(), 2);
    assert!(logged.contains("key loaded key.id=17"), "{logged}");
    assert!(!logged.contains('\u{1b}'), "{logged}");
}

#[test]
fn the_filter_decides_what_is_logged() {
    assert_eq!(logged(LogFormat::Pretty, "error"), "");
    assert_eq!(logged(LogFormat::Json, "info").lines().count(), 1);
}
