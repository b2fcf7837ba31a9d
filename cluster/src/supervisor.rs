//! Watches one node: publishes its status, asks for snapshots, and brings it back after its storage failed.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, OnceLock};
use std::time::Duration;

use parking_lot::Mutex;
use tokio::sync::{mpsc, watch};
use tokio::task::JoinHandle;
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::barrier::Barrier;
use crate::disk::DiskGuard;
use crate::effects::Effects;
use crate::election::Heard;
use crate::error::{CommandOutcome, ProposeError, StartError, UnavailableReason};
use crate::generation::{Generation, Metrics};
use crate::identity::{DataDir, Identity};
use crate::lease::Lease;
use crate::link::Links;
use crate::liveness::LivenessControl;
use crate::membership::pause::Pause;
use crate::network::server::PeerServer;
use crate::network::{Admission, Channels};
use crate::nodes::Nodes;
use crate::options::{NodeOptions, PeerSettings};
use crate::peer::{Member, PeerService};
use crate::pki::{self, Credentials};
use crate::place::{self, Place};
use crate::proposer::driver::Driver;
use crate::proposer::lane::Route;
use crate::proposer::pending::Pending;
use crate::proposer::queue::{Gate, Queue};
use crate::proposer::system::SystemProposer;
use crate::raft::{LogId, Raft};
use crate::replica::Replica;
use crate::state_machine::Machine;
use crate::status::{NodeState, NodeStatus};
use crate::{membership, parts, view};

/// Free space is measured and the status renewed this often.
const TICK: Duration = Duration::from_secs(1);
/// After a snapshot could not be made, this long until the next one is tried.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(10);
/// At the end, queued commands get this long to be committed.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What the parts of one node share.
pub(crate) struct Shared<R: Replica> {
    pub(crate) options: NodeOptions,
    /// `None` on a node that runs alone.
    pub(crate) peer_settings: Option<PeerSettings>,
    /// `None` on a node that runs alone.
    pub(crate) membership: Option<membership::Part>,
    /// Holds commands back from the log.
    pub(crate) proposals: Pause,
    /// The owner of the node, for other nodes.
    pub(crate) service: Arc<dyn PeerService>,
    /// Empty until the node belongs to a cluster.
    pub(crate) place: Arc<OnceLock<Place>>,
    pub(crate) queue: Arc<Queue<R::Response>>,
    pub(crate) pending: Arc<Pending<R::Response>>,
    pub(crate) machine: Arc<Machine<R>>,
    pub(crate) guard: Arc<DiskGuard>,
    pub(crate) effects: Arc<Effects>,
    pub(crate) barrier: Barrier,
    pub(crate) lease: Lease,
    pub(crate) liveness: LivenessControl,
    pub(crate) status: watch::Sender<NodeStatus>,
    pub(crate) members: watch::Sender<Arc<Vec<Member>>>,
    /// From which entry and which table of nodes [`Self::members`] was made.
    pub(crate) members_from: Mutex<Option<(Option<LogId>, Arc<Nodes>)>>,
    pub(crate) admission: Arc<Admission>,
    pub(crate) channels: Channels,
    pub(crate) links: Links,
    /// The Raft core while there is one.
    pub(crate) raft: watch::Sender<Option<Raft>>,
    /// When a leader was heard last.
    pub(crate) heard: Arc<Heard>,
    /// Who commits.
    pub(crate) routes: watch::Sender<Route>,
    /// Whether the log has held a vote; see `identity`.
    pub(crate) initialized: AtomicBool,
}

/// What belongs to the process as long as the node runs: the locked directory, the listener, the task that proposes.
pub(crate) struct Home {
    pub(crate) data_dir: DataDir,
    /// `None` until the node belongs to a cluster.
    pub(crate) identity: Option<Identity>,
    pub(crate) server: Option<PeerServer>,
    pub(crate) driver: Option<JoinHandle<()>>,
}

