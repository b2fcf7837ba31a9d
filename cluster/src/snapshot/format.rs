//! The layout of a snapshot file.
//!
//! | Bytes | Content |
//! |---|---|
//! | 8 | magic `RKSNAP\r\n`: a copy in text mode is noticed |
//! | 4 | format number, little-endian |
//! | 4 | length of the header, little-endian |
//! | … | header, a protobuf record |
//! | … | body: the replica's bytes |
//! | 8 | length of the body, little-endian: known only once it is written |
//! | 32 | SHA-256 of everything before |

use std::fs::File;
use std::io::{self, BufReader, BufWriter, Read, Seek, SeekFrom, Write};
use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use prost::Message;
use sha2::{Digest, Sha256};

use crate::disk::{DiskGuard, Importance};
use crate::record::SnapshotHeader;
use crate::replica::SnapshotView;

const MAGIC: &[u8; 8] = b"RKSNAP\r\n";
/// The format this version writes; also the newest it reads.
const FORMAT: u32 = 1;
const PREFIX_BYTES: u64 = 16;
const TRAILER_BYTES: u64 = 40;
/// A header lists nodes; this allows tens of thousands and bounds what a damaged length can make us allocate.
const HEADER_BYTES_MAX: u32 = 4 * 1024 * 1024;
const COPY_BYTES: usize = 64 * 1024;
/// Free space is checked each time this many bytes were written.
const GUARD_BYTES: u64 = 1024 * 1024;

/// Why a file is not a usable snapshot.
#[derive(Debug, thiserror::Error)]
pub(crate) enum FormatError {
    #[error("it cannot be read: {0}")]
    Read(#[from] io::Error),
    #[error("it must begin with the snapshot mark")]
    Magic,
    #[error("its format is {0}, newest known format is {FORMAT}")]
    UnknownFormat(u32),
    #[error("its header must be at most {HEADER_BYTES_MAX} bytes long (says {0})")]
    HeaderLength(u32),
    #[error("its header is not valid: {0}")]
    Header(#[from] prost::DecodeError),
    #[error("its length must be {expected} bytes (is {found})")]
    Length { expected: u64, found: u64 },
    #[error("its checksum does not match")]
    Checksum,
}

/// A snapshot file whose checksum was verified.
#[derive(Debug)]
pub(crate) struct Verified {
    pub(crate) header: SnapshotHeader,
    file: File,
    body_offset: u64,
    body_bytes: u64,
}

impl Verified {
    /// Reads the whole of `path` once and checks everything that can be checked without the replica.
    pub(crate) fn open(path: &Path) -> Result<Verified, FormatError> {
        let file = File::open(path)?;
        let found = file.metadata()?.len();
        if found < PREFIX_BYTES + TRAILER_BYTES {
            return Err(FormatError::Length { expected: PREFIX_BYTES + TRAILER_BYTES, found });
        }
        let mut source = Hashing { inner: BufReader::with_capacity(COPY_BYTES, file), sha: Sha256::new() };
        let header_bytes = read_prefix(&mut source)?;
        let mut header = vec![0; header_bytes as usize];
        source.read_exact(&mut header)?;
        let body_offset = PREFIX_BYTES + u64::from(header_bytes);
        let body_bytes = found
            .checked_sub(body_offset + TRAILER_BYTES)
            .ok_or(FormatError::Length { expected: body_offset + TRAILER_BYTES, found })?;
        io::copy(&mut (&mut source).take(body_bytes), &mut io::sink())?;
        let stated = u64::from_le_bytes(read_array(&mut source)?);
        let digest = source.sha.clone().finalize();
        if read_array::<32>(&mut source)?[..] != digest[..] {
            return Err(FormatError::Checksum);
        }
        if stated != body_bytes {
            return Err(FormatError::Length { expected: body_offset + stated + TRAILER_BYTES, found });
        }
        let header = SnapshotHeader::decode(&header[..])?;
        Ok(Verified { header, file: source.inner.into_inner(), body_offset, body_bytes })
    }

    /// The replica's bytes.
    pub(crate) fn body(&self) -> io::Result<impl Read + '_> {
        let mut file = &self.file;
        file.seek(SeekFrom::Start(self.body_offset))?;
        Ok(BufReader::with_capacity(COPY_BYTES, file).take(self.body_bytes))
    }
}

fn read_prefix(source: &mut impl Read) -> Result<u32, FormatError> {
    if &read_array::<8>(source)? != MAGIC {
        return Err(FormatError::Magic);
    }
    let format = u32::from_le_bytes(read_array(source)?);
    if format != FORMAT {
        return Err(FormatError::UnknownFormat(format));
    }
    let header_bytes = u32::from_le_bytes(read_array(source)?);
    if header_bytes > HEADER_BYTES_MAX {
        return Err(FormatError::HeaderLength(header_bytes));
    }
    Ok(header_bytes)
}

fn read_array<const N: usize>(source: &mut impl Read) -> io::Result<[u8; N]> {
    let mut bytes = [0; N];
    source.read_exact(&mut bytes)?;
    Ok(bytes)
}

/// What ends writing early.
#[derive(Clone, Copy)]
pub(crate) struct Limits<'a> {
    /// Keeps the reserve of disk space.
    pub(crate) guard: &'a DiskGuard,
    /// Set when nobody wants the file any more.
    pub(crate) stop: &'a AtomicBool,
}

