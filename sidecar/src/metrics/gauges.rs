//! Gauges with labels, absent until they are measured.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::{array, fmt};

use prometheus_client::encoding::{EncodeMetric, MetricEncoder};
use prometheus_client::metrics::{MetricType, TypedMetric};

/// A gauge with one value for each value of its `N` labels. Without labels it has at most one
/// value. Clones share the values.
///
/// The library's `Family` has neither: a scrape would see it empty while its values are replaced,
/// and its order changes from start to start.
#[derive(Debug, Clone)]
pub(crate) struct Gauges<const N: usize> {
    labels: [&'static str; N],
    values: Arc<Mutex<BTreeMap<[String; N], u64>>>,
}

impl<const N: usize> Gauges<N> {
    pub(super) fn new(labels: [&'static str; N]) -> Self {
        Self { labels, values: Arc::default() }
    }

    /// Sets the value for these values of the labels.
    pub(crate) fn set(&self, of: [&str; N], value: u64) {
        self.values().insert(of.map(str::to_owned), value);
    }

    /// Replaces all values at once, so that obsolete labels disappear.
    pub(crate) fn replace(&self, values: impl IntoIterator<Item = ([String; N], u64)>) {
        let values = values.into_iter().collect();
        *self.values() = values;
    }

    /// Removes the value for these values of the labels.
    pub(crate) fn remove(&self, of: [&str; N]) {
        self.values().remove(&of.map(str::to_owned));
    }

    /// Removes all values, so that the metric is absent.
    pub(crate) fn clear(&self) {
        self.values().clear();
    }

    fn values(&self) -> MutexGuard<'_, BTreeMap<[String; N], u64>> {
        self.values.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl<const N: usize> TypedMetric for Gauges<N> {
    const TYPE: MetricType = MetricType::Gauge;
}

impl<const N: usize> EncodeMetric for Gauges<N> {
    fn encode(&self, mut encoder: MetricEncoder) -> Result<(), fmt::Error> {
        for (of, value) in &*self.values() {
            let labels: [(&str, &str); N] = array::from_fn(|label| (self.labels[label], of[label].as_str()));
            encoder.encode_family(&labels)?.encode_gauge(value)?;
        }
        Ok(())
    }

    fn metric_type(&self) -> MetricType {
        Self::TYPE
    }

    fn is_empty(&self) -> bool {
        self.values().is_empty()
    }
}
