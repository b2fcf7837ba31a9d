//! The log of a node that does not run: read, and begun or extended once. For recovery.

use std::path::{Path, PathBuf};

use super::database::{Database, DatabaseError, Recovered};
use super::mark::Mark;
use super::{journal, rebuild};
use crate::error::StartError;
use crate::raft::{Entry, LogId, Vote};
use crate::record;

/// Bytes of entries read at a time.
const READ_BYTES: usize = 4 * 1024 * 1024;

/// The open log. Blocks on disk.
pub(crate) struct OfflineLog {
    path: PathBuf,
    database: Database,
    recovered: Recovered,
}

impl OfflineLog {
    /// Opens the log with the same checks as a node that starts.
    ///
    /// # Errors
    /// When the files are damaged, from a newer version, or shorter than they once were.
    pub(crate) fn open(path: &Path) -> Result<OfflineLog, StartError> {
        journal::check(path)?;
        rebuild::finish_or_repeat(path)?;
        let (database, recovered) = Database::open(path)?;
        let log = OfflineLog { path: path.to_owned(), database, recovered };
        Mark::open(path, log.last().map(|id| id.index))?;
        Ok(log)
    }

    /// The last vote.
    pub(crate) fn vote(&self) -> Option<Vote> {
        self.recovered.vote
    }

    /// Last entry removed from the beginning.
    pub(crate) fn purged(&self) -> Option<LogId> {
        self.recovered.purged
    }

    /// The last entry.
    pub(crate) fn last(&self) -> Option<LogId> {
        self.recovered.last.or(self.recovered.purged)
    }

    /// Visits the entries from `start` on that are present, in order.
    pub(crate) fn visit(&self, start: u64, mut visit: impl FnMut(&Entry)) -> Result<(), StartError> {
        let Some(first) = self.recovered.first else { return Ok(()) };
        let end = self.last().map_or(0, |id| id.index + 1);
        let mut next = start.max(first);
        while next < end {
            let entries =
                self.database.entries(next, end, READ_BYTES).map_err(|error| self.failed(&error))?;
            entries.iter().for_each(&mut visit);
            next += entries.len() as u64;
        }
        Ok(())
    }

    /// Lets an empty log begin behind an entry that a snapshot covers. On disk when this returns.
    pub(crate) fn begin_after(self, covered: &LogId) -> Result<(), StartError> {
        let mut group = self.database.group();
        group.put_purged(covered);
        group.commit().map_err(|error| self.failed(&error))
    }

    /// Appends entries and replaces the vote, both or neither. On disk when this returns.
    pub(crate) fn extend(self, entries: &[Entry], vote: &Vote) -> Result<(), StartError> {
        let mut group = self.database.group();
        for entry in entries {
            group.put_entry(entry.log_id.index, record::encode_entry(entry));
        }
        group.put_vote(vote);
        group.commit().map_err(|error| self.failed(&error))
    }

    fn failed(&self, error: &DatabaseError) -> StartError {
        StartError::Log { path: self.path.clone(), reason: error.to_string() }
    }
}
