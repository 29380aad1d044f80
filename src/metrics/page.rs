//! Writes metrics onto a page: the only place that knows how.
//!
//! Prometheus' text format (0.0.4), which everything that collects or checks metrics reads. It has four kinds of
//! lines. What libraries bring beside them is a registry, whose part our groups play, and most write OpenMetrics
//! only.

use std::fmt::{self, Display, Write as _};

use super::histogram::Histogram;

/// Labels of a series: name and value.
pub(super) type Labels<'a> = Vec<(&'static str, &'a str)>;

/// Metrics that belong together.
pub(super) trait Group {
    /// Writes them. Every metric has one sentence of help; `docs/metrics.md` says more.
    fn write(&self, page: &mut Page);
}

/// A page that is being written.
#[derive(Debug, Default)]
pub(super) struct Page(String);

impl Page {
    pub(super) fn into_text(self) -> String {
        self.0
    }

    /// A counter.
    pub(super) fn counter(&mut self, name: &str, help: &str, value: u64) {
        self.family(name, help, "counter", [(Vec::new(), value)]);
    }

    /// The series of a counter.
    pub(super) fn counters<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'a>, u64)>,
    ) {
        self.family(name, help, "counter", series);
    }

    /// A counter of seconds.
    pub(super) fn counter_of_seconds(&mut self, name: &str, help: &str, seconds: f64) {
        self.family(name, help, "counter", [(Vec::new(), seconds)]);
    }

    /// The series of a counter of seconds.
    pub(super) fn counters_of_seconds<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'a>, f64)>,
    ) {
        self.family(name, help, "counter", series);
    }

    /// A gauge.
    pub(super) fn gauge(&mut self, name: &str, help: &str, value: i64) {
        self.family(name, help, "gauge", [(Vec::new(), value)]);
    }

    /// The series of a gauge.
    pub(super) fn gauges<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'a>, i64)>,
    ) {
        self.family(name, help, "gauge", series);
    }

    /// A gauge of seconds.
    pub(super) fn gauge_of_seconds(&mut self, name: &str, help: &str, seconds: f64) {
        self.family(name, help, "gauge", [(Vec::new(), seconds)]);
    }

    /// The series of a histogram.
    pub(super) fn histograms<'a>(
        &mut self,
        name: &str,
        help: &str,
        series: impl IntoIterator<Item = (Labels<'a>, &'a Histogram)>,
    ) {
        self.head(name, help, "histogram");
        for (labels, histogram) in series {
            let said = histogram.read();
            let mut below = 0_u64;
            for (bound, count) in said.buckets {
                below = below.saturating_add(count);
                let bound = if bound.is_finite() { bound.to_string() } else { "+Inf".to_owned() };
                let labels = labels.iter().copied().chain([("le", bound.as_str())]).collect();
                self.sample(name, "_bucket", &labels, below);
            }
            self.sample(name, "_sum", &labels, said.sum);
            self.sample(name, "_count", &labels, said.count);
        }
    }

    fn family<'a, V: Display>(
        &mut self,
        name: &str,
        help: &str,
        kind: &str,
        series: impl IntoIterator<Item = (Labels<'a>, V)>,
    ) {
        self.head(name, help, kind);
        for (labels, value) in series {
            self.sample(name, "", &labels, value);
        }
    }

    fn head(&mut self, name: &str, help: &str, kind: &str) {
        self.add(format_args!("# HELP {name} {help}\n# TYPE {name} {kind}\n"));
    }

    fn sample(&mut self, name: &str, suffix: &str, labels: &Labels<'_>, value: impl Display) {
        self.add(format_args!("{name}{suffix}"));
        let mut separator = '{';
        for (label, value) in labels {
            self.add(format_args!("{separator}{label}=\"{}\"", escaped(value)));
            separator = ',';
        }
        let end = if labels.is_empty() { "" } else { "}" };
        self.add(format_args!("{end} {value}\n"));
    }

    fn add(&mut self, words: fmt::Arguments<'_>) {
        // Writing into memory does not fail, nor do numbers and texts when they are shown.
        let _written = self.0.write_fmt(words);
    }
}

/// Values are ours and need none of it; a page must not break where one does one day.
fn escaped(value: &str) -> String {
    value.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::metrics::Scale;

    #[test]
    fn a_page_is_as_the_format_says() {
        let histogram = Histogram::new(Scale::MEMBERS);
        [1, 2, 2, 2_000].into_iter().for_each(|members| histogram.observe_members(members));
        let mut page = Page::default();
        page.counters("a_total", "Of a", [(vec![("x", "1"), ("y", "\"\\\n")], 7), (Vec::new(), 0)]);
        page.gauge_of_seconds("b_seconds", "Of b", 1.5);
        page.histograms("c", "Of c", [(vec![("x", "1")], &histogram)]);
        let text = page.into_text();
        let (before, histogram) = text.split_at(text.find("# HELP c").unwrap());
        let expected = "# HELP a_total Of a\n# TYPE a_total counter\na_total{x=\"1\",y=\"\\\"\\\\\\n\"} 7\na_total 0\n\
                        # HELP b_seconds Of b\n# TYPE b_seconds gauge\nb_seconds 1.5\n";
        assert_eq!(before, expected);
        assert!(histogram.starts_with(
            "# HELP c Of c\n# TYPE c histogram\nc_bucket{x=\"1\",le=\"1\"} 1\nc_bucket{x=\"1\",le=\"2\"} 3\n"
        ));
        assert!(
            histogram.ends_with("c_bucket{x=\"1\",le=\"+Inf\"} 4\nc_sum{x=\"1\"} 2005\nc_count{x=\"1\"} 4\n")
        );
    }
}