/// What the node's owner asks of the supervisor.
pub(crate) enum Request {
    Snapshot,
    Shutdown,
    #[cfg(test)]
    FailNextWrite,
    #[cfg(test)]
    Die,
}

/// Why a generation ended.
enum Ended {
    Failed(String),
    Shutdown,
    #[cfg(test)]
    Died,
}

impl<R: Replica> Shared<R> {
    pub(crate) fn log_path(&self) -> PathBuf {
        self.options.data_dir.join("log")
    }

    pub(crate) fn was_initialized(&self) -> bool {
        self.initialized.load(Ordering::Relaxed)
    }

    /// The node's place in its cluster. Only for those who run when it has one.
    pub(crate) fn place(&self) -> &Place {
        self.place.get().expect("only a node that has a place replicates")
    }

    /// Where peers reach this node; empty if it runs alone.
    pub(crate) fn own_address(&self) -> &str {
        self.peer_settings.as_ref().map_or("", |settings| settings.advertise.as_str())
    }

    /// Proposes changes of the table of nodes.
    pub(crate) fn system_proposer(&self) -> SystemProposer {
        SystemProposer::new(self.routes.subscribe(), self.channels.clone())
    }

    /// Says in the status which place the node got.
    pub(crate) fn publish_place(&self) {
        let place = self.place();
        self.update_status(|status| {
            status.cluster_id.clone_from(&place.cluster_id);
            status.node_id = place.origin.node_id;
            status.snapshot_index = place.snapshots.current_index();
        });
    }

    /// A Raft core runs: other nodes can call it, and it can call them. The status follows when commands are accepted.
    pub(crate) fn attach(&self, raft: &Raft, number: u64) {
        self.publish_reach(raft, number, &raft.metrics().borrow());
        self.raft.send_replace(Some(raft.clone()));
    }

    /// No Raft core runs.
    pub(crate) fn detach(&self) {
        self.raft.send_replace(None);
        self.routes.send_replace(Route::None);
    }

    /// Renews what others see from the Raft core's metrics.
    fn publish(&self, raft: &Raft, number: u64, metrics: &Metrics) {
        self.publish_reach(raft, number, metrics);
        let place = self.place();
        let is_full = self.guard.check().is_err();
        self.update_status(|status| {
            view::update(status, metrics, is_full);
            if status.leader_id != Some(metrics.id) && !self.heard.is_recent() {
                status.leader_id = None;
            }
            status.snapshot_index = place.snapshots.current_index();
        });
    }

    /// Renews who the members are, and who commits.
    fn publish_reach(&self, raft: &Raft, number: u64, metrics: &Metrics) {
        self.publish_members(metrics);
        let route = view::route(metrics, raft, number);
        self.routes.send_if_modified(|known| {
            let changed = !known.is_same(&route);
            *known = route;
            changed
        });
    }

    /// Renews the members and where they are, if they may have changed.
    fn publish_members(&self, metrics: &Metrics) {
        let (entry, nodes) = (*metrics.membership_config.log_id(), self.machine.nodes());
        let mut made_from = self.members_from.lock();
        if made_from.as_ref().is_some_and(|(known, table)| *known == entry && Arc::ptr_eq(table, &nodes)) {
            return;
        }
        let membership = metrics.membership_config.membership();
        self.channels.set_addresses(view::addresses(membership));
        self.members.send_replace(Arc::new(view::members(membership, &nodes)));
        *made_from = Some((entry, nodes));
    }

    /// Publishes a state without a Raft core.
    fn publish_down(&self, state: NodeState, failure: Option<String>) {
        self.update_status(|status| {
            status.state = state;
            status.failure = failure;
            status.leader_id = None;
            status.replicated.clear();
            status.applied_index = self.machine.applied_index();
        });
    }

    fn update_status(&self, change: impl FnOnce(&mut NodeStatus)) {
        self.status.send_if_modified(|status| {
            let before = status.clone();
            change(status);
            status.disk_free_bytes = self.guard.free_bytes();
            *status != before
        });
    }

