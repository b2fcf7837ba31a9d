//! Looks at the engine's journals before the engine does.
//!
//! After a power loss the last record may be half on disk, in any of its pages. The engine refuses to open when such
//! a record looks complete but has a wrong checksum, and silently cuts everything off when its structure is broken,
//! even if good records follow. Neither is right here, and one fact tells the two cases apart: a record is written
//! only after the one before was synced. So a bad record with nothing behind it was never confirmed and is cut off;
//! a bad record with a good one behind it is damage, and the log is refused without changing a byte.
//!
//! What is read (all numbers little-endian): a record is a start (`01`, 32-bit count of items, 64-bit sequence), that
//! many items, and an end (`03`, 64-bit XXH3 of the items' bytes, `FJL` `03`). An item is `02`, kind, compression,
//! 64-bit keyspace, 16-bit key length, 32-bit value length, 32-bit stored length, key, stored value; or `04` and the
//! 64-bit keyspace that is cleared. Zeros up to the end of the file are room that was not used yet. A test compares
//! this with what the engine writes.

use std::fs::{File, OpenOptions};
use std::io::{self, BufReader, Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};

use xxhash_rust::xxh3::Xxh3;

use crate::error::StartError;
use crate::identity::io_error;

const START: u8 = 1;
const ITEM: u8 = 2;
const END: u8 = 3;
const CLEAR: u8 = 4;
const MAGIC: [u8; 4] = *b"FJL\x03";
/// Bytes of an item after its tag and before its key.
const ITEM_HEADER_BYTES: usize = 20;
const CHUNK: usize = 64 * 1024;

/// Checks all journals of the log in `log` and cuts a torn record off the newest one.
pub(super) fn check(log: &Path) -> Result<(), StartError> {
    let journals = list(log).map_err(io_error("read", log))?;
    for (position, (_, path)) in journals.iter().enumerate() {
        let found = inspect(path).map_err(io_error("read", path))?;
        let newest = position + 1 == journals.len();
        match found {
            Found::Whole { .. } => {}
            Found::Broken { offset, followed: false } if newest => {
                tracing::warn!(path = %path.display(), offset, "cutting off a record that was never completed");
                cut(path, offset).map_err(io_error("shorten", path))?;
            }
            Found::Broken { offset, .. } => {
                let reason = format!("journal {} is damaged at byte {offset}", path.display());
                return Err(StartError::Log { path: log.to_owned(), reason });
            }
        }
    }
    Ok(())
}

/// What a journal holds.
#[derive(Debug, PartialEq, Eq)]
enum Found {
    /// Good records and nothing else.
    Whole { records: u64 },
    /// Good records up to `offset`, then something else; `followed` by at least one good record or not.
    Broken { offset: u64, followed: bool },
}

fn list(log: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let entries = match std::fs::read_dir(log) {
        Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Vec::new()),
        other => other?,
    };
    let mut journals = Vec::new();
    for entry in entries {
        let path = entry?.path();
        let number = path.file_name().and_then(|name| name.to_str()?.strip_suffix(".jnl")?.parse().ok());
        journals.extend(number.map(|number: u64| (number, path)));
    }
    journals.sort();
    Ok(journals)
}

fn inspect(path: &Path) -> io::Result<Found> {
    let mut source = BufReader::with_capacity(CHUNK, File::open(path)?);
    let (mut offset, mut records, mut sequence) = (0, 0, None);
    while let Some(record) = read_record(&mut source)? {
        if sequence.is_some_and(|before| record.sequence <= before) {
            return Ok(Found::Broken { offset, followed: true });
        }
        offset += record.bytes;
        records += 1;
        sequence = Some(record.sequence);
    }
    let rest = rest(path, offset)?;
    if rest.is_empty() {
        return Ok(Found::Whole { records });
    }
    // A good record cannot begin where a bad one does.
    let followed = (1..rest.len())
        .any(|start| rest[start] == START && matches!(read_record(&mut &rest[start..]), Ok(Some(_))));
    Ok(Found::Broken { offset, followed })
}

/// A good record.
struct Record {
    bytes: u64,
    sequence: u64,
}

