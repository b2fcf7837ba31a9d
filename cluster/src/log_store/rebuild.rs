//! Copies a log whose journal cannot be trusted any more.
//!
//! When a sync fails, the bytes that were to be synced can still be read from the kernel's cache although they are
//! not on disk and will never be. Going on behind them would put acknowledged entries after a gap that shows only
//! after a power loss. So the failure leaves a file `log.suspect`, and the next opening first copies everything that
//! can be read into a new database:
//!
//! 1. copy `log` to `log.fresh` and sync it
//! 2. rename `log` to `log.stale`, then `log.fresh` to `log`
//! 3. remove `log.suspect`, then `log.stale`
//!
//! `log.stale` exists only after `log.fresh` was complete, so each step can be repeated after a crash.

use std::io;
use std::path::{Path, PathBuf};

use super::database::Database;
use crate::error::StartError;
use crate::identity::{io_error, sync_parent};

/// Notes that the log must be copied before it is used again. A disk that cannot even take this note will not take
/// the log either.
pub(super) fn require(log: &Path) {
    let path = suspect(log);
    let noted =
        std::fs::File::create(&path).and_then(|file| file.sync_all()).and_then(|()| sync_parent(&path));
    if let Err(error) = noted {
        tracing::error!(path = %path.display(), %error, "cannot note that the log must be copied");
    }
}

/// Finishes a copy that was interrupted, or makes the one that was required. Does nothing otherwise.
pub(super) fn finish_or_repeat(log: &Path) -> Result<(), StartError> {
    let (fresh, stale) = (log.with_extension("fresh"), log.with_extension("stale"));
    if !suspect(log).exists() {
        remove(&stale).map_err(io_error("remove", &stale))?;
        return remove(&fresh).map_err(io_error("remove", &fresh));
    }
    if !stale.exists() {
        remove(&fresh).map_err(io_error("remove", &fresh))?;
        copy(log, &fresh)?;
        std::fs::rename(log, &stale).map_err(io_error("rename", log))?;
    }
    if fresh.exists() {
        std::fs::rename(&fresh, log).map_err(io_error("rename", &fresh))?;
    }
    sync_parent(log).map_err(io_error("sync the directory of", log))?;
    std::fs::remove_file(suspect(log)).map_err(io_error("remove", &suspect(log)))?;
    sync_parent(log).map_err(io_error("sync the directory of", log))?;
    tracing::info!(path = %log.display(), "the log was copied because its journal was in doubt");
    remove(&stale).map_err(io_error("remove", &stale))
}

fn copy(log: &Path, fresh: &Path) -> Result<(), StartError> {
    let (database, _recovered) = Database::open(log)?;
    database
        .copy_to(fresh)
        .map_err(|error| StartError::Log { path: fresh.to_owned(), reason: error.to_string() })
}

fn suspect(log: &Path) -> PathBuf {
    log.with_extension("suspect")
}

fn remove(directory: &Path) -> io::Result<()> {
    match std::fs::remove_dir_all(directory) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}

#[cfg(test)]
mod tests {
    use openraft::storage::RaftLogStorageExt;
    use openraft::{CommittedLeaderId, EntryPayload, RaftLogReader};

    use std::sync::Arc;

    use super::*;
    use crate::log_store::LogStore;
    use crate::raft::{Entry, LogId};

    async fn write_ten(log: &Path) {
        let mut store = LogStore::open(log, Arc::new(|_| {})).unwrap();
        let entry = |index| Entry {
            log_id: LogId::new(CommittedLeaderId::new(1, 1), index),
            payload: EntryPayload::Blank,
        };
        store.blocking_append((0..10).map(entry)).await.unwrap();
        store.close();
    }

    async fn assert_ten(log: &Path) {
        let mut store = LogStore::open(log, Arc::new(|_| {})).unwrap();
        assert_eq!(store.try_get_log_entries(..).await.unwrap().len(), 10);
        store.close();
        let names: Vec<_> = std::fs::read_dir(log.parent().unwrap())
            .unwrap()
            .map(|entry| entry.unwrap().file_name())
            .collect();
        assert_eq!(names.len(), 2, "only the log and its mark remain: {names:?}");
    }

    #[tokio::test]
    async fn a_log_in_doubt_is_copied() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        write_ten(&log).await;
        let before = std::fs::metadata(&log).unwrap().created().ok();
        require(&log);
        assert_ten(&log).await;
        assert!(before.is_none() || before != std::fs::metadata(&log).unwrap().created().ok());
    }

    #[tokio::test]
    async fn an_interrupted_copy_is_repeated_or_finished() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        write_ten(&log).await;
        let (fresh, stale) = (log.with_extension("fresh"), log.with_extension("stale"));

        require(&log);
        std::fs::create_dir(&fresh).unwrap();
        std::fs::write(fresh.join("half"), b"a copy").unwrap();
        assert_ten(&log).await;

        require(&log);
        copy(&log, &fresh).unwrap();
        std::fs::rename(&log, &stale).unwrap();
        assert_ten(&log).await;

        require(&log);
        copy(&log, &fresh).unwrap();
        std::fs::rename(&log, &stale).unwrap();
        std::fs::rename(&fresh, &log).unwrap();
        assert_ten(&log).await;

        std::fs::create_dir(&stale).unwrap();
        assert_ten(&log).await;
    }
}
