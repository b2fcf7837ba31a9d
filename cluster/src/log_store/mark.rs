//! The last log index that was on disk, kept apart from the log.
//!
//! The storage engine drops a torn record at the end of its journal, as it must after a crash. It cannot know whether
//! that record had been confirmed. This file does: it is written after each sync and compared when the log is opened,
//! so that a log whose confirmed end was damaged is refused instead of being continued as if nothing had happened.
//!
//! Layout, 24 bytes: magic `RKMARK1\0`, next index as 64-bit little-endian (all smaller ones were on disk), the first
//! 8 bytes of the SHA-256 of both. Going forward the file is not synced itself: after a power loss it may be older than
//! the log, never newer, and then it only notices less. Before the end of the log is taken back it is.

use std::fs::{File, OpenOptions};
use std::os::unix::fs::FileExt;
use std::path::{Path, PathBuf};

use sha2::{Digest, Sha256};

use crate::error::StartError;
use crate::identity::io_error;

const MAGIC: &[u8; 8] = b"RKMARK1\0";
const LENGTH: usize = 24;

/// The open mark file.
pub(crate) struct Mark {
    file: File,
    path: PathBuf,
    next: u64,
}

impl Mark {
    /// Opens the mark beside the log directory and compares it with the last index found in the log.
    pub(crate) fn open(log_path: &Path, last_index: Option<u64>) -> Result<Mark, StartError> {
        let path = log_path.with_extension("mark");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .read(true)
            .write(true)
            .open(&path)
            .map_err(io_error("open", &path))?;
        let found_next = last_index.map_or(0, |index| index + 1);
        let expected_next = read(&file).unwrap_or_else(|| {
            tracing::debug!(path = %path.display(), "no valid mark of the log's end, taking the log as it is");
            0
        });
        if found_next < expected_next {
            return Err(StartError::LogTruncated {
                path: log_path.to_owned(),
                expected: expected_next - 1,
                found: found_next.saturating_sub(1),
            });
        }
        let mut mark = Mark { file, path, next: expected_next };
        mark.set(found_next);
        Ok(mark)
    }

    /// Notes that all entries before `next` are on disk and none from it on is. A failing write is only logged: the
    /// mark is a second look, not a promise.
    pub(crate) fn set(&mut self, next: u64) {
        if next == self.next {
            return;
        }
        let back = next < self.next;
        self.next = next;
        let mut written = self.file.write_all_at(&encode(next), 0);
        if back {
            // Otherwise a power loss could bring back the old mark beside the shortened log, which is refused then.
            written = written.and_then(|()| self.file.sync_data());
        }
        if let Err(error) = written {
            tracing::warn!(path = %self.path.display(), %error, "cannot write the mark of the log's end");
        }
    }
}

fn encode(next: u64) -> [u8; LENGTH] {
    let mut bytes = [0; LENGTH];
    bytes[..8].copy_from_slice(MAGIC);
    bytes[8..16].copy_from_slice(&next.to_le_bytes());
    let digest = Sha256::digest(&bytes[..16]);
    bytes[16..].copy_from_slice(&digest[..8]);
    bytes
}

fn read(file: &File) -> Option<u64> {
    let mut bytes = [0; LENGTH];
    file.read_exact_at(&mut bytes, 0).ok()?;
    let next = u64::from_le_bytes(bytes[8..16].try_into().ok()?);
    (bytes == encode(next)).then_some(next)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_shorter_log_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut mark = Mark::open(&log, None).unwrap();
        mark.set(8);
        drop(mark);
        assert!(Mark::open(&log, Some(7)).is_ok());
        assert!(Mark::open(&log, Some(9)).is_ok(), "entries that were never confirmed may be there");
        drop(Mark::open(&log, Some(7)));
        let error = Mark::open(&log, Some(6)).err().unwrap();
        assert!(matches!(error, StartError::LogTruncated { expected: 9, found: 6, .. }), "{error}");
    }

    #[test]
    fn a_damaged_mark_is_no_mark() {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        Mark::open(&log, Some(50)).unwrap();
        std::fs::write(dir.path().join("log.mark"), b"RKMARK1\0garbage-garbage").unwrap();
        assert!(Mark::open(&log, Some(3)).is_ok());
    }
}
