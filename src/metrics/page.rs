//! Writes metrics onto a page: the only place that knows how.

use std::fmt;

use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;

use super::histogram::Histogram;

/// Labels of a series: name and value.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// A page that is being written. Every metric has one sentence of help; `docs/metrics.md` says more.
pub(super) struct Page<'e>(DescriptorEncoder<'e>);

impl<'e> Page<'e> {
    pub(super) fn new(encoder: DescriptorEncoder<'e>) -> Self {
        Self(encoder)
    }

    /// A counter; its name without `_total`.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) -> fmt::Result {
        self.counters(name, help, [(Vec::new(), value)])
    }

    /// The series of a counter; its name without `_total`.
    pub(super) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'a>, u64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        series.into_iter().try_for_each(|(labels, value)| {
            labelled(&mut encoder, &labels, |encoder| {
                encoder.encode_counter::<NoLabelSet, u64, u64>(&value, None)
            })
        })
    }

    /// A counter of seconds; its name without `_total`.
    pub(super) fn counter_of_seconds(&mut self, name: &str, help: &str, seconds: f64) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Counter)?;
        encoder.encode_counter::<NoLabelSet, f64, u64>(&seconds, None)
    }

    /// A gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: i64) -> fmt::Result {
        self.gauges(name, help, [(Vec::new(), value)])
    }

    /// The series of a gauge.
    pub(super) fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'a>, i64)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Gauge)?;
        series.into_iter().try_for_each(|(labels, value)| {
            labelled(&mut encoder, &labels, |encoder| encoder.encode_gauge(&value))
        })
    }

    /// A gauge with a fraction.
    pub(super) fn gauge_of_seconds(&mut self, name: &str, help: &str, seconds: f64) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Gauge)?.encode_gauge(&seconds)
    }

    /// What does not change; its name without `_info`.
    pub(super) fn info(&mut self, name: &str, help: &str, labels: &Labels<'_>) -> fmt::Result {
        self.0.encode_descriptor(name, help, None, MetricType::Info)?.encode_info(labels)
    }

    /// The series of a histogram.
    pub(super) fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'a>, &'a Histogram)>,
    ) -> fmt::Result {
        let mut encoder = self.0.encode_descriptor(name, help, None, MetricType::Histogram)?;
        series.into_iter().try_for_each(|(labels, histogram)| {
            let said = histogram.read();
            labelled(&mut encoder, &labels, |encoder| {
                encoder.encode_histogram::<NoLabelSet>(said.sum, said.count, &said.buckets, None)
            })
        })
    }
}

fn labelled(
    encoder: &mut MetricEncoder<'_>,
    labels: &Labels<'_>,
    write: impl FnOnce(&mut MetricEncoder<'_>) -> fmt::Result,
) -> fmt::Result {
    if labels.is_empty() { write(encoder) } else { write(&mut encoder.encode_family(labels)?) }
}
