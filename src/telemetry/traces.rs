//! Spans, for a collector that speaks OTLP over gRPC.
//!
//! Only our own spans leave the process, without log lines: what other crates say of themselves is no part of a
//! trace, and a line's text is for the log. Spans wait in a bounded queue and are sent by a thread of their own: a
//! collector that is slow or gone costs spans, and nothing else.

use std::time::Duration;

use opentelemetry::KeyValue;
use opentelemetry::trace::TracerProvider as _;
use opentelemetry_otlp::{ExporterBuildError, SpanExporter, WithExportConfig as _};
use opentelemetry_sdk::Resource;
use opentelemetry_sdk::trace::{Sampler, SdkTracerProvider};
use tokio::task::spawn_blocking;
use tokio::time::timeout;
use tracing::level_filters::LevelFilter;
use tracing_subscriber::filter::filter_fn;
use tracing_subscriber::{Layer, Registry};

use crate::config;

/// One attempt to reach the collector may take so long.
const EXPORT_MAX: Duration = Duration::from_secs(5);

/// The export of traces.
#[derive(Clone, Debug)]
pub(super) struct Traces(SdkTracerProvider);

impl Traces {
    /// What the settings ask for; `None` without a collector. Connects when there is something to send.
    pub(super) fn of(settings: &config::Telemetry) -> Result<Option<Self>, ExporterBuildError> {
        let Some(endpoint) = &settings.otlp_endpoint else { return Ok(None) };
        let exporter =
            SpanExporter::builder().with_tonic().with_endpoint(endpoint).with_timeout(EXPORT_MAX).build()?;
        let sampler = Sampler::TraceIdRatioBased(settings.otlp_sampling);
        let resource = Resource::builder()
            .with_service_name(settings.otlp_service_name.clone())
            .with_attribute(KeyValue::new("service.version", env!("CARGO_PKG_VERSION")))
            .build();
        let provider = SdkTracerProvider::builder()
            .with_batch_exporter(exporter)
            .with_sampler(Sampler::ParentBased(Box::new(sampler)))
            .with_resource(resource)
            .build();
        Ok(Some(Self(provider)))
    }

    pub(super) fn layer(&self) -> Box<dyn Layer<Registry> + Send + Sync> {
        let ours = filter_fn(|metadata| {
            metadata.is_span() && metadata.target().split("::").next() == Some(env!("CARGO_PKG_NAME"))
        });
        tracing_opentelemetry::layer()
            .with_tracer(self.0.tracer(env!("CARGO_PKG_NAME")))
            .with_location(false)
            .with_threads(false)
            .with_target(false)
            .with_tracked_inactivity(false)
            .with_filter(ours.with_max_level_hint(LevelFilter::DEBUG))
            .boxed()
    }

    /// Sends what waits, for so long at most.
    pub(super) async fn stop(self, flush_max: Duration) {
        let stopped = spawn_blocking(move || self.0.shutdown_with_timeout(flush_max));
        match timeout(flush_max, stopped).await {
            Ok(Ok(Ok(()))) => tracing::debug!("all traces are sent"),
            Ok(Ok(Err(error))) => tracing::warn!(error = %error, "traces were not sent"),
            Ok(Err(error)) => tracing::warn!(error = %error, "traces were not sent"),
            Err(_) => tracing::warn!("traces were not sent: the collector does not answer"),
        }
    }
}
