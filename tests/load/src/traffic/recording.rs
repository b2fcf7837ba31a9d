//! The histograms of one measured window.

use std::ops::Range;

use serde::{Deserialize, Serialize};

use crate::latency::Latency;

/// Times of the messages that were due in a window, whenever they arrive.
#[derive(Debug, Default, Serialize, Deserialize)]
pub struct Recording {
    /// From when a message was due to its arrival.
    pub delivery: Latency,
    /// From when a message was due to its PUBACK.
    pub acknowledgement: Latency,
    /// From when a paced message was due to its sending. It is part of the delivery time; where it is large, the
    /// generator (or its machine) was late, or the broker held the publisher back.
    pub lateness: Latency,
}

impl Recording {
    /// Adds what another driver has recorded in the same window.
    pub fn merge(&mut self, other: &Self) {
        self.delivery.merge(&other.delivery);
        self.acknowledgement.merge(&other.acknowledgement);
        self.lateness.merge(&other.lateness);
    }
}

/// All windows of a run, in order; they do not overlap.
#[derive(Debug, Default)]
pub(super) struct Recordings {
    windows: Vec<(Range<u64>, Recording)>,
}

impl Recordings {
    /// Begins a window. Its end may be set later, when all due times so far are before it.
    pub(super) fn begin(&mut self, due_ns: Range<u64>) {
        self.windows.push((due_ns, Recording::default()));
    }

    /// Ends the last window.
    pub(super) fn end(&mut self, at_ns: u64) {
        if let Some((due_ns, _)) = self.windows.last_mut() {
            due_ns.end = due_ns.end.min(at_ns);
        }
    }

    /// The window that a message due then belongs to.
    #[inline]
    pub(super) fn at(&mut self, due_ns: u64) -> Option<&mut Recording> {
        let mut windows = self.windows.iter_mut().rev();
        windows.find(|(window, _)| window.contains(&due_ns)).map(|(_, recording)| recording)
    }

    /// What was recorded.
    pub(super) fn into_inner(self) -> Vec<Recording> {
        self.windows.into_iter().map(|(_, recording)| recording).collect()
    }
}
