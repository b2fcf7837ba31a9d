//! Metrics in the text format of Prometheus.
//!
//! The numbers live where they are counted; sources read them when somebody asks. No label is ever controlled by a
//! client.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::encode;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric, MetricEncoder, NoLabelSet};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::counter::ConstCounter;
use prometheus_client::metrics::gauge::ConstGauge;
use prometheus_client::registry::Registry;

use super::histogram::Distribution;

/// One number.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Sample {
    /// The name without the prefix `rookery_` and, for counters, without the suffix `_total`.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// The number now.
    pub value: Value,
}

/// A number and how it moves.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Value {
    /// Only grows.
    Counter(u64),
    /// Goes up and down.
    Gauge(u64),
    /// How long things took.
    Histogram(Distribution),
}

impl Sample {
    /// A counter.
    pub fn counter(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, value: Value::Counter(value) }
    }

    /// A gauge.
    pub fn gauge(name: &'static str, help: &'static str, value: u64) -> Self {
        Self { name, help, value: Value::Gauge(value) }
    }

    /// A histogram; the name ends in `_seconds`.
    pub fn histogram(name: &'static str, help: &'static str, value: Distribution) -> Self {
        Self { name, help, value: Value::Histogram(value) }
    }
}

/// Reads numbers when asked.
pub type Source = Arc<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// All metrics of the node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
}

impl Metrics {
    /// Metrics from `sources`.
    pub fn new(sources: Vec<Source>) -> Self {
        let mut registry = Registry::with_prefix("rookery");
        for source in sources {
            registry.register_collector(Box::new(SourceCollector(source)));
        }
        Self { registry }
    }

    /// The text to answer a scrape with.
    ///
    /// # Errors
    /// [`fmt::Error`] if a sample cannot be written.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode(&mut text, &self.registry)?;
        Ok(text)
    }
}

struct SourceCollector(Source);

impl fmt::Debug for SourceCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("SourceCollector")
    }
}

impl Collector for SourceCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for sample in (self.0)() {
            let (kind, metric): (MetricType, &dyn EncodeDyn) = match &sample.value {
                Value::Histogram(value) => (MetricType::Histogram, value),
                Value::Counter(value) => (MetricType::Counter, &ConstCounter::new(*value)),
                Value::Gauge(value) => {
                    (MetricType::Gauge, &ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX)))
                }
            };
            metric.encode_into(encoder.encode_descriptor(sample.name, sample.help, None, kind)?)?;
        }
        Ok(())
    }
}

/// Encoding without knowing whether it is a counter or a gauge.
trait EncodeDyn {
    fn encode_into(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error>;
}

impl EncodeMetric for Distribution {
    fn encode(&self, mut encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        let (sum, count) = (self.sum_us as f64 / 1e6, self.counts.iter().sum());
        encoder.encode_histogram::<NoLabelSet>(sum, count, &self.buckets(), None)
    }

    fn metric_type(&self) -> MetricType {
        MetricType::Histogram
    }
}

impl<M: EncodeMetric> EncodeDyn for M {
    fn encode_into(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        self.encode(encoder)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::observe::histogram::Histogram;

    #[test]
    fn samples_are_written_with_prefix_type_and_help() {
        let source: Source = Arc::new(|| {
            vec![
                Sample::counter("messages_received", "Messages", 3),
                Sample::gauge("connections_open", "Open", 2),
                Sample::histogram("commit_seconds", "Commits", {
                    let histogram = Histogram::default();
                    histogram.record(std::time::Duration::from_millis(2));
                    histogram.distribution()
                }),
            ]
        });
        let text = Metrics::new(vec![source]).encode().expect("writing to a text");
        assert!(text.contains("rookery_messages_received_total 3"), "{text}");
        assert!(text.contains("# TYPE rookery_connections_open gauge"), "{text}");
        assert!(text.contains("rookery_connections_open 2"), "{text}");
        assert!(text.contains("rookery_commit_seconds_bucket{le=\"0.001\"} 0"), "{text}");
        assert!(text.contains("rookery_commit_seconds_bucket{le=\"0.0025\"} 1"), "{text}");
        assert!(text.contains("rookery_commit_seconds_bucket{le=\"+Inf\"} 1"), "{text}");
        assert!(text.contains("rookery_commit_seconds_sum 0.002"), "{text}");
    }
}
