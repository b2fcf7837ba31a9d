//! The one place that reads the time.

use rustix::time::{ClockId, Timespec, clock_gettime};

/// Nanoseconds in a second.
pub const SECOND_NS: u64 = 1_000_000_000;

/// Nanoseconds of `CLOCK_MONOTONIC`. It is the same clock in every process of a machine, so stamps of one
/// driver process can be read by another.
pub fn now_ns() -> u64 {
    let now = clock_gettime(ClockId::Monotonic);
    now.tv_sec as u64 * SECOND_NS + now.tv_nsec as u64
}

/// A duration given in (fractional) seconds, in nanoseconds.
pub fn seconds_ns(seconds: f64) -> u64 {
    (seconds * SECOND_NS as f64) as u64
}

/// A duration as the kernel takes it.
pub fn timespec(duration_ns: u64) -> Timespec {
    Timespec { tv_sec: (duration_ns / SECOND_NS) as i64, tv_nsec: (duration_ns % SECOND_NS) as i64 }
}