/// Writing was told to stop.
#[derive(Debug, thiserror::Error)]
#[error("the node ends")]
pub(crate) struct Stopped;

/// Writes a snapshot to `path` and syncs it. Stops with an error before free space falls below the reserve, and when told.
pub(crate) fn write(
    path: &Path,
    header: &SnapshotHeader,
    view: &dyn SnapshotView,
    limits: Limits<'_>,
) -> io::Result<()> {
    let file = BufWriter::with_capacity(COPY_BYTES, File::create(path)?);
    let mut sink = Hashing { inner: Limited { inner: file, limits, unchecked: 0 }, sha: Sha256::new() };
    let header = header.encode_to_vec();
    let header_bytes = u32::try_from(header.len()).map_err(io::Error::other)?;
    sink.write_all(MAGIC)?;
    sink.write_all(&FORMAT.to_le_bytes())?;
    sink.write_all(&header_bytes.to_le_bytes())?;
    sink.write_all(&header)?;
    let mut body = Counting { inner: &mut sink, bytes: 0 };
    view.write(&mut body)?;
    let body_bytes = body.bytes;
    sink.write_all(&body_bytes.to_le_bytes())?;
    let digest = sink.sha.clone().finalize();
    sink.inner.write_all(&digest)?;
    let file = sink.inner.inner.into_inner().map_err(io::IntoInnerError::into_error)?;
    file.sync_all()
}

/// Hashes what passes through.
struct Hashing<T> {
    inner: T,
    sha: Sha256,
}

impl<T: Read> Read for Hashing<T> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let count = self.inner.read(buffer)?;
        self.sha.update(&buffer[..count]);
        Ok(count)
    }
}

impl<T: Write> Write for Hashing<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.sha.update(&bytes[..count]);
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Counts what passes through.
struct Counting<T> {
    inner: T,
    bytes: u64,
}

impl<T: Write> Write for Counting<T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        let count = self.inner.write(bytes)?;
        self.bytes += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Refuses to write into the reserve, and when told to stop.
struct Limited<'a, T> {
    inner: T,
    limits: Limits<'a>,
    unchecked: u64,
}

impl<T: Write> Write for Limited<'_, T> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        if self.limits.stop.load(Ordering::Relaxed) {
            return Err(io::Error::other(Stopped));
        }
        if self.unchecked >= GUARD_BYTES {
            self.limits
                .guard
                .admit(self.unchecked, Importance::Ordinary)
                .map_err(|_below| io::ErrorKind::StorageFull)?;
            self.unchecked = 0;
        }
        let count = self.inner.write(bytes)?;
        self.unchecked += count as u64;
        Ok(count)
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::disk::StatvfsProbe;

    struct Text(&'static str);

    impl SnapshotView for Text {
        fn write(&self, sink: &mut dyn Write) -> io::Result<()> {
            sink.write_all(self.0.as_bytes())
        }
    }

    fn written(text: &'static str) -> (tempfile::TempDir, std::path::PathBuf) {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("one.snap");
        let guard = DiskGuard::new(Arc::new(StatvfsProbe), dir.path(), Some(0)).unwrap();
        let header = SnapshotHeader { cluster_id: "c".to_owned(), ..SnapshotHeader::default() };
        let limits = Limits { guard: &guard, stop: &AtomicBool::new(false) };
        write(&path, &header, &Text(text), limits).unwrap();
        (dir, path)
    }

    #[test]
    fn what_was_written_is_read() {
        let (_dir, path) = written("the state");
        let verified = Verified::open(&path).unwrap();
        assert_eq!(verified.header.cluster_id, "c");
        for _twice in 0..2 {
            let mut text = String::new();
            verified.body().unwrap().read_to_string(&mut text).unwrap();
            assert_eq!(text, "the state");
        }
    }

    #[test]
    fn an_empty_body_is_valid() {
        let (_dir, path) = written("");
        assert!(Verified::open(&path).is_ok());
    }

    #[test]
    fn every_flipped_bit_and_every_cut_is_noticed() {
        let (_dir, path) = written("state");
        let whole = std::fs::read(&path).unwrap();
        for position in 0..whole.len() {
            let mut damaged = whole.clone();
            damaged[position] ^= 1 << (position % 8);
            std::fs::write(&path, &damaged).unwrap();
            assert!(Verified::open(&path).is_err(), "flipped bit in byte {position}");
            std::fs::write(&path, &whole[..position]).unwrap();
            assert!(Verified::open(&path).is_err(), "cut at byte {position}");
        }
        let mut longer = whole;
        longer.push(0);
        std::fs::write(&path, &longer).unwrap();
        assert!(Verified::open(&path).is_err(), "one byte more");
    }

    #[test]
    fn a_newer_format_is_named() {
        let (_dir, path) = written("state");
        let mut bytes = std::fs::read(&path).unwrap();
        bytes[8] = 2;
        std::fs::write(&path, &bytes).unwrap();
        let error = Verified::open(&path).unwrap_err();
        assert_eq!(error.to_string(), "its format is 2, newest known format is 1");
    }
}
