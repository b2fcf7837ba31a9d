//! The directory of snapshots.
//!
//! `<data_dir>/snapshots/<index>-<serial>.snap`, 20 and 10 digits: the last log index covered and a number that grows
//! with each file. The greatest pair is the newest. The two newest are kept.

use std::io;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use parking_lot::{Mutex, RwLock};
use tokio::sync::watch;

use super::format::{self, Verified};
use crate::disk::DiskGuard;
use crate::error::{SnapshotError, StartError};
use crate::identity::{io_error, sync_parent};
use crate::raft::{LogId, Snapshot, SnapshotFile, SnapshotMeta};
use crate::record::{self, SnapshotHeader};
use crate::replica::SnapshotView;

/// Complete snapshots kept: the newest and, for a person in need, the one before.
const KEPT: usize = 2;

/// The snapshots of one node.
pub(crate) struct SnapshotStore {
    directory: PathBuf,
    cluster_id: String,
    node_id: u64,
    guard: Arc<DiskGuard>,
    state: Mutex<State>,
    attempts: watch::Sender<Attempts>,
    /// Asks whoever writes to give up.
    closing: AtomicBool,
    /// Shared by those who write; true when nobody may any more.
    closed: RwLock<bool>,
}

#[derive(Default)]
struct State {
    current: Option<(SnapshotMeta, SnapshotFile)>,
    last_serial: u64,
}

/// How making snapshots went so far.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(crate) struct Attempts {
    /// Attempts that ended.
    pub(crate) count: u64,
    /// How the last one failed, if it did.
    pub(crate) failure: Option<SnapshotError>,
}

/// Index, serial: the order of snapshots.
type Name = (u64, u64);

impl SnapshotStore {
    /// Opens the directory, removes what was never completed, and verifies the newest snapshot. Blocks on disk.
    ///
    /// # Errors
    /// When the newest snapshot is damaged, of a newer format or of another cluster.
    pub(crate) fn open(
        data_dir: &Path,
        cluster_id: &str,
        node_id: u64,
        guard: Arc<DiskGuard>,
    ) -> Result<(SnapshotStore, Option<Verified>), StartError> {
        let (store, names) = SnapshotStore::of(data_dir, cluster_id, node_id, guard)?;
        let Some(newest) = names.last() else { return Ok((store, None)) };
        let path = store.path(*newest);
        let invalid = |rule: String| StartError::SnapshotInvalid { path: path.clone(), rule };
        let verified = store.verify(&path).map_err(invalid)?;
        let meta = meta(&verified.header).map_err(|error| invalid(error.to_string()))?;
        store.state.lock().current = Some((meta, SnapshotFile { path: path.clone() }));
        Ok((store, Some(verified)))
    }

    /// Opens the directory to write a snapshot of another cluster than those that are there.
    pub(crate) fn for_cluster(
        data_dir: &Path,
        cluster_id: &str,
        node_id: u64,
        guard: Arc<DiskGuard>,
    ) -> Result<SnapshotStore, StartError> {
        SnapshotStore::of(data_dir, cluster_id, node_id, guard).map(|(store, _)| store)
    }

    fn of(
        data_dir: &Path,
        cluster_id: &str,
        node_id: u64,
        guard: Arc<DiskGuard>,
    ) -> Result<(SnapshotStore, Vec<Name>), StartError> {
        let directory = data_dir.join("snapshots");
        std::fs::create_dir_all(&directory).map_err(io_error("create", &directory))?;
        let names = list(&directory, true).map_err(io_error("read", &directory))?;
        let last_serial = names.iter().map(|(_, serial)| *serial).max().unwrap_or(0);
        let store = SnapshotStore {
            directory,
            cluster_id: cluster_id.to_owned(),
            node_id,
            guard,
            state: Mutex::new(State { current: None, last_serial }),
            attempts: watch::channel(Attempts::default()).0,
            closing: AtomicBool::new(false),
            closed: RwLock::new(false),
        };
        Ok((store, names))
    }

    /// The newest complete snapshot.
    pub(crate) fn current(&self) -> Option<Snapshot> {
        let state = self.state.lock();
        state
            .current
            .as_ref()
            .map(|(meta, file)| Snapshot { meta: meta.clone(), snapshot: Box::new(file.clone()) })
    }

    /// Last log index that the newest snapshot covers.
    pub(crate) fn current_index(&self) -> Option<u64> {
        let state = self.state.lock();
        state.current.as_ref().and_then(|(meta, _)| meta.last_log_id).map(|id| id.index)
    }

