//! Who this node is: the identity file, and the lock on the data directory.
//!
//! `<data_dir>/identity.json` says which cluster the directory belongs to, which Raft identifier it holds and how
//! often it was opened. The identifier is bound to the directory, not to a name: a node with an empty directory is a
//! new node, because a node that forgot its vote under an old identifier could elect two leaders.

use std::fs::{DirBuilder, File, OpenOptions};
use std::io::Write;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use rand::RngCore;
use rustix::fs::{FlockOperation, flock};
use serde::{Deserialize, Serialize};

use crate::error::StartError;
use crate::nodes::FOUNDER_NODE_ID;

/// Version of the identity file this program writes; also the newest it reads.
const IDENTITY_FORMAT: u32 = 1;

/// The content of the identity file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) struct Identity {
    format: u32,
    /// 32 random hexadecimal digits.
    pub(crate) cluster_id: String,
    /// Raft identifier.
    pub(crate) node_id: u64,
    /// How often the directory was opened by a process; tells the commands of two processes apart.
    pub(crate) incarnation: u64,
    /// Whether the log has held a vote. From then on an empty log is a loss, not a beginning.
    pub(crate) initialized: bool,
    /// Whether the node has certificates. From then on it is a loss if they are missing.
    #[serde(default)]
    pub(crate) certified: bool,
}

impl Identity {
    /// That of a node which has its place from now on.
    pub(crate) fn new(cluster_id: &str, node_id: u64) -> Identity {
        Identity {
            format: IDENTITY_FORMAT,
            cluster_id: cluster_id.to_owned(),
            node_id,
            incarnation: 1,
            initialized: false,
            certified: false,
        }
    }

    /// That of a node which founds a cluster.
    pub(crate) fn found() -> Identity {
        let mut id = [0u8; 16];
        rand::rng().fill_bytes(&mut id);
        let cluster_id: String = id.iter().map(|byte| format!("{byte:02x}")).collect();
        Identity::new(&cluster_id, FOUNDER_NODE_ID)
    }
}

/// The locked data directory. The lock ends with this value or with the process.
#[derive(Debug)]
pub(crate) struct DataDir {
    pub(crate) path: PathBuf,
    _lock: File,
}

impl DataDir {
    /// Creates the directory when missing, for its owner only, and locks it.
    pub(crate) fn lock(path: &Path) -> Result<DataDir, StartError> {
        DirBuilder::new().recursive(true).mode(0o700).create(path).map_err(io_error("create", path))?;
        let lock_path = path.join("lock");
        let file = OpenOptions::new()
            .create(true)
            .truncate(false)
            .write(true)
            .open(&lock_path)
            .map_err(io_error("open", &lock_path))?;
        match flock(&file, FlockOperation::NonBlockingLockExclusive) {
            Ok(()) => Ok(DataDir { path: path.to_owned(), _lock: file }),
            Err(rustix::io::Errno::WOULDBLOCK) => Err(StartError::Locked { path: path.to_owned() }),
            Err(errno) => Err(io_error("lock", &lock_path)(errno.into())),
        }
    }

    /// Reads the identity. `None` if the directory was never used.
    pub(crate) fn read_identity(&self) -> Result<Option<Identity>, StartError> {
        let path = self.identity_path();
        match std::fs::read(&path) {
            Ok(bytes) => parse(&path, &bytes).map(Some),
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
                self.refuse_foreign_files()?;
                Ok(None)
            }
            Err(error) => Err(io_error("read", &path)(error)),
        }
    }

    /// Reads the identity and counts this opening; the new content is on disk when this returns. `None` if the directory
    /// was never used.
    pub(crate) fn open_identity(&self) -> Result<Option<Identity>, StartError> {
        crate::recover::refuse_unfinished(&self.path)?;
        let Some(mut identity) = self.read_identity()? else { return Ok(None) };
        identity.incarnation += 1;
        self.save_identity(&identity)?;
        Ok(Some(identity))
    }

    /// Writes the identity so that after a crash either the old or the new content is there.
    pub(crate) fn save_identity(&self, identity: &Identity) -> Result<(), StartError> {
        let path = self.identity_path();
        let bytes = serde_json::to_vec_pretty(identity).expect("an identity is valid JSON");
        write_atomically(&path, &bytes).map_err(io_error("write", &path))
    }

    fn identity_path(&self) -> PathBuf {
        self.path.join("identity.json")
    }

    /// Without an identity file there must be no log and no snapshot, or the file was lost.
    fn refuse_foreign_files(&self) -> Result<(), StartError> {
        match ["log", "snapshots"].iter().map(|name| self.path.join(name)).find(|path| path.exists()) {
            None => Ok(()),
            Some(found) => Err(StartError::IdentityInvalid {
                path: self.identity_path(),
                rule: format!("it must exist next to {}", found.display()),
            }),
        }
    }
}

