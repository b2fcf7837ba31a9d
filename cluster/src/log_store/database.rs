//! The fjall database that holds the log: keys, values, limits.
//!
//! Keyspace `log`: 8-byte big-endian index → entry record. Keyspace `meta`: `vote`, `committed`, `purged` → record.
//! Both share one journal, so one sync covers both.

use std::path::Path;
#[cfg(test)]
use std::sync::{
    Arc,
    atomic::{AtomicBool, Ordering},
};

use bytes::Bytes;
use fjall::{Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::error::StartError;
use crate::raft::{Entry, LogId, Vote};
use crate::record::{self, LogIdRecord, RecordError, VoteRecord};

/// Blocks cached for reading. Reads nearly always hit the tail in memory, so this stays small.
const CACHE_BYTES: u64 = 2 * 1024 * 1024;
/// Entries held in memory before they move from the journal into a table.
const LOG_MEMTABLE_BYTES: u64 = 8 * 1024 * 1024;
const META_MEMTABLE_BYTES: u64 = 1024 * 1024;
/// Disk space of journals before the engine forces tables; the engine's minimum.
const JOURNAL_BYTES_MAX: u64 = 64 * 1024 * 1024;
/// One thread to move entries into tables and one to compact. With a single thread a burst of commits can fill the
/// engine's work queue with rotation requests while that thread compacts; it then blocks on its own queue for good.
const WORKER_THREADS: usize = 2;
const OPEN_FILES_MAX: usize = 64;
/// Bytes per write when the log is copied.
const COPY_BYTES: usize = 1024 * 1024;

const VOTE: &str = "vote";
const COMMITTED: &str = "committed";
const PURGED: &str = "purged";

/// The open database; clones share it.
#[derive(Clone)]
pub(crate) struct Database {
    database: fjall::Database,
    log: Keyspace,
    meta: Keyspace,
    #[cfg(test)]
    fail_next: Arc<AtomicBool>,
}

/// What an opened database holds.
pub(crate) struct Recovered {
    pub(crate) vote: Option<Vote>,
    pub(crate) committed: Option<LogId>,
    pub(crate) purged: Option<LogId>,
    /// Index of the first entry present; it follows the purged ones.
    pub(crate) first: Option<u64>,
    /// Last entry present; `None` when all are purged.
    pub(crate) last: Option<LogId>,
}

/// Why the database could not do its work.
#[derive(Debug, thiserror::Error)]
pub(crate) enum DatabaseError {
    #[error("log is closed")]
    Closed,
    #[error("{0}")]
    Io(std::io::Error),
    #[error("an earlier write in the background failed (see the log for its reason)")]
    Poisoned,
    #[error("{0}")]
    Engine(fjall::Error),
    #[error("entry {index}: {source}")]
    Entry { index: u64, source: RecordError },
    #[error("{key}: {source}")]
    Meta { key: &'static str, source: RecordError },
    #[error("entry {index} is missing")]
    Hole { index: u64 },
    #[cfg(test)]
    #[error("write refused by a test")]
    Injected,
}

impl From<fjall::Error> for DatabaseError {
    fn from(error: fjall::Error) -> DatabaseError {
        match error {
            fjall::Error::Io(error) => DatabaseError::Io(error),
            fjall::Error::Poisoned => DatabaseError::Poisoned,
            other => DatabaseError::Engine(other),
        }
    }
}

impl DatabaseError {
    /// Whether a failed write may have left the journal with bytes that can be read but are not on disk.
    ///
    /// After a failed sync the kernel forgets that those pages must be written, so a later sync succeeds without
    /// them. A disk that is full refuses the bytes at once, and background work does not touch the journal.
    pub(crate) fn leaves_journal_in_doubt(&self) -> bool {
        match self {
            DatabaseError::Io(error) => error.kind() != std::io::ErrorKind::StorageFull,
            DatabaseError::Poisoned => false,
            _ => true,
        }
    }
}

/// Changes that reach the disk together or not at all.
pub(crate) struct Group<'a> {
    database: &'a Database,
    batch: fjall::OwnedWriteBatch,
    durable: bool,
}

impl Database {
    /// Opens or creates the database in `path`.
    pub(crate) fn open(path: &Path) -> Result<(Database, Recovered), StartError> {
        let failed =
            |error: DatabaseError| StartError::Log { path: path.to_owned(), reason: error.to_string() };
        let database = Database::open_engine(path).map_err(|error| failed(error.into()))?;
        let recovered = database.recover().map_err(failed)?;
        Ok((database, recovered))
    }

    fn open_engine(path: &Path) -> fjall::Result<Database> {
        let database = fjall::Database::builder(path)
            .cache_size(CACHE_BYTES)
            .max_journaling_size(JOURNAL_BYTES_MAX)
            .worker_threads(WORKER_THREADS)
            .max_cached_files(Some(OPEN_FILES_MAX))
            .open()?;
        let options = |bytes| move || KeyspaceCreateOptions::default().max_memtable_size(bytes);
        let log = database.keyspace("log", options(LOG_MEMTABLE_BYTES))?;
        let meta = database.keyspace("meta", options(META_MEMTABLE_BYTES))?;
        Ok(Database {
            database,
            log,
            meta,
            #[cfg(test)]
            fail_next: Arc::default(),
        })
    }

    fn recover(&self) -> Result<Recovered, DatabaseError> {
        let vote = self.meta_record::<VoteRecord>(VOTE)?.map(Vote::from);
        let committed = self.meta_record::<LogIdRecord>(COMMITTED)?.map(LogId::from);
        let purged = self.meta_record::<LogIdRecord>(PURGED)?.map(LogId::from);
        let first = position(self.log.first_key_value())?.map(|id| id.index);
        let last = position(self.log.last_key_value())?;
        let expected = purged.map_or(0, |purged| purged.index + 1);
        match first {
            Some(found) if found != expected => Err(DatabaseError::Hole { index: expected }),
            _ => Ok(Recovered { vote, committed, purged, first, last }),
        }
    }

    fn meta_record<M: prost::Message + Default>(
        &self,
        key: &'static str,
    ) -> Result<Option<M>, DatabaseError> {
        let Some(value) = self.meta.get(key)? else { return Ok(None) };
        let bytes = Bytes::copy_from_slice(&value);
        record::decode(bytes).map(Some).map_err(|source| DatabaseError::Meta { key, source })
    }

    /// Entries of `start..end`, without gaps, up to `bytes_max` but at least one.
    pub(crate) fn entries(
        &self,
        start: u64,
        end: u64,
        bytes_max: usize,
    ) -> Result<Vec<Entry>, DatabaseError> {
        let mut entries = Vec::new();
        let mut bytes = 0;
        for guard in self.log.range(start.to_be_bytes()..end.to_be_bytes()) {
            let (key, value) = guard.into_inner()?;
            let expected = start + entries.len() as u64;
            let entry = decode(&key, &value)?;
            if entry.log_id.index != expected {
                return Err(DatabaseError::Hole { index: expected });
            }
            bytes += value.len();
            if bytes > bytes_max && !entries.is_empty() {
                return Ok(entries);
            }
            entries.push(entry);
        }
        let next = start + entries.len() as u64;
        if next < end { Err(DatabaseError::Hole { index: next }) } else { Ok(entries) }
    }

    /// Copies everything into a new database in `path` and syncs it.
    pub(crate) fn copy_to(&self, path: &Path) -> Result<(), DatabaseError> {
        let copy = Database::open_engine(path)?;
        for (from, to) in [(&self.log, &copy.log), (&self.meta, &copy.meta)] {
            let mut batch = copy.database.batch();
            let mut bytes = 0;
            for guard in from.iter() {
                let (key, value) = guard.into_inner()?;
                bytes += value.len();
                batch.insert(to, key, value);
                if bytes > COPY_BYTES {
                    std::mem::replace(&mut batch, copy.database.batch()).commit()?;
                    bytes = 0;
                }
            }
            batch.commit()?;
        }
        Ok(copy.database.persist(PersistMode::SyncAll)?)
    }

    /// Starts a group of changes. No key may be changed twice within one group.
    pub(crate) fn group(&self) -> Group<'_> {
        Group { database: self, batch: self.database.batch(), durable: false }
    }

    /// Makes the next commit fail; used by tests of what happens then.
    #[cfg(test)]
    pub(crate) fn fail_next_write(&self) {
        self.fail_next.store(true, Ordering::SeqCst);
    }
}