    /// The file of the newest snapshot.
    pub(crate) fn current_path(&self) -> Option<PathBuf> {
        self.state.lock().current.as_ref().map(|(_, file)| file.path.clone())
    }

    /// Watches the attempts to make a snapshot.
    pub(crate) fn attempts(&self) -> watch::Receiver<Attempts> {
        self.attempts.subscribe()
    }

    /// Writes a snapshot and makes it the newest one. `header` need not name cluster and snapshot. Blocks on disk.
    pub(crate) fn build(
        &self,
        mut header: SnapshotHeader,
        view: &dyn SnapshotView,
    ) -> Result<Snapshot, SnapshotError> {
        let result = self.guard.check().map_err(full).and_then(|()| {
            let name = self.next_name(header.last_log_id.map_or(0, |id| id.index));
            header.cluster_id.clone_from(&self.cluster_id);
            header.snapshot_id = format!("{}-{}-{}", self.node_id, name.0, name.1);
            self.write(name, &header, view).map_err(|error| match error.kind() {
                io::ErrorKind::StorageFull => {
                    self.guard.refresh();
                    self.guard.check().err().map_or_else(|| write_error(&error), full)
                }
                _ => write_error(&error),
            })
        });
        match &result {
            Err(error) if self.closing.load(Ordering::Acquire) => {
                tracing::debug!(%error, "snapshot was given up, the node ends");
            }
            Err(error) => tracing::warn!(%error, "snapshot was not made, the previous one stays"),
            Ok(_) => {}
        }
        self.attempts.send_modify(|attempts| {
            attempts.count += 1;
            attempts.failure = result.as_ref().err().cloned();
        });
        result
    }

    fn write(&self, name: Name, header: &SnapshotHeader, view: &dyn SnapshotView) -> io::Result<Snapshot> {
        let closed = self.closed.read();
        if *closed {
            return Err(io::Error::other(format::Stopped));
        }
        let temporary = self.path(name).with_extension("tmp");
        let limits = format::Limits { guard: &self.guard, stop: &self.closing };
        let written = format::write(&temporary, header, view, limits)
            .and_then(|()| meta(header).map_err(io::Error::other))
            .and_then(|meta| self.publish(&temporary, name, meta));
        if written.is_err() {
            // What is left of a failed attempt would only take space; the next start removes it otherwise.
            let _absent = std::fs::remove_file(&temporary);
        }
        written
    }

    /// Ends writing for good: what is being written is given up and waited for, and nothing in the directory is touched
    /// afterwards, so that another process may use it. Blocks on disk.
    pub(crate) fn close(&self) {
        self.closing.store(true, Ordering::Release);
        *self.closed.write() = true;
    }

    /// Gives a complete and synced file its final name and removes the snapshots that are no longer kept.
    fn publish(&self, temporary: &Path, name: Name, meta: SnapshotMeta) -> io::Result<Snapshot> {
        let path = self.path(name);
        std::fs::rename(temporary, &path)?;
        sync_parent(&path)?;
        let file = SnapshotFile { path };
        let mut state = self.state.lock();
        if state.current.as_ref().is_none_or(|(current, _)| current.last_log_id <= meta.last_log_id) {
            state.current = Some((meta.clone(), file.clone()));
        }
        drop(state);
        self.prune();
        Ok(Snapshot { meta, snapshot: Box::new(file) })
    }

    fn prune(&self) {
        let Ok(names) = list(&self.directory, false) else { return };
        for name in names.iter().rev().skip(KEPT) {
            let path = self.path(*name);
            if let Err(error) = std::fs::remove_file(&path) {
                tracing::warn!(path = %path.display(), %error, "cannot remove an old snapshot");
            }
        }
    }

    /// A new empty file to receive a snapshot from a peer.
    pub(crate) fn begin_receiving(&self) -> io::Result<SnapshotFile> {
        let name = self.next_name(0);
        let path = self.path(name).with_extension("tmp");
        std::fs::File::create(&path)?;
        Ok(SnapshotFile { path })
    }

    /// Verifies a file received from a peer.
    pub(crate) fn verify_received(
        &self,
        meta: &SnapshotMeta,
        file: &SnapshotFile,
    ) -> Result<Verified, String> {
        let verified = self.verify(&file.path)?;
        let last_log_id = verified.header.last_log_id.map(LogId::from);
        if last_log_id != meta.last_log_id {
            return Err(format!("it must cover {:?} (covers {last_log_id:?})", meta.last_log_id));
        }
        Ok(verified)
    }

