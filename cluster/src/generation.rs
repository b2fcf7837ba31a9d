//! One Raft core with its open log. A node has one at a time and a new one after its storage failed.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use openraft::{Config, ServerState, SnapshotPolicy};
use tokio::sync::watch;

use crate::error::StartError;
use crate::log_store::LogStore;
use crate::network::raft_client::RaftClients;
use crate::nodes::FOUNDER_NODE_ID;
use crate::parts::{self, Parts};
use crate::raft::{Peer, Raft};
use crate::replica::Replica;
use crate::supervisor::Shared;

/// Time between two heartbeats, also the Raft library's limit for one call to a peer. The library looks at its clock every
/// 375 ms, half as much again.
const HEARTBEAT_INTERVAL_MS: u64 = 250;
/// A follower that hears nothing for [`ELECTION_TIMEOUT_MAX_MS`] (it refuses to elect anybody before) and then for a time
/// between these two asks for votes. So a leader is replaced 1.7 to 2.4 s after its last sign of life, the clock's
/// granularity included, and a leader on a machine that is busy may be late by four heartbeats.
const ELECTION_TIMEOUT_MIN_MS: u64 = 700;
const ELECTION_TIMEOUT_MAX_MS: u64 = 1000;
/// Entries in one message to a peer. The bytes that one read returns are limited as well, so that a message is written and
/// synced within one heartbeat interval; a peer too slow for it gets fewer entries at a time.
const PAYLOAD_ENTRIES_MAX: u64 = 64;

/// What runs between opening the log and closing it.
pub(crate) struct Generation {
    pub(crate) raft: Raft,
    pub(crate) log: LogStore,
    /// Tells the cores of one process apart.
    pub(crate) number: u64,
    parts: Parts,
}

pub(crate) type Metrics = openraft::RaftMetrics<u64, Peer>;

static NUMBERS: AtomicU64 = AtomicU64::new(1);

impl Generation {
    /// Opens the log and applies what is known to be committed and was not applied yet. A node that is the only voter leads
    /// when this returns, has applied everything, and serves.
    pub(crate) async fn open<R: Replica>(shared: &Arc<Shared<R>>) -> Result<Generation, StartError> {
        let (path, syncs) = (shared.log_path(), Arc::clone(&shared.options.sync_observer));
        let opening = tokio::task::spawn_blocking(move || LogStore::open(&path, syncs));
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
        let number = NUMBERS.fetch_add(1, Ordering::Relaxed);
        match begin(shared, &raft, &log, number).await {
            Ok(parts) => Ok(Generation { raft, log, number, parts }),
            Err(error) => {
                shared.detach();
                stop_raft(&raft, &log).await;
                Err(error)
            }
        }
    }

    /// Ends what runs beside the Raft core and needs it for a proper end.
    pub(crate) async fn end_parts(&mut self) {
        self.parts.end().await;
    }

    /// Stops the Raft core and closes the files. Afterwards nothing of this generation writes.
    pub(crate) async fn close(self) {
        drop(self.parts);
        stop_raft(&self.raft, &self.log).await;
    }

    /// The Raft core's view of itself.
    pub(crate) fn metrics(&self) -> watch::Receiver<Metrics> {
        self.raft.metrics()
    }
}

async fn start_raft<R: Replica>(shared: &Arc<Shared<R>>, log: &LogStore) -> Result<Raft, StartError> {
    check_history(shared, log)?;
    let config = config(shared)?;
    let machine = shared.machine.next_generation();
    let node_id = shared.place().origin.node_id;
    let clients = RaftClients { channels: shared.channels.clone() };
    let raft = Raft::new(node_id, Arc::new(config), clients, log.clone(), machine).await;
    let raft = raft.map_err(raft_error)?;
    if node_id == FOUNDER_NODE_ID && !raft.is_initialized().await.map_err(raft_error)? {
        let (name, address) = (shared.options.node_name.clone(), shared.own_address().to_owned());
        let peer = Peer { name, address, never_votes: false };
        raft.initialize(BTreeMap::from([(node_id, peer)])).await.map_err(raft_error)?;
    }
    Ok(raft)
}

/// Lets other nodes in, waits until a node that is the only voter leads, and starts the parts.
async fn begin<R: Replica>(
    shared: &Arc<Shared<R>>,
    raft: &Raft,
    log: &LogStore,
    number: u64,
) -> Result<Parts, StartError> {
    let voters = raft.with_raft_state(|state| {
        let effective = state.membership_state.effective();
        effective.voter_ids().collect::<BTreeSet<u64>>()
    });
    let voters = voters.await.map_err(raft_error)?;
    shared.attach(raft, number);
    let is_only_voter = voters == BTreeSet::from([shared.place().origin.node_id]);
    if is_only_voter {
        if raft.metrics().borrow().state != ServerState::Leader {
            // The only voter need not wait for anybody.
            raft.trigger().elect().await.map_err(raft_error)?;
        }
        until_serving(raft).await?;
        // It leads now, which nobody has noticed yet who follows the metrics; the parts propose at once.
        shared.attach(raft, number);
    }
    parts::start(shared, raft, log, is_only_voter).await
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
        cluster_name: shared.place().cluster_id.clone(),
        heartbeat_interval: HEARTBEAT_INTERVAL_MS,
        election_timeout_min: ELECTION_TIMEOUT_MIN_MS,
        election_timeout_max: ELECTION_TIMEOUT_MAX_MS,
        max_payload_entries: PAYLOAD_ENTRIES_MAX,
        // Snapshots are asked for by the supervisor, which also counts bytes and looks at the disk.
        snapshot_policy: SnapshotPolicy::Never,
        max_in_snapshot_log_to_keep: shared.options.kept_entries,
        // Until the election guard has looked.
        enable_elect: false,
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
