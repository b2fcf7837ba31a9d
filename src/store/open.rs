//! Opening and closing the store.

use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;

use rookery_cluster::{
    Barrier, Effects, Lease, Links, Node, NodeOptions, NodeStatus, PeerService, SnapshotError,
};
use tokio::sync::watch;

use super::catalog::CatalogHandle;
use super::duty::{Background, put_limits};
use super::error::OpenError;
use super::replica::{ApplyObserver, CatalogReplica};
use crate::domain::quota::CatalogLimits;
use crate::observe::histogram::Histogram;

/// The part of a node's data directory that is the store's own: log, snapshots, identity.
pub const STORAGE_DIRECTORY: &str = "raft";

/// What the store is opened with.
pub struct StoreOptions {
    /// Options of the replication node: directory, queue limits, when to make snapshots.
    pub node: NodeOptions,
    /// Limits of the catalog; put in force when they differ from the stored ones.
    pub limits: CatalogLimits,
    /// How long the log waited for the disk.
    pub sync_times: Arc<Histogram>,
}

impl StoreOptions {
    /// Defaults for a data directory and a node name.
    pub fn new(data_dir: impl Into<PathBuf>, node_name: impl Into<String>) -> Self {
        let sync_times: Arc<Histogram> = Arc::default();
        let observed = Arc::clone(&sync_times);
        let node = NodeOptions {
            node_name: node_name.into(),
            sync_observer: Arc::new(move |time| observed.record(time)),
            ..NodeOptions::new(data_dir)
        };
        Self { node, limits: CatalogLimits::default(), sync_times }
    }
}

/// The open store.
pub struct Store {
    pub(super) node: Node<CatalogReplica>,
    catalog: CatalogHandle,
    effects: Arc<Effects>,
    sync_times: Arc<Histogram>,
    _limits: Option<Background>,
}

/// Opens a data directory, or makes one, and reads everything that was ever acknowledged and is known to be. Commands
/// that are read from the log are applied as always, so `observer` sees their events too; it holds them back in
/// `effects` while they have to have effects on this node. `peers` serves the other nodes of the cluster.
///
/// Needs no leader. The configured limits are put in force at once if that is possible, else when it is.
///
/// Must run on the tokio runtime that the store shall live on.
///
/// # Errors
/// [`OpenError`]; a damaged file is always an error.
pub async fn open(
    options: StoreOptions,
    observer: Arc<dyn ApplyObserver>,
    effects: Arc<Effects>,
    peers: Arc<dyn PeerService>,
) -> Result<Store, OpenError> {
    let replica = Arc::new(CatalogReplica::new(observer, options.node.release.formats));
    let node = Node::start(options.node, Arc::clone(&replica), Arc::clone(&effects), peers).await?;
    let catalog = CatalogHandle::new(replica, node.proposer(), node.lease());
    let limits = put_limits(&catalog, node.lease(), options.limits).await;
    Ok(Store { node, catalog, effects, sync_times: options.sync_times, _limits: limits })
}

impl Store {
    /// The handle to the catalog.
    pub fn catalog(&self) -> CatalogHandle {
        self.catalog.clone()
    }

    /// The format that the cluster writes, as far as this node knows.
    pub fn format(&self) -> u32 {
        self.node.proposer().format()
    }

    /// Whether this node may serve clients.
    pub fn lease(&self) -> Lease {
        self.node.lease()
    }

    /// Waits until an entry of the log is in effect on all nodes.
    pub fn barrier(&self) -> Barrier {
        self.node.barrier()
    }

    /// How long the log has waited for the disk, each time.
    pub fn sync_times(&self) -> &Arc<Histogram> {
        &self.sync_times
    }

    /// The links to the other nodes.
    pub fn links(&self) -> Links {
        self.node.links()
    }

    /// Where the listener for other nodes listens; `None` if the node runs alone.
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.node.peer_address()
    }

    /// Which entries are in effect on this node.
    pub fn effects(&self) -> &Arc<Effects> {
        &self.effects
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
