//! A node: its start, its handle, its end.

use std::net::SocketAddr;
use std::sync::atomic::AtomicBool;
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use bytes::Bytes;
use parking_lot::Mutex;
use rookery_proto::rookery::cluster::v1::change_request::Change;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;

use crate::applied::Applied;
use crate::barrier::Barrier;
use crate::disk::DiskGuard;
use crate::effects::Effects;
use crate::error::{AskError, ProposeError, SnapshotError, StartError};
use crate::generation::Generation;
use crate::identity::{DataDir, Identity, io_error};
use crate::lease::Lease;
use crate::link::Links;
use crate::liveness::events::ClusterEvents;
use crate::liveness::{Liveness, LivenessControl};
use crate::membership::pause::Pause;
use crate::membership::{self, Changed, MembershipError};
use crate::network::server::PeerServer;
use crate::network::{Admission, Channels, ask};
use crate::options::{NodeOptions, PeerOptions, PeerSettings};
use crate::peer::{Member, PeerService};
use crate::pki::{self, Credentials};
use crate::place;
use crate::proposer::Proposer;
use crate::proposer::pending::Pending;
use crate::proposer::queue::{Gate, Queue};
use crate::replica::Replica;
use crate::state_machine::Machine;
use crate::status::{NodeState, NodeStatus};
use crate::supervisor::{self, Home, Request, Shared};

/// The lease of a node without peers, which it gives itself.
const LEASE_ALONE: Duration = Duration::from_secs(5);
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
    peer_address: Option<SocketAddr>,
}

impl<R: Replica> Node<R> {
    /// Opens the data directory, restores the newest snapshot and applies what the log holds and is known to be committed.
    /// An empty directory becomes a new cluster with this node as its only voter, or the node looks for a cluster
    /// ([`PeerOptions::join`], [`PeerOptions::expect_voters`]) after this has returned.
    ///
    /// A node that is the only voter leads when this returns: `replica` holds every command that was ever acknowledged, and
    /// commands are accepted. Otherwise this does not wait for a leader: the replica may lag until one is found.
    ///
    /// # Errors
    /// See [`StartError`]. A damaged file is always an error; the node never starts with less than it had.
    pub async fn start(
        options: NodeOptions,
        replica: Arc<R>,
        effects: Arc<Effects>,
        peers: Arc<dyn PeerService>,
    ) -> Result<Node<R>, StartError> {
        let prepared = tokio::task::spawn_blocking(move || Prepared::open(options, replica, effects, peers));
        let prepared = prepared.await.map_err(|panic| StartError::Raft { reason: panic.to_string() })?;
        let Prepared { shared, mut home, listener } = prepared?;
        home.server = listener.map(|listener| serve_peers(&shared, listener)).transpose()?;
        let peer_address = home.server.as_ref().map(PeerServer::address);
        let generation = match &home.identity {
            Some(_) => Some(open(&shared, &mut home).await?),
            None => None,
        };
        let (requests, receiver) = mpsc::channel(REQUESTS_MAX);
        let mut status = shared.status.subscribe();
        let supervisor = tokio::spawn(supervisor::run(Arc::clone(&shared), generation, receiver, home));
        // The sender lives in `shared`, so this cannot fail.
        let _current = status.wait_for(|status| status.state != NodeState::Starting).await;
        Ok(Node { shared, requests, supervisor: Mutex::new(Some(supervisor)), peer_address })
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
        Proposer::new(Arc::clone(&self.shared.queue), self.shared.machine.format())
    }

    /// The node's status, now and whenever it changes. It may lag behind an answered command by a moment.
    #[must_use]
    pub fn status(&self) -> watch::Receiver<NodeStatus> {
        self.shared.status.subscribe()
    }

    /// Whether this node may serve clients.
    #[must_use]
    pub fn lease(&self) -> Lease {
        self.shared.lease.clone()
    }

    /// Waits until an entry is in effect everywhere.
    #[must_use]
    pub fn barrier(&self) -> Barrier {
        self.shared.barrier.clone()
    }

    /// How this node stands in its cluster, and what it knows of the others while it leads.
    #[must_use]
    pub fn liveness(&self) -> Liveness {
        self.shared.liveness.report()
    }

    /// What happened to the cluster lately, as this node saw it.
    #[must_use]
    pub fn events(&self) -> ClusterEvents {
        self.shared.liveness.events()
    }

    /// The links to the other nodes.
    #[must_use]
    pub fn links(&self) -> Links {
        self.shared.links.clone()
    }

    /// The members of the cluster, now and whenever they change.
    #[must_use]
    pub fn members(&self) -> watch::Receiver<Arc<Vec<Member>>> {
        self.shared.members.subscribe()
    }

    /// Where the peer listener listens; `None` if the node runs alone.
    #[must_use]
    pub fn peer_address(&self) -> Option<SocketAddr> {
        self.peer_address
    }

