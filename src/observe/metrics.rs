//! Metrics in the text format of Prometheus.
//!
//! The numbers live where they are counted; sources read them when somebody asks. No label is ever controlled by a
//! client.

use std::fmt;
use std::sync::Arc;

use prometheus_client::collector::Collector;
use prometheus_client::encoding::text::{encode_eof, encode_registry};
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

/// One number for each of many resources, told apart by labels. Their values are identifiers that this server has made.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Family {
    /// The whole name but, for counters, without the suffix `_total`.
    pub name: &'static str,
    /// What it means.
    pub help: &'static str,
    /// For each resource its labels and its number. All numbers of one family move in the same way.
    pub values: Vec<(Vec<(&'static str, String)>, Value)>,
}

/// Reads families when asked.
pub type FamilySource = Arc<dyn Fn() -> Vec<Family> + Send + Sync>;

/// Reads numbers when asked.
pub type Source = Arc<dyn Fn() -> Vec<Sample> + Send + Sync>;

/// All metrics of the node.
#[derive(Debug)]
pub struct Metrics {
    registry: Registry,
    /// With names that do not begin with `rookery_`.
    foreign: Registry,
}

impl Metrics {
    /// Metrics from `sources`, and `families`, which have names of their own.
    pub fn new(sources: Vec<Source>, families: Vec<FamilySource>) -> Self {
        let mut registry = Registry::with_prefix("rookery");
        for source in sources {
            registry.register_collector(Box::new(SourceCollector(source)));
        }
        let mut foreign = Registry::default();
        for family in families {
            foreign.register_collector(Box::new(FamilyCollector(family)));
        }
        Self { registry, foreign }
    }

    /// The text to answer a scrape with.
    ///
    /// # Errors
    /// [`fmt::Error`] if a sample cannot be written.
    pub fn encode(&self) -> Result<String, fmt::Error> {
        let mut text = String::new();
        encode_registry(&mut text, &self.registry)?;
        encode_registry(&mut text, &self.foreign)?;
        encode_eof(&mut text)?;
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
            let kind = sample.value.kind();
            sample.value.encode(encoder.encode_descriptor(sample.name, sample.help, None, kind)?)?;
        }
        Ok(())
    }
}

struct FamilyCollector(FamilySource);

impl fmt::Debug for FamilyCollector {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("FamilyCollector")
    }
}

impl Collector for FamilyCollector {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        for family in (self.0)() {
            let Some((_, first)) = family.values.first() else { continue };
            let mut metric = encoder.encode_descriptor(family.name, family.help, None, first.kind())?;
            for (labels, value) in &family.values {
                value.encode(metric.encode_family(labels)?)?;
            }
        }
        Ok(())
    }
}

impl Value {
    fn kind(&self) -> MetricType {
        match self {
            Self::Histogram(_) => MetricType::Histogram,
            Self::Counter(_) => MetricType::Counter,
            Self::Gauge(_) => MetricType::Gauge,
        }
    }

    fn encode(&self, encoder: MetricEncoder<'_>) -> Result<(), fmt::Error> {
        match self {
            Self::Histogram(value) => value.encode(encoder),
            Self::Counter(value) => ConstCounter::new(*value).encode(encoder),
            Self::Gauge(value) => ConstGauge::new(i64::try_from(*value).unwrap_or(i64::MAX)).encode(encoder),
        }
    }
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
        let family: FamilySource = Arc::new(|| {
            let labels = |id: &str| vec![("service", "iot-core".to_owned()), ("registry", id.to_owned())];
            let values = vec![(labels("a"), Value::Gauge(1)), (labels("b"), Value::Gauge(2))];
            let empty = Family { name: "iot_none", help: "None", values: Vec::new() };
            vec![Family { name: "iot_registry_connections", help: "Connections", values }, empty]
        });
        let text = Metrics::new(vec![source], vec![family]).encode().expect("writing to a text");
        assert!(text.contains("iot_registry_connections{service=\"iot-core\",registry=\"b\"} 2"), "{text}");
        assert!(
            text.ends_with("# EOF\n") && text.matches("# EOF").count() == 1 && !text.contains("none"),
            "{text}"
        );
        assert!(text.contains("rookery_messages_received_total 3"), "{text}");
        assert!(text.contains("# TYPE rookery_connections_open gauge"), "{text}");
        assert!(text.contains("rookery_connections_open 2"), "{text}");
        assert!(text.contains("rookery_commit_seconds_bucket{le=\"0.001\"} 0"), "{text}");
        assert!(text.contains("rookery_commit_seconds_bucket{le=\"0.0025\"} 1"), "{text}");
        assert!(text.contains("rookery_commit_seconds_bucket{le=\"+Inf\"} 1"), "{text}");
        assert!(text.contains("rookery_commit_seconds_sum 0.002"), "{text}");
    }
}
