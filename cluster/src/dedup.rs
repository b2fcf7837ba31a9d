//! Which commands were applied already, so that one sent twice takes effect once.

use std::collections::BTreeMap;

use crate::record::DedupRecord;

/// Per node the newest process and the last sequence applied of it. One small record per node that ever submitted.
///
/// A process submits in sequence and re-sends from its first unconfirmed command, so its commands appear in the log
/// in order, possibly with repetitions. A command of an older process of the same node is dropped too: that process
/// is dead and nobody waits for its answer.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct DedupTable {
    last: BTreeMap<u64, DedupRecord>,
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

    /// Notes `count` commands from `first_sequence` on as applied and returns how many at the front were applied
    /// before; those must be skipped.
    pub(crate) fn admit(
        &mut self,
        node_id: u64,
        incarnation: u64,
        first_sequence: u64,
        count: usize,
    ) -> usize {
        let end = first_sequence.saturating_add(count as u64);
        let known = self.last.entry(node_id).or_insert(DedupRecord { node_id, incarnation, sequence: 0 });
        if incarnation < known.incarnation {
            return count;
        }
        if incarnation > known.incarnation {
            *known = DedupRecord { node_id, incarnation, sequence: 0 };
        }
        // Sequences start at 1, so 0 means that nothing of this process was applied.
        let repeated = known.sequence.saturating_add(1).saturating_sub(first_sequence).min(count as u64);
        known.sequence = known.sequence.max(end.saturating_sub(1));
        repeated as usize
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_is_admitted_once() {
        let mut table = DedupTable::default();
        assert_eq!(table.admit(1, 1, 1, 10), 0);
        assert_eq!(table.admit(1, 1, 1, 10), 10, "the whole batch again");
        assert_eq!(table.admit(1, 1, 6, 10), 5, "overlapping the end");
        assert_eq!(table.admit(1, 1, 16, 1), 0);
        assert_eq!(table.admit(2, 1, 1, 1), 0, "another node has its own sequence");
    }

    #[test]
    fn a_dead_process_is_not_heard() {
        let mut table = DedupTable::default();
        assert_eq!(table.admit(1, 3, 1, 2), 0);
        assert_eq!(table.admit(1, 4, 1, 2), 0, "a new process starts again at 1");
        assert_eq!(table.admit(1, 3, 3, 2), 2, "the old process is dead");
        assert_eq!(table.admit(1, 4, 4, 1), 0, "a gap is allowed: refused commands are not re-sent");
        assert_eq!(table.admit(1, 4, 3, 1), 1);
    }

    #[test]
    fn the_table_survives_a_snapshot() {
        let mut table = DedupTable::default();
        table.admit(1, 3, 1, 2);
        table.admit(7, 1, 1, 20);
        assert_eq!(DedupTable::from_records(&table.to_records()), table);
    }
}
