//! The log as the Raft library wants to see it.

use std::fmt::Debug;
use std::ops::{Bound, RangeBounds};

use openraft::storage::{LogFlushed, LogState, RaftLogStorage};
use openraft::{AnyError, OptionalSend, RaftLogReader, StorageIOError};
use tokio::sync::oneshot;

use super::{LogStore, READ_BYTES_MAX, read_error, write_error};
use crate::log_store::database::DatabaseError;
use crate::raft::{Entry, LogId, StorageError, TypeConfig, Vote};
use crate::record;

impl RaftLogReader<TypeConfig> for LogStore {
    async fn try_get_log_entries<RB: RangeBounds<u64> + Clone + Debug + OptionalSend>(
        &mut self,
        range: RB,
    ) -> Result<Vec<Entry>, StorageError> {
        let start = match range.start_bound() {
            Bound::Included(index) => *index,
            Bound::Excluded(index) => *index + 1,
            Bound::Unbounded => 0,
        };
        let end = match range.end_bound() {
            Bound::Included(index) => *index + 1,
            Bound::Excluded(index) => *index,
            Bound::Unbounded => u64::MAX,
        };
        self.read(start, end, usize::MAX).map_err(|error| read_error(&error))
    }

    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Result<Vec<Entry>, StorageError> {
        let mut entries = self.read(start, end, READ_BYTES_MAX).map_err(|error| read_error(&error))?;
        let mut bytes = 0;
        let fitting = entries.iter().take_while(|entry| {
            bytes += record::entry_bytes(entry);
            bytes <= READ_BYTES_MAX
        });
        let count = fitting.count().max(1);
        entries.truncate(count);
        Ok(entries)
    }
}

impl RaftLogStorage<TypeConfig> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Result<LogState<TypeConfig>, StorageError> {
        let state = self.inner.state.lock();
        Ok(LogState { last_purged_log_id: state.purged, last_log_id: state.last })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Result<(), StorageError> {
        let done = self.with_writer(|writer| writer.vote(*vote)).map_err(|error| write_error(&error))?;
        confirmed(done).await.map_err(StorageIOError::write_vote)?;
        self.inner.state.lock().vote = Some(*vote);
        Ok(())
    }

    async fn read_vote(&mut self) -> Result<Option<Vote>, StorageError> {
        Ok(self.inner.state.lock().vote)
    }

    async fn save_committed(&mut self, committed: Option<LogId>) -> Result<(), StorageError> {
        self.inner.state.lock().committed = committed;
        match committed {
            Some(committed) => {
                self.with_writer(|writer| writer.committed(committed)).map_err(|error| write_error(&error))
            }
            None => Ok(()),
        }
    }

    async fn read_committed(&mut self) -> Result<Option<LogId>, StorageError> {
        Ok(self.inner.state.lock().committed)
    }

    async fn append<I>(&mut self, entries: I, flushed: LogFlushed<TypeConfig>) -> Result<(), StorageError>
    where
        I: IntoIterator<Item = Entry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let writer = self.inner.writer.lock();
        let writer = writer.as_ref().ok_or_else(|| write_error(&DatabaseError::Closed))?;
        let mut encoded = Vec::new();
        {
            let mut state = self.inner.state.lock();
            let mut tail = self.inner.tail.lock();
            for entry in entries {
                let record = record::encode_entry(&entry);
                let index = entry.log_id.index;
                state.first.get_or_insert(index);
                state.last = Some(entry.log_id);
                tail.push(entry, record.len());
                encoded.push((index, record));
            }
        }
        writer.append(encoded, flushed);
        Ok(())
    }

    async fn truncate(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let end = self.inner.state.lock().last.map_or(0, |last| last.index + 1);
        let before = match log_id.index.checked_sub(1) {
            None => None,
            Some(index) => self
                .read(index, log_id.index, usize::MAX)
                .map_err(|error| read_error(&error))?
                .first()
                .map(|entry| entry.log_id),
        };
        let done = self
            .with_writer(|writer| writer.truncate(log_id.index, end))
            .map_err(|error| write_error(&error))?;
        confirmed(done).await.map_err(StorageIOError::write_logs)?;
        self.inner.tail.lock().truncate(log_id.index);
        let mut state = self.inner.state.lock();
        state.first = state.first.filter(|first| *first < log_id.index);
        state.last = before.or(state.purged);
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Result<(), StorageError> {
        let (start, end) = {
            let state = self.inner.state.lock();
            let next = |id: Option<LogId>| id.map_or(0, |id| id.index + 1);
            (next(state.purged), next(state.last).min(log_id.index + 1))
        };
        let done = self
            .with_writer(|writer| writer.purge(start, end, log_id))
            .map_err(|error| write_error(&error))?;
        confirmed(done).await.map_err(StorageIOError::write_logs)?;
        self.inner.tail.lock().purge(log_id.index);
        let mut state = self.inner.state.lock();
        state.purged = Some(log_id);
        if state.last.is_none_or(|last| last.index <= log_id.index) {
            (state.first, state.last) = (None, Some(log_id));
        } else {
            state.first = state.first.max(Some(log_id.index + 1));
        }
        Ok(())
    }
}

async fn confirmed(done: oneshot::Receiver<Result<(), String>>) -> Result<(), AnyError> {
    match done.await {
        Ok(Ok(())) => Ok(()),
        Ok(Err(reason)) => Err(AnyError::error(reason)),
        Err(_gone) => Err(AnyError::error("the log writer is gone")),
    }
}