/// Reads one record; `None` when there is no good one. Errors are those of the disk.
fn read_record(source: &mut impl Read) -> io::Result<Option<Record>> {
    match try_read_record(source) {
        Ok(record) => Ok(record),
        Err(error) if error.kind() == io::ErrorKind::UnexpectedEof => Ok(None),
        Err(error) => Err(error),
    }
}

fn try_read_record(source: &mut impl Read) -> io::Result<Option<Record>> {
    if read::<1>(source)? != [START] {
        return Ok(None);
    }
    let items = u32::from_le_bytes(read(source)?);
    let sequence = u64::from_le_bytes(read(source)?);
    let mut hasher = Xxh3::new();
    let mut bytes = 13;
    for _ in 0..items {
        match read_item(source, &mut hasher)? {
            Some(item_bytes) => bytes += item_bytes,
            None => return Ok(None),
        }
    }
    let end = read::<1>(source)? == [END];
    let checksum = u64::from_le_bytes(read(source)?);
    let good = end && checksum == hasher.digest() && read(source)? == MAGIC;
    Ok(good.then_some(Record { bytes: bytes + 13, sequence }))
}

fn read_item(source: &mut impl Read, hasher: &mut Xxh3) -> io::Result<Option<u64>> {
    let tag = read::<1>(source)?;
    hasher.update(&tag);
    match tag[0] {
        CLEAR => {
            hasher.update(&read::<8>(source)?);
            Ok(Some(9))
        }
        ITEM => {
            let header: [u8; ITEM_HEADER_BYTES] = read(source)?;
            hasher.update(&header);
            let key_bytes = u16::from_le_bytes([header[10], header[11]]);
            let value_bytes = u32::from_le_bytes([header[16], header[17], header[18], header[19]]);
            let body_bytes = u64::from(key_bytes) + u64::from(value_bytes);
            hash_exactly(source, body_bytes, hasher)?;
            Ok(Some(1 + ITEM_HEADER_BYTES as u64 + body_bytes))
        }
        _ => Ok(None),
    }
}

/// Hashes in pieces, so that a damaged length cannot make us allocate.
fn hash_exactly(source: &mut impl Read, bytes: u64, hasher: &mut Xxh3) -> io::Result<()> {
    let mut left = bytes;
    let mut chunk = [0; 4096];
    while left > 0 {
        let piece = left.min(chunk.len() as u64) as usize;
        source.read_exact(&mut chunk[..piece])?;
        hasher.update(&chunk[..piece]);
        left -= piece as u64;
    }
    Ok(())
}

