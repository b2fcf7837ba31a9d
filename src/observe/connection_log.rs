//! The connection log of registries, devices and brokers: what happened to their connections on this node, on disk and
//! bounded, for their owners to read (`spec/integrations.md`, section 3).
//!
//! A thread of its own writes what it is handed, a few times per second: to wake it for each record would cost a connect
//! more than all of the record. Where it cannot keep up, or the disk takes no more, records are lost and counted: no
//! connection waits for its log. Whoever reads has what waits written first, and looks through the files; there is no
//! index, because questions are rare and the files are few.

use std::fs::{self, DirBuilder, File, OpenOptions};
use std::io::{self, BufWriter, Read as _, Write as _};
use std::os::unix::fs::{DirBuilderExt as _, OpenOptionsExt as _};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::{Receiver, SyncSender, sync_channel};
use std::thread::{self, Thread};
use std::time::Duration;

use serde::{Deserialize, Serialize};

/// Records that wait for the thread; further ones are lost.
const WAITING_MAX: usize = 16_384;

/// While there are records, they are gathered for so long and then written together.
const GATHERED_FOR: Duration = Duration::from_millis(50);

/// Whoever wants to read waits no longer for a writer that the disk keeps waiting.
const FLUSH_MAX: Duration = Duration::from_secs(1);

/// A file that has grown so far is followed by the next.
const FILE_BYTES_MAX: u64 = 16 * 1024 * 1024;

/// So many files are kept: 64 MiB, some 400,000 records.
const FILES_MAX: usize = 4;

/// How serious an event is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Serialize, Deserialize)]
pub enum Level {
    /// As it should be.
    Info,
    /// A client was refused something, or cut off.
    Warn,
    /// A client was cut off for what it did.
    Error,
}

/// One event.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Record {
    /// When, in nanoseconds since 1970.
    #[serde(rename = "t")]
    pub at_ns: u64,
    /// How serious.
    #[serde(rename = "l")]
    pub level: Level,
    /// Id of the registry, device or broker.
    #[serde(rename = "e")]
    pub entity: String,
    /// What happened.
    #[serde(rename = "m")]
    pub message: String,
}

/// Which records to read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Query {
    /// Of this registry, device or broker.
    pub entity: String,
    /// Not before, in nanoseconds since 1970.
    pub since_ns: u64,
    /// Before; `None`: to the end.
    pub until_ns: Option<u64>,
    /// Of these levels; empty: of all.
    pub levels: Vec<Level>,
    /// The newest so many.
    pub limit: usize,
}

/// Writes the log; clones write the same. Without a directory it keeps nothing.
#[derive(Debug, Clone, Default)]
pub struct ConnectionLog {
    kept: Option<Kept>,
    lost: Arc<AtomicU64>,
}

/// A log that is kept.
#[derive(Debug, Clone)]
struct Kept {
    sender: SyncSender<Entry>,
    writer: Thread,
    directory: Arc<Path>,
}

/// What the writer is handed.
#[derive(Debug)]
enum Entry {
    Record(Record),
    /// Everything before is to be readable; an answer says that it is.
    Flush(SyncSender<()>),
}

impl ConnectionLog {
    /// Goes on with the log in a directory, which is made if it does not exist, for its owner only.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn open(directory: &Path) -> io::Result<Self> {
        DirBuilder::new().recursive(true).mode(0o700).create(directory)?;
        let lost = Arc::new(AtomicU64::new(0));
        let (sender, receiver) = sync_channel(WAITING_MAX);
        let writer =
            Writer { directory: directory.to_owned(), lost: Arc::clone(&lost), file: None, unwritten: 0 };
        let thread = thread::Builder::new().name("connection-log".to_owned());
        let writer = thread.spawn(move || writer.run(&receiver))?.thread().clone();
        Ok(Self { kept: Some(Kept { sender, writer, directory: directory.into() }), lost })
    }

    /// Hands a record to the writer. `at_ns`: nanoseconds since 1970.
    pub fn write(&self, at_ns: u64, level: Level, entity: &str, message: String) {
        let Some(kept) = &self.kept else { return };
        let record = Record { at_ns, level, entity: entity.to_owned(), message };
        if kept.sender.try_send(Entry::Record(record)).is_err() {
            self.lost.fetch_add(1, Ordering::Relaxed);
        }
    }

    /// Waits until everything that was handed over before is written, 1 s at most.
    pub fn flush(&self) {
        let Some(kept) = &self.kept else { return };
        let (done, is_done) = sync_channel(1);
        if kept.sender.try_send(Entry::Flush(done)).is_ok() {
            kept.writer.unpark();
            // Late or never, there is nothing more to be done.
            let _ = is_done.recv_timeout(FLUSH_MAX);
        }
    }

    /// Records that were not written, since the start.
    pub fn lost(&self) -> u64 {
        self.lost.load(Ordering::Relaxed)
    }

    /// The records that a query asks for, oldest first. Blocks on disk.
    ///
    /// # Errors
    /// Those of the file system.
    pub fn read(&self, query: &Query) -> io::Result<Vec<Record>> {
        let Some(Kept { directory, .. }) = &self.kept else { return Ok(Vec::new()) };
        self.flush();
        let mut found: Vec<Record> = Vec::new();
        for (_, path) in files(directory)?.into_iter().rev() {
            let mut text = Vec::new();
            match File::open(&path) {
                Ok(mut file) => file.read_to_end(&mut text)?,
                // Removed for a new one meanwhile.
                Err(error) if error.kind() == io::ErrorKind::NotFound => continue,
                Err(error) => return Err(error),
            };
            let mut matching = matching(&text, query);
            matching.append(&mut found);
            found = matching;
            if found.len() >= query.limit {
                break;
            }
        }
        found.drain(..found.len().saturating_sub(query.limit));
        Ok(found)
    }
}

