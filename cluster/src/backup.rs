//! Backups: a snapshot of one node, kept outside of the cluster, and a new cluster made out of it.
//!
//! A snapshot file has everything that is replicated, at one log index, under a checksum, so a backup is just that file. What it
//! says about nodes is of no use in another cluster: [`restore`] makes a directory that looks like one of a former member
//! and lets it go on alone, see [`crate::recover`].

use std::fs;
use std::io::Read;
use std::os::unix::fs::DirBuilderExt as _;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::disk::{DiskGuard, StatvfsProbe};
use crate::error::StartError;
use crate::identity::{DataDir, Identity, io_error, sync_parent};
use crate::log_store::OfflineLog;
use crate::nodes::FOUNDER_NODE_ID;
use crate::raft::LogId;
use crate::recover::{Copied, Recovered, unsafe_new_cluster};
use crate::replica::RestoreError;
use crate::snapshot::format::Verified;
use crate::snapshot::store::SnapshotStore;

/// Why a backup cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum BackupError {
    /// Truncated, changed, of a newer version, or no backup at all.
    #[error("{}: {rule}", path.display())]
    Invalid {
        /// The file.
        path: PathBuf,
        /// What it must be.
        rule: String,
    },
    /// The replica cannot read what the file holds.
    #[error("{}: {error}", path.display())]
    Content {
        /// The file.
        path: PathBuf,
        /// Why not.
        error: RestoreError,
    },
    /// There is something already where the new cluster is to be.
    #[error("{} must be empty or not exist: a backup is restored into a new cluster", .0.display())]
    NotEmpty(PathBuf),
    /// The directory could not be made.
    #[error(transparent)]
    Start(#[from] StartError),
}

/// What a backup says about itself.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct BackupFacts {
    /// The cluster that it is of.
    pub cluster_id: String,
    /// The last log entry that it covers.
    pub log_index: u64,
    /// Size of the file.
    pub bytes: u64,
}

/// Reads a backup as a whole, compares its checksum, and lets `content` read what it holds.
///
/// # Errors
/// [`BackupError`], which names the rule.
pub fn verify(
    path: &Path,
    content: impl FnOnce(&mut dyn Read) -> Result<(), RestoreError>,
) -> Result<BackupFacts, BackupError> {
    let verified = open(path)?;
    read(path, &verified, content)?;
    let log_index = verified.header.last_log_id.map_or(0, |id| LogId::from(id).index);
    let bytes = fs::metadata(path).map_err(io_error("read", path))?.len();
    Ok(BackupFacts { cluster_id: verified.header.cluster_id, log_index, bytes })
}

/// Makes the storage directory of the only node of a new cluster out of a backup. It has what the backup has, and knows
/// none of the nodes of the old cluster. Cut off anywhere, it leaves the directory as it was; what it had begun lies beside it,
/// closed to others, and makes room for the next attempt.
///
/// # Errors
/// [`BackupError`]; the directory is as it was.
pub fn restore(
    storage: &Path,
    backup: &Path,
    content: impl FnOnce(&mut dyn Read) -> Result<(), RestoreError>,
) -> Result<Recovered, BackupError> {
    let is_empty = match fs::read_dir(storage) {
        Ok(mut entries) => entries.next().is_none(),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => true,
        Err(error) => return Err(io_error("read", storage)(error).into()),
    };
    if !is_empty {
        return Err(BackupError::NotEmpty(storage.to_owned()));
    }
    let verified = open(backup)?;
    read(backup, &verified, content)?;
    let unfinished = storage.with_extension("restoring");
    let remove = |path: &Path| match fs::remove_dir_all(path) {
        Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(io_error("remove", path)(error)),
        _ => Ok(()),
    };
    remove(&unfinished)?;
    imitate_member(&unfinished, backup, &verified)?;
    let recovered = unsafe_new_cluster(&unfinished)?;
    remove(storage)?;
    let moved = fs::rename(&unfinished, storage).and_then(|()| sync_parent(storage));
    moved.map_err(io_error("rename", &unfinished))?;
    Ok(recovered)
}

fn open(path: &Path) -> Result<Verified, BackupError> {
    Verified::open(path)
        .map_err(|error| BackupError::Invalid { path: path.to_owned(), rule: error.to_string() })
}

fn read(
    path: &Path,
    verified: &Verified,
    content: impl FnOnce(&mut dyn Read) -> Result<(), RestoreError>,
) -> Result<(), BackupError> {
    let mut body = verified.body().map_err(io_error("read", path))?;
    content(&mut body).map_err(|error| BackupError::Content { path: path.to_owned(), error })
}

/// The directory of a member of the old cluster that has received the snapshot and nothing after it.
fn imitate_member(directory: &Path, backup: &Path, verified: &Verified) -> Result<(), BackupError> {
    let header = &verified.header;
    let invalid = |rule: String| BackupError::Invalid { path: backup.to_owned(), rule };
    let covered = header.last_log_id.map(LogId::from);
    let covered = covered.ok_or_else(|| invalid("it must cover at least one log entry".to_owned()))?;
    let members = header.membership.iter().flat_map(|membership| &membership.peers);
    let node_id = members.map(|peer| peer.node_id).min().unwrap_or(FOUNDER_NODE_ID);
    // It holds hashes of passwords and stored messages.
    let made = fs::DirBuilder::new().recursive(true).mode(0o700).create(directory);
    made.map_err(io_error("create", directory))?;
    let data_dir = DataDir::lock(directory)?;
    let guard = DiskGuard::new(Arc::new(StatvfsProbe), directory, None)
        .map_err(io_error("measure free space of", directory))?;
    let snapshots = SnapshotStore::for_cluster(directory, &header.cluster_id, node_id, Arc::new(guard))?;
    snapshots.build(header.clone(), &Copied(verified)).map_err(|error| invalid(error.to_string()))?;
    OfflineLog::open(&directory.join("log"))?.begin_after(&covered)?;
    let mut identity = Identity::new(&header.cluster_id, node_id);
    identity.initialized = true;
    data_dir.save_identity(&identity)?;
    Ok(())
}
