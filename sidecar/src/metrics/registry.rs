//! Registry of metrics and their descriptions.

use std::fmt;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, MetricEncoder, text};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::metrics::info::Info;
use prometheus_client::registry::{Metric, Registry};

use super::gauges::Gauges;

/// The end of a counter's name. The library adds it to the registered name.
const COUNTER_END: &str = "_total";
/// The same for a metric that only has labels.
const INFO_END: &str = "_info";

/// Description of a metric.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct MetricEntry {
    /// As scrapers see it, with `_total` for a counter.
    pub(crate) name: &'static str,
    pub(crate) kind: MetricType,
    /// Names of its labels.
    pub(crate) labels: &'static [&'static str],
    /// A sentence without the full stop, which the library adds.
    pub(crate) help: &'static str,
}

impl MetricEntry {
    /// Starts this metric in the output of a collector.
    pub(super) fn begin<'a>(
        &'a self,
        encoder: &'a mut DescriptorEncoder<'_>,
    ) -> Result<MetricEncoder<'a>, fmt::Error> {
        encoder.encode_descriptor(self.family(), &format!("{}.", self.help), None, self.kind)
    }

    /// The name without the end that the library adds.
    fn family(&self) -> &'static str {
        let end = match self.kind {
            MetricType::Counter => COUNTER_END,
            MetricType::Info => INFO_END,
            MetricType::Gauge | MetricType::Histogram | MetricType::Unknown => "",
        };
        self.name.strip_suffix(end).unwrap_or(self.name)
    }
}

/// All metrics of the process. Metrics of a task that does not run are not registered, and
/// therefore absent.
#[derive(Debug, Default)]
pub(crate) struct MetricRegistry {
    registry: Registry,
    /// What the generated page of metrics lists.
    entries: Vec<MetricEntry>,
}

impl MetricRegistry {
    /// Registers a gauge. It is absent until it is set.
    pub(super) fn gauge<const N: usize>(
        &mut self,
        name: &'static str,
        labels: &'static [&'static str; N],
        help: &'static str,
    ) -> Gauges<N> {
        let gauges = Gauges::new(*labels);
        let entry = MetricEntry { name, kind: MetricType::Gauge, labels, help };
        self.add(entry, gauges.clone());
        gauges
    }

    /// Registers a counter. It begins at 0.
    pub(super) fn counter(&mut self, name: &'static str, help: &'static str) -> Counter {
        let counter = Counter::default();
        let entry = MetricEntry { name, kind: MetricType::Counter, labels: &[], help };
        self.add(entry, counter.clone());
        counter
    }

    /// Registers a histogram with the upper bounds of its buckets.
    pub(super) fn histogram(&mut self, name: &'static str, bounds: &[f64], help: &'static str) -> Histogram {
        let histogram = Histogram::new(bounds.iter().copied());
        let entry = MetricEntry { name, kind: MetricType::Histogram, labels: &[], help };
        self.add(entry, histogram.clone());
        histogram
    }

    /// Registers the version of this build.
    pub(crate) fn build_info(&mut self) {
        let entry = MetricEntry {
            name: "posthouse_build_info",
            kind: MetricType::Info,
            labels: &["version"],
            help: "Always 1; its label is the version of this posthouse",
        };
        let version = Info::new([("version", env!("CARGO_PKG_VERSION"))]);
        self.add(entry, version);
    }

    /// Registers metrics that are read for each scrape.
    pub(super) fn collector(&mut self, entries: &[MetricEntry], collector: impl Collector) {
        self.entries.extend_from_slice(entries);
        self.registry.register_collector(Box::new(collector));
    }

    /// All registered metrics.
    #[cfg(test)]
    pub(crate) fn entries(&self) -> &[MetricEntry] {
        &self.entries
    }

    /// Encodes all metrics in the text format of OpenMetrics.
    ///
    /// # Errors
    /// Fails only if a collector does.
    pub(crate) fn text(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        text::encode(&mut text, &self.registry)?;
        Ok(text)
    }

    fn add(&mut self, entry: MetricEntry, metric: impl Metric) {
        self.entries.push(entry);
        self.registry.register(entry.family(), entry.help, metric);
    }
}
