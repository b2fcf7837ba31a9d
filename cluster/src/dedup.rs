//! Which commands were applied already, so that one sent twice takes effect once.

use std::collections::BTreeMap;

use crate::record::DedupRecord;

/// Per node the newest process and the last sequence applied of it. One small record per node that ever submitted.
///
/// A process submits in sequence and re-sends from its first unconfirmed command, so its commands appear in the log
/// in order, possibly with repetitions. A command of an older process of the same node is dropped too: that process
/// is dead and nobody waits for its answer.
///
/// While a process changes from one leader to another, a later group may reach the log although an earlier one did not. It
/// names the sequence that it follows and is dropped, because applying it would make the earlier one look like a repetition.
/// The process sends both again.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DedupTable {
    last: BTreeMap<u64, DedupRecord>,
}

/// Where commands stand in the order of their process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Place {
    /// The node that submitted them.
    pub(crate) node_id: u64,
    /// Which start of its process.
    pub(crate) incarnation: u64,
    /// They follow this one; 0 if they follow none that is still expected.
    pub(crate) after_sequence: u64,
    /// The first of them.
    pub(crate) first_sequence: u64,
}

/// What becomes of a group of commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Admitted {
    /// They take effect, except for so many at the front, which did before.
    Except(usize),
    /// None takes effect: one that they follow is missing.
    Gap,
}

impl DedupTable {
    /// Rebuilds the table of a snapshot.
    pub(crate) fn from_records(records: &[DedupRecord]) -> DedupTable {
        DedupTable { last: records.iter().map(|record| (record.node_id, *record)).collect() }
    }

    /// The table for a snapshot.
    pub(crate) fn to_records(&self) -> Vec<DedupRecord> {
        self.last.values().copied().collect()
    }

    /// The last sequence applied of a process.
    pub(crate) fn last(&self, node_id: u64, incarnation: u64) -> u64 {
        let known = self.last.get(&node_id).filter(|known| known.incarnation == incarnation);
        known.map_or(0, |known| known.sequence)
    }

    /// Decides about `count` commands and notes those that take effect as applied.
    pub(crate) fn admit(&mut self, place: Place, count: usize) -> Admitted {
        let Place { node_id, incarnation, after_sequence, first_sequence } = place;
        let end = first_sequence.saturating_add(count as u64);
        let known = self.last.entry(node_id).or_insert(DedupRecord { node_id, incarnation, sequence: 0 });
        if incarnation < known.incarnation {
            return Admitted::Except(count);
        }
        if incarnation > known.incarnation {
            *known = DedupRecord { node_id, incarnation, sequence: 0 };
        }
        if known.sequence < after_sequence {
            return Admitted::Gap;
        }
        // Sequences start at 1, so 0 means that nothing of this process was applied.
        let repeated = known.sequence.saturating_add(1).saturating_sub(first_sequence).min(count as u64);
        known.sequence = known.sequence.max(end.saturating_sub(1));
        Admitted::Except(repeated as usize)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn admit(table: &mut DedupTable, node_id: u64, incarnation: u64, first: u64, count: usize) -> usize {
        let place = Place { node_id, incarnation, after_sequence: 0, first_sequence: first };
        match table.admit(place, count) {
            Admitted::Except(repeated) => repeated,
            Admitted::Gap => panic!("a gap"),
        }
    }

    #[test]
    fn a_command_is_admitted_once() {
        let mut table = DedupTable::default();
        assert_eq!(admit(&mut table, 1, 1, 1, 10), 0);
        assert_eq!(admit(&mut table, 1, 1, 1, 10), 10, "the whole batch again");
        assert_eq!(admit(&mut table, 1, 1, 6, 10), 5, "overlapping the end");
        assert_eq!(admit(&mut table, 1, 1, 16, 1), 0);
        assert_eq!(admit(&mut table, 2, 1, 1, 1), 0, "another node has its own sequence");
    }

    #[test]
    fn a_dead_process_is_not_heard() {
        let mut table = DedupTable::default();
        assert_eq!(admit(&mut table, 1, 3, 1, 2), 0);
        assert_eq!(admit(&mut table, 1, 4, 1, 2), 0, "a new process starts again at 1");
        assert_eq!(admit(&mut table, 1, 3, 3, 2), 2, "the old process is dead");
        assert_eq!(admit(&mut table, 1, 4, 4, 1), 0, "it did not say that it follows another one");
        assert_eq!(admit(&mut table, 1, 4, 3, 1), 1);
        assert_eq!((table.last(1, 4), table.last(1, 3), table.last(2, 1)), (4, 0, 0));
    }

    #[test]
    fn nothing_is_skipped_over() {
        let mut table = DedupTable::default();
        let place = |after_sequence, first_sequence| Place {
            node_id: 1,
            incarnation: 1,
            after_sequence,
            first_sequence,
        };
        assert_eq!(table.admit(place(2, 3), 2), Admitted::Gap, "1 and 2 did not arrive");
        assert_eq!(table.admit(place(0, 1), 2), Admitted::Except(0));
        assert_eq!(table.admit(place(4, 5), 2), Admitted::Gap);
        assert_eq!(table.admit(place(2, 3), 2), Admitted::Except(0), "sent again");
        assert_eq!(table.admit(place(4, 5), 2), Admitted::Except(0), "sent again");
        assert_eq!(table.admit(place(2, 3), 2), Admitted::Except(2), "of the first stream, late");
        assert_eq!(table.admit(place(6, 9), 1), Admitted::Except(0), "7 and 8 were abandoned");
        assert_eq!(table.admit(place(6, 7), 2), Admitted::Except(2), "and cannot come back");
    }

    #[test]
    fn the_table_survives_a_snapshot() {
        let mut table = DedupTable::default();
        admit(&mut table, 1, 3, 1, 2);
        admit(&mut table, 7, 1, 1, 20);
        assert_eq!(DedupTable::from_records(&table.to_records()), table);
    }
}
