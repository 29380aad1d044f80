//! Logging: where the lines of `tracing` go.
//!
//! - Log lines go to stderr; stdout belongs to what a command prints.
//! - Times are UTC. Colour only on a terminal, and never where `NO_COLOR` is set.
//! - JSON lines carry the event's fields on their top level, named as they were logged (`key.id`).
//!
//! What does not belong here: what is logged, which is decided where an error is handled.

use std::io::{IsTerminal, stderr};

use tracing::Subscriber;
use tracing_subscriber::EnvFilter;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};

use crate::config::environment::value_of;
use crate::config::{Log, LogFormat};

/// Logging could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none: see `KEYSTILE_LOG`.
    #[error("KEYSTILE_LOG: {0}")]
    Filter(#[from] ParseError),
    /// This process logs already.
    #[error("logging is set up already: {0}")]
    Twice(#[from] TryInitError),
}

/// Sends the log of this process to stderr, as `log` says. Once a process.
///
/// # Errors
/// [`TelemetryError`], when the filter does not parse or logging was set up before.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    let colour = stderr().is_terminal() && value_of("NO_COLOR").is_none();
    subscriber(log, colour, stderr)?.try_init()?;
    Ok(())
}

fn subscriber<W>(log: &Log, colour: bool, writer: W) -> Result<Box<dyn Subscriber + Send + Sync>, ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let builder = tracing_subscriber::fmt()
        .with_env_filter(EnvFilter::builder().parse(&log.filter)?)
        .with_writer(writer);
    Ok(match log.format {
        LogFormat::Pretty => Box::new(builder.with_ansi(colour).finish()),
        LogFormat::Json => {
            Box::new(builder.with_ansi(false).json().flatten_event(true).with_current_span(false).finish())
        }
    })
}

#[cfg(test)]
mod tests {
    use std::io;
    use std::sync::{Arc, Mutex};

    use super::*;

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

    fn logged(format: LogFormat, filter: &str) -> String {
        let lines = Lines::default();
        let writer = lines.clone();
        let log = Log { format, filter: filter.to_owned() };
        let subscriber = subscriber(&log, false, move || writer.clone()).unwrap();
        tracing::subscriber::with_default(subscriber, || {
            tracing::info!(key.id = 17, "key loaded");
            tracing::debug!("detail");
        });
        let bytes = lines.0.lock().unwrap().clone();
        String::from_utf8(bytes).unwrap()
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
}