    /// Asks a member something that only the owners of the nodes understand ([`PeerService::answer`]). This node's own
    /// identifier asks this node.
    ///
    /// # Errors
    /// See [`AskError`]; after 5 s at the latest.
    pub async fn ask(&self, node_id: u64, question: Bytes) -> Result<Bytes, AskError> {
        match self.shared.place.get() {
            None => Err(AskError::UnknownNode { node_id }),
            Some(place) if place.origin.node_id == node_id => {
                ask::ask_self(&self.shared.service, node_id, question).await
            }
            Some(_) => ask::ask(&self.shared.channels, node_id, question).await,
        }
    }

    /// Removes a member for good: it loses its vote, then its place, and its identifier is never heard again. Any node can be
    /// asked; the leader decides. Refused if the cluster could not commit any more without it.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn remove(&self, node_id: u64) -> Result<Changed, MembershipError> {
        self.change(Change::Remove(node_id)).await
    }

    /// Makes a learner a voter, of which there are at most five. Any node can be asked; the leader decides.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn promote(&self, node_id: u64) -> Result<Changed, MembershipError> {
        self.change(Change::Promote(node_id)).await
    }

    /// Makes another voter the leader. Any node can be asked. Returns when that node leads.
    ///
    /// # Errors
    /// See [`MembershipError`].
    pub async fn transfer_leader(&self, node_id: u64) -> Result<Changed, MembershipError> {
        self.change(Change::TransferLeaderTo(node_id)).await
    }

    async fn change(&self, change: Change) -> Result<Changed, MembershipError> {
        match &self.shared.membership {
            Some(membership) => membership.router().ask(change).await,
            None => {
                Err(MembershipError::Refused { reason: "this node runs alone; it has no peers".to_owned() })
            }
        }
    }

    /// Makes a snapshot and opens its file, for a backup: everything replicated at the returned log index. The file can be read
    /// for as long as it is open, whatever becomes of it.
    ///
    /// # Errors
    /// See [`SnapshotError`].
    pub async fn backup(&self) -> Result<(u64, std::fs::File), SnapshotError> {
        loop {
            let index = self.snapshot_now().await?;
            let snapshots = self.shared.place.get().map(|place| Arc::clone(&place.snapshots));
            let path = snapshots.and_then(|snapshots| snapshots.current_path());
            match path.map(std::fs::File::open) {
                Some(Ok(file)) => return Ok((index, file)),
                // A newer one has taken its place in between.
                Some(Err(error)) if error.kind() == std::io::ErrorKind::NotFound => {}
                Some(Err(error)) => return Err(SnapshotError::Write { reason: error.to_string() }),
                None => return Err(SnapshotError::Unavailable { state: self.status().borrow().state }),
            }
        }
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
        let Some(place) = shared.place.get() else {
            return Err(SnapshotError::Unavailable { state: status.borrow().state });
        };
        let mut attempts = place.snapshots.attempts();
        loop {
            match place.snapshots.current_index() {
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
                NodeState::StorageFailed
                    | NodeState::ReplicaFailed
                    | NodeState::Closed
                    | NodeState::Starting
                    | NodeState::Joining
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

    /// Ends the node as a killed process would: nobody is told, nothing is finished.
    #[cfg(test)]
    pub(crate) async fn die(&self) {
        assert!(self.requests.send(Request::Die).await.is_ok(), "the node runs");
        let supervisor = self.supervisor.lock().take();
        let death = tokio::time::timeout(Duration::from_secs(60), supervisor.expect("it dies once"));
        death.await.expect("it dies at once").expect("it ends");
    }

    /// Makes the next write to the log fail, as a broken disk would.
    #[cfg(test)]
    pub(crate) async fn fail_next_write(&self) {
        assert!(self.requests.send(Request::FailNextWrite).await.is_ok(), "the node runs");
    }
}

/// Opens the first generation of a node that has its place.
async fn open<R: Replica>(shared: &Arc<Shared<R>>, home: &mut Home) -> Result<Generation, StartError> {
    let generation = Generation::open(shared).await?;
    if let Err(error) = supervisor::note_vote(shared, home, &generation) {
        shared.detach();
        generation.close().await;
        return Err(error);
    }
    home.driver = Some(supervisor::start_driver(shared));
    shared.queue.set_gate(Gate::Open);
    Ok(generation)
}

fn serve_peers<R: Replica>(
    shared: &Arc<Shared<R>>,
    listener: std::net::TcpListener,
) -> Result<PeerServer, StartError> {
    let credentials = shared.place.get().and_then(|place| place.credentials.as_ref());
    let tls = credentials.map_or_else(pki::tls::unknown_server, pki::tls::member_server);
    let tls = tls.map_err(place::unusable(shared))?;
    let routes = crate::parts::routes(shared);
    PeerServer::start(listener, tls, Arc::clone(&shared.admission), routes)
        .map_err(|error| StartError::Peers { reason: error.to_string() })
}

/// A node whose files are open except for the log.
struct Prepared<R: Replica> {
    shared: Arc<Shared<R>>,
    home: Home,
    listener: Option<std::net::TcpListener>,
}

impl<R: Replica> Prepared<R> {
    fn open(
        mut options: NodeOptions,
        replica: Arc<R>,
        effects: Arc<Effects>,
        service: Arc<dyn PeerService>,
    ) -> Result<Prepared<R>, StartError> {
        let peers = options.peers.take().map(PeerOptions::split).transpose();
        let peers = peers.map_err(|error| StartError::Peers { reason: error.to_string() })?;
        let (listener, peer_settings) = peers.unzip();
        let data_dir = DataDir::lock(&options.data_dir)?;
        let own = Own::open(&data_dir, peer_settings.as_ref())?;
        let guard = DiskGuard::new(Arc::clone(&options.disk_probe), &options.data_dir, options.reserve_bytes)
            .map_err(io_error("measure free space of", &options.data_dir))?;
        let guard = Arc::new(guard);
        // Dialled from the listener's address, if it is a specific one, nodes can be told apart by it.
        let source = listener.as_ref().and_then(|listener| listener.local_addr().ok()).map(|own| own.ip());
        let channels = Channels::new(source.filter(|source| !source.is_unspecified()));
        let (place, pending) = (Arc::new(OnceLock::new()), Arc::new(Pending::default()));
        let admission = Arc::new(Admission::default());
        let links = Links::default();
        let applied = Applied::new(
            Arc::clone(&place),
            options.release.formats,
            Arc::clone(&effects),
            Arc::clone(&admission),
            links.clone(),
        );
        let machine = Machine::new(replica, Arc::clone(&pending), Arc::clone(&place), Arc::clone(&applied));
        let lease = peer_settings.as_ref().map_or(LEASE_ALONE, |settings| settings.lease);
        let status = first_status(&guard);
        let (raft, proposals) = (watch::channel(None).0, Pause::default());
        let membership = peer_settings.as_ref().map(|settings| {
            let context = membership::Context {
                place: Arc::clone(&place),
                raft: raft.subscribe(),
                nodes: machine.watch_nodes(),
                channels: channels.clone(),
                proposals: proposals.clone(),
                release: options.release.clone(),
            };
            membership::Part::new(&options.node_name, settings, context)
        });
        let shared = Shared {
            peer_settings,
            membership,
            proposals,
            service,
            place,
            queue: Arc::new(Queue::new(&options, Arc::clone(&guard))),
            pending,
            machine: Arc::new(machine),
            guard,
            effects,
            barrier: applied.barrier.clone(),
            lease: applied.lease.clone(),
            liveness: LivenessControl::new(applied, lease, options.release.clone()),
            status: watch::channel(status).0,
            members: watch::channel(Arc::default()).0,
            members_from: Mutex::new(None),
            admission,
            channels,
            links,
            raft,
            heard: Arc::default(),
            routes: watch::channel(crate::proposer::lane::Route::None).0,
            initialized: AtomicBool::new(false),
            options,
        };
        if let Some(identity) = &own.identity {
            place::take(&shared, identity, own.credentials)?;
        }
        let home = Home { data_dir, identity: own.identity, server: None, driver: None };
        Ok(Prepared { shared: Arc::new(shared), home, listener })
    }
}

/// What the data directory says about the node.
struct Own {
    /// `None` if the node has still to find a cluster.
    identity: Option<Identity>,
    credentials: Option<Credentials>,
}

impl Own {
    /// Reads it, or founds a cluster in an empty directory if nobody else needs to be asked.
    fn open(data_dir: &DataDir, peers: Option<&PeerSettings>) -> Result<Own, StartError> {
        let mut identity = data_dir.open_identity()?;
        if identity.is_none() && peers.is_none_or(PeerSettings::founds_alone) {
            let founded = Identity::found();
            data_dir.save_identity(&founded)?;
            identity = Some(founded);
        }
        if identity.is_some() {
            // After a crash between the two, see `place::settle`.
            membership::request::discard(&data_dir.path)?;
        }
        let credentials = match (&mut identity, peers) {
            (Some(identity), Some(_)) => Some(place::open_credentials(data_dir, identity)?),
            _ => None,
        };
        Ok(Own { identity, credentials })
    }
}

fn first_status(guard: &DiskGuard) -> NodeStatus {
    NodeStatus {
        state: NodeState::Starting,
        cluster_id: String::new(),
        node_id: 0,
        role: None,
        leader_id: None,
        term: 0,
        log_index: None,
        applied_index: None,
        snapshot_index: None,
        replicated: std::collections::BTreeMap::new(),
        disk_free_bytes: guard.free_bytes(),
        disk_reserve_bytes: guard.reserve_bytes(),
        failure: None,
    }
}

#[cfg(test)]
mod cluster_tests;
#[cfg(test)]
mod hostile_tests;
#[cfg(test)]
mod liveness_tests;
#[cfg(test)]
mod membership_tests;
#[cfg(test)]
mod proxies;
#[cfg(test)]
mod testbed;
#[cfg(test)]
mod tests;
#[cfg(test)]
mod upgrade_tests;
