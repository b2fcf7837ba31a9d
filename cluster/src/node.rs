//! A node: its start, its handle, its end.

use std::sync::Arc;
use std::sync::atomic::AtomicBool;
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::applied::Applied;
use crate::barrier::Barrier;
use crate::disk::DiskGuard;
use crate::effects::Effects;
use crate::error::{ProposeError, SnapshotError, StartError};
use crate::generation::Generation;
use crate::identity::{DataDir, Identity, io_error};
use crate::lease::{Lease, Standing};
use crate::link::Links;
use crate::liveness::events::ClusterEvents;
use crate::liveness::{Liveness, LivenessControl};
use crate::options::NodeOptions;
use crate::peer::PeerService;
use crate::proposer::Proposer;
use crate::proposer::batcher::Origin;
use crate::proposer::pending::Pending;
use crate::proposer::queue::{Gate, Queue};
use crate::replica::Replica;
use crate::snapshot::format::Verified;
use crate::snapshot::store::SnapshotStore;
use crate::state_machine::Machine;
use crate::status::{NodeState, NodeStatus};
use crate::supervisor::{self, Request, Shared};

/// How long a lease lasts.
const LEASE: Duration = Duration::from_secs(5);
/// Requests to the supervisor that may wait.
const REQUESTS_MAX: usize = 16;
/// A request for a snapshot is repeated this often, because the Raft core ignores one while it still counts the
/// snapshot before as unfinished.
const SNAPSHOT_REPEAT: Duration = Duration::from_millis(100);

/// A running node. Dropping it ends the node without waiting; [`Node::shutdown`] waits.
///
/// Everything runs on the tokio runtime that called [`Node::start`], except the log's writer thread and blocking
/// work. That runtime needs more than one thread, or applying a large batch delays everything else on it.
pub struct Node<R: Replica> {
    shared: Arc<Shared<R>>,
    requests: mpsc::Sender<Request>,
    supervisor: Mutex<Option<JoinHandle<()>>>,
}

impl<R: Replica> Node<R> {
    /// Opens the data directory, restores the newest snapshot, replays the log and leads the cluster. An empty
    /// directory becomes a new cluster with this node as its only voter.
    ///
    /// When this returns, `replica` holds every command that was ever acknowledged, and commands are accepted.
    ///
    /// # Errors
    /// See [`StartError`]. A damaged file is always an error; the node never starts with less than it had.
    pub async fn start(
        options: NodeOptions,
        replica: Arc<R>,
        effects: Arc<Effects>,
        peers: Arc<dyn PeerService>,
    ) -> Result<Node<R>, StartError> {
        let _alone = peers;
        let prepared = tokio::task::spawn_blocking(move || Prepared::open(options, replica, effects));
        let prepared = prepared.await.map_err(|panic| StartError::Raft { reason: panic.to_string() })?;
        let Prepared { shared, data_dir, mut identity } = prepared?;
        let generation = Generation::open(&shared).await?;
        if !identity.initialized {
            identity.initialized = true;
            if let Err(error) = data_dir.save_identity(&identity) {
                generation.close().await;
                return Err(error);
            }
            shared.initialized.store(true, std::sync::atomic::Ordering::Relaxed);
        }
        let mut standing = shared.applied.lease.standing();
        // The sender lives in `shared`, so this cannot fail.
        let _serving = standing.wait_for(|standing| matches!(standing, Standing::Serving { .. })).await;
        shared.queue.set_gate(Gate::Open);
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let mut status = shared.status.subscribe();
        let supervisor = tokio::spawn(supervisor::run(Arc::clone(&shared), generation, receiver, data_dir));
        // The sender lives in `shared`, so this cannot fail.
        let _current = status.wait_for(|status| status.state != NodeState::Starting).await;
        Ok(Node { shared, requests, supervisor: Mutex::new(Some(supervisor)) })
    }

    /// Proposes a command; see [`Proposer::propose`].
    ///
    /// # Errors
    /// See [`ProposeError`].
    pub async fn propose(&self, command: Bytes) -> Result<R::Response, ProposeError> {
        self.proposer().propose(command).await
    }

    /// A handle to propose commands.
    #[must_use]
    pub fn proposer(&self) -> Proposer<R> {
        Proposer::new(Arc::clone(&self.shared.queue))
    }