impl Group<'_> {
    pub(crate) fn put_entry(&mut self, index: u64, record: Vec<u8>) {
        self.batch.insert(&self.database.log, index.to_be_bytes(), record);
        self.durable = true;
    }

    /// Removes the entries of `start..end`; the range must lie within what is present.
    pub(crate) fn remove_entries(&mut self, start: u64, end: u64) {
        for index in start..end {
            self.batch.remove(&self.database.log, index.to_be_bytes());
        }
    }

    pub(crate) fn put_vote(&mut self, vote: &Vote) {
        self.batch.insert(&self.database.meta, VOTE, record::encode(&VoteRecord::from(vote)));
        self.durable = true;
    }

    /// The commit position is a hint for the next start, so it is not worth a sync of its own.
    pub(crate) fn put_committed(&mut self, committed: &LogId) {
        self.batch.insert(&self.database.meta, COMMITTED, record::encode(&LogIdRecord::from(committed)));
    }

    pub(crate) fn put_purged(&mut self, purged: &LogId) {
        self.batch.insert(&self.database.meta, PURGED, record::encode(&LogIdRecord::from(purged)));
        self.durable = true;
    }

    /// Asks for a sync although nothing was added: removed entries must not come back after a power loss.
    pub(crate) fn require_sync(&mut self) {
        self.durable = true;
    }

    /// Whether [`Self::commit`] waits for the disk.
    pub(crate) fn is_durable(&self) -> bool {
        self.durable
    }

    /// Writes the group, and syncs when it holds something that must outlive a power loss.
    pub(crate) fn commit(self) -> Result<(), DatabaseError> {
        #[cfg(test)]
        if self.database.fail_next.swap(false, Ordering::SeqCst) {
            return Err(DatabaseError::Injected);
        }
        let mode = if self.durable { PersistMode::SyncData } else { PersistMode::Buffer };
        Ok(self.batch.durability(Some(mode)).commit()?)
    }
}

fn position(guard: Option<fjall::Guard>) -> Result<Option<LogId>, DatabaseError> {
    let Some(guard) = guard else { return Ok(None) };
    let (key, value) = guard.into_inner()?;
    Ok(Some(decode(&key, &value)?.log_id))
}

fn decode(key: &[u8], value: &[u8]) -> Result<Entry, DatabaseError> {
    let index = key.try_into().map(u64::from_be_bytes).unwrap_or_default();
    let entry = record::decode_entry(Bytes::copy_from_slice(value))
        .map_err(|source| DatabaseError::Entry { index, source })?;
    if entry.log_id.index == index { Ok(entry) } else { Err(DatabaseError::Hole { index }) }
}
