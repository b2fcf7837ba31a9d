//! The catalog as the machine that is replicated.

use std::sync::Arc;

use bytes::Bytes;
use parking_lot::RwLock;
use rookery_cluster::{Formats, NodeChange, Replica, RestoreError, SnapshotView};
use sha2::{Digest as _, Sha256};

use super::wire::{self, SnapshotError};
use crate::domain::catalog::{Catalog, Event, Outcome, Rejection};

/// Told of everything that an applied command means for the rest of the server.
///
/// All methods are called under the catalog's write lock and in the order of the log, on the thread that applies
/// commands: they must be short, must not block, and must not read the catalog through its handle.
pub trait ApplyObserver: Send + Sync + 'static {
    /// One event of the command at `index`. `catalog` is the state after the whole command.
    fn applied(&self, catalog: &Catalog, index: u64, event: &Event);

    /// The whole state was replaced by a snapshot. Happens before any client is let in and, on a node that lagged
    /// behind its peers, at any time.
    fn restored(&self, _catalog: &Catalog) {}
}

/// The catalog behind its lock, with whom to tell of changes.
pub struct CatalogReplica {
    catalog: RwLock<Catalog>,
    observer: Arc<dyn ApplyObserver>,
    formats: Formats,
}

impl CatalogReplica {
    pub(super) fn new(observer: Arc<dyn ApplyObserver>, formats: Formats) -> Self {
        Self { catalog: RwLock::new(Catalog::new()), observer, formats }
    }

    pub(super) fn read<T>(&self, read: impl FnOnce(&Catalog) -> T) -> T {
        read(&self.catalog.read())
    }

    fn apply_one(&self, index: u64, bytes: &Bytes) -> Result<Outcome, Rejection> {
        let command = match wire::decode_command(bytes.clone(), self.formats.newest()) {
            Ok(command) => command,
            // Peers may have understood it. Going on would let the states differ without anyone noticing.
            Err(error) => {
                panic!("the command at log index {index} cannot be applied by this version: {error}")
            }
        };
        let mut events = Vec::new();
        let mut catalog = self.catalog.write();
        let result = catalog.apply(index, command, &mut events);
        for event in &events {
            self.observer.applied(&catalog, index, event);
        }
        result
    }
}

impl Replica for CatalogReplica {
    type Response = Result<Outcome, Rejection>;

    fn apply(&self, index: u64, commands: &[Bytes]) -> Vec<Self::Response> {
        // One lock per command: readers get their turn in between.
        commands.iter().map(|command| self.apply_one(index, command)).collect()
    }

    fn node_changed(&self, index: u64, change: NodeChange) {
        let (node_id, epoch) = match change {
            NodeChange::Registered { node_id, epoch } => (node_id, Some(epoch)),
            NodeChange::GivenUp { node_id, .. } => (node_id, None),
        };
        let node = u32::try_from(node_id).expect("identifiers of nodes are counted from 1");
        let mut events = Vec::new();
        let mut catalog = self.catalog.write();
        catalog.node_changed(index, node, epoch, &mut events);
        for event in &events {
            self.observer.applied(&catalog, index, event);
        }
    }

    fn view(&self, format: u32) -> Box<dyn SnapshotView> {
        Box::new(View { catalog: self.catalog.read().clone(), format })
    }

    fn restore(&self, source: &mut dyn std::io::Read) -> Result<(), RestoreError> {
        let restored = read_catalog(source, self.formats)?;
        let mut catalog = self.catalog.write();
        *catalog = restored;
        self.observer.restored(&catalog);
        Ok(())
    }
}

/// Reads the catalog that a snapshot holds, if it has a format that this release reads.
pub(super) fn read_catalog(
    source: &mut dyn std::io::Read,
    formats: Formats,
) -> Result<Catalog, RestoreError> {
    wire::read_snapshot(source, formats.newest()).map_err(restore_error)
}

fn restore_error(error: SnapshotError) -> RestoreError {
    match error {
        SnapshotError::Read(error) => RestoreError::Read(error),
        SnapshotError::UnknownVersion { found, newest_known } => {
            RestoreError::UnknownFormat { found: found.into(), newest_known: newest_known.into() }
        }
        other => RestoreError::Invalid { rule: other.to_string() },
    }
}

struct View {
    catalog: Catalog,
    format: u32,
}

impl SnapshotView for View {
    fn write(&self, sink: &mut dyn std::io::Write) -> std::io::Result<()> {
        wire::write_snapshot(&self.catalog, self.format, sink)
    }
}

/// SHA-256 over the records of a state: equal on all nodes that applied the same commands. Takes time in the order of
/// the state, so it is computed on a clone.
pub fn state_hash(catalog: &Catalog) -> [u8; 32] {
    let mut hasher = Sha256::new();
    wire::encode_records(catalog, |bytes| hasher.update(bytes));
    hasher.finalize().into()
}
