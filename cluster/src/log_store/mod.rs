//! The Raft log, vote and purge position on disk.
//!
//! One writer thread ([`writer`]) performs every write in the order of the calls and syncs once per group. Entries
//! are readable as soon as `append` returns, from [`tail`] until the writer has them on disk and from [`database`]
//! afterwards. [`mark`] remembers the last index that was on disk, so that a log that comes back shorter is noticed.
//! [`journal`] tells a torn record from damage before the engine opens its files, and [`rebuild`] copies a log whose journal is in doubt after a failed sync.
//!
//! After [`LogStore::close`] the database files are closed whoever still holds a handle; the handles answer errors.

mod database;
mod journal;
mod mark;
mod offline;
mod raft_storage;
mod rebuild;
#[cfg(test)]
mod suite_tests;
mod tail;
mod writer;

use std::path::Path;
use std::sync::Arc;

use openraft::{AnyError, StorageIOError};
use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use crate::error::StartError;
use crate::identity::io_error;
use crate::options::SyncObserver;
use crate::raft::{Entry, LogId, StorageError, Vote};
use database::{Database, DatabaseError, Recovered};
use mark::Mark;
use tail::Tail;
use writer::Writer;

pub(crate) use offline::OfflineLog;

/// Bytes of entries returned by one read for a peer.
const READ_BYTES_MAX: usize = 1024 * 1024;

/// A handle to the log of one node; clones share everything.
#[derive(Clone)]
pub(crate) struct LogStore {
    inner: Arc<Inner>,
}

struct Inner {
    database: RwLock<Option<Database>>,
    writer: Mutex<Option<Writer>>,
    tail: Arc<Mutex<Tail>>,
    state: Mutex<State>,
    failure: Arc<watch::Sender<Option<String>>>,
}

/// What is asked often enough to be kept in memory. It runs ahead of the disk by what the writer has not finished.
#[derive(Default)]
struct State {
    vote: Option<Vote>,
    committed: Option<LogId>,
    purged: Option<LogId>,
    /// Index of the first entry present.
    first: Option<u64>,
    /// Last entry present, or else the last one purged.
    last: Option<LogId>,
}

impl LogStore {
    /// Opens or creates the log in `path`; `syncs` hears of each write that waited for the disk. Blocks on disk.
    ///
    /// # Errors
    /// When the files are damaged, from a newer version, or shorter than they once were.
    pub(crate) fn open(path: &Path, syncs: SyncObserver) -> Result<LogStore, StartError> {
        journal::check(path)?;
        rebuild::finish_or_repeat(path)?;
        let failure = Arc::new(watch::channel(None).0);
        let tail = Arc::new(Mutex::new(Tail::default()));
        let (database, recovered) = Database::open(path)?;
        let end = recovered.last.or(recovered.purged);
        let mark = Mark::open(path, end.map(|id| id.index))?;
        let writer =
            Writer::spawn(path, database.clone(), mark, Arc::clone(&tail), Arc::clone(&failure), syncs)
                .map_err(io_error("start the writer thread for", path))?;
        let Recovered { vote, committed, purged, first, last } = recovered;
        let inner = Inner {
            database: RwLock::new(Some(database)),
            writer: Mutex::new(Some(writer)),
            tail,
            state: Mutex::new(State { vote, committed, purged, first, last: last.or(purged) }),
            failure,
        };
        Ok(LogStore { inner: Arc::new(inner) })
    }

    /// Becomes `Some(reason)` when a write has failed. The log takes no further write until it is opened anew.
    pub(crate) fn failure(&self) -> watch::Receiver<Option<String>> {
        self.inner.failure.subscribe()
    }

    /// Whether a vote was ever written.
    pub(crate) fn has_vote(&self) -> bool {
        self.inner.state.lock().vote.is_some()
    }

    /// The stored vote. It is on disk, and was before anybody was told of it.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.inner.state.lock().vote
    }

    /// Last entry of the log, or else the last one purged.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.inner.state.lock().last
    }

    /// Last entry removed from the log.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.inner.state.lock().purged
    }

    /// Finishes the queued writes, stops the writer thread and closes the database files. Blocks on disk.
    pub(crate) fn close(&self) {
        let writer = self.inner.writer.lock().take();
        if let Some(writer) = writer {
            writer.stop(self.inner.state.lock().committed);
        }
        let database = self.inner.database.write().take();
        drop(database);
    }

    /// Makes the next write fail, as a full or broken disk would.
    #[cfg(test)]
    pub(crate) fn fail_next_write(&self) {
        if let Some(writer) = self.inner.writer.lock().as_ref() {
            writer.fail_next_write();
        }
    }

    /// Entries of `start..end` that are in the log, up to `bytes_max` but at least one.
    fn read(&self, start: u64, end: u64, bytes_max: usize) -> Result<Vec<Entry>, DatabaseError> {
        let (first, next) = {
            let state = self.inner.state.lock();
            (state.first.unwrap_or(u64::MAX), state.last.map_or(0, |id| id.index + 1))
        };
        let (start, end) = (start.max(first), end.min(next));
        if start >= end {
            return Ok(Vec::new());
        }
        let tail = self.inner.tail.lock().range(start, end);
        let from_disk_end = tail.first().map_or(end, |entry| entry.log_id.index);
        let mut entries = Vec::new();
        if start < from_disk_end {
            let database = self.inner.database.read();
            let database = database.as_ref().ok_or(DatabaseError::Closed)?;
            entries = database.entries(start, from_disk_end, bytes_max)?;
        }
        if entries.len() as u64 == from_disk_end.saturating_sub(start) {
            entries.extend(tail);
        }
        Ok(entries)
    }

    fn with_writer<T>(&self, send: impl FnOnce(&Writer) -> T) -> Result<T, DatabaseError> {
        let writer = self.inner.writer.lock();
        writer.as_ref().map(send).ok_or(DatabaseError::Closed)
    }
}

fn read_error(error: &DatabaseError) -> StorageError {
    StorageIOError::read_logs(AnyError::new(error)).into()
}

fn write_error(error: &DatabaseError) -> StorageError {
    StorageIOError::write_logs(AnyError::new(error)).into()
}
