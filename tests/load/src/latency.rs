//! Latency histograms and their summary.

use hdrhistogram::Histogram;
use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// Largest latency told apart, in microseconds (two minutes); longer ones count as this.
const LARGEST_US: u64 = 120_000_000;

/// A histogram of microseconds with three significant digits.
#[derive(Debug)]
pub struct Latency(Histogram<u64>);

impl Default for Latency {
    fn default() -> Self {
        Self(
            Histogram::new_with_bounds(1, LARGEST_US, 3)
                .expect("1..LARGEST_US with 3 digits are legal bounds"),
        )
    }
}

impl Latency {
    /// Records one latency.
    #[inline]
    pub fn record_ns(&mut self, latency_ns: u64) {
        self.0.saturating_record(latency_ns / 1000);
    }

    /// Adds all that another one has.
    pub fn merge(&mut self, other: &Self) {
        self.0.add(&other.0).expect("all have the same bounds");
    }

    /// The figures of the report; `None` when nothing was recorded.
    pub fn summary(&self) -> Option<LatencySummary> {
        (!self.0.is_empty()).then(|| LatencySummary {
            count: self.0.len(),
            mean_us: self.0.mean(),
            p50_us: self.0.value_at_quantile(0.5),
            p90_us: self.0.value_at_quantile(0.9),
            p99_us: self.0.value_at_quantile(0.99),
            p999_us: self.0.value_at_quantile(0.999),
            max_us: self.0.max(),
        })
    }
}

/// As pairs of value and count, so that driver processes can hand theirs over.
impl Serialize for Latency {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let recorded = self.0.iter_recorded();
        serializer.collect_seq(recorded.map(|step| (step.value_iterated_to(), step.count_at_value())))
    }
}

impl<'de> Deserialize<'de> for Latency {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let mut latency = Self::default();
        for (value, count) in Vec::<(u64, u64)>::deserialize(deserializer)? {
            latency.0.saturating_record_n(value, count);
        }
        Ok(latency)
    }
}

/// Quantiles in microseconds.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub struct LatencySummary {
    /// Values recorded.
    pub count: u64,
    /// Arithmetic mean.
    pub mean_us: f64,
    /// Median.
    pub p50_us: u64,
    /// 90 %.
    pub p90_us: u64,
    /// 99 %.
    pub p99_us: u64,
    /// 99.9 %.
    pub p999_us: u64,
    /// Largest.
    pub max_us: u64,
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn histograms_survive_the_way_between_processes_and_add_up() {
        let (mut one, mut other) = (Latency::default(), Latency::default());
        for latency_us in [0, 70, 70, 5_000, 80_123, 200_000_000] {
            one.record_ns(latency_us * 1000);
            other.record_ns(latency_us * 2000);
        }
        let sent = serde_json::to_string(&other).unwrap();
        let received: Latency = serde_json::from_str(&sent).unwrap();
        assert_eq!(received.0, other.0);
        one.merge(&received);
        let summary = one.summary().unwrap();
        assert_eq!((summary.count, summary.p50_us), (12, 140));
    }
}
