//! What the service tells of itself while it runs: where the lines of `tracing` go, which of its spans a collector
//! gets, and the operations port.
//!
//! - Log lines go to stderr; stdout belongs to what a command prints.
//! - Times are UTC. Colour only on a terminal, and never where `NO_COLOR` is set.
//! - JSON lines carry the event's fields on their top level, named as they were logged (`key.id`), and those of the
//!   call that they belong to (`request.id`, `trace.id`, `span.id`).
//! - Records of the crate `log` are not taken in: PostgreSQL's driver writes the values of every statement there,
//!   and ours are digests and hashes.
//!
//! What does not belong here: what is logged, which is decided where an error is handled; what is counted
//! ([`crate::metrics`]).

mod lines;
mod ops;
mod traces;

pub use ops::Ops;

use std::io::{IsTerminal, stderr};
use std::time::Duration;

use opentelemetry_otlp::ExporterBuildError;
use tracing::Subscriber;
use tracing::subscriber::SetGlobalDefaultError;
use tracing_subscriber::filter::ParseError;
use tracing_subscriber::fmt::MakeWriter;
use tracing_subscriber::layer::SubscriberExt as _;
use tracing_subscriber::{EnvFilter, Layer, Registry};

use crate::config::environment::value_of;
use crate::config::{self, Log};
use traces::Traces;

/// Spans that wait when the process ends get so long to reach the collector.
const FLUSH_MAX: Duration = Duration::from_secs(2);

/// Logging or tracing could not be set up.
#[derive(Debug, thiserror::Error)]
pub enum TelemetryError {
    /// The filter is none: see `KEYSTILE_LOG`.
    #[error("KEYSTILE_LOG: {0}")]
    Filter(#[from] ParseError),
    /// The collector cannot be spoken with, whatever it answers.
    #[error("KEYSTILE_OTLP_ENDPOINT: {0}")]
    Otlp(#[from] ExporterBuildError),
    /// This process logs already.
    #[error("logging is set up already: {0}")]
    Twice(#[from] SetGlobalDefaultError),
}

/// Telemetry of this process.
#[derive(Debug)]
pub struct Telemetry {
    traces: Option<Traces>,
}

/// Sends the log of this process to stderr, as `log` says. Once a process.
///
/// # Errors
/// [`TelemetryError`], when the filter does not parse or logging was set up before.
pub fn init(log: &Log) -> Result<(), TelemetryError> {
    start(log, None)
}

/// The same for a service, whose traces go to a collector where one is named. Inside of its runtime.
///
/// # Errors
/// [`TelemetryError`].
pub fn init_service(log: &Log, settings: &config::Telemetry) -> Result<Telemetry, TelemetryError> {
    let traces = Traces::of(settings)?;
    start(log, traces.as_ref())?;
    if let Some(endpoint) = &settings.otlp_endpoint {
        tracing::info!(endpoint, sampling = settings.otlp_sampling, "traces are exported");
    }
    Ok(Telemetry { traces })
}

impl Telemetry {
    /// Sends what waits, for two seconds at most.
    pub async fn stop(self) {
        if let Some(traces) = self.traces {
            traces.stop(FLUSH_MAX).await;
        }
    }
}

fn start(log: &Log, traces: Option<&Traces>) -> Result<(), TelemetryError> {
    let colour = stderr().is_terminal() && value_of("NO_COLOR").is_none();
    let subscriber = subscriber(log, colour, stderr, traces)?;
    Ok(tracing::subscriber::set_global_default(subscriber)?)
}

fn subscriber<W>(
    log: &Log,
    colour: bool,
    writer: W,
    traces: Option<&Traces>,
) -> Result<impl Subscriber + Send + Sync + use<W>, ParseError>
where
    W: for<'w> MakeWriter<'w> + Send + Sync + 'static,
{
    let filter = EnvFilter::builder().parse(&log.filter)?;
    let lines = lines::layer(log.format, colour, writer).with_filter(filter);
    // A vector, because an absent layer would still have a say in which spans are on.
    let layers: Vec<Box<dyn Layer<Registry> + Send + Sync>> =
        [Some(lines.boxed()), traces.map(Traces::layer)].into_iter().flatten().collect();
    Ok(Registry::default().with(layers))
}

#[cfg(test)]
mod tests;
