//! One Raft core with its open log. A node has one at a time and a new one after its storage failed.

use std::collections::BTreeMap;
use std::sync::Arc;

use openraft::{Config, ServerState, SnapshotPolicy};
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::error::{CommandOutcome, ProposeError, StartError, UnavailableReason};
use crate::liveness::{LivenessTasks, Propose};
use crate::log_store::LogStore;
use crate::network::{Channels, LoneNode};
use crate::proposer::batcher;
use crate::raft::{Payload, Peer, Raft};
use crate::record::{Batch, SystemCommand};
use crate::replica::Replica;
use crate::supervisor::Shared;

/// Time in which a follower answers, also the Raft library's limit for one call to a peer. Long enough for a slow
/// disk and a full batch.
const HEARTBEAT_INTERVAL_MS: u64 = 300;
const ELECTION_TIMEOUT_MIN_MS: u64 = 1000;
const ELECTION_TIMEOUT_MAX_MS: u64 = 2000;
/// Entries in one message to a peer. Together with the bytes that one read returns this stays below the message
/// limit of the link.
const PAYLOAD_ENTRIES_MAX: u64 = 64;

/// What runs between opening the log and closing it.
pub(crate) struct Generation {
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    batcher: JoinHandle<()>,
    liveness: LivenessTasks,
}

pub(crate) type Metrics = openraft::RaftMetrics<u64, Peer>;

impl Generation {
    /// Opens the log, replays what the replica has not applied yet, and waits until commands can be committed.
    pub(crate) async fn open<R: Replica>(shared: &Arc<Shared<R>>) -> Result<Generation, StartError> {
        let path = shared.log_path();
        let opening = tokio::task::spawn_blocking(move || LogStore::open(&path));
        let log = opening.await.unwrap_or_else(|panic| {
            Err(StartError::Log { path: shared.log_path(), reason: panic.to_string() })
        })?;
        let raft = match start_raft(shared, &log).await {
            Ok(raft) => raft,
            Err(error) => {
                close_log(&log).await;
                return Err(error);
            }
        };
        if let Err(error) = until_serving(&raft).await {
            stop_raft(&raft, &log).await;
            return Err(error);
        }
        let batcher = tokio::spawn(batcher::run(
            Arc::clone(&shared.queue),
            Arc::clone(&shared.pending),
            raft.clone(),
            shared.origin,
        ));
        let liveness = shared.liveness.start(&raft, &log, Channels::default(), propose_system(raft.clone()));
        Ok(Generation { raft, log, batcher, liveness })
    }

    /// Waits until the commands that were queued before the gate was closed are committed.
    pub(crate) async fn drain(&mut self) {
        if let Err(error) = (&mut self.batcher).await {
            tracing::error!(%error, "the task that proposes commands failed");
        }
    }

    /// Stops the Raft core and closes the files. Afterwards nothing of this generation writes.
    pub(crate) async fn close(self) {
        self.batcher.abort();
        drop(self.liveness);
        stop_raft(&self.raft, &self.log).await;
    }

    /// The Raft core's view of itself.
    pub(crate) fn metrics(&self) -> watch::Receiver<Metrics> {
        self.raft.metrics()
    }
}

/// Changes of the table of nodes go through the Raft core of this node.
pub(crate) fn propose_system(raft: Raft) -> Propose {
    Arc::new(move |change| {
        let raft = raft.clone();
        let batch = Batch { groups: Vec::new(), system: Some(SystemCommand { change: Some(change) }) };
        Box::pin(async move {
            let written = raft.client_write(Payload(Arc::new(batch))).await;
            written.map(|written| written.log_id.index).map_err(|_| ProposeError::Unavailable {
                reason: UnavailableReason::NotLeader,
                outcome: CommandOutcome::Unknown,
            })
        })
    })
}

async fn start_raft<R: Replica>(shared: &Arc<Shared<R>>, log: &LogStore) -> Result<Raft, StartError> {
    check_history(shared, log)?;
    let config = config(shared)?;
    let machine = shared.machine.next_generation();
    let node_id = shared.origin.node_id;
    let raft =
        Raft::new(node_id, Arc::new(config), LoneNode, log.clone(), machine).await.map_err(raft_error)?;
    if !raft.is_initialized().await.map_err(raft_error)? {
        let peer = Peer { name: shared.options.node_name.clone(), address: shared.options.address.clone() };
        raft.initialize(BTreeMap::from([(node_id, peer)])).await.map_err(raft_error)?;
    } else if raft.metrics().borrow().state != ServerState::Leader {
        // The only voter need not wait for anybody.
        raft.trigger().elect().await.map_err(raft_error)?;
    }
    Ok(raft)
}

/// Refuses to go on with a log that does not continue what this directory has held before.
fn check_history<R: Replica>(shared: &Shared<R>, log: &LogStore) -> Result<(), StartError> {
    if shared.was_initialized() && !log.has_vote() {
        return Err(StartError::LogMissing { path: shared.log_path() });
    }
    match log.purged() {
        Some(purged) if shared.machine.applied_index() < Some(purged.index) => {
            Err(StartError::SnapshotMissing {
                path: shared.options.data_dir.join("snapshots"),
                purged_index: purged.index,
            })
        }
        _ => Ok(()),
    }
}

fn config<R: Replica>(shared: &Shared<R>) -> Result<Config, StartError> {
    let config = Config {
        cluster_name: shared.cluster_id.clone(),
        heartbeat_interval: HEARTBEAT_INTERVAL_MS,
        election_timeout_min: ELECTION_TIMEOUT_MIN_MS,
        election_timeout_max: ELECTION_TIMEOUT_MAX_MS,
        max_payload_entries: PAYLOAD_ENTRIES_MAX,
        // Snapshots are asked for by the supervisor, which also counts bytes and looks at the disk.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: shared.options.kept_entries,
        ..Config::default()
    };
    config.validate().map_err(raft_error)
}

/// Waits until this node leads and the replica has applied everything that the log held.
async fn until_serving(raft: &Raft) -> Result<(), StartError> {
    let mut metrics = raft.metrics();
    let serving = |metrics: &Metrics| {
        let applied = metrics.last_applied.map(|id| id.index);
        metrics.running_state.is_err()
            || metrics.state == ServerState::Leader && applied.is_some() && applied >= metrics.last_log_index
    };
    let stopped = |reason: String| StartError::Raft { reason };
    let seen = metrics.wait_for(serving).await.map_err(|_closed| stopped("it ended".to_owned()))?;
    seen.running_state.as_ref().map_err(|fatal| stopped(fatal.to_string())).copied()
}

async fn stop_raft(raft: &Raft, log: &LogStore) {
    if let Err(error) = raft.shutdown().await {
        tracing::error!(%error, "the Raft core did not end in order");
    }
    close_log(log).await;
}

async fn close_log(log: &LogStore) {
    let log = log.clone();
    if let Err(error) = tokio::task::spawn_blocking(move || log.close()).await {
        tracing::error!(%error, "the log was not closed in order");
    }
}

fn raft_error(error: impl std::fmt::Display) -> StartError {
    StartError::Raft { reason: error.to_string() }
}
