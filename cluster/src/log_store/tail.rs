//! The last entries of the log in memory.
//!
//! An entry must be readable before it is on disk, and the entries that are read are nearly always the last ones: to
//! be applied and to be sent to peers. So the newest entries stay here, up to a number of bytes.

use std::collections::VecDeque;

use crate::raft::Entry;

/// Bytes kept for reading once they are on disk. What is not on disk yet is kept in any case.
const TAIL_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Contiguous newest entries with their sizes.
#[derive(Default)]
pub(crate) struct Tail {
    entries: VecDeque<(Entry, usize)>,
    bytes: usize,
    /// Entries before this index are on disk.
    flushed_next: u64,
}

impl Tail {
    /// Adds an entry behind the last one.
    pub(crate) fn push(&mut self, entry: Entry, bytes: usize) {
        self.bytes += bytes;
        self.entries.push_back((entry, bytes));
    }

    /// Notes that all entries up to `index` are on disk and drops the oldest ones.
    pub(crate) fn flushed(&mut self, index: u64) {
        self.flushed_next = index + 1;
        while self.bytes > TAIL_BYTES_MAX
            && self.entries.front().is_some_and(|(entry, _)| entry.log_id.index < self.flushed_next)
        {
            self.pop_front();
        }
    }

    /// Drops the entries from `index` on.
    pub(crate) fn truncate(&mut self, index: u64) {
        while self.entries.back().is_some_and(|(entry, _)| entry.log_id.index >= index) {
            if let Some((_, bytes)) = self.entries.pop_back() {
                self.bytes -= bytes;
            }
        }
        self.flushed_next = self.flushed_next.min(index);
    }

    /// Drops the entries up to `index`.
    pub(crate) fn purge(&mut self, index: u64) {
        while self.entries.front().is_some_and(|(entry, _)| entry.log_id.index <= index) {
            self.pop_front();
        }
    }

    /// The entries of `start..end` that are here: a suffix of that range.
    pub(crate) fn range(&self, start: u64, end: u64) -> Vec<Entry> {
        let Some((first, _)) = self.entries.front() else { return Vec::new() };
        let offset = |index: u64| index.saturating_sub(first.log_id.index) as usize;
        let end = offset(end).min(self.entries.len());
        let start = offset(start).min(end);
        self.entries.range(start..end).map(|(entry, _)| entry.clone()).collect()
    }

    fn pop_front(&mut self) {
        if let Some((_, bytes)) = self.entries.pop_front() {
            self.bytes -= bytes;
        }
    }
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, EntryPayload};

    use super::*;
    use crate::raft::LogId;

    fn entry(index: u64) -> Entry {
        Entry { log_id: LogId::new(CommittedLeaderId::new(1, 1), index), payload: EntryPayload::Blank }
    }

    fn indexes(entries: &[Entry]) -> Vec<u64> {
        entries.iter().map(|entry| entry.log_id.index).collect()
    }

    #[test]
    fn only_entries_on_disk_are_dropped() {
        let mut tail = Tail::default();
        for index in 10..14 {
            tail.push(entry(index), TAIL_BYTES_MAX / 2);
        }
        assert_eq!(indexes(&tail.range(0, 100)), [10, 11, 12, 13]);
        tail.flushed(10);
        assert_eq!(indexes(&tail.range(0, 100)), [11, 12, 13]);
        tail.flushed(13);
        assert_eq!(indexes(&tail.range(0, 100)), [12, 13]);
    }

    #[test]
    fn a_range_is_cut_at_both_ends() {
        let mut tail = Tail::default();
        for index in 5..10 {
            tail.push(entry(index), 1);
        }
        assert_eq!(indexes(&tail.range(6, 8)), [6, 7]);
        assert_eq!(indexes(&tail.range(0, 6)), [5]);
        assert!(tail.range(0, 5).is_empty());
        assert!(tail.range(10, 12).is_empty());
        tail.truncate(8);
        tail.purge(5);
        assert_eq!(indexes(&tail.range(0, 100)), [6, 7]);
    }
}