fn matching(text: &[u8], query: &Query) -> Vec<Record> {
    // Looked for before a line is taken apart, which takes far longer.
    let needle = format!("\"e\":{}", serde_json::Value::from(query.entity.as_str()));
    let fits = |record: &Record| {
        record.entity == query.entity
            && record.at_ns >= query.since_ns
            && query.until_ns.is_none_or(|until| record.at_ns < until)
            && (query.levels.is_empty() || query.levels.contains(&record.level))
    };
    text.split(|byte| *byte == b'\n')
        .filter_map(|line| std::str::from_utf8(line).ok())
        .filter(|line| line.contains(&needle))
        // The last line before a crash may be half a record.
        .filter_map(|line| serde_json::from_str(line).ok())
        .filter(fits)
        .collect()
}

/// The files by their serial number, oldest first.
fn files(directory: &Path) -> io::Result<Vec<(u64, PathBuf)>> {
    let mut files = Vec::new();
    for entry in fs::read_dir(directory)? {
        let path = entry?.path();
        let serial = path.file_stem().and_then(|stem| stem.to_str()).and_then(|stem| stem.parse().ok());
        if let (Some(serial), Some("log")) = (serial, path.extension().and_then(|it| it.to_str())) {
            files.push((serial, path));
        }
    }
    files.sort_unstable();
    Ok(files)
}

struct Writer {
    directory: PathBuf,
    lost: Arc<AtomicU64>,
    /// The newest file and how long it is.
    file: Option<(BufWriter<File>, u64)>,
    /// Records in the buffer of the file.
    unwritten: u64,
}

impl Writer {
    /// Writes until the last sender is gone.
    fn run(mut self, entries: &Receiver<Entry>) {
        let mut fails = false;
        while let Ok(first) = entries.recv() {
            let mut gathered = vec![first];
            while !gathered.is_empty() {
                for entry in gathered.drain(..) {
                    fails = self.note(|writer| writer.take(entry), fails);
                }
                fails = self.note(Self::flush, fails);
                // Nobody wakes a thread that parks by sending to it.
                thread::park_timeout(GATHERED_FOR);
                gathered.extend(entries.try_iter().take(WAITING_MAX));
            }
        }
    }