fn parse(path: &Path, bytes: &[u8]) -> Result<Identity, StartError> {
    let invalid = |rule: String| StartError::IdentityInvalid { path: path.to_owned(), rule };
    let identity: Identity =
        serde_json::from_slice(bytes).map_err(|error| invalid(format!("it must be JSON: {error}")))?;
    if identity.format > IDENTITY_FORMAT {
        let rule = format!("its format is {}, newest known format is {IDENTITY_FORMAT}", identity.format);
        return Err(invalid(rule));
    }
    Ok(identity)
}

/// Writes `bytes` to a temporary file next to `path`, syncs, renames, syncs the directory.
pub(crate) fn write_atomically(path: &Path, bytes: &[u8]) -> std::io::Result<()> {
    let temporary = path.with_extension("tmp");
    let mut file = File::create(&temporary)?;
    file.write_all(bytes)?;
    file.sync_all()?;
    std::fs::rename(&temporary, path)?;
    sync_parent(path)
}

/// Makes the directory entry of `path` durable.
pub(crate) fn sync_parent(path: &Path) -> std::io::Result<()> {
    match path.parent() {
        Some(parent) => File::open(parent)?.sync_all(),
        None => Ok(()),
    }
}

/// Builds a [`StartError::Io`].
pub(crate) fn io_error(action: &'static str, path: &Path) -> impl FnOnce(std::io::Error) -> StartError {
    let path = path.to_owned();
    move |source| StartError::Io { action, path, source }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_opening_counts() {
        let dir = tempfile::tempdir().unwrap();
        let first = DataDir::lock(dir.path()).unwrap();
        assert_eq!(first.open_identity().unwrap(), None);
        let one = Identity::found();
        first.save_identity(&one).unwrap();
        let two = first.open_identity().unwrap().unwrap();
        assert_eq!((one.incarnation, two.incarnation), (1, 2));
        assert_eq!(one.cluster_id, two.cluster_id);
        assert_eq!(one.cluster_id.len(), 32);
    }

    #[test]
    fn a_new_directory_is_closed_to_others() {
        // Commands hold what must not be read by other users of the machine, hashes of passwords for example. In a
        // parent that the operator had made with the usual mode, 0755, everybody could read the log and the snapshots.
        let parent = tempfile::tempdir().unwrap();
        let path = parent.path().join("raft");
        let _held = DataDir::lock(&path).unwrap();
        let mode = std::os::unix::fs::PermissionsExt::mode(&std::fs::metadata(&path).unwrap().permissions());
        assert_eq!(mode & 0o777, 0o700);
    }

    #[test]
    fn a_directory_in_use_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let _held = DataDir::lock(dir.path()).unwrap();
        let error = DataDir::lock(dir.path()).unwrap_err();
        assert!(matches!(error, StartError::Locked { .. }), "{error}");
    }

    #[test]
    fn a_lost_identity_is_not_replaced() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::lock(dir.path()).unwrap();
        std::fs::create_dir(dir.path().join("log")).unwrap();
        let error = data_dir.open_identity().unwrap_err();
        assert!(matches!(error, StartError::IdentityInvalid { .. }), "{error}");
    }

    #[test]
    fn an_identity_from_a_newer_version_is_refused() {
        let dir = tempfile::tempdir().unwrap();
        let data_dir = DataDir::lock(dir.path()).unwrap();
        let mut identity = Identity::found();
        identity.format = 9;
        data_dir.save_identity(&identity).unwrap();
        let error = data_dir.open_identity().unwrap_err();
        assert!(error.to_string().contains("newest known format is 1"), "{error}");
    }
}