    /// Refuses commands and answers all that wait: those in the queue never reached the log, of the others nothing is
    /// known.
    fn refuse(&self, reason: UnavailableReason) {
        self.queue.set_gate(Gate::Shut(reason));
        let outcome = CommandOutcome::NotApplied;
        self.queue.fail_all(&ProposeError::Unavailable { reason, outcome });
        let outcome = CommandOutcome::Unknown;
        self.pending.fail_all(&ProposeError::Unavailable { reason, outcome });
    }

    /// Whether the log behind the newest snapshot has grown enough for the next one.
    fn snapshot_is_due(&self) -> bool {
        let applied = self.machine.applied_index().map_or(0, |index| index + 1);
        let covered = self.place().snapshots.current_index().map_or(0, |index| index + 1);
        applied.saturating_sub(covered) >= self.options.snapshot_entries
            || self.machine.bytes_since_snapshot() >= self.options.snapshot_log_bytes
    }
}

/// Starts the task that proposes. Once, when the node has its place.
pub(crate) fn start_driver<R: Replica>(shared: &Shared<R>) -> JoinHandle<()> {
    let driver = Driver::new(
        Arc::clone(&shared.queue),
        Arc::clone(&shared.pending),
        shared.place().origin,
        shared.routes.subscribe(),
        shared.channels.clone(),
        shared.proposals.clone(),
    );
    tokio::spawn(driver.run())
}

/// Runs until the owner asks for the end or is gone. Without a generation the node has still to find its place.
pub(crate) async fn run<R: Replica>(
    shared: Arc<Shared<R>>,
    generation: Option<Generation>,
    mut requests: mpsc::Receiver<Request>,
    mut home: Home,
) {
    let mut present = match generation {
        Some(generation) => Some(generation),
        None => join(&shared, &mut home, &mut requests).await,
    };
    while let Some(generation) = present.take() {
        match watch_generation(&shared, &generation, &mut requests, &mut home).await {
            Ended::Shutdown => end(&shared, &mut home, generation).await,
            #[cfg(test)]
            Ended::Died => {
                drop(home.server.take());
                shared.detach();
                generation.close().await;
            }
            Ended::Failed(reason) => {
                let fault = shared.machine.fault();
                let why = fail(&shared, fault.as_deref(), reason);
                shared.detach();
                generation.close().await;
                // A command may have slipped in between the two.
                shared.refuse(why);
                present = match fault {
                    Some(_) => wait_for_shutdown(&mut requests).await,
                    None => reopen(&shared, &mut requests).await,
                };
            }
        }
    }
    shared.queue.set_gate(Gate::Closing);
    shared.queue.fail_all(&ProposeError::Closing);
    shared.publish_down(NodeState::Closed, None);
    if let Some(driver) = home.driver.take() {
        driver.abort();
    }
    shared.links.close();
    if let Some(place) = shared.place.get() {
        // A Raft core that ends leaves a snapshot that is being written alone; the data directory is about to be free.
        let snapshots = Arc::clone(&place.snapshots);
        if let Err(error) = tokio::task::spawn_blocking(move || snapshots.close()).await {
            tracing::error!(%error, "writing of snapshots did not end in order");
        }
    }
    drop(home);
}

/// Answers everybody after a generation failed, and returns why.
fn fail<R: Replica>(shared: &Shared<R>, fault: Option<&str>, reason: String) -> UnavailableReason {
    let (state, why) = match fault {
        Some(_) => (NodeState::ReplicaFailed, UnavailableReason::ReplicaFailed),
        None => match shared.queue.storage_failure() {
            UnavailableReason::DiskFull => (NodeState::StorageFull, UnavailableReason::DiskFull),
            other => (NodeState::StorageFailed, other),
        },
    };
    let failure = fault.map_or(reason, str::to_owned);
    tracing::error!(%failure, %state, "the node stopped committing");
    shared.refuse(why);
    shared.liveness.down(&failure, fault.is_some());
    shared.publish_down(state, Some(failure));
    why
}

