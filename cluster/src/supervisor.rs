//! Watches one node: publishes its status, asks for snapshots, and brings it back after its storage failed.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use openraft::ServerState;
use tokio::sync::{mpsc, watch};
use tokio::time::{Instant, MissedTickBehavior, interval, sleep};

use crate::applied::Applied;
use crate::disk::DiskGuard;
use crate::error::{CommandOutcome, ProposeError, UnavailableReason};
use crate::generation::{Generation, Metrics};
use crate::identity::DataDir;
use crate::liveness::LivenessControl;
use crate::options::NodeOptions;
use crate::proposer::batcher::Origin;
use crate::proposer::pending::Pending;
use crate::proposer::queue::{Gate, Queue};
use crate::replica::Replica;
use crate::snapshot::store::SnapshotStore;
use crate::state_machine::Machine;
use crate::status::{NodeState, NodeStatus};

/// Free space is measured and the status renewed this often.
const TICK: Duration = Duration::from_secs(1);
/// After a snapshot could not be made, this long until the next one is tried.
const SNAPSHOT_RETRY: Duration = Duration::from_secs(10);
/// At the end, queued commands get this long to be committed.
const DRAIN_MAX: Duration = Duration::from_secs(10);

/// What the parts of one node share.
pub(crate) struct Shared<R: Replica> {
    pub(crate) options: NodeOptions,
    pub(crate) cluster_id: String,
    pub(crate) origin: Origin,
    pub(crate) queue: Arc<Queue<R::Response>>,
    pub(crate) pending: Arc<Pending<R::Response>>,
    pub(crate) machine: Arc<Machine<R>>,
    pub(crate) snapshots: Arc<SnapshotStore>,
    pub(crate) guard: Arc<DiskGuard>,
    pub(crate) applied: Arc<Applied>,
    pub(crate) liveness: LivenessControl,
    pub(crate) status: watch::Sender<NodeStatus>,
    /// Whether the log has held a vote; see `identity`.
    pub(crate) initialized: std::sync::atomic::AtomicBool,
}

/// What the node's owner asks of the supervisor.
pub(crate) enum Request {
    Snapshot,
    Shutdown,
    #[cfg(test)]
    FailNextWrite,
}

/// Why a generation ended.
enum Ended {
    Failed(String),
    Shutdown,
}

impl<R: Replica> Shared<R> {
    pub(crate) fn log_path(&self) -> PathBuf {
        self.options.data_dir.join("log")
    }

    pub(crate) fn was_initialized(&self) -> bool {
        self.initialized.load(std::sync::atomic::Ordering::Relaxed)
    }

    /// Renews the status from the Raft core's metrics.
    fn publish(&self, metrics: &Metrics) {
        let state = match metrics.state {
            _ if self.guard.check().is_err() => NodeState::StorageFull,
            ServerState::Leader => NodeState::Leader,
            ServerState::Follower => NodeState::Follower,
            ServerState::Candidate => NodeState::Candidate,
            ServerState::Learner => NodeState::Learner,
            ServerState::Shutdown => NodeState::Closed,
        };
        self.update_status(|status| {
            status.state = state;
            status.failure = None;
            status.leader_id = metrics.current_leader;
            status.term = metrics.current_term;
            status.log_index = metrics.last_log_index;
            status.applied_index = metrics.last_applied.map(|id| id.index);
            status.snapshot_index = self.snapshots.current_index();
        });
    }

    /// Publishes a state without a Raft core.
    fn publish_down(&self, state: NodeState, failure: Option<String>) {
        self.update_status(|status| {
            status.state = state;
            status.failure = failure;
            status.leader_id = None;
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
        let covered = self.snapshots.current_index().map_or(0, |index| index + 1);
        applied.saturating_sub(covered) >= self.options.snapshot_entries
            || self.machine.bytes_since_snapshot() >= self.options.snapshot_log_bytes
    }
}

/// Runs until the owner asks for the end or is gone. Holds the lock on the data directory meanwhile.
pub(crate) async fn run<R: Replica>(
    shared: Arc<Shared<R>>,
    mut generation: Generation,
    mut requests: mpsc::Receiver<Request>,
    data_dir: DataDir,
) {
    loop {
        match watch_generation(&shared, &generation, &mut requests).await {
            Ended::Shutdown => {
                end(&shared, generation).await;
                break;
            }
            Ended::Failed(reason) => {
                let fault = shared.machine.fault();
                let (state, why) = match fault {
                    Some(_) => (NodeState::ReplicaFailed, UnavailableReason::ReplicaFailed),
                    None => match shared.queue.storage_failure() {
                        UnavailableReason::DiskFull => (NodeState::StorageFull, UnavailableReason::DiskFull),
                        other => (NodeState::StorageFailed, other),
                    },
                };
                let failure = fault.clone().unwrap_or(reason);
                tracing::error!(%failure, %state, "the node stopped committing");
                shared.refuse(why);
                shared.liveness.down(&failure, fault.is_some());
                shared.publish_down(state, Some(failure));
                generation.close().await;
                // A command may have slipped in between the two; the batcher is gone now.
                shared.refuse(why);
                let reopened = match fault {
                    Some(_) => wait_for_shutdown(&mut requests).await,
                    None => reopen(&shared, &mut requests).await,
                };
                match reopened {
                    Some(next) => generation = next,
                    None => break,
                }
            }
        }
    }
    shared.queue.set_gate(Gate::Closing);
    shared.queue.fail_all(&ProposeError::Closing);
    shared.publish_down(NodeState::Closed, None);
    drop(data_dir);
}

/// Follows one Raft core until it ends.
async fn watch_generation<R: Replica>(
    shared: &Shared<R>,
    generation: &Generation,
    requests: &mut mpsc::Receiver<Request>,
) -> Ended {
    let mut metrics = generation.metrics();
    let mut log_failure = generation.log.failure();
    let mut attempts = shared.snapshots.attempts();
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
            shared.publish(&seen);
        }
        if shared.snapshot_is_due() && Instant::now() >= snapshot_not_before && shared.guard.check().is_ok() {
            trigger_snapshot(generation).await;
        }
        tokio::select! {
            changed = metrics.changed() => if changed.is_err() {
                return Ended::Failed("the Raft core ended".to_owned());
            },
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
    while !matches!(requests.recv().await, None | Some(Request::Shutdown)) {}
}

/// Commits what is queued and closes everything.
async fn end<R: Replica>(shared: &Shared<R>, mut generation: Generation) {
    shared.liveness.retire().await;
    shared.queue.set_gate(Gate::Closing);
    if tokio::time::timeout(DRAIN_MAX, generation.drain()).await.is_err() {
        tracing::warn!("commands were still waiting when the node ended");
    }
    generation.close().await;
    shared.queue.fail_all(&ProposeError::Closing);
    shared.pending.fail_all(&ProposeError::Unavailable {
        reason: UnavailableReason::Stopped,
        outcome: CommandOutcome::Unknown,
    });
}
