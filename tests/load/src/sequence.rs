//! Loss, duplicates and order of one stream: the messages of one publisher as one subscriber sees them.

use std::collections::BTreeMap;
use std::ops::Range;

/// Gaps remembered for each stream. Past it the oldest gap counts as lost for good, and a late arrival of its
/// messages would be counted as duplicates.
const GAPS_MAX: usize = 65_536;

/// What one arrival means.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Arrival {
    /// The next in order.
    InOrder,
    /// Later than the next: the given numbers were overtaken or lost.
    Gap(Range<u64>),
    /// One that had been overtaken.
    Late,
    /// Seen before.
    Duplicate,
}

/// The numbers seen so far: everything below `next` but the gaps.
#[derive(Debug, Default)]
pub struct Sequence {
    next: u64,
    gaps: BTreeMap<u64, u64>,
    forgotten: u64,
}

impl Sequence {
    /// Notes one arrival.
    #[inline]
    pub fn arrive(&mut self, number: u64) -> Arrival {
        if number == self.next {
            self.next += 1;
            return Arrival::InOrder;
        }
        self.arrive_out_of_step(number)
    }

    fn arrive_out_of_step(&mut self, number: u64) -> Arrival {
        if number > self.next {
            let gap = self.next..number;
            self.gaps.insert(gap.start, gap.end);
            self.next = number + 1;
            if self.gaps.len() > GAPS_MAX
                && let Some((start, end)) = self.gaps.pop_first()
            {
                self.forgotten += end - start;
            }
            return Arrival::Gap(gap);
        }
        let Some((&start, &end)) = self.gaps.range(..=number).next_back() else { return Arrival::Duplicate };
        if number >= end {
            return Arrival::Duplicate;
        }
        self.gaps.remove(&start);
        if start < number {
            self.gaps.insert(start, number);
        }
        if number + 1 < end {
            self.gaps.insert(number + 1, end);
        }
        Arrival::Late
    }

    /// How many of the first numbers have arrived or were overtaken.
    pub fn next(&self) -> u64 {
        self.next
    }

    /// How many of the `sent` first numbers never came.
    pub fn missing(&self, sent: u64) -> u64 {
        let gaps: u64 = self.gaps.iter().map(|(start, end)| end - start).sum();
        gaps + self.forgotten + sent.saturating_sub(self.next)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn order_is_the_quiet_case() {
        let mut sequence = Sequence::default();
        assert!((0..5).all(|number| sequence.arrive(number) == Arrival::InOrder));
        assert_eq!((sequence.missing(5), sequence.missing(7)), (0, 2));
    }

    #[test]
    fn overtaken_messages_are_late_once_and_then_duplicates() {
        let mut sequence = Sequence::default();
        assert_eq!(sequence.arrive(4), Arrival::Gap(0..4));
        assert_eq!(sequence.missing(5), 4);
        assert_eq!(sequence.arrive(2), Arrival::Late);
        assert_eq!(sequence.arrive(2), Arrival::Duplicate);
        assert_eq!(sequence.arrive(4), Arrival::Duplicate);
        assert_eq!(sequence.missing(5), 3);
        for number in [0, 1, 3] {
            assert_eq!(sequence.arrive(number), Arrival::Late);
        }
        assert_eq!(sequence.missing(5), 0);
        assert_eq!(sequence.arrive(5), Arrival::InOrder);
    }
}