/// Finds a place in a cluster, takes it and opens the first generation, however long that takes. `None` when the owner asks
/// for the end.
async fn join<R: Replica>(
    shared: &Arc<Shared<R>>,
    home: &mut Home,
    requests: &mut mpsc::Receiver<Request>,
) -> Option<Generation> {
    shared.publish_down(NodeState::Joining, None);
    let mut delay = shared.options.reopen_delay_min;
    loop {
        let settled = async {
            let credentials = parts::obtain_identity(shared).await?;
            take_place(shared, home, credentials).await
        };
        let settled = tokio::select! {
            settled = settled => settled,
            () = until_shutdown(requests) => return None,
        };
        match settled {
            Ok(()) => break,
            Err(error) => {
                tracing::error!(%error, "this node cannot take its place in a cluster yet");
                shared.publish_down(NodeState::Joining, Some(error.to_string()));
            }
        }
        tokio::select! {
            () = sleep(delay) => {}
            () = until_shutdown(requests) => return None,
        }
        delay = (delay * 2).min(shared.options.reopen_delay_max);
    }
    shared.publish_down(NodeState::Starting, None);
    let generation = match Generation::open(shared).await {
        Ok(generation) => generation,
        Err(error) => {
            let why = fail(shared, None, error.to_string());
            shared.refuse(why);
            reopen(shared, requests).await?
        }
    };
    home.driver = Some(start_driver(shared));
    shared.queue.set_gate(Gate::Open);
    Some(generation)
}

/// Puts the new place on disk and lets it take effect.
async fn take_place<R: Replica>(
    shared: &Arc<Shared<R>>,
    home: &mut Home,
    credentials: Credentials,
) -> Result<(), StartError> {
    let tls = pki::tls::member_server(&credentials).map_err(place::unusable(shared))?;
    let identity = place::settle(&home.data_dir, &credentials)?;
    let taking = Arc::clone(shared);
    let of_place = identity.clone();
    let taken = tokio::task::spawn_blocking(move || place::take(&taking, &of_place, Some(credentials)));
    taken.await.unwrap_or_else(|panic| Err(StartError::Raft { reason: panic.to_string() }))?;
    home.identity = Some(identity);
    if let Some(server) = &home.server {
        server.set_tls(tls);
    }
    Ok(())
}

/// Notes on disk that the log has held a vote.
pub(crate) fn note_vote<R: Replica>(
    shared: &Shared<R>,
    home: &mut Home,
    generation: &Generation,
) -> Result<(), StartError> {
    match &mut home.identity {
        Some(identity) if !identity.initialized && generation.log.has_vote() => {
            identity.initialized = true;
            home.data_dir.save_identity(identity).inspect_err(|_| identity.initialized = false)?;
            shared.initialized.store(true, Ordering::Relaxed);
            Ok(())
        }
        _ => Ok(()),
    }
}