    fn take(&mut self, entry: Entry) -> io::Result<()> {
        match entry {
            Entry::Record(record) => self.write(&record),
            Entry::Flush(done) => {
                let flushed = self.flush();
                // Whoever asked may have stopped waiting.
                let _ = done.try_send(());
                flushed
            }
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.file.as_mut().map_or(Ok(()), |(file, _)| file.flush())?;
        self.unwritten = 0;
        Ok(())
    }

    /// Counts what is lost by an error, and says so unless the last time was one, too. Returns whether this is one.
    fn note(&mut self, write: impl FnOnce(&mut Self) -> io::Result<()>, failed_before: bool) -> bool {
        let Err(error) = write(self) else { return failed_before && self.file.is_none() };
        // What a buffer holds that cannot be written is lost with it.
        self.file = None;
        self.lost.fetch_add(std::mem::take(&mut self.unwritten), Ordering::Relaxed);
        if !failed_before {
            tracing::error!(%error, "the connection log cannot be written; records are lost");
        }
        true
    }

    fn write(&mut self, record: &Record) -> io::Result<()> {
        self.unwritten += 1;
        let mut line = serde_json::to_vec(record)?;
        line.push(b'\n');
        if self.file.as_ref().is_none_or(|(_, bytes)| *bytes >= FILE_BYTES_MAX) {
            // Not the record that goes into the next file.
            if let Some((mut full, _)) = self.file.take() {
                full.flush()?;
                self.unwritten = 1;
            }
            self.file = Some(self.next_file()?);
        }
        let (file, bytes) = self.file.as_mut().expect("it was opened above");
        *bytes += line.len() as u64;
        file.write_all(&line)
    }

    /// The newest file if it has room, or a new one; the oldest make room for it.
    fn next_file(&self) -> io::Result<(BufWriter<File>, u64)> {
        let mut files = files(&self.directory)?;
        let has_room = |path: &PathBuf| fs::metadata(path).map(|file| file.len() < FILE_BYTES_MAX);
        let newest = match files.last() {
            Some((_, path)) if has_room(path)? => path.clone(),
            last => {
                let serial = last.map_or(1, |(serial, _)| serial + 1);
                let path = self.directory.join(format!("{serial:010}.log"));
                files.push((serial, path.clone()));
                path
            }
        };
        for (_, old) in files.iter().rev().skip(FILES_MAX) {
            fs::remove_file(old)?;
        }
        let file = OpenOptions::new().append(true).create(true).mode(0o600).open(&newest)?;
        let bytes = file.metadata()?.len();
        let mut file = BufWriter::new(file);
        if bytes > 0 {
            // Ends a line that a crash may have cut off.
            file.write_all(b"\n")?;
        }
        Ok((file, bytes + 1))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn query(entity: &str) -> Query {
        Query { entity: entity.to_owned(), since_ns: 0, until_ns: None, levels: Vec::new(), limit: 100 }
    }

    fn read(log: &ConnectionLog, query: &Query) -> Vec<String> {
        log.read(query).unwrap().into_iter().map(|record| record.message).collect()
    }

    #[test]
    fn what_was_written_is_found_by_entity_time_and_level_also_after_a_restart() {
        let dir = tempfile::tempdir().unwrap();
        let log = ConnectionLog::open(dir.path()).unwrap();
        log.write(1, Level::Info, "d1", "connected".to_owned());
        log.write(2, Level::Warn, "d2", "of \"e\":\"d1\"".to_owned());
        log.write(3, Level::Error, "d1", "disconnected".to_owned());
        assert_eq!(read(&log, &query("d1")), ["connected", "disconnected"]);
        drop(log);
        // A crash in the middle of a line.
        let path = files(dir.path()).unwrap().remove(0).1;
        OpenOptions::new().append(true).open(&path).unwrap().write_all(b"{\"t\":4,\"l\"").unwrap();
        let log = ConnectionLog::open(dir.path()).unwrap();
        log.write(5, Level::Info, "d1", "back".to_owned());
        assert_eq!(read(&log, &query("d1")), ["connected", "disconnected", "back"]);
        let later = Query { since_ns: 2, until_ns: Some(5), ..query("d1") };
        assert_eq!(read(&log, &later), ["disconnected"]);
        assert_eq!(read(&log, &Query { limit: 1, ..query("d1") }), ["back"]);
        assert_eq!(read(&log, &Query { levels: vec![Level::Error], ..query("d1") }), ["disconnected"]);
        assert_eq!(read(&log, &query("d2")), ["of \"e\":\"d1\""]);
        assert_eq!(log.lost(), 0);
    }

    #[test]
    fn what_the_disk_does_not_take_is_counted_and_the_log_goes_on() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("log");
        let log = ConnectionLog::open(&path).unwrap();
        // As useless as a full disk.
        fs::remove_dir(&path).unwrap();
        log.write(1, Level::Info, "d", "lost".to_owned());
        log.write(2, Level::Info, "d", "lost, too".to_owned());
        log.flush();
        assert_eq!(log.lost(), 2);
        fs::create_dir(&path).unwrap();
        log.write(2, Level::Info, "d", "back".to_owned());
        assert_eq!(read(&log, &query("d")), ["back"]);
        assert_eq!(log.lost(), 2);
    }

    #[test]
    fn the_oldest_files_make_room() {
        let dir = tempfile::tempdir().unwrap();
        for serial in 1..=5 {
            fs::write(dir.path().join(format!("{serial:010}.log")), vec![b'\n'; FILE_BYTES_MAX as usize])
                .unwrap();
        }
        let log = ConnectionLog::open(dir.path()).unwrap();
        log.write(1, Level::Info, "d", "x".to_owned());
        read(&log, &query("d"));
        let serials: Vec<u64> = files(dir.path()).unwrap().into_iter().map(|(serial, _)| serial).collect();
        assert_eq!(serials, [3, 4, 5, 6]);
    }
}
