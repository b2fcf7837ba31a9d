//! Opening and closing the store.

use std::path::PathBuf;
use std::sync::Arc;

use rookery_cluster::{Effects, NoPeers, Node, NodeOptions, NodeStatus, SnapshotError};
use tokio::sync::watch;

use super::catalog::CatalogHandle;
use super::error::{OpenError, StoreError};
use super::replica::{ApplyObserver, CatalogReplica};
use crate::domain::quota::CatalogLimits;

/// What the store is opened with.
pub struct StoreOptions {
    /// Options of the replication node: directory, queue limits, when to make snapshots.
    pub node: NodeOptions,
    /// Limits of the catalog; put in force when they differ from the stored ones.
    pub limits: CatalogLimits,
}

impl StoreOptions {
    /// Defaults for a data directory and a node name.
    pub fn new(data_dir: impl Into<PathBuf>, node_name: impl Into<String>) -> Self {
        let node = NodeOptions { node_name: node_name.into(), ..NodeOptions::new(data_dir) };
        Self { node, limits: CatalogLimits::default() }
    }
}

/// The open store.
pub struct Store {
    node: Node<CatalogReplica>,
    catalog: CatalogHandle,
}

/// Opens a data directory, or makes one, and reads everything that was ever acknowledged. Commands that are read from
/// the log are applied as always, so `observer` sees their events too.
///
/// Must run on the tokio runtime that the store shall live on.
///
/// # Errors
/// [`OpenError`]; a damaged file is always an error.
pub async fn open(options: StoreOptions, observer: Arc<dyn ApplyObserver>) -> Result<Store, OpenError> {
    let replica = Arc::new(CatalogReplica::new(observer));
    let node = Node::start(options.node, Arc::clone(&replica), Effects::new(), Arc::new(NoPeers)).await?;
    let catalog = CatalogHandle::new(replica, node.proposer());
    match catalog.ensure_limits(options.limits).await {
        Ok(()) => {}
        // A full disk must not keep the node from serving what it has.
        Err(error @ StoreError::StorageFull { .. }) => {
            tracing::warn!(%error, "the configured limits of the catalog are not in force");
        }
        Err(error) => {
            node.shutdown().await;
            return Err(OpenError::Limits(error));
        }
    }
    Ok(Store { node, catalog })
}

impl Store {
    /// The handle to the catalog.
    pub fn catalog(&self) -> CatalogHandle {
        self.catalog.clone()
    }

    /// The replication node's status, now and whenever it changes.
    pub fn status(&self) -> watch::Receiver<NodeStatus> {
        self.node.status()
    }

    /// Makes a snapshot of everything applied so far and returns the last log index that it covers.
    ///
    /// # Errors
    /// Those of the replication node; nothing is lost by them.
    pub async fn snapshot_now(&self) -> Result<u64, SnapshotError> {
        self.node.snapshot_now().await
    }

    /// Refuses new changes, stores those that wait, and releases the data directory.
    pub async fn shutdown(&self) {
        self.node.shutdown().await;
    }
}