    /// Makes a verified file received from a peer the newest snapshot.
    pub(crate) fn adopt(&self, meta: &SnapshotMeta, file: &SnapshotFile) -> io::Result<()> {
        let closed = self.closed.read();
        if *closed {
            return Err(io::Error::other(format::Stopped));
        }
        let name = self.next_name(meta.last_log_id.map_or(0, |id| id.index));
        let temporary = self.path(name).with_extension("tmp");
        if file.path.parent() == Some(&self.directory) {
            std::fs::rename(&file.path, &temporary)?;
        } else {
            std::fs::copy(&file.path, &temporary)?;
        }
        std::fs::File::open(&temporary)?.sync_all()?;
        self.publish(&temporary, name, meta.clone()).map(drop)
    }

    fn verify(&self, path: &Path) -> Result<Verified, String> {
        let verified = Verified::open(path).map_err(|error| error.to_string())?;
        let found = &verified.header.cluster_id;
        if found != &self.cluster_id {
            return Err(format!("it must belong to cluster {} (belongs to {found})", self.cluster_id));
        }
        Ok(verified)
    }

    fn next_name(&self, index: u64) -> Name {
        let mut state = self.state.lock();
        state.last_serial += 1;
        (index, state.last_serial)
    }

    fn path(&self, (index, serial): Name) -> PathBuf {
        self.directory.join(format!("{index:020}-{serial:010}.snap"))
    }
}

fn full(below: crate::disk::BelowReserve) -> SnapshotError {
    SnapshotError::StorageFull { free_bytes: below.free_bytes, reserve_bytes: below.reserve_bytes }
}

fn write_error(error: &io::Error) -> SnapshotError {
    SnapshotError::Write { reason: error.to_string() }
}

/// The names of the complete snapshots in ascending order. Other files are left alone, except unfinished ones when
/// `clean`.
fn list(directory: &Path, clean: bool) -> io::Result<Vec<Name>> {
    let mut names = Vec::new();
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        if clean && path.extension().is_some_and(|extension| extension == "tmp") {
            std::fs::remove_file(&path)?;
        }
        names.extend(parse(&path));
    }
    names.sort_unstable();
    Ok(names)
}

fn parse(path: &Path) -> Option<Name> {
    let (index, serial) = path.file_name()?.to_str()?.strip_suffix(".snap")?.split_once('-')?;
    Some((index.parse().ok()?, serial.parse().ok()?))
}

/// What the Raft library knows about a snapshot.
pub(crate) fn meta(header: &SnapshotHeader) -> Result<SnapshotMeta, record::RecordError> {
    Ok(SnapshotMeta {
        last_log_id: header.last_log_id.map(LogId::from),
        last_membership: record::stored_membership(header)?,
        snapshot_id: header.snapshot_id.clone(),
    })
}

#[cfg(test)]
mod tests {
    use std::sync::mpsc;

    use super::*;
    use crate::disk::StatvfsProbe;

    /// A state without an end.
    struct Endless(mpsc::SyncSender<()>);

    impl SnapshotView for Endless {
        fn write(&self, sink: &mut dyn io::Write) -> io::Result<()> {
            loop {
                sink.write_all(&[0; 64])?;
                let _told_already = self.0.try_send(());
            }
        }
    }

    fn files(store: &SnapshotStore) -> usize {
        std::fs::read_dir(&store.directory).unwrap().count()
    }

    #[test]
    fn closing_gives_up_what_is_being_written_and_refuses_more() {
        let dir = tempfile::tempdir().unwrap();
        let guard = Arc::new(DiskGuard::new(Arc::new(StatvfsProbe), dir.path(), Some(0)).unwrap());
        let store = SnapshotStore::for_cluster(dir.path(), "c", 1, guard).unwrap();
        let (begun, begins) = mpsc::sync_channel(1);
        let build = |begun| store.build(SnapshotHeader::default(), &Endless(begun));
        let first = begun.clone();
        std::thread::scope(|scope| {
            let builder = scope.spawn(move || build(first));
            begins.recv().unwrap();
            assert_eq!(files(&store), 1, "it is being written");
            store.close();
            assert_eq!(files(&store), 0, "nothing is left when closing ends");
            assert!(matches!(builder.join().unwrap(), Err(SnapshotError::Write { .. })));
        });

        assert!(matches!(build(begun), Err(SnapshotError::Write { .. })));
        let received = store.begin_receiving().unwrap();
        assert!(store.adopt(&SnapshotMeta::default(), &received).is_err());
        assert!(received.path.exists(), "the next start removes it");
        assert_eq!((files(&store), store.current_index()), (1, None));
    }
}
