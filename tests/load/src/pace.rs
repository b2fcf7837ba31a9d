//! The open loop: when each message of one publisher is due, whatever the broker does.

use crate::clock::SECOND_NS;

/// An even schedule.
#[derive(Debug, Clone)]
pub struct Pace {
    start_ns: u64,
    interval_ns: f64,
    sent: u64,
}

impl Pace {
    /// Messages at `per_second`, the first at `start_ns`.
    pub fn new(start_ns: u64, per_second: f64) -> Self {
        Self { start_ns, interval_ns: SECOND_NS as f64 / per_second, sent: 0 }
    }

    /// When the next message is due. Computed from the start, so rounding does not add up.
    pub fn due_ns(&self) -> u64 {
        self.start_ns + (self.sent as f64 * self.interval_ns) as u64
    }

    /// Notes that the message that was due is sent.
    pub fn sent(&mut self) {
        self.sent += 1;
    }
}

/// Paces for `publishers` publishers that share `per_second`, their phases spread evenly over one interval so
/// that they do not fire together.
pub fn spread(start_ns: u64, per_second: f64, publishers: usize) -> Vec<Pace> {
    let each = per_second / publishers as f64;
    let phase_ns = SECOND_NS as f64 / per_second;
    (0..publishers).map(|index| Pace::new(start_ns + (index as f64 * phase_ns) as u64, each)).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn messages_are_due_at_even_distances_and_publishers_take_turns() {
        let mut paces = spread(1_000, 20_000.0, 50);
        assert_eq!(paces[0].due_ns(), 1_000);
        assert_eq!(paces[1].due_ns(), 51_000);
        paces[0].sent();
        assert_eq!(paces[0].due_ns(), 2_501_000);
        (0..399).for_each(|_| paces[0].sent());
        assert_eq!(paces[0].due_ns(), SECOND_NS + 1_000);
    }
}