fn read<const N: usize>(source: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What stands behind `offset`, without the zeros at the end.
fn rest(path: &Path, offset: u64) -> io::Result<Vec<u8>> {
    let mut file = File::open(path)?;
    let mut rest = Vec::new();
    let mut position = offset;
    let mut chunk = vec![0; CHUNK];
    // Unused room is a hole in the file; where the file system tells, it need not be read.
    while let Ok(data) = rustix::fs::seek(&file, rustix::fs::SeekFrom::Data(position)) {
        file.seek(SeekFrom::Start(data))?;
        let count = file.read(&mut chunk)?;
        if count == 0 {
            break;
        }
        if chunk[..count].iter().any(|byte| *byte != 0) {
            rest.resize((data - offset) as usize, 0);
            rest.extend_from_slice(&chunk[..count]);
        }
        position = data + count as u64;
    }
    let used = rest.iter().rposition(|byte| *byte != 0).map_or(0, |last| last + 1);
    rest.truncate(used);
    Ok(rest)
}

fn cut(path: &Path, offset: u64) -> io::Result<()> {
    let file = OpenOptions::new().write(true).open(path)?;
    file.set_len(offset)?;
    file.sync_all()
}

#[cfg(test)]
mod tests {
    use openraft::storage::RaftLogStorageExt;
    use openraft::{CommittedLeaderId, EntryPayload};
    use std::sync::Arc;

    use super::*;
    use crate::log_store::LogStore;
    use crate::raft::{Entry, LogId, Payload};
    use crate::record::{Batch, Group};

    /// A log with `count` entries of about `bytes` bytes, one record each, and its journal.
    async fn written(count: u64, bytes: usize) -> (tempfile::TempDir, PathBuf, PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let log = dir.path().join("log");
        let mut store = LogStore::open(&log, Arc::new(|_| {})).unwrap();
        for index in 0..count {
            // Not compressible, so that the record is as long on disk.
            let command: Vec<u8> = (0..bytes).map(|_| rand::random()).collect();
            let group = Group {
                node_id: 1,
                incarnation: 1,
                first_sequence: index,
                commands: vec![command.into()],
                after_sequence: 0,
            };
            let payload =
                EntryPayload::Normal(Payload(Arc::new(Batch { groups: vec![group], system: None })));
            let log_id = LogId::new(CommittedLeaderId::new(1, 1), index);
            store.blocking_append([Entry { log_id, payload }]).await.unwrap();
        }
        store.close();
        let journal = list(&log).unwrap().pop().unwrap().1;
        (dir, log, journal)
    }

    fn used_bytes(journal: &[u8]) -> usize {
        journal.iter().rposition(|byte| *byte != 0).unwrap() + 1
    }

    fn last_index(log: &Path) -> Option<u64> {
        let store = LogStore::open(log, Arc::new(|_| {})).unwrap();
        let last = store.inner.state.lock().last;
        store.close();
        last.map(|id| id.index)
    }

    #[tokio::test]
    async fn the_engine_writes_what_we_read() {
        let (_dir, log, journal) = written(20, 9_000).await;
        assert_eq!(inspect(&journal).unwrap(), Found::Whole { records: 20 });
        assert_eq!(last_index(&log), Some(19));
    }

    #[tokio::test]
    async fn a_torn_last_record_is_cut_off_wherever_it_is_torn() {
        let (dir, log, journal) = written(5, 30_000).await;
        let whole = std::fs::read(&journal).unwrap();
        let used = used_bytes(&whole);
        let last_record = used - 30_000;
        let mark = dir.path().join("log.mark");
        for (start, end) in
            [(last_record, last_record + 4096), (used - 8_000, used - 4_000), (used - 10, used)]
        {
            let mut torn = whole.clone();
            torn[start..end].fill(0);
            std::fs::write(&journal, &torn).unwrap();
            let error = LogStore::open(&log, Arc::new(|_| {}))
                .err()
                .expect("the mark knows that the record was complete");
            assert!(matches!(error, StartError::LogTruncated { expected: 4, found: 3, .. }), "{error}");
            // After a power loss the mark may be older.
            std::fs::write(&journal, &torn).unwrap();
            let kept = std::fs::read(&mark).unwrap();
            std::fs::remove_file(&mark).unwrap();
            assert_eq!(last_index(&log), Some(3), "torn at {start}..{end}");
            std::fs::write(&mark, kept).unwrap();
        }
    }

    #[tokio::test]
    async fn garbage_behind_the_last_record_is_cut_off() {
        let (_dir, log, journal) = written(3, 100).await;
        let mut bytes = std::fs::read(&journal).unwrap();
        let used = used_bytes(&bytes);
        let begun = bytes[..60].to_vec();
        bytes[used..used + 60].copy_from_slice(&begun);
        std::fs::write(&journal, &bytes).unwrap();
        assert_eq!(last_index(&log), Some(2));
    }

    #[tokio::test]
    async fn damage_before_good_records_is_refused_and_left_alone() {
        let (_dir, log, journal) = written(6, 200).await;
        let whole = std::fs::read(&journal).unwrap();
        let used = used_bytes(&whole);
        let mut refused = 0;
        for position in (0..used * 4 / 6).step_by(5) {
            let mut damaged = whole.clone();
            damaged[position] ^= 1;
            std::fs::write(&journal, &damaged[..used]).unwrap();
            match check(&log) {
                Err(StartError::Log { .. }) => refused += 1,
                // The sequence of a record has no checksum; a changed one still grows.
                Ok(()) => {}
                Err(other) => panic!("byte {position}: unexpected {other}"),
            }
            assert!(std::fs::read(&journal).unwrap() == damaged[..used], "byte {position}");
        }
        assert!(refused > used * 6 / 10 / 5, "{refused} of {used}");
    }
}