    /// The node's status, now and whenever it changes. It may lag behind an answered command by a moment.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<NodeStatus> {
        self.shared.status.subscribe()
    }

    /// Whether this node may serve clients.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.shared.applied.lease.clone()
    }

    /// Waits until an entry is in effect everywhere.
    #[must_use]
    pub fn barrier(&self) -> Barrier {
        self.shared.applied.barrier.clone()
    }

    /// How this node stands in its cluster, and what it knows of the others while it leads.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        self.shared.liveness.report()
    }

    /// What happened to the cluster lately, as this node saw it.
    #[must_use]
    pub fn events(&self) -> ClusterEvents {
        self.shared.applied.events.clone()
    }

    /// The links to the other nodes.
    #[must_use]
    pub fn links(&self) -> Links {
        Links::default()
    }

    /// Makes a snapshot of everything applied so far, unless the newest one covers it, and returns the last log index
    /// that it covers.
    ///
    /// # Errors
    /// See [`SnapshotError`]; the previous snapshot and the log stay as they were.
    pub async fn snapshot_now(&self) -> Result<u64, SnapshotError> {
        let shared = &self.shared;
        let wanted = shared.machine.applied_index();
        let mut status = self.status();
        let mut attempts = shared.snapshots.attempts();
        loop {
            match shared.snapshots.current_index() {
                Some(index) if Some(index) >= wanted => return Ok(index),
                _ => {}
            }
            shared.guard.refresh();
            shared.guard.check().map_err(|below| SnapshotError::StorageFull {
                free_bytes: below.free_bytes,
                reserve_bytes: below.reserve_bytes,
            })?;
            let state = status.borrow_and_update().state;
            let down = matches!(
                state,
                NodeState::StorageFailed | NodeState::ReplicaFailed | NodeState::Closed | NodeState::Starting
            );
            if down || self.requests.send(Request::Snapshot).await.is_err() {
                return Err(SnapshotError::Unavailable { state });
            }
            tokio::select! {
                _ = attempts.changed() => if let Some(error) = attempts.borrow_and_update().failure.clone() {
                    return Err(error);
                },
                () = tokio::time::sleep(SNAPSHOT_REPEAT) => {}
            }
        }
    }

    /// Refuses new commands, commits those that wait, closes the files and releases the data directory.
    pub async fn shutdown(&self) {
        // A supervisor that is gone has shut down already.
        let _gone = self.requests.send(Request::Shutdown).await;
        let supervisor = self.supervisor.lock().take();
        if let Some(supervisor) = supervisor
            && let Err(error) = supervisor.await
        {
            tracing::error!(%error, "the node did not end in order");
        }
    }

    /// Makes the next write to the log fail, as a broken disk would.
    #[cfg(test)]
    pub(crate) async fn fail_next_write(&self) {
        assert!(self.requests.send(Request::FailNextWrite).await.is_ok(), "the node runs");
    }
}

/// A node whose files are open except for the log.
struct Prepared<R: Replica> {
    shared: Arc<Shared<R>>,
    data_dir: DataDir,
    identity: Identity,
}

impl<R: Replica> Prepared<R> {
    fn open(options: NodeOptions, replica: Arc<R>, effects: Arc<Effects>) -> Result<Prepared<R>, StartError> {
        let data_dir = DataDir::lock(&options.data_dir)?;
        let identity = data_dir.open_identity()?;
        let guard = DiskGuard::new(Arc::clone(&options.disk_probe), &options.data_dir, options.reserve_bytes)
            .map_err(io_error("measure free space of", &options.data_dir))?;
        let guard = Arc::new(guard);
        let (snapshots, newest) =
            SnapshotStore::open(&data_dir.path, &identity.cluster_id, identity.node_id, Arc::clone(&guard))?;
        let snapshots = Arc::new(snapshots);
        let origin = Origin { node_id: identity.node_id, incarnation: identity.incarnation };
        let pending = Arc::new(Pending::default());
        let applied = Arc::new(Applied::new(effects));
        applied.set_origin(origin);
        let machine =
            Machine::new(replica, Arc::clone(&pending), Arc::clone(&snapshots), origin, Arc::clone(&applied));
        restore(&machine, &snapshots, newest)?;
        let status = NodeStatus {
            state: NodeState::Starting,
            cluster_id: identity.cluster_id.clone(),
            node_id: identity.node_id,
            leader_id: None,
            term: 0,
            log_index: None,
            applied_index: machine.applied_index(),
            snapshot_index: snapshots.current_index(),
            disk_free_bytes: guard.free_bytes(),
            disk_reserve_bytes: guard.reserve_bytes(),
            failure: None,
        };
        let shared = Shared {
            cluster_id: identity.cluster_id.clone(),
            origin,
            queue: Arc::new(Queue::new(&options, Arc::clone(&guard))),
            pending,
            machine: Arc::new(machine),
            snapshots,
            guard,
            liveness: LivenessControl::new(Arc::clone(&applied), LEASE, String::new()),
            applied,
            status: watch::channel(status).0,
            initialized: AtomicBool::new(identity.initialized),
            options,
        };
        Ok(Prepared { shared: Arc::new(shared), data_dir, identity })
    }
}

fn restore<R: Replica>(
    machine: &Machine<R>,
    snapshots: &SnapshotStore,
    newest: Option<Verified>,
) -> Result<(), StartError> {
    let (Some(newest), Some(path)) = (newest, snapshots.current_path()) else { return Ok(()) };
    machine.restore(&newest).map_err(|source| StartError::Restore { path, source })
}

#[cfg(test)]
mod tests;
