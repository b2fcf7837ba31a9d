//! How long things take, counted in buckets without a lock.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

/// Upper bounds of the buckets in microseconds; what takes longer counts in one more.
pub const BOUNDS_US: [u64; 14] = [
    100, 250, 500, 1_000, 2_500, 5_000, 10_000, 25_000, 50_000, 100_000, 250_000, 500_000, 1_000_000,
    5_000_000,
];

/// Counts durations.
#[derive(Debug, Default)]
pub struct Histogram {
    /// One for each bound, and one for what is above all.
    counts: [AtomicU64; BOUNDS_US.len() + 1],
    sum_us: AtomicU64,
}

/// What a histogram has counted.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Distribution {
    /// For each bound of [`BOUNDS_US`], and above all of them.
    pub counts: [u64; BOUNDS_US.len() + 1],
    /// Of all durations, in microseconds.
    pub sum_us: u64,
}

impl Histogram {
    /// Counts one duration.
    pub fn record(&self, duration: Duration) {
        let us = u64::try_from(duration.as_micros()).unwrap_or(u64::MAX);
        let bucket = BOUNDS_US.partition_point(|bound| *bound < us);
        self.counts[bucket].fetch_add(1, Ordering::Relaxed);
        self.sum_us.fetch_add(us, Ordering::Relaxed);
    }

    /// What was counted so far.
    pub fn distribution(&self) -> Distribution {
        let counts = std::array::from_fn(|bucket| self.counts[bucket].load(Ordering::Relaxed));
        Distribution { counts, sum_us: self.sum_us.load(Ordering::Relaxed) }
    }
}

impl Distribution {
    /// All of both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            counts: std::array::from_fn(|bucket| self.counts[bucket] + other.counts[bucket]),
            sum_us: self.sum_us + other.sum_us,
        }
    }

    /// Upper bound in seconds and count of each bucket, the last without a bound.
    pub(super) fn buckets(&self) -> Vec<(f64, u64)> {
        let bounds = BOUNDS_US.iter().map(|bound| *bound as f64 / 1e6).chain([f64::INFINITY]);
        bounds.zip(self.counts).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_bound_belongs_to_its_bucket() {
        let histogram = Histogram::default();
        for us in [1, 100, 101, 5_000_000, 5_000_001] {
            histogram.record(Duration::from_micros(us));
        }
        let found = histogram.distribution();
        assert_eq!((found.counts[0], found.counts[1], found.counts[13], found.counts[14]), (2, 1, 1, 1));
        assert_eq!(found.sum_us, 10_000_203);
        assert_eq!(found.plus(found).counts[0], 4);
    }
}
