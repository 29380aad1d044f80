//! How a line looks. `tracing-subscriber` writes it; what a call is known by is added at its end.

use std::fmt;

use tracing::{Event, Subscriber};
use tracing_subscriber::fmt::format::{DefaultFields, JsonFields, Writer};
use tracing_subscriber::fmt::{self as lines, FmtContext, FormatEvent, FormatFields, MakeWriter};
use tracing_subscriber::registry::LookupSpan;
use tracing_subscriber::{Layer, Registry};

use crate::call::{self, Call};
use crate::config::LogFormat;

/// A layer that writes lines.
pub(super) fn layer<W>(format: LogFormat, colour: bool, writer: W) -> Box<dyn Layer<Registry> + Send + Sync>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    match format {
        LogFormat::Pretty => {
            let of_call = OfCall { inner: lines::format().with_ansi(colour), format };
            lines::layer()
                .with_ansi(colour)
                .fmt_fields(DefaultFields::new())
                .event_format(of_call)
                .with_writer(writer)
                .boxed()
        }
        LogFormat::Json => {
            let json = lines::format().with_ansi(false).json().flatten_event(true).with_current_span(false);
            let of_call = OfCall { inner: json, format };
            lines::layer()
                .with_ansi(false)
                .fmt_fields(JsonFields::new())
                .event_format(of_call)
                .with_writer(writer)
                .boxed()
        }
    }
}

/// Lines that say which call they belong to.
struct OfCall<F> {
    inner: F,
    format: LogFormat,
}

impl<S, N, F> FormatEvent<S, N> for OfCall<F>
where
    S: Subscriber + for<'a> LookupSpan<'a>,
    N: for<'a> FormatFields<'a> + 'static,
    F: FormatEvent<S, N>,
{
    fn format_event(
        &self,
        context: &FmtContext<'_, S, N>,
        mut writer: Writer<'_>,
        event: &Event<'_>,
    ) -> fmt::Result {
        let words = match self.format {
            LogFormat::Pretty => call::current(in_words),
            LogFormat::Json => call::current(in_json),
        };
        let Some(words) = words else { return self.inner.format_event(context, writer, event) };
        let mut line = String::new();
        self.inner.format_event(context, Writer::new(&mut line), event)?;
        // A JSON line is an object: what is added goes before its end.
        let end = match self.format {
            LogFormat::Pretty => "",
            LogFormat::Json => "}",
        };
        let line = line.trim_end_matches('\n');
        writer.write_str(line.strip_suffix(end).unwrap_or(line))?;
        writer.write_str(&words)?;
        writer.write_str(end)?;
        writer.write_str("\n")
    }
}

fn in_words(call: &Call) -> String {
    let trace = call
        .trace()
        .map(|trace| format!(" trace.id={} span.id={}", trace.trace_id_hex(), trace.span_id_hex()));
    format!(" request.id={}{}", call.request_id(), trace.unwrap_or_default())
}

fn in_json(call: &Call) -> String {
    let trace = call.trace().map(|trace| {
        format!(",\"trace.id\":\"{}\",\"span.id\":\"{}\"", trace.trace_id_hex(), trace.span_id_hex())
    });
    // Quotes and backslashes of a caller's id are escaped.
    let id = serde_json::Value::from(call.request_id());
    format!(",\"request.id\":{id}{}", trace.unwrap_or_default())
}