/// Follows one Raft core until it ends.
async fn watch_generation<R: Replica>(
    shared: &Shared<R>,
    generation: &Generation,
    requests: &mut mpsc::Receiver<Request>,
    home: &mut Home,
) -> Ended {
    let mut metrics = generation.metrics();
    let mut nodes = shared.machine.watch_nodes();
    let mut log_failure = generation.log.failure();
    let mut attempts = shared.place().snapshots.attempts();
    let mut snapshot_not_before = Instant::now();
    let mut tick = interval(TICK);
    tick.set_missed_tick_behavior(MissedTickBehavior::Delay);
    loop {
        {
            let seen = metrics.borrow_and_update();
            if let Err(fatal) = &seen.running_state {
                let reason = log_failure.borrow().clone();
                return Ended::Failed(reason.unwrap_or_else(|| fatal.to_string()));
            }
            shared.publish(&generation.raft, generation.number, &seen);
        }
        if let Err(error) = note_vote(shared, home, generation) {
            return Ended::Failed(error.to_string());
        }
        if shared.snapshot_is_due() && Instant::now() >= snapshot_not_before && shared.guard.check().is_ok() {
            trigger_snapshot(generation).await;
        }
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() {
                return Ended::Failed("the Raft core ended".to_owned());
            },
            _ = nodes.changed() => {}
            _ = log_failure.changed() => {
                let reason = log_failure.borrow().clone();
                return Ended::Failed(reason.unwrap_or_else(|| "the log writer ended".to_owned()));
            }
            _ = attempts.changed() => if attempts.borrow_and_update().failure.is_some() {
                snapshot_not_before = Instant::now() + SNAPSHOT_RETRY;
            },
            _ = tick.tick() => { shared.guard.refresh(); }
            request = requests.recv() => match request {
                None | Some(Request::Shutdown) => return Ended::Shutdown,
                Some(Request::Snapshot) => trigger_snapshot(generation).await,
                #[cfg(test)]
                Some(Request::FailNextWrite) => generation.log.fail_next_write(),
                #[cfg(test)]
                Some(Request::Die) => return Ended::Died,
            },
        }
    }
}

async fn trigger_snapshot(generation: &Generation) {
    // The metrics tell when the core is gone.
    if let Err(fatal) = generation.raft.trigger().snapshot().await {
        tracing::debug!(%fatal, "no snapshot from a Raft core that ended");
    }
}

/// Tries for ever to get the storage back, more and more rarely. `None` when the owner asks for the end.
async fn reopen<R: Replica>(
    shared: &Arc<Shared<R>>,
    requests: &mut mpsc::Receiver<Request>,
) -> Option<Generation> {
    let mut delay = shared.options.reopen_delay_min;
    loop {
        tokio::select! {
            () = sleep(delay) => {}
            () = until_shutdown(requests) => return None,
        }
        delay = (delay * 2).min(shared.options.reopen_delay_max);
        shared.guard.refresh();
        if let Err(below) = shared.guard.check() {
            tracing::debug!(free_bytes = below.free_bytes, "storage is not reopened while the disk is full");
            continue;
        }
        match Generation::open(shared).await {
            Ok(generation) => {
                tracing::info!("storage is open again");
                shared.queue.set_gate(Gate::Open);
                return Some(generation);
            }
            Err(error) => {
                tracing::warn!(%error, "storage cannot be reopened yet");
                shared.publish_down(NodeState::StorageFailed, Some(error.to_string()));
            }
        }
    }
}

async fn wait_for_shutdown(requests: &mut mpsc::Receiver<Request>) -> Option<Generation> {
    until_shutdown(requests).await;
    None
}

/// Drops requests that need a Raft core.
async fn until_shutdown(requests: &mut mpsc::Receiver<Request>) {
    loop {
        match requests.recv().await {
            None | Some(Request::Shutdown) => return,
            Some(Request::Snapshot) => {}
            #[cfg(test)]
            Some(Request::Die) => return,
            #[cfg(test)]
            Some(Request::FailNextWrite) => {}
        }
    }
}

/// Commits what is queued and closes everything.
async fn end<R: Replica>(shared: &Shared<R>, home: &mut Home, mut generation: Generation) {
    generation.end_parts().await;
    shared.queue.set_gate(Gate::Closing);
    if let Some(driver) = &mut home.driver {
        match tokio::time::timeout(DRAIN_MAX, driver).await {
            Ok(Ok(())) => home.driver = None,
            Ok(Err(error)) => tracing::error!(%error, "the task that proposes commands failed"),
            Err(_elapsed) => tracing::warn!("commands were still waiting when the node ended"),
        }
    }
    shared.detach();
    generation.close().await;
    shared.queue.fail_all(&ProposeError::Closing);
    shared.pending.fail_all(&ProposeError::Unavailable {
        reason: UnavailableReason::Stopped,
        outcome: CommandOutcome::Unknown,
    });
}
